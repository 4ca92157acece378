from libc.stddef cimport size_t
from libc.stdint cimport uint64_t

from .channel cimport Channel
from .lane cimport conn_t, lane_t
from .log cimport log_bytes_from
from .payload cimport payload_t
from .writer cimport writer_t


cdef int lanes_append(
    Channel channel,
    const payload_t *payload,
    conn_t *excluded,
    uint64_t key,
    writer_t *writer,
) except -1
cdef void lanes_give_up(Channel channel, writer_t *writer) noexcept
cdef size_t lanes_mark(Channel channel, writer_t *writer) noexcept


cdef inline size_t lane_unflushed(const lane_t *lane) noexcept nogil:
    """Bytes of its frames that no walk has offered to anybody."""
    return log_bytes_from(&lane.log, lane.flushed) if lane.log.count > 1 else 0
