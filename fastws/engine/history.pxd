from cpython.object cimport PyObject
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t


ctypedef struct kept_t:
    # One publication, as a plain subscriber gets it.
    uint64_t sequence   # place in the order of everything the loop was handed
    uint64_t excluded   # serial of the connection that does not get it; 0: nobody
    double time         # seconds since 1970
    uint8_t *frame      # owned
    PyObject *key       # owned str; NULL: none
    uint32_t size       # of the frame
    uint32_t tick       # when it was published, on the sweep's clock


ctypedef struct history_t:
    # -- what is kept: a ring, the oldest at `first`
    kept_t *ring
    uint32_t room       # a power of two
    uint32_t first
    uint32_t count
    # -- its bounds
    uint32_t most
    size_t most_bytes
    uint32_t ttl        # ticks; 0: no bound
    bint waiting        # for its time to be over, in the hub's list
    # -- where it stands
    size_t bytes
    uint64_t last       # number of the newest publication, contiguous for ever
    uint64_t origin     # number that is offset 0 of this epoch


cdef history_t *history_new(
    uint32_t most, size_t most_bytes, uint32_t ttl
) noexcept nogil
cdef void history_free(history_t *history) noexcept
cdef uint8_t *history_reserve(history_t *history, size_t size) noexcept nogil
cdef void history_push(
    history_t *history,
    uint8_t *frame,
    size_t size,
    uint64_t sequence,
    uint64_t excluded,
    PyObject *key,
    uint32_t tick,
) noexcept
cdef void history_expire(history_t *history, uint32_t tick) noexcept
cdef void history_clear(history_t *history) noexcept
cdef size_t history_bytes_from(const history_t *history, uint64_t number) noexcept nogil


cdef inline uint64_t history_oldest(const history_t *history) noexcept nogil:
    """Number of the oldest publication kept; with none, of the next one."""
    return history.last + 1 - history.count


cdef inline kept_t *history_find(
    const history_t *history, uint64_t number
) noexcept nogil:
    """NULL: it is kept no more, or not yet published."""
    cdef uint64_t place = number - history_oldest(history)
    if place >= history.count:
        return NULL
    return &history.ring[(history.first + place) & (history.room - 1)]
