"""A lane's frames, already encoded: append-only segments, never moved.

A segment is one block: header, frames growing upwards, entries growing downwards from
its end. It holds offsets and no pointers, so that it could lie in shared memory. The
first segment of a log is small (a million channels may each have one), the next are
large, and a frame that fits in neither gets one of its own::

    ┌────────┬───────────────────────────► · · · ◄────────────────────┐
    │ header │ frame 0 │ frame 1 │ frame 2         entry 2 │ 1 │ entry 0│
    └────────┴────────────────────────────────────────────────────────┘

Ownership: a log owns its segments, a lane owns its log. A segment is given back when
every frame in it has been flushed, no cursor of a slow subscriber stands in it or
before it, and nothing has pinned it: always the oldest first.
"""

from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset

from .counters cimport native


cdef enum:
    SMALL_SEGMENT = 512
    FIRST_SEGMENT = 4096
    NEXT_SEGMENT = 65536


cdef segment_t *_segment_new(size_t size) noexcept nogil:
    """The one place that allocates segments."""
    cdef segment_t *segment = <segment_t *>malloc(size)
    if segment != NULL:
        memset(segment, 0, sizeof(segment_t))
        segment.size = <uint32_t>size
        native().segments += 1
    return segment


cdef void _segment_free(segment_t *segment) noexcept nogil:
    native().segments -= 1
    free(segment)


cdef bint _segment_fits(segment_t *segment, size_t size) noexcept nogil:
    cdef size_t taken = (
        sizeof(segment_t) + segment.used + segment.count * sizeof(entry_t)
    )
    return taken + size + sizeof(entry_t) <= segment.size


cdef segment_t *_log_grow(log_t *log, size_t size) noexcept nogil:
    """A new last segment with room for a frame of ``size`` bytes."""
    cdef size_t needed = sizeof(segment_t) + size + sizeof(entry_t)
    cdef size_t block = NEXT_SEGMENT
    cdef segment_t **segments
    cdef segment_t *segment
    cdef uint32_t room
    if log.count == 0:
        block = SMALL_SEGMENT if log.small else FIRST_SEGMENT
    elif log.count == 1 and log.small:
        block = FIRST_SEGMENT
    if block < needed <= FIRST_SEGMENT:
        block = FIRST_SEGMENT
    elif block < needed:
        block = NEXT_SEGMENT if needed <= NEXT_SEGMENT else (needed + 7) & ~<size_t>7
    if log.head + log.count == log.room:
        _log_pack(log)
    if log.count == log.room:
        room = log.room * 2 if log.room else 2
        segments = <segment_t **>realloc(log.segments, room * sizeof(segment_t *))
        if segments == NULL:
            return NULL
        log.segments = segments
        log.room = room
    segment = _segment_new(block)
    if segment == NULL:
        return NULL
    segment.first = log.next
    segment.base = log.bytes
    log.segments[log.head + log.count] = segment
    log.count += 1
    return segment


cdef void _log_pack(log_t *log) noexcept nogil:
    """Move the list (not the segments) to the start of its array."""
    cdef uint32_t position
    if log.head:
        for position in range(log.count):
            log.segments[position] = log.segments[log.head + position]
        log.head = 0


cdef uint8_t *log_append(
    log_t *log,
    size_t size,
    uint64_t sequence,
    uint64_t number,
    uint64_t excluded,
    uint64_t key,
    uint64_t prior,
    uint32_t tick,
) noexcept nogil:
    """Room for one frame of ``size`` bytes, entered in the log; NULL: no memory."""
    cdef segment_t *segment = NULL
    cdef entry_t *entry
    cdef uint8_t *frame
    if log.count:
        segment = log.segments[log.head + log.count - 1]
        if not _segment_fits(segment, size):
            segment = NULL
    if segment == NULL:
        segment = _log_grow(log, size)
        if segment == NULL:
            return NULL
    frame = segment_data(segment) + segment.used
    segment.used += <uint32_t>size
    entry = segment_entry(segment, segment.count)
    entry.sequence = sequence
    entry.number = number
    entry.excluded = excluded
    entry.key = key
    entry.prior = prior
    entry.tick = tick
    entry.end = segment.used
    segment.count += 1
    log.next += 1
    log.bytes += size
    return frame


cdef segment_t *log_find(const log_t *log, uint64_t index) noexcept nogil:
    """The segment that holds the frame ``index``; NULL when the log has it no more or
    not yet."""
    cdef uint32_t low = log.head
    cdef uint32_t high = log.head + log.count
    cdef uint32_t middle
    if log.count == 0 or index >= log.next or index < log.segments[low].first:
        return NULL
    while high - low > 1:
        middle = (low + high) // 2
        if log.segments[middle].first <= index:
            low = middle
        else:
            high = middle
    return log.segments[low]


cdef uint64_t log_bytes_from(const log_t *log, uint64_t index) noexcept nogil:
    """Bytes of the frames from ``index`` to the head."""
    cdef segment_t *segment = log_find(log, index)
    if segment == NULL:
        return 0
    return (
        log.bytes
        - segment.base
        - segment_start(segment, <uint32_t>(index - segment.first))
    )


cdef uint32_t log_tick(const log_t *log, uint64_t index) noexcept nogil:
    """When the frame ``index``, which must be there, was published."""
    cdef segment_t *segment = log_find(log, index)
    return segment_entry(segment, <uint32_t>(index - segment.first)).tick


cdef void log_trim(log_t *log, uint64_t index) noexcept nogil:
    """Give back the oldest segments whose frames all lie before ``index`` and that
    nothing holds."""
    cdef segment_t *segment
    while log.count:
        segment = log.segments[log.head]
        if (
            segment.first + segment.count > index
            or segment.standing
            or segment.pins
        ):
            return
        _segment_free(segment)
        log.head += 1
        log.count -= 1
    free(log.segments)
    log.segments = NULL
    log.head = 0
    log.room = 0


cdef void log_free(log_t *log) noexcept nogil:
    cdef uint32_t position
    for position in range(log.count):
        _segment_free(log.segments[log.head + position])
    free(log.segments)
    log.segments = NULL
    log.head = 0
    log.count = 0
    log.room = 0
