from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from .lane cimport conn_t, lane_t, member_t
from .writer cimport iovec, writer_t


cdef enum:
    HANDOVER = 16384        # whole frames that go to the link after a cut one


cdef enum Outcome:
    VISIT_DONE = 0          # nothing is owed any more
    VISIT_BLOCKED = 1
    VISIT_BROKEN = 2


cdef void advance(writer_t *writer, conn_t *conn, uint32_t count) noexcept nogil
cdef Outcome visit(writer_t *writer, conn_t *conn) noexcept nogil
cdef void cut(
    writer_t *writer, conn_t *conn, uint32_t count, size_t sent
) noexcept nogil
cdef void blocked(writer_t *writer, conn_t *conn) noexcept nogil
cdef void list_linked(writer_t *writer, conn_t *conn) noexcept nogil
cdef void caught_up(writer_t *writer, conn_t *conn) noexcept nogil
cdef void settled(writer_t *writer, conn_t *conn) noexcept nogil
cdef void check_lag(writer_t *writer, lane_t *lane, member_t *member) noexcept nogil
cdef void relieve(writer_t *writer, lane_t *lane, member_t *member) noexcept nogil
cdef ssize_t write_parts(conn_t *conn, iovec *vectors, uint32_t count) noexcept nogil
