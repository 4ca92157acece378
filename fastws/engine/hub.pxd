from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from .lane cimport conn_t
from .payload cimport payload_t
from .publishing cimport Publishing


cdef class Hub(Publishing):
    # -- flushing
    cdef bint batching          # a batch of events is being handled: it flushes itself
    cdef bint flush_due         # at the end of that batch
    # -- masking keys of the client role
    cdef bytes _entropy
    cdef Py_ssize_t _entropy_used

    # -- a connection's own frames
    cdef int enqueue(
        self, conn_t *conn, payload_t *payload, uint8_t opcode, bint masked
    ) except -1
    cdef bint enqueue_urgent(
        self, conn_t *conn, payload_t *payload, bint masked
    ) noexcept
    cdef const uint8_t *_key(self) noexcept
    # -- flushing
    cdef uint64_t _amount(self) noexcept nogil
    cdef int _visit_all_linked(self) except -1
    cdef int _visit_linked(self, conn_t *conn) except -1
    cdef bytes _join_parts(self, uint32_t count)
    cdef int _tell(self) except -1
    cdef int settle(self, conn_t *conn) except -1
    cdef int begin_batch(self) except -1
    cdef int end_batch(self) except -1
