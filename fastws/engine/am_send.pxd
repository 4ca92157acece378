"""The slot that Cython has no syntax for.

Without ``am_send`` every await of a cdef class raises and catches a StopIteration.
"""

from cpython.object cimport PyObject


cdef extern from *:
    """
    #define FASTWS_SET_AM_SEND(type, function) \
        (((PyTypeObject *)(type))->tp_as_async->am_send = (sendfunc)(function))
    """
    # int function(PyObject *self, PyObject *argument, PyObject **result), which returns
    # one of the following, or -1 with an exception set.
    void FASTWS_SET_AM_SEND(object type, void *function)


cdef enum:
    PYGEN_RETURN = 0    # result: what the await gives
    PYGEN_NEXT = 1      # result: what the task is to wait for
