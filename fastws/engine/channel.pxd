from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from .deflate cimport Agreement
from .forms cimport Forms
from .lane cimport conn_t, lane_t, rule_t, subscription_t


cdef enum Compressing:
    COMPRESS_NOTHING = 0
    COMPRESS_SHARED = 1
    COMPRESS_COHORT = 2


cdef uint32_t ticks_of(object seconds)


cdef class Rule:
    cdef rule_t data
    # -- history
    cdef uint32_t history       # publications; 0: none
    cdef size_t history_bytes
    cdef uint32_t history_ttl   # ticks; 0: no bound
    # -- batching
    cdef readonly object batch  # seconds; None: each tick
    cdef bint array             # one text frame with a JSON array
    # -- compression
    cdef uint8_t compress       # see Compressing
    cdef uint32_t cohort_join   # ticks between two admissions


cdef class Keeper:
    """Where channels live. The upward hook of this layer."""

    cdef uint32_t tick(self) noexcept
    cdef int retire(self, Channel channel) except -1


cdef class Channel:
    # -- whose
    cdef readonly str name
    cdef readonly Keeper hub
    cdef Rule rule
    cdef bint hidden            # the hub's own, not among anybody's channels
    # -- state
    cdef uint64_t number        # of the last publication
    cdef str _epoch
    cdef lane_t lane            # of plain frames
    cdef Forms forms            # the others; None: there are none
    # -- the batch window that is open
    cdef object window          # its timer
    cdef list texts             # JSON texts of its array
    cdef size_t texts_bytes
    cdef uint8_t texts_compress     # see Wish: of all of them

    # -- lanes
    cdef lane_t *lane_for(self, Agreement agreement, uint32_t flags) except NULL
    cdef subscription_t *subscription(self, conn_t *conn) noexcept
    cdef uint32_t count(self) noexcept
    # -- history
    cdef object place(self)
    cdef uint64_t covers(self, object since) except? 0xFFFFFFFFFFFFFFFF
    cdef object _publication(self, uint64_t number)
