"""A channel's last publications, encoded once, by number.

Numbers are contiguous, so the ring needs none: the newest is ``last``, the oldest is
``last - count + 1``. An offset is a number relative to the epoch's ``origin``; clearing
a history moves the origin and never the numbers, so that cursors which stand in it stay
comparable.

Ownership: a channel owns its history, the history owns its frames and keys. Whatever
drops one belongs to the loop's thread and holds the GIL; finding one needs neither.
"""

from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdlib cimport calloc, free, malloc

from .counters cimport native


cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec *time)
    int CLOCK_REALTIME


cdef enum:
    FIRST_ROOM = 4


cdef double _now() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    return <double>now.tv_sec + <double>now.tv_nsec / 1e9


cdef history_t *history_new(
    uint32_t most, size_t most_bytes, uint32_t ttl
) noexcept nogil:
    """NULL: no memory."""
    cdef history_t *history = <history_t *>calloc(1, sizeof(history_t))
    if history != NULL:
        history.most = most
        history.most_bytes = most_bytes
        history.ttl = ttl
    return history


cdef void history_free(history_t *history) noexcept:
    if history != NULL:
        history_clear(history)
        free(history)


cdef uint8_t *history_reserve(history_t *history, size_t size) noexcept nogil:
    """Memory for a frame and a place for it: the push that follows can't fail. Who does
    not push it frees it. NULL: no memory."""
    cdef uint32_t room, position
    cdef kept_t *ring
    if history.count == history.room and history.count < history.most:
        room = history.room * 2 if history.room else FIRST_ROOM
        ring = <kept_t *>malloc(room * sizeof(kept_t))
        if ring == NULL:
            return NULL
        for position in range(history.count):
            ring[position] = history.ring[
                (history.first + position) & (history.room - 1)
            ]
        free(history.ring)
        history.ring = ring
        history.room = room
        history.first = 0
    return <uint8_t *>malloc(size)


cdef void history_push(
    history_t *history,
    uint8_t *frame,
    size_t size,
    uint64_t sequence,
    uint64_t excluded,
    PyObject *key,
    uint32_t tick,
) noexcept:
    """The newest publication; the bounds then push out the oldest, never this one."""
    cdef kept_t *kept
    if history.count == history.most:
        _drop_oldest(history)
    kept = &history.ring[(history.first + history.count) & (history.room - 1)]
    kept.sequence = sequence
    kept.excluded = excluded
    kept.time = _now()
    kept.frame = frame
    kept.size = <uint32_t>size
    kept.tick = tick
    kept.key = key
    if key != NULL:
        Py_INCREF(<object>key)
    history.count += 1
    history.last += 1
    history.bytes += size
    native().kept += 1
    while history.bytes > history.most_bytes and history.count > 1:
        _drop_oldest(history)
    history_expire(history, tick)


cdef void _drop_oldest(history_t *history) noexcept:
    cdef kept_t *kept = &history.ring[history.first]
    history.bytes -= kept.size
    free(kept.frame)
    Py_XDECREF(kept.key)
    history.first = (history.first + 1) & (history.room - 1)
    history.count -= 1
    native().kept -= 1


cdef void history_expire(history_t *history, uint32_t tick) noexcept:
    """Drop what is older than the history's time."""
    if history.ttl:
        while (
            history.count
            and tick - history.ring[history.first].tick >= history.ttl
        ):
            _drop_oldest(history)


cdef void history_clear(history_t *history) noexcept:
    """Nothing is kept; the next publication has offset 1 of a new epoch."""
    while history.count:
        _drop_oldest(history)
    free(history.ring)
    history.ring = NULL
    history.room = 0
    history.first = 0
    history.origin = history.last


cdef size_t history_bytes_from(
    const history_t *history, uint64_t number
) noexcept nogil:
    """Bytes of the frames from ``number``, or from the oldest kept, to the newest."""
    cdef size_t bytes = 0
    cdef uint64_t oldest = history_oldest(history)
    if number < oldest:
        number = oldest
    while number <= history.last:
        bytes += history_find(history, number).size
        number += 1
    return bytes
