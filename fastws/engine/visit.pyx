"""visit(connection): write to one connection what it is owed, in sequence order.

The unit of flushing: one ``sendmsg`` writes a plan.

When the kernel takes less than the plan, everything that is still owed starts at a
frame boundary again: the cut frame's rest, and whole frames up to 16 KiB behind it,
become the connection's ``partial`` (owned bytes for the link), and cursors and outbox
move behind them. Runs without the GIL; what it finds is noted and told later.
"""

from libc.errno cimport EAGAIN, EINTR, ENOBUFS, ENOMEM, errno
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from .csrc cimport fastws_frame_decode, fastws_frame_header
from .detour cimport (
    detour_finish,
    detour_move,
    member_heal,
    member_refill,
    member_skip,
)
from .lane cimport (
    CONN_BLOCKED,
    CONN_BROKEN,
    CONN_FINISH,
    CONN_LISTED,
    CONN_PINGED,
    CONN_UNTOLD,
    CONN_WATCHED,
    MEMBER_DETOUR,
    NOTE_BROKEN,
    NOTE_DRAINED,
    NOTE_FINISHED,
    NOTE_HANDOVER,
    NOTE_LAGGED,
    NOTE_SKIPPED,
    SLOW_CLOSE,
    SLOW_LATEST,
    SLOW_RESUME,
    lane_trim,
    member_move_on,
    member_owes,
    member_return,
    member_stand,
)
from .log cimport log_bytes_from
from .outbox cimport outbox_consume, outbox_give, outbox_pending
from .plan cimport nothing_of_its_own, plan_visit
from .writer cimport MOST_PARTS, note, part_t


cdef extern from "<sys/socket.h>" nogil:
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    ssize_t sendmsg(int fd, const msghdr *message, int flags)
    ssize_t send(int fd, const void *data, size_t length, int flags)
    int MSG_NOSIGNAL
    int MSG_DONTWAIT


# -- after writing ---------------------------------------------------------------------


cdef void _count_frames(writer_t *writer, uint64_t frames) noexcept nogil:
    writer.counters.deliveries += frames
    writer.counters.messages_sent += frames


cdef void _part_done(
    writer_t *writer, part_t *part, uint32_t frames
) noexcept nogil:
    """The first ``frames`` of a cursor's part have left."""
    if part.segment != NULL:
        member_move_on(part.lane, part.member, part.segment.first + part.first + frames)
    elif frames:
        detour_move(writer.counters, part.lane, part.member, part.end, frames)
    _count_frames(writer, frames)


cdef inline void _advance_part(
    writer_t *writer, conn_t *conn, part_t *part
) noexcept nogil:
    """The whole part has left."""
    if part.member != NULL:
        _part_done(
            writer, part, part.last - part.first if part.segment != NULL else 1
        )
    elif part.end:
        outbox_consume(conn.outbox, part.end)
    else:
        _urgent_done(writer, conn)


cdef void _urgent_done(writer_t *writer, conn_t *conn) noexcept nogil:
    conn.urgent_length = 0
    free(conn.urgent)
    conn.urgent = NULL
    if conn.flags & CONN_PINGED:
        conn.flags &= ~<uint32_t>CONN_PINGED
        conn.pinged = writer.tick


cdef void advance(writer_t *writer, conn_t *conn, uint32_t count) noexcept nogil:
    """The first ``count`` parts of the plan have left."""
    cdef uint32_t position
    for position in range(count):
        _advance_part(writer, conn, &writer.parts[position])
    if conn.outbox != NULL and conn.outbox.run_count == 0:
        outbox_give(&writer.pool, conn.outbox)
        conn.outbox = NULL


cdef void caught_up(writer_t *writer, conn_t *conn) noexcept nogil:
    """Nothing is owed any more: what still lies before its cursors leaves it out, or
    was published after its limit."""
    cdef uint32_t slot
    cdef lane_t *lane
    cdef member_t *member
    for slot in range(conn.subscription_count):
        lane = conn.subscriptions[slot].lane
        member = &lane.members[conn.subscriptions[slot].index]
        if member.standing == MEMBER_DETOUR and conn.flags & CONN_FINISH:
            # What was published behind its Close is nothing that it misses.
            member_return(lane, member)
        elif member.standing == MEMBER_DETOUR:
            detour_finish(writer.counters, lane, member)
        elif member_owes(lane, member):
            member_move_on(lane, member, lane.log.next)
        if conn.lag_start:
            lane_trim(lane)
    conn.lag_start = 0
    if conn.gaps != NULL:
        note(writer, conn, NOTE_SKIPPED)
    if conn.flags & CONN_UNTOLD:
        # No gap in silence.
        note(writer, conn, NOTE_LAGGED)
    settled(writer, conn)


