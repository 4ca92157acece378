from cpython.object cimport PyObject
from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t


ctypedef struct inbox_t:
    # Messages that were received and not yet taken: a ring of owned references.
    PyObject **items
    uint32_t first
    uint32_t count
    uint32_t room
    uint32_t streak         # messages taken without a turn of the loop
    uint64_t streak_start
    size_t bytes            # what they cost


cdef inbox_t *inbox_none() noexcept
cdef inbox_t *inbox_new() except NULL
cdef int inbox_push(inbox_t *inbox, PyObject *message) except -1
cdef PyObject *inbox_pop(inbox_t *inbox) noexcept
cdef void inbox_free(inbox_t *inbox) noexcept
