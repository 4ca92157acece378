"""What ``send`` returns: truthy when the message was accepted, awaitable for drain.

While an outbox is under its high-water mark the value is one of two singletons, and
awaiting them costs no future, no allocation and no turn of the loop.
"""

from cpython.object cimport PyObject

from .am_send cimport FASTWS_SET_AM_SEND, PYGEN_RETURN


cdef extern from "Python.h":
    void Py_INCREF(PyObject *object)
    PyObject *Py_None


cdef class Sent:
    """The fate of a message: ``if ws.send(...)``, ``await ws.send(...)``."""

    def __bool__(self) -> bool:
        return self.accepted

    def __repr__(self) -> str:
        return f"<Sent {'accepted' if self.accepted else 'refused'}>"

    def __await__(self):
        if self.future is None:
            return self
        return self.future.__await__()

    def __iter__(self):
        return self

    def __next__(self):
        raise StopIteration


cdef int _send_at_once(
    PyObject *self, PyObject *argument, PyObject **result
) noexcept:
    Py_INCREF(Py_None)
    result[0] = Py_None
    return PYGEN_RETURN


FASTWS_SET_AM_SEND(Sent, <void *>_send_at_once)


cdef Sent _make(bint accepted, object future):
    cdef Sent sent = Sent.__new__(Sent)
    sent.accepted = accepted
    sent.future = future
    return sent


cdef Sent _accepted = _make(True, None)
cdef Sent _refused = _make(False, None)


cdef Sent sent_accepted():
    return _accepted


cdef Sent sent_refused():
    return _refused


cdef Sent sent_pending(object future):
    """Accepted; awaiting it waits for ``future``."""
    return _make(True, future)
