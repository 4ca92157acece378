"""Cohorts: who joins and who leaves the lane whose members share a growing context.

What a member's inflater remembers is the cohort's frames and nothing else. So it gets
compressed frames from one cohort only, the first that takes it in, and plain ones from
everybody else; it joins where the context starts anew, when everything compressed that
it was owed has left; and having missed one frame it goes. All of that happens between
two publications, with the GIL: a walk that is under way sees members that come at the
end of its array, and go from it, as it does with any other.
"""

from libc.stdint cimport uint32_t

from .channel cimport COMPRESS_COHORT, COMPRESS_NOTHING
from .collector cimport collector_pause, collector_resume
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
    detour_t,
    lane_move,
    lane_subscription,
    lane_trim,
    member_owes,
    no_limit,
)
from .roster cimport Owner


cdef int cohort_tend(Channel channel, writer_t *writer) except -1:
    """Before a publication: who has lost the context goes, who waits for it comes."""
    cdef Forms forms = channel.forms
    cdef bint leaving = forms.cohort is not None and forms.cohort.lane.detours
    cdef bint looking = not (
        (forms.has_looked and writer.tick - forms.looked < channel.rule.cohort_join)
        or _is_gathering(channel)
    )
    cdef bint was_running
    if not (leaving or looking):
        return 0
    # Members are looked at, lanes made, and members moved: they are to be the same.
    was_running = collector_pause()
    try:
        if leaving:
            _let_go(channel, writer)
        if looking:
            _look(channel, writer)
    except MemoryError:
        # Everybody stays where they are, which is right too; there is another look.
        pass
    finally:
        collector_resume(was_running)
    return 0


cdef int _look(Channel channel, writer_t *writer) except -1:
    cdef Forms forms = channel.forms
    forms.has_looked = True
    forms.looked = writer.tick
    if forms.strays:
        _bring_back(channel, writer)
    if channel.rule.compress == COMPRESS_COHORT:
        _admit(channel, writer)
    return 0


cdef bint _is_gathering(Channel channel) noexcept:
    """In a batch window everybody owes something, until it is over."""
    cdef CompressedLane lane
    if channel.lane.gathering:
        return True
    for one in channel.forms.lanes:
        lane = one
        if lane.lane.gathering:
            return True
    return False


# -- coming ----------------------------------------------------------------------------


cdef int _admit(Channel channel, writer_t *writer) except -1:
    """Take in those who can join; the context starts anew."""
    cdef Forms forms = channel.forms
    cdef CompressedLane lane
    for one in list(forms.lanes):
        lane = one
        # A member has to remember a whole window of the rule's: smaller ones stay out.
        if (
            lane is not forms.cohort
            and lane.window_bits == lane.deflate.rule.window_bits
            and (forms.cohort is None or forms.cohort.deflate is lane.deflate)
        ):
            _admit_from(channel, lane, writer)
    return 0


cdef int _admit_from(
    Channel channel, CompressedLane waiting, writer_t *writer
) except -1:
    cdef lane_t *lane = &waiting.lane
    cdef CohortLane cohort = channel.forms.cohort
    cdef uint32_t position = _candidate(lane, lane.count)
    cdef conn_t *conn
    if position == lane.count:
        return 0
    if cohort is None:
        cohort = channel.forms.open_cohort(&channel.lane, waiting.deflate)
    # At once: whatever fails from here on, who is in can read on.
    cohort.context.restart()
    while position < lane.count:
        conn = lane.members[position].conn
        # What is plain is always right, so that comes first.
        _go_plain(conn, lane, writer)
        if not lane_move(lane, position, &cohort.lane):
            raise MemoryError
        conn.flags |= CONN_COHORT
        position = _candidate(lane, position)
    return lane_emptied(channel, lane, writer)


cdef uint32_t _candidate(const lane_t *lane, uint32_t end) noexcept:
    """The last member before ``end`` that can join now; ``lane.count``: there is
    none."""
    while end:
        end -= 1
        if _may_join(lane.members[end].conn) and _is_settled(
            lane.members[end].conn, lane, end
        ):
            return end
    return lane.count


cdef bint _may_join(const conn_t *conn) noexcept:
    return (
        (<Owner>conn.owner).agreement.send_context
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


cdef int _go_plain(
    conn_t *conn, const lane_t *waiting, writer_t *writer
) except -1:
    """Channels other than the one in whose lane it waits send it plain frames from now
    on."""
    cdef uint32_t slot
    cdef lane_t *lane
    cdef Channel channel
    for slot in range(conn.subscription_count):
        lane = conn.subscriptions[slot].lane
        if lane.kind == LANE_COMPRESSED and lane != waiting:
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
    cdef detour_t *detour = lane.first_detour
    cdef detour_t *next
    cdef conn_t *conn
    while detour != NULL:
        next = detour.next
        conn = detour.conn
        if detour_over(lane, detour):
            if detour.kind == DETOUR_REFILL:
                writer.counters.lag_refills += 1
            if not lane_move(
                lane,
                lane_subscription(lane, conn).index,
                channel.forms.lane_for(&channel.lane, (<Owner>conn.owner).agreement),
            ):
                raise MemoryError
            cohort_left(conn, writer)
        detour = next
    return lane_emptied(channel, lane, writer)


cdef int cohort_left(conn_t *conn, writer_t *writer) except -1:
    """It reads no context any more: its other channels can send it compressed frames
    again, from their next look on."""
    cdef uint32_t slot
    cdef Channel channel
    conn.flags &= ~<uint32_t>CONN_COHORT
    for slot in range(conn.subscription_count):
        if conn.subscriptions[slot].lane.kind == LANE_PLAIN:
            channel = <Channel>conn.subscriptions[slot].lane.channel
            if channel.rule.compress != COMPRESS_NOTHING:
                if channel.forms is None:
                    channel.forms = Forms()
                channel.forms.strays = True
    return 0


cdef int _bring_back(Channel channel, writer_t *writer) except -1:
    """Members of a cohort that is gone sit in the plain lane."""
    cdef lane_t *lane = &channel.lane
    cdef lane_t *target
    cdef conn_t *conn
    cdef bint more = False
    cdef uint32_t position = lane.count
    while position:
        position -= 1
        conn = lane.members[position].conn
        target = channel.lane_for((<Owner>conn.owner).agreement, conn.flags)
        if target == lane:
            continue
        if member_owes(lane, &lane.members[position]):
            more = True
        elif not lane_move(lane, position, target):
            raise MemoryError
    channel.forms.strays = more
    return lane_emptied(channel, lane, writer)


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
