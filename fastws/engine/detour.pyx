"""Detours: how a cursor that fell behind comes back to the log.

A cursor past its channel's bound lets go of the log, so that slow subscribers cost no
memory but their channel's:

* *skip* goes to the head at once;
* *latest* reads the newest frame of each key, which the lane keeps while any cursor
  needs them;
* *resume* reads the channel's history by publication number, as does a subscriber who
  came back with a position.

It is on the log again, at its head, as soon as nothing is left on its detour, and since
everything published meanwhile was on the detour too, no frame comes twice and none is
passed over in silence. What is passed over is counted: frames from the start of the
detour to where it stands, without those that leave this connection out and those sent.

A member of a cohort that has missed a frame of its context can read none behind it. It
stays on its detour, where every frame is one that refers to nothing, until it is taken
to another lane.
"""

from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc

from .history cimport history_bytes_from, history_find
from .keyed cimport keyed_bytes_from, keyed_new, keyed_reach
from .lane cimport (
    DETOUR_KEYED,
    DETOUR_LEAVING,
    DETOUR_RECOVERY,
    DETOUR_REFILL,
    LANE_COHORT,
    MEMBER_DETOUR,
    conn_t,
    detour_of,
    detour_t,
    gap_add,
    member_detour,
    member_move_on,
    member_return,
)
from .log cimport entry_t, log_bytes_from, log_find, segment_entry, segment_t


cdef uint64_t _left_out(
    const lane_t *lane, const conn_t *conn, uint64_t index
) noexcept nogil:
    """How many frames from ``index`` to the head are not for this connection."""
    cdef uint64_t count = 0
    cdef segment_t *segment
    cdef entry_t *entry
    if index >= lane.log.next:
        return 0
    segment = log_find(&lane.log, index)
    entry = segment_entry(segment, <uint32_t>(index - segment.first))
    if conn.excluded < entry.sequence:
        return 0
    while segment != NULL:
        while index < segment.first + segment.count:
            entry = segment_entry(segment, <uint32_t>(index - segment.first))
            if entry.excluded == conn.serial:
                count += 1
            index += 1
        segment = log_find(&lane.log, index)
    return count


cdef void _missed(
    counters_t *counters, lane_t *lane, member_t *member, uint64_t frames
) noexcept nogil:
    counters.frames_skipped += frames
    if frames:
        gap_add(member.conn, lane, frames)


# -- leaving the log -------------------------------------------------------------------


cdef bint member_skip(
    counters_t *counters, lane_t *lane, member_t *member
) noexcept nogil:
    """To the head. False: no memory."""
    cdef uint64_t frames = member_unsent(lane, member)
    cdef detour_t *detour
    if lane.kind == LANE_COHORT:
        detour = <detour_t *>calloc(1, sizeof(detour_t))
        if detour == NULL:
            return False
        detour.kind = DETOUR_LEAVING
        member_detour(lane, member, detour)
    else:
        member_move_on(lane, member, lane.log.next)
    counters.lag_skips += 1
    _missed(counters, lane, member, frames)
    return True


cdef bint member_heal(
    counters_t *counters, lane_t *lane, member_t *member
) noexcept nogil:
    """To the newest frame of each key. False: no memory for them."""
    cdef uint64_t index = member.next
    cdef detour_t *detour
    if lane.kind == LANE_COHORT and lane.keyed == NULL:
        # There was no memory for it; its log's frames can't be read out of order.
        return False
    detour = <detour_t *>calloc(1, sizeof(detour_t))
    if detour == NULL:
        return False
    detour.kind = DETOUR_KEYED
    detour.start = index
    detour.position = index
    detour.excluded = _left_out(lane, member.conn, index)
    if lane.keyed == NULL:
        lane.keyed = keyed_new(lane.rule.max_keys, lane.log.next)
    member_detour(lane, member, detour)
    if lane.keyed == NULL or not keyed_reach(lane.keyed, &lane.log, index):
        detour_finish(counters, lane, member)
        return True
    counters.lag_heals += 1
    return True


cdef bint member_refill(
    counters_t *counters, lane_t *lane, member_t *member
) noexcept nogil:
    """To the channel's history. False: there is none, or no memory."""
    cdef uint64_t index = member.next
    cdef segment_t *segment
    cdef detour_t *detour
    if lane.history == NULL:
        return False
    detour = <detour_t *>calloc(1, sizeof(detour_t))
    if detour == NULL:
        return False
    segment = log_find(&lane.log, index)
    detour.kind = DETOUR_REFILL
    detour.start = segment_entry(segment, <uint32_t>(index - segment.first)).number
    detour.position = detour.start
    detour.excluded = _left_out(lane, member.conn, index)
    member_detour(lane, member, detour)
    return True


