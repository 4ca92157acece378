from libc.stdint cimport uint64_t

from .lane cimport lane_t
from .writer cimport writer_t


cdef void mark_lane(writer_t *writer, lane_t *lane) noexcept nogil
cdef void unmark_lane(writer_t *writer, lane_t *lane) noexcept nogil
cdef bint flush_slice(writer_t *writer, uint64_t nanoseconds) noexcept nogil
cdef uint64_t clock_nanoseconds() noexcept nogil
