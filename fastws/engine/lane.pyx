"""Lanes: in a channel, the subscribers that receive identical bytes, and their cursors.

A cursor has two sides, a member in the lane's compact array (what a walk runs over) and
a subscription in the connection (what a visit runs over); each knows the place of the
other, so that both are removed by moving the last one into the gap.

A member that has caught up costs its place and nothing else. One whose connection has
refused bytes *stands* in the segment of its next frame and keeps it alive. At the end
of a walk every member is at the walk's target or stands, so the log can be trimmed
there. A member on a *detour* has left the log: what it is owed lies beside it, see
``detour``; its place in the log is the head from which it will go on.
"""

from libc.stdlib cimport free, malloc, realloc

from .counters cimport native
from .keyed cimport keyed_free
from .log cimport log_find, log_free, log_trim


cdef bint lane_join(lane_t *lane, conn_t *conn) noexcept nogil:
    """A cursor at the head: what was published before is not owed. False: no memory."""
    cdef member_t *member
    cdef subscription_t *subscription
    if not (_reserve_member(lane) and _reserve_subscription(conn)):
        return False
    member = &lane.members[lane.count]
    member.conn = conn
    member.next = lane.log.next
    member.slot = conn.subscription_count
    member.standing = MEMBER_ON_LOG
    subscription = &conn.subscriptions[conn.subscription_count]
    subscription.lane = lane
    subscription.index = lane.count
    lane.count += 1
    conn.subscription_count += 1
    native().members += 1
    return True


cdef bint _reserve_member(lane_t *lane) noexcept nogil:
    cdef uint32_t room
    cdef member_t *members
    if lane.count < lane.room:
        return True
    room = lane.room + (lane.room >> 1) + 1
    members = <member_t *>realloc(lane.members, room * sizeof(member_t))
    if members == NULL:
        return False
    lane.members = members
    lane.room = room
    return True


cdef bint _reserve_subscription(conn_t *conn) noexcept nogil:
    cdef uint32_t room
    cdef subscription_t *subscriptions
    if conn.subscription_count < conn.subscription_room:
        return True
    room = conn.subscription_room * 2 if conn.subscription_room else 1
    subscriptions = <subscription_t *>realloc(
        conn.subscriptions, room * sizeof(subscription_t)
    )
    if subscriptions == NULL:
        return False
    conn.subscriptions = subscriptions
    conn.subscription_room = room
    return True


cdef void lane_leave(lane_t *lane, uint32_t index) noexcept nogil:
    """Remove the member at ``index`` and the subscription that belongs to it."""
    cdef member_t *member = &lane.members[index]
    cdef conn_t *conn = member.conn
    cdef uint32_t slot = member.slot
    cdef subscription_t *moved_subscription
    if member.standing == MEMBER_DETOUR:
        member_return(lane, member)
    elif member.standing:
        _stop_standing(lane, member)
        lane_trim(lane)
    if conn.gaps != NULL:
        _forget_gap(conn, lane)
    _remove(lane, index)
    conn.subscription_count -= 1
    if slot != conn.subscription_count:
        moved_subscription = &conn.subscriptions[conn.subscription_count]
        conn.subscriptions[slot] = moved_subscription[0]
        moved_subscription.lane.members[moved_subscription.index].slot = slot
    if conn.subscription_count == 0:
        free(conn.subscriptions)
        conn.subscriptions = NULL
        conn.subscription_room = 0
    native().members -= 1


cdef void _remove(lane_t *lane, uint32_t index) noexcept nogil:
    """Of the two sides, the lane's."""
    cdef member_t *member = &lane.members[index]
    if lane.compressed:
        # From now on nobody can tell when it was sent the last one.
        member.conn.flags |= CONN_MIXED
    lane.count -= 1
    if index != lane.count:
        # The walk runs downwards, so what moves into the gap was visited already or
        # stays before it; a second visit finds nothing owed.
        member[0] = lane.members[lane.count]
        member.conn.subscriptions[member.slot].index = index
    if lane.walk > lane.count:
        lane.walk = lane.count
    _shrink(lane)


cdef bint lane_move(lane_t *lane, uint32_t index, lane_t *other) noexcept nogil:
    """The member at ``index``, which is owed nothing any more, goes on at the head of
    another lane of its channel. False: no memory."""
    cdef member_t *member = &lane.members[index]
    cdef conn_t *conn = member.conn
    cdef uint32_t slot = member.slot
    cdef gap_t *gap = conn.gaps
    if not _reserve_member(other):
        return False
    if member.standing == MEMBER_DETOUR:
        member_return(lane, member)
    while gap != NULL:
        if gap.lane == lane:
            gap.lane = other
        gap = gap.next
    _remove(lane, index)
    member = &other.members[other.count]
    member.conn = conn
    member.next = other.log.next
    member.slot = slot
    member.standing = MEMBER_ON_LOG
    conn.subscriptions[slot].lane = other
    conn.subscriptions[slot].index = other.count
    other.count += 1
    return True