cdef bint member_recover(
    lane_t *lane, member_t *member, uint64_t number, uint64_t sequence
) noexcept nogil:
    """A new member is owed the history from ``number`` on, which is all there, at its
    place ``sequence`` in the order of the calls. False: no memory."""
    cdef detour_t *detour
    if number > lane.history.last:
        return True
    detour = <detour_t *>calloc(1, sizeof(detour_t))
    if detour == NULL:
        return False
    detour.kind = DETOUR_RECOVERY
    detour.start = number
    detour.position = number
    detour.sequence = sequence
    while number <= lane.history.last:
        if history_find(lane.history, number).excluded == member.conn.serial:
            detour.excluded += 1
        number += 1
    member_detour(lane, member, detour)
    return True


# -- on the way ------------------------------------------------------------------------


cdef inline uint64_t _end(const lane_t *lane, const detour_t *detour) noexcept nogil:
    if detour.kind == DETOUR_KEYED:
        return lane.log.next
    if detour.kind == DETOUR_LEAVING:
        return detour.position
    return lane.history.last + 1


cdef void _account(
    counters_t *counters, lane_t *lane, member_t *member, detour_t *detour
) noexcept nogil:
    """Count what has been passed over. Exclusions further on are subtracted too early,
    so on the way this can be too little; it is right at the end."""
    cdef uint64_t passed = detour.position - detour.start
    cdef uint64_t known = detour.delivered + detour.excluded + detour.skipped
    if passed > known:
        detour.skipped += passed - known
        _missed(counters, lane, member, passed - known)


cdef void detour_move(
    counters_t *counters,
    lane_t *lane,
    member_t *member,
    uint64_t position,
    uint64_t frames,
) noexcept nogil:
    """What lies before ``position`` has been sent (``frames`` of it), left out or
    passed over; at the end the member is on the log again."""
    cdef detour_t *detour = detour_of(member)
    detour.position = position
    detour.delivered += frames
    _account(counters, lane, member, detour)
    if position == _end(lane, detour) and lane.kind != LANE_COHORT:
        if detour.kind == DETOUR_REFILL:
            counters.lag_refills += 1
        member_return(lane, member)


cdef void detour_finish(
    counters_t *counters, lane_t *lane, member_t *member
) noexcept nogil:
    """Nothing on it is for this connection any more."""
    detour_move(counters, lane, member, _end(lane, detour_of(member)), 0)


cdef void detour_miss(
    counters_t *counters, lane_t *lane, member_t *member
) noexcept nogil:
    """The history has lost what is owed next: to the head of the log."""
    cdef detour_t *detour = detour_of(member)
    counters.lag_refill_misses += 1
    detour.position = _end(lane, detour)
    _account(counters, lane, member, detour)
    if lane.kind == LANE_COHORT:
        detour.kind = DETOUR_LEAVING
    else:
        member_return(lane, member)


cdef bint detour_over(const lane_t *lane, const detour_t *detour) noexcept nogil:
    """Of a cohort's member on a detour: nothing on it is owed any more."""
    return detour.position == _end(lane, detour)


# -- looking ---------------------------------------------------------------------------


cdef size_t member_lag(const lane_t *lane, const member_t *member) noexcept nogil:
    """Bytes that lie before this member."""
    cdef const detour_t *detour
    if member.standing != MEMBER_DETOUR:
        return log_bytes_from(&lane.log, member.next)
    detour = detour_of(member)
    if detour.kind == DETOUR_KEYED:
        return keyed_bytes_from(lane.keyed, detour.position)
    if detour.kind == DETOUR_LEAVING:
        return 0
    return history_bytes_from(lane.history, detour.position)


cdef uint64_t member_unsent(const lane_t *lane, const member_t *member) noexcept nogil:
    """Publications that it has not got, and of which nothing is counted yet."""
    cdef const detour_t *detour
    cdef uint64_t known
    if member.standing != MEMBER_DETOUR:
        return (
            lane.log.next - member.next - _left_out(lane, member.conn, member.next)
        )
    detour = detour_of(member)
    if detour.kind == DETOUR_LEAVING:
        return 0
    known = detour.start + detour.delivered + detour.excluded + detour.skipped
    return _end(lane, detour) - known
