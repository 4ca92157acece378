"""A connection's own frames that the kernel has not taken: direct sends and replies.

One contiguous buffer that starts and ends at frame boundaries, cut into runs: all
frames between two publications of the loop share one run, so that a burst of direct
sends costs one record and the order against publications stays exact.

Ownership: a connection owns its outbox while something is pending, otherwise it lies in
the loop's pool; idle connections have none.
"""

from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memmove

from .counters cimport native


cdef enum:
    FIRST_ROOM = 16384
    # What stays in the pool: enough for the connections of one read burst.
    POOL_OUTBOXES = 64
    POOL_ROOM = 65536


cdef outbox_t *outbox_take(outbox_pool_t *pool) noexcept nogil:
    """An empty outbox; NULL: no memory."""
    cdef outbox_t *outbox = pool.first
    if outbox != NULL:
        pool.first = outbox.next
        pool.count -= 1
        outbox.next = NULL
        return outbox
    outbox = <outbox_t *>calloc(1, sizeof(outbox_t))
    if outbox != NULL:
        native().outboxes += 1
    return outbox


cdef void outbox_give(outbox_pool_t *pool, outbox_t *outbox) noexcept nogil:
    if pool.count >= POOL_OUTBOXES or outbox.room > POOL_ROOM:
        _outbox_free(outbox)
        return
    outbox.start = 0
    outbox.end = 0
    outbox.first_run = 0
    outbox.run_count = 0
    outbox.next = pool.first
    pool.first = outbox
    pool.count += 1


cdef void _outbox_free(outbox_t *outbox) noexcept nogil:
    free(outbox.data)
    free(outbox.runs)
    free(outbox)
    native().outboxes -= 1


cdef void outbox_pool_free(outbox_pool_t *pool) noexcept nogil:
    cdef outbox_t *outbox
    while pool.first != NULL:
        outbox = pool.first
        pool.first = outbox.next
        _outbox_free(outbox)
    pool.count = 0


cdef uint8_t *outbox_append(
    outbox_t *outbox, size_t size, uint64_t sequence
) noexcept nogil:
    """Room for one frame of ``size`` bytes behind everything handed over so far.

    ``sequence`` is that of the loop's last publication. NULL: no memory.
    """
    cdef run_t *run
    cdef uint8_t *frame
    if not _reserve_bytes(outbox, size):
        return NULL
    run = NULL
    if outbox.run_count:
        run = &outbox.runs[outbox.first_run + outbox.run_count - 1]
    if run == NULL or run.sequence != sequence:
        if not _reserve_run(outbox):
            return NULL
        run = &outbox.runs[outbox.first_run + outbox.run_count]
        run.sequence = sequence
        outbox.run_count += 1
    frame = outbox.data + outbox.end
    outbox.end += size
    run.end = outbox.end
    return frame


cdef bint _reserve_bytes(outbox_t *outbox, size_t size) noexcept nogil:
    cdef size_t pending = outbox.end - outbox.start
    cdef size_t room = outbox.room
    cdef uint8_t *data
    if outbox.end + size <= room:
        return True
    if outbox.start >= pending and pending + size <= room:
        _move_to_front(outbox)
        return True
    if room < FIRST_ROOM:
        room = FIRST_ROOM
    while room < outbox.end + size:
        room += room >> 1
    data = <uint8_t *>realloc(outbox.data, room)
    if data == NULL:
        return False
    outbox.data = data
    outbox.room = room
    return True


cdef void _move_to_front(outbox_t *outbox) noexcept nogil:
    cdef uint32_t position
    memmove(
        outbox.data, outbox.data + outbox.start, outbox.end - outbox.start
    )
    for position in range(outbox.run_count):
        outbox.runs[outbox.first_run + position].end -= outbox.start
    outbox.end -= outbox.start
    outbox.start = 0


cdef bint _reserve_run(outbox_t *outbox) noexcept nogil:
    cdef uint32_t room
    cdef run_t *runs
    if outbox.first_run + outbox.run_count < outbox.run_room:
        return True
    if outbox.first_run >= outbox.run_count and outbox.first_run:
        memmove(
            outbox.runs,
            outbox.runs + outbox.first_run,
            outbox.run_count * sizeof(run_t),
        )
        outbox.first_run = 0
        return True
    room = outbox.run_room * 2 if outbox.run_room else 4
    runs = <run_t *>realloc(outbox.runs, room * sizeof(run_t))
    if runs == NULL:
        return False
    outbox.runs = runs
    outbox.run_room = room
    return True


cdef void outbox_consume(outbox_t *outbox, size_t position) noexcept nogil:
    """Everything before the offset ``position`` (a frame boundary) has left."""
    outbox.start = position
    while outbox.run_count and outbox.runs[outbox.first_run].end <= position:
        outbox.first_run += 1
        outbox.run_count -= 1