cdef void list_linked(writer_t *writer, conn_t *conn) noexcept nogil:
    """To be visited with the GIL; until then its cursors hold what they owe."""
    if not conn.flags & CONN_LISTED:
        conn.flags |= CONN_LISTED
        writer.linked.items[writer.linked.count] = conn
        writer.linked.count += 1
        if conn.lag_start == 0:
            conn.lag_start = writer.tick
    # Also when it was listed before: another lane may have news since.
    _stand(conn)


cdef void _stand(conn_t *conn) noexcept nogil:
    """Its cursors keep what they owe, whatever is flushed."""
    cdef uint32_t slot
    cdef lane_t *lane
    cdef member_t *member
    for slot in range(conn.subscription_count):
        lane = conn.subscriptions[slot].lane
        member = &lane.members[conn.subscriptions[slot].index]
        if member_owes(lane, member):
            member_stand(lane, member)


cdef void settled(writer_t *writer, conn_t *conn) noexcept nogil:
    """Say what becomes true when less is owed."""
    if not conn.flags & (CONN_WATCHED | CONN_FINISH):
        return
    if conn.flags & CONN_WATCHED and outbox_pending(conn.outbox) <= conn.low_water:
        note(writer, conn, NOTE_DRAINED)
    if conn.flags & CONN_FINISH and nothing_of_its_own(conn):
        note(writer, conn, NOTE_FINISHED)


cdef void blocked(writer_t *writer, conn_t *conn) noexcept nogil:
    """Nothing can be written: its cursors that owe something stand where they are."""
    cdef uint32_t slot
    cdef lane_t *lane
    cdef member_t *member
    if not conn.flags & CONN_BLOCKED:
        conn.flags |= CONN_BLOCKED
        if conn.lag_start == 0:
            conn.lag_start = writer.tick
        conn.stall_start = writer.tick
        conn.stall_pending = 0
    for slot in range(conn.subscription_count):
        lane = conn.subscriptions[slot].lane
        member = &lane.members[conn.subscriptions[slot].index]
        if member_owes(lane, member):
            check_lag(writer, lane, member)


cdef void check_lag(writer_t *writer, lane_t *lane, member_t *member) noexcept nogil:
    """A slow cursor stands; past its channel's bound its policy acts. One frame always
    fits. What is read on a detour is bounded by itself."""
    if member.standing == MEMBER_DETOUR:
        return
    member_stand(lane, member)
    if lane.log.next - member.next > 1:
        if log_bytes_from(&lane.log, member.next) > lane.rule.max_lag:
            relieve(writer, lane, member)


cdef void relieve(writer_t *writer, lane_t *lane, member_t *member) noexcept nogil:
    """A cursor that stands is past its channel's bound."""
    cdef bint healing = False
    if lane.rule.slow == SLOW_CLOSE:
        note(writer, member.conn, NOTE_LAGGED)
        return
    if member.conn.flags & CONN_FINISH:
        # What was handed over before its Close still goes out, or its time is over.
        return
    if lane.rule.slow == SLOW_LATEST:
        healing = member_heal(writer.counters, lane, member)
    elif lane.rule.slow == SLOW_RESUME:
        healing = member_refill(writer.counters, lane, member)
    if not healing and not member_skip(writer.counters, lane, member):
        note(writer, member.conn, NOTE_LAGGED)
    lane_trim(lane)


cdef size_t _frame_size(const uint8_t *data, size_t available) noexcept nogil:
    """Of a frame that we encoded ourselves."""
    cdef fastws_frame_header header
    if fastws_frame_decode(data, available, &header) <= 0:
        return available
    return header.size + <size_t>header.length


cdef void cut(
    writer_t *writer, conn_t *conn, uint32_t count, size_t sent
) noexcept nogil:
    """The kernel took ``sent`` bytes of the plan's ``count`` parts and then no more.

    Frames that left whole are done; the cut one's rest and whole frames behind it, up
    to HANDOVER bytes, become `partial`; cursors and outbox move behind them.
    """
    cdef uint32_t position = 0
    cdef size_t offset
    cdef size_t rest = sent
    while position < count and writer.vectors[position].iov_len <= rest:
        rest -= writer.vectors[position].iov_len
        _advance_part(writer, conn, &writer.parts[position])
        position += 1
    if position < count and _begin_partial(writer, conn, position, rest):
        # `rest` bytes of this part have left; the frame they end in goes over whole.
        offset = 0
        while position < count:
            offset = _cut_part(writer, conn, position, rest)
            rest = 0
            if offset < writer.vectors[position].iov_len:
                break
            position += 1
    if conn.outbox != NULL and conn.outbox.run_count == 0:
        outbox_give(&writer.pool, conn.outbox)
        conn.outbox = NULL
    if conn.partial_length:
        note(writer, conn, NOTE_HANDOVER)
    blocked(writer, conn)


