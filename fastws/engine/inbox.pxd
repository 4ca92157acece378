from cpython.object cimport PyObject
from libc.stdint cimport uint32_t


ctypedef struct inbox_t:
    # Messages that were received and not yet taken: a ring of owned references.
    PyObject **items
    uint32_t first
    uint32_t count
    uint32_t room


cdef int inbox_push(inbox_t *inbox, PyObject *message) except -1
cdef PyObject *inbox_pop(inbox_t *inbox) noexcept
cdef void inbox_clear(inbox_t *inbox) noexcept