cdef void _shrink(lane_t *lane) noexcept nogil:
    cdef member_t *members
    if lane.count == 0:
        free(lane.members)
        lane.members = NULL
        lane.room = 0
    elif lane.room > 64 and lane.count < lane.room // 4:
        members = <member_t *>realloc(
            lane.members, (lane.room // 2) * sizeof(member_t)
        )
        if members != NULL:
            lane.members = members
            lane.room //= 2


cdef subscription_t *lane_subscription(lane_t *lane, conn_t *conn) noexcept nogil:
    """Where the two meet, looked for on the shorter side; NULL: they don't."""
    cdef uint32_t position
    if lane.count < conn.subscription_count:
        for position in range(lane.count):
            if lane.members[position].conn == conn:
                return &conn.subscriptions[lane.members[position].slot]
    else:
        for position in range(conn.subscription_count):
            if conn.subscriptions[position].lane == lane:
                return &conn.subscriptions[position]
    return NULL


cdef void member_stand(lane_t *lane, member_t *member) noexcept nogil:
    """The member is slow: its segment stays."""
    if member.standing == MEMBER_ON_LOG:
        log_find(&lane.log, member.next).standing += 1
        member.standing = MEMBER_STANDING


cdef void _stop_standing(lane_t *lane, member_t *member) noexcept nogil:
    if member.standing == MEMBER_STANDING:
        log_find(&lane.log, member.next).standing -= 1
        member.standing = MEMBER_ON_LOG


cdef void member_move_on(lane_t *lane, member_t *member, uint64_t index) noexcept nogil:
    """Everything before ``index`` has been written or left out."""
    _stop_standing(lane, member)
    member.next = index


cdef void member_detour(
    lane_t *lane, member_t *member, detour_t *detour
) noexcept nogil:
    """Leave the log; the lane owns the detour from now on."""
    _stop_standing(lane, member)
    member.next = <uint64_t><size_t>detour
    member.standing = MEMBER_DETOUR
    detour.conn = member.conn
    detour.next = lane.first_detour
    if lane.first_detour != NULL:
        lane.first_detour.previous = detour
    lane.first_detour = detour
    lane.detours += 1
    if detour.kind == DETOUR_KEYED:
        lane.healing += 1
    native().detours += 1


cdef void member_return(lane_t *lane, member_t *member) noexcept nogil:
    """Back on the log, at its head."""
    cdef detour_t *detour = detour_of(member)
    if detour.next != NULL:
        detour.next.previous = detour.previous
    if detour.previous != NULL:
        detour.previous.next = detour.next
    else:
        lane.first_detour = detour.next
    lane.detours -= 1
    if detour.kind == DETOUR_KEYED:
        lane.healing -= 1
        if lane.healing == 0 and lane.kind != LANE_COHORT:
            keyed_free(lane.keyed)
            lane.keyed = NULL
    free(detour)
    native().detours -= 1
    member.standing = MEMBER_ON_LOG
    member.next = lane.log.next


cdef void gap_add(conn_t *conn, lane_t *lane, uint64_t missed) noexcept nogil:
    """Remember to tell the connection what it has missed."""
    cdef gap_t *gap = conn.gaps
    while gap != NULL and gap.lane != lane:
        gap = gap.next
    if gap == NULL:
        gap = <gap_t *>malloc(sizeof(gap_t))
        if gap == NULL:
            conn.flags |= CONN_UNTOLD
            return
        gap.next = conn.gaps
        gap.lane = lane
        gap.missed = 0
        conn.gaps = gap
        native().gaps += 1
    gap.missed += missed


cdef gap_t *gap_take(conn_t *conn) noexcept nogil:
    """Whoever takes a gap frees it; NULL: there is none."""
    cdef gap_t *gap = conn.gaps
    if gap != NULL:
        conn.gaps = gap.next
        native().gaps -= 1
    return gap


cdef void _forget_gap(conn_t *conn, const lane_t *lane) noexcept nogil:
    cdef gap_t **link = &conn.gaps
    cdef gap_t *gap
    while link[0] != NULL:
        gap = link[0]
        if gap.lane == lane:
            link[0] = gap.next
            free(gap)
            native().gaps -= 1
            return
        link = &gap.next


cdef void lane_trim(lane_t *lane) noexcept nogil:
    if lane.log.count:
        log_trim(&lane.log, lane.flushed)


cdef void lane_free(lane_t *lane) noexcept nogil:
    """Only without members and out of the hub's queue."""
    free(lane.members)
    lane.members = NULL
    lane.room = 0
    keyed_free(lane.keyed)
    lane.keyed = NULL
    log_free(&lane.log)
