from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t


ctypedef struct entry_t:
    uint64_t sequence   # place in the order of everything this loop was handed
    uint64_t number     # publication number in its channel
    uint64_t excluded   # serial of the connection that does not get it; 0: nobody
    uint64_t key        # id of the publication's key; 0: none
    uint64_t prior      # sequence of the last one before that left `excluded` out
    uint32_t end        # offset of the first byte behind the frame, in its segment
    uint32_t tick       # when it was published, on the sweep's clock


ctypedef struct segment_t:
    uint64_t first      # index of its first frame
    uint64_t base       # bytes of the log before this segment
    uint32_t size       # of the whole block, this header included
    uint32_t used       # bytes of frames
    uint32_t count      # frames
    uint32_t standing   # cursors of slow subscribers that stand in it
    uint32_t pins       # frames of it that something else still needs
    uint32_t reserved


ctypedef struct log_t:
    segment_t **segments
    uint32_t head       # position of the oldest in `segments`
    uint32_t count
    uint32_t room
    uint32_t small      # few read it: its first segment is a small one
    uint64_t next       # index that the next frame gets
    uint64_t bytes      # bytes of all frames ever appended


cdef inline uint8_t *segment_data(segment_t *segment) noexcept nogil:
    return <uint8_t *>segment + sizeof(segment_t)


cdef inline entry_t *segment_entry(
    segment_t *segment, uint32_t position
) noexcept nogil:
    """Entries grow downwards from the end of the block, towards the frames."""
    return <entry_t *>(<uint8_t *>segment + segment.size) - 1 - position


cdef inline uint32_t segment_start(
    segment_t *segment, uint32_t position
) noexcept nogil:
    """Offset of the first byte of a frame."""
    return segment_entry(segment, position - 1).end if position else 0


cdef void log_free(log_t *log) noexcept nogil
cdef uint8_t *log_append(
    log_t *log,
    size_t size,
    uint64_t sequence,
    uint64_t number,
    uint64_t excluded,
    uint64_t key,
    uint64_t prior,
    uint32_t tick,
) noexcept nogil
cdef segment_t *log_find(const log_t *log, uint64_t index) noexcept nogil
cdef uint64_t log_bytes_from(const log_t *log, uint64_t index) noexcept nogil
cdef uint32_t log_tick(const log_t *log, uint64_t index) noexcept nogil
cdef void log_trim(log_t *log, uint64_t index) noexcept nogil
