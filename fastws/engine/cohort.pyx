"""Cohorts: who joins and who leaves the lane whose members share a growing context.

What a member's inflater remembers is the cohort's frames and nothing else. So it gets
compressed frames from one cohort only, the first that takes it in, and plain ones from
everybody else; it joins where the context starts anew, when everything compressed that
it was owed has left; and having missed one frame it goes. All of that happens between
two publications, with the GIL: a walk that is under way sees members that come at the
end of its array, and go from it, as it does with any other.
"""

from libc.stdint cimport uint32_t

from .deflate cimport Agreement
from .detour cimport detour_over
from .flush cimport unmark_lane
from .forms cimport CohortLane, CompressedLane, Forms
from .lane cimport (
    CONN_BLOCKED,
    CONN_BROKEN,
    CONN_COHORT,
    CONN_FINISH,
    DETOUR_REFILL,
    LANE_COMPRESSED,
    LANE_PLAIN,
    MEMBER_DETOUR,
    detour_of,
    lane_move,
    lane_trim,
    member_owes,
    no_limit,
    subscription_t,
)
from .roster cimport Owner


cdef int cohort_tend(Channel channel, writer_t *writer) except -1:
    """Before a publication: who has lost the context goes, who waits for it comes."""
    cdef Forms forms = channel.forms
    if forms.cohort is not None and forms.cohort.lane.detours:
        _let_go(channel, writer)
    if (
        not forms.has_admitted
        or writer.tick - forms.admitted >= channel.rule.cohort_join
    ):
        forms.has_admitted = True
        forms.admitted = writer.tick
        _admit(channel, writer)
    return 0


# -- coming ----------------------------------------------------------------------------


cdef int _admit(Channel channel, writer_t *writer) except -1:
    """Take in those who can join; the context then starts anew."""
    cdef Forms forms = channel.forms
    cdef CompressedLane lane
    cdef bint joined = _admit_from(channel, &channel.lane, writer)
    for one in list(forms.lanes):
        if one is not forms.cohort:
            lane = one
            joined |= _admit_from(channel, &lane.lane, writer)
    if joined:
        forms.cohort.context.restart()
    return 0


cdef bint _admit_from(Channel channel, lane_t *lane, writer_t *writer) except? True:
    cdef Forms forms = channel.forms
    cdef CohortLane cohort
    cdef conn_t *conn
    cdef bint joined = False
    cdef uint32_t position = lane.count
    while position:
        position -= 1
        conn = lane.members[position].conn
        if not _may_join(forms, conn) or not _is_settled(conn, lane, position):
            continue
        cohort = forms.cohort
        if cohort is None:
            cohort = forms.open_cohort(
                &channel.lane, (<Owner>conn.owner).agreement.deflate
            )
        if not lane_move(lane, position, &cohort.lane):
            raise MemoryError
        conn.flags |= CONN_COHORT
        joined = True
        _go_plain(conn, writer)
    if joined:
        lane_emptied(channel, lane, writer)
    return joined


cdef bint _may_join(Forms forms, const conn_t *conn) noexcept:
    cdef Agreement agreement = (<Owner>conn.owner).agreement
    return (
        agreement is not None
        and agreement.send_context
        and agreement.send_bits >= agreement.deflate.rule.window_bits
        and (forms.cohort is None or forms.cohort.deflate is agreement.deflate)
        and not conn.flags & (CONN_COHORT | CONN_BLOCKED | CONN_BROKEN | CONN_FINISH)
        and conn.limit == no_limit()
    )


cdef bint _is_settled(
    const conn_t *conn, const lane_t *lane, uint32_t index
) noexcept nogil:
    """Nothing of this lane and nothing compressed is owed."""
    cdef uint32_t slot
    cdef const lane_t *other
    if conn.outbox != NULL or member_owes(lane, &lane.members[index]):
        return False
    for slot in range(conn.subscription_count):
        other = conn.subscriptions[slot].lane
        if other.kind != LANE_PLAIN and member_owes(
            other, &other.members[conn.subscriptions[slot].index]
        ):
            return False
    return True


cdef int _go_plain(conn_t *conn, writer_t *writer) except -1:
    """A new member's other channels send it plain frames from now on."""
    cdef uint32_t slot
    cdef lane_t *lane
    cdef Channel channel
    for slot in range(conn.subscription_count):
        lane = conn.subscriptions[slot].lane
        if lane.kind == LANE_COMPRESSED:
            channel = <Channel>lane.channel
            if not lane_move(lane, conn.subscriptions[slot].index, &channel.lane):
                raise MemoryError
            lane_emptied(channel, lane, writer)
    return 0


# -- going -----------------------------------------------------------------------------


cdef int _let_go(Channel channel, writer_t *writer) except -1:
    """Who has lost the context, and owes nothing of its detour any more, goes back to
    the lane of those who need none."""
    cdef CohortLane cohort = channel.forms.cohort
    cdef lane_t *lane = &cohort.lane
    cdef conn_t *conn
    cdef uint32_t position = lane.count
    while position:
        position -= 1
        if lane.members[position].standing != MEMBER_DETOUR:
            continue
        if not detour_over(lane, &lane.members[position]):
            continue
        conn = lane.members[position].conn
        if detour_of(&lane.members[position]).kind == DETOUR_REFILL:
            writer.counters.lag_refills += 1
        if not lane_move(
            lane,
            position,
            channel.forms.lane_for(&channel.lane, (<Owner>conn.owner).agreement),
        ):
            raise MemoryError
        cohort_left(conn, writer)
    return lane_emptied(channel, lane, writer)


cdef int cohort_left(conn_t *conn, writer_t *writer) except -1:
    """It reads no context any more: its other channels, as far as it has got everything
    of them, send it compressed frames again."""
    cdef uint32_t slot
    cdef subscription_t *subscription
    cdef lane_t *lane
    cdef lane_t *target
    cdef Channel channel
    conn.flags &= ~<uint32_t>CONN_COHORT
    for slot in range(conn.subscription_count):
        subscription = &conn.subscriptions[slot]
        lane = subscription.lane
        channel = <Channel>lane.channel
        if lane.kind != LANE_PLAIN or member_owes(
            lane, &lane.members[subscription.index]
        ):
            continue
        target = channel.lane_for((<Owner>conn.owner).agreement, conn.flags)
        if target != lane:
            if not lane_move(lane, subscription.index, target):
                raise MemoryError
            lane_emptied(channel, lane, writer)
    return 0


cdef int lane_emptied(Channel channel, lane_t *lane, writer_t *writer) except -1:
    """If its last member has gone: nothing in it is for anybody."""
    if lane.count:
        return 0
    unmark_lane(writer, lane)
    if lane.gathering:
        lane.gathering = False
        writer.gathering -= 1
    lane.flushed = lane.log.next
    lane_trim(lane)
    if lane.kind != LANE_PLAIN:
        channel.forms.drop(lane)
    return 0
