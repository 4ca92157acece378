from libc.stdint cimport uint32_t, uint64_t

from .deflate cimport Agreement, Context, Deflate
from .lane cimport lane_t
from .payload cimport payload_t


cdef class CompressedLane:
    """The subscribers of a channel that one way of compressing serves."""

    cdef lane_t lane
    cdef Deflate deflate
    cdef int window_bits

    cdef bint encode(self, payload_t *payload, bint excludes) noexcept


cdef class CohortLane(CompressedLane):
    cdef Context context


cdef class Forms:
    """What only channels with compressed lanes have."""

    cdef list lanes             # of CompressedLane, the cohort's too
    cdef CohortLane cohort      # None: there is none now
    cdef uint32_t looked        # tick of the last look for who is to change lanes
    cdef bint has_looked
    cdef bint strays            # some in the plain lane could read compressed frames
    # -- what was compressed
    cdef uint64_t messages
    cdef uint64_t bytes_before
    cdef uint64_t bytes_after
    cdef uint64_t nanoseconds
    cdef bint warned

    cdef lane_t *lane_for(self, const lane_t *plain, Agreement agreement) except NULL
    cdef CohortLane open_cohort(self, const lane_t *plain, Deflate deflate)
    cdef int drop(self, const lane_t *lane) except -1
    cdef bint encode(
        self, CompressedLane lane, payload_t *payload, bint excludes
    ) noexcept
    cdef bint is_a_loss(self) noexcept
