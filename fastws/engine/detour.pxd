from libc.stddef cimport size_t
from libc.stdint cimport uint64_t

from .counters cimport counters_t
from .lane cimport detour_t, lane_t, member_t


cdef bint member_skip(
    counters_t *counters, lane_t *lane, member_t *member
) noexcept nogil
cdef bint member_heal(
    counters_t *counters, lane_t *lane, member_t *member
) noexcept nogil
cdef bint member_refill(
    counters_t *counters, lane_t *lane, member_t *member
) noexcept nogil
cdef bint member_recover(
    lane_t *lane, member_t *member, uint64_t number, uint64_t sequence
) noexcept nogil
cdef void detour_move(
    counters_t *counters,
    lane_t *lane,
    member_t *member,
    uint64_t position,
    uint64_t frames,
) noexcept nogil
cdef void detour_finish(
    counters_t *counters, lane_t *lane, member_t *member
) noexcept nogil
cdef void detour_miss(
    counters_t *counters, lane_t *lane, member_t *member
) noexcept nogil
cdef bint detour_over(const lane_t *lane, const detour_t *detour) noexcept nogil
cdef size_t member_lag(const lane_t *lane, const member_t *member) noexcept nogil
cdef uint64_t member_unsent(const lane_t *lane, const member_t *member) noexcept nogil
