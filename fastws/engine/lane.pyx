"""Lanes: in a channel, the subscribers that receive identical bytes, and their cursors.

A cursor has two sides, a member in the lane's compact array (what a walk runs over) and
a subscription in the connection (what a visit runs over); each knows the place of the
other, so that both are removed by moving the last one into the gap.

A member that has caught up costs its place and nothing else. One whose connection has
refused bytes *stands* in the segment of its next frame and keeps it alive. At the end
of a walk every member is at the walk's target or stands, so the log can be trimmed
there.
"""

from libc.stdlib cimport free, realloc

from .counters cimport native
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
    member.standing = 0
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
    if member.standing:
        _stop_standing(lane, member)
        lane_trim(lane)
    lane.count -= 1
    if index != lane.count:
        # The walk runs downwards, so what moves into the gap was visited already or
        # stays before it; a second visit finds nothing owed.
        member[0] = lane.members[lane.count]
        member.conn.subscriptions[member.slot].index = index
    if lane.walk > lane.count:
        lane.walk = lane.count
    conn.subscription_count -= 1
    if slot != conn.subscription_count:
        moved_subscription = &conn.subscriptions[conn.subscription_count]
        conn.subscriptions[slot] = moved_subscription[0]
        moved_subscription.lane.members[moved_subscription.index].slot = slot
    if conn.subscription_count == 0:
        free(conn.subscriptions)
        conn.subscriptions = NULL
        conn.subscription_room = 0
    _shrink(lane)
    native().members -= 1


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
    if not member.standing:
        log_find(&lane.log, member.next).standing += 1
        member.standing = 1


cdef void _stop_standing(lane_t *lane, member_t *member) noexcept nogil:
    if member.standing:
        log_find(&lane.log, member.next).standing -= 1
        member.standing = 0


cdef void member_move_on(lane_t *lane, member_t *member, uint64_t index) noexcept nogil:
    """Everything before ``index`` has been written or left out."""
    _stop_standing(lane, member)
    member.next = index


cdef void lane_trim(lane_t *lane) noexcept nogil:
    if lane.log.count:
        log_trim(&lane.log, lane.flushed)


cdef void lane_free(lane_t *lane) noexcept nogil:
    """Only without members and out of the hub's queue."""
    free(lane.members)
    lane.members = NULL
    lane.room = 0
    log_free(&lane.log)