cdef bint _begin_partial(
    writer_t *writer, conn_t *conn, uint32_t position, size_t rest
) noexcept nogil:
    """Memory for the rest of the cut frame and HANDOVER bytes more."""
    cdef const uint8_t *data = <const uint8_t *>writer.vectors[position].iov_base
    cdef size_t length = writer.vectors[position].iov_len
    cdef size_t start = 0
    cdef size_t size = _frame_size(data, length)
    while start + size <= rest:
        start += size
        size = _frame_size(data + start, length - start)
    conn.partial = <uint8_t *>malloc(start + size - rest + HANDOVER)
    if conn.partial == NULL:
        # Without memory for a few bytes the connection can't go on in order.
        conn.flags |= CONN_BROKEN
        note(writer, conn, NOTE_BROKEN)
        return False
    conn.partial_length = 0
    return True


cdef size_t _cut_part(
    writer_t *writer, conn_t *conn, uint32_t position, size_t rest
) noexcept nogil:
    """Copy whole frames of one part (the first without its ``rest`` bytes that have
    left) to `partial` while they fit, and move behind them. Returns the offset
    reached."""
    cdef part_t *part = &writer.parts[position]
    cdef const uint8_t *data = <const uint8_t *>writer.vectors[position].iov_base
    cdef size_t length = writer.vectors[position].iov_len
    cdef size_t done = 0
    cdef size_t size
    cdef uint32_t frames = 0
    while done < length:
        size = _frame_size(data + done, length - done)
        if done + size > rest:
            if done >= rest and conn.partial_length:
                if conn.partial_length + size > HANDOVER:
                    break
            memcpy(
                conn.partial + conn.partial_length,
                data + (done if done > rest else rest),
                done + size - (done if done > rest else rest),
            )
            conn.partial_length += <uint32_t>(
                done + size - (done if done > rest else rest)
            )
        done += size
        frames += 1
    if part.member != NULL:
        _part_done(writer, part, frames)
    elif part.end:
        outbox_consume(conn.outbox, part.end - length + done)
    elif done == length:
        _urgent_done(writer, conn)
    return done


# -- writing ---------------------------------------------------------------------------


cdef ssize_t write_parts(
    conn_t *conn, iovec *vectors, uint32_t count
) noexcept nogil:
    """Bytes that the kernel took; -1: it takes none now; -2: the peer is gone."""
    cdef msghdr message
    cdef ssize_t sent
    while True:
        if count == 1:
            sent = send(
                conn.fd,
                vectors.iov_base,
                vectors.iov_len,
                MSG_NOSIGNAL | MSG_DONTWAIT,
            )
        else:
            memset(&message, 0, sizeof(msghdr))
            message.msg_iov = vectors
            message.msg_iovlen = count
            sent = sendmsg(conn.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT)
        if sent >= 0:
            return sent
        if errno == EINTR:
            continue
        if errno == EAGAIN or errno == ENOBUFS or errno == ENOMEM:
            return -1
        return -2


cdef Outcome visit(writer_t *writer, conn_t *conn) noexcept nogil:
    """Write everything that is owed, as far as the kernel takes it."""
    cdef uint32_t count, position
    cdef size_t planned
    cdef ssize_t sent
    if conn.flags & CONN_BROKEN:
        return VISIT_BROKEN
    if conn.flags & CONN_BLOCKED:
        blocked(writer, conn)
        return VISIT_BLOCKED
    while True:
        count = plan_visit(writer, conn, <size_t>-1)
        if count == 0:
            caught_up(writer, conn)
            return VISIT_DONE
        planned = 0
        for position in range(count):
            planned += writer.vectors[position].iov_len
        sent = write_parts(conn, writer.vectors, count)
        if sent == -2:
            conn.flags |= CONN_BROKEN
            note(writer, conn, NOTE_BROKEN)
            _stand(conn)
            return VISIT_BROKEN
        if sent > 0:
            writer.counters.bytes_sent += <uint64_t>sent
        if sent == <ssize_t>planned:
            advance(writer, conn, count)
            if count == MOST_PARTS:
                continue
            caught_up(writer, conn)
            return VISIT_DONE
        cut(writer, conn, count, <size_t>sent if sent > 0 else 0)
        settled(writer, conn)
        return VISIT_BLOCKED
