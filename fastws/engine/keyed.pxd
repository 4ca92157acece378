from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from .log cimport log_t


ctypedef struct pinned_t:
    # The newest frame of one key; in the order of the log.
    uint64_t index      # in the log
    uint64_t sequence
    uint64_t key
    uint64_t excluded
    uint8_t *frame      # owned; NULL: there is a newer one of its key
    uint32_t size


ctypedef struct keyed_t:
    pinned_t *slots
    uint32_t first      # slots before this one are empty
    uint32_t count      # slots used, empty ones between them too
    uint32_t live       # slots with a frame
    uint32_t room
    uint32_t most       # keys
    uint32_t mask       # of the table, which has a power of two of places
    uint32_t *table     # by key: 1 + its slot; 0: empty
    uint64_t start      # index of the first frame that it knows of
    uint64_t dropped    # keys that went because there were too many


cdef keyed_t *keyed_new(uint32_t most, uint64_t start) noexcept nogil
cdef void keyed_free(keyed_t *keyed) noexcept nogil
cdef uint8_t *keyed_put(
    keyed_t *keyed,
    uint64_t index,
    uint64_t sequence,
    uint64_t key,
    uint64_t excluded,
    uint32_t size,
) noexcept nogil
cdef bint keyed_reach(keyed_t *keyed, const log_t *log, uint64_t index) noexcept nogil
cdef uint32_t keyed_find(const keyed_t *keyed, uint64_t index) noexcept nogil
cdef size_t keyed_bytes_from(const keyed_t *keyed, uint64_t index) noexcept nogil
