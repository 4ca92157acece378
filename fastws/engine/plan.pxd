from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from .lane cimport conn_t, lane_t, member_t
from .writer cimport writer_t


cdef uint32_t plan_visit(
    writer_t *writer, conn_t *conn, size_t most_bytes
) noexcept nogil
cdef bint owes_elsewhere(const conn_t *conn, const lane_t *lane) noexcept nogil


cdef inline bint nothing_of_its_own(const conn_t *conn) noexcept nogil:
    return conn.outbox == NULL and conn.urgent_length == 0
