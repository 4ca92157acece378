"""visit(connection): write to one connection what it is owed, in sequence order.

The unit of flushing. A plan merges urgent control bytes, the outbox and all cursors of
the connection into parts, each some whole frames that lie one behind the other; one
``sendmsg`` writes the plan. Nothing is copied and nothing framed here.

When the kernel takes less than the plan, everything that is still owed starts at a
frame boundary again: the cut frame's rest, and whole frames up to 16 KiB behind it,
become the connection's ``partial`` (owned bytes for the link), and cursors and outbox
move behind them. Runs without the GIL; what it finds is noted and told later.
"""

from libc.errno cimport EAGAIN, EINTR, ENOBUFS, ENOMEM, errno
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

from .csrc cimport fastws_frame_decode, fastws_frame_header
from .lane cimport (
    CONN_BLOCKED,
    CONN_BROKEN,
    CONN_DIRTY,
    CONN_FINISH,
    CONN_LISTED,
    CONN_PINGED,
    CONN_WATCHED,
    NOTE_BROKEN,
    NOTE_DRAINED,
    NOTE_FINISHED,
    NOTE_HANDOVER,
    NOTE_LAGGED,
    lane_trim,
    member_move_on,
    member_owes,
    member_stand,
)
from .log cimport (
    entry_t,
    log_bytes_from,
    log_find,
    segment_data,
    segment_entry,
    segment_start,
)
from .outbox cimport (
    outbox_consume,
    outbox_give,
    outbox_pending,
    outbox_pool_free,
    outbox_t,
)


cdef extern from "<sys/socket.h>" nogil:
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    ssize_t sendmsg(int fd, const msghdr *message, int flags)
    ssize_t send(int fd, const void *data, size_t length, int flags)
    int MSG_NOSIGNAL
    int MSG_DONTWAIT


cdef uint64_t NEVER = 0xFFFFFFFFFFFFFFFF


# -- the writer's own memory -----------------------------------------------------------


cdef bint writer_init(writer_t *writer, counters_t *counters) noexcept nogil:
    memset(writer, 0, sizeof(writer_t))
    writer.counters = counters
    writer.tick = 1
    writer.parts = <part_t *>malloc(MOST_PARTS * sizeof(part_t))
    writer.vectors = <iovec *>malloc(MOST_PARTS * sizeof(iovec))
    return (
        writer.parts != NULL
        and writer.vectors != NULL
        and writer_reserve(writer, 64)
        and writer_reserve_sources(writer, 16)
    )


cdef void writer_free(writer_t *writer) noexcept nogil:
    free(writer.parts)
    free(writer.vectors)
    free(writer.sources)
    free(writer.dirty.items)
    free(writer.linked.items)
    free(writer.noted.items)
    outbox_pool_free(&writer.pool)


cdef bint writer_reserve(writer_t *writer, uint32_t connections) noexcept nogil:
    """A place for every connection in every list, so that no flush ever needs memory
    to remember one."""
    cdef uint32_t room
    if connections <= writer.room:
        return True
    room = connections + (connections >> 1)
    if not (
        _reserve_list(&writer.dirty, room)
        and _reserve_list(&writer.linked, room)
        and _reserve_list(&writer.noted, room)
    ):
        return False
    writer.room = room
    return True


cdef bint _reserve_list(list_t *items, uint32_t room) noexcept nogil:
    cdef conn_t **grown = <conn_t **>realloc(items.items, room * sizeof(conn_t *))
    if grown == NULL:
        return False
    items.items = grown
    return True


cdef bint writer_reserve_sources(writer_t *writer, uint32_t sources) noexcept nogil:
    cdef source_t *grown
    cdef uint32_t room
    if sources <= writer.source_room:
        return True
    room = sources + (sources >> 1)
    grown = <source_t *>realloc(writer.sources, room * sizeof(source_t))
    if grown == NULL:
        return False
    writer.sources = grown
    writer.source_room = room
    return True


cdef void note(writer_t *writer, conn_t *conn, uint32_t notes) noexcept nogil:
    if conn.notes == 0:
        writer.noted.items[writer.noted.count] = conn
        writer.noted.count += 1
    conn.notes |= notes


cdef void mark_dirty(writer_t *writer, conn_t *conn) noexcept nogil:
    if not conn.flags & CONN_DIRTY:
        conn.flags |= CONN_DIRTY
        writer.dirty.items[writer.dirty.count] = conn
        writer.dirty.count += 1


cdef void unlist(writer_t *writer, conn_t *conn) noexcept nogil:
    """Forget a connection that is about to be freed."""
    if conn.flags & CONN_DIRTY:
        _remove(&writer.dirty, conn)
    if conn.notes:
        _remove(&writer.noted, conn)
    unlist_linked(writer, conn)


cdef void unlist_linked(writer_t *writer, conn_t *conn) noexcept nogil:
    if conn.flags & CONN_LISTED:
        conn.flags &= ~<uint32_t>CONN_LISTED
        _remove(&writer.linked, conn)


cdef void _remove(list_t *items, conn_t *conn) noexcept nogil:
    cdef uint32_t position
    for position in range(items.count):
        if items.items[position] == conn:
            items.count -= 1
            items.items[position] = items.items[items.count]
            return


cdef bint urgent_append(
    conn_t *conn, const uint8_t *data, uint32_t length
) noexcept nogil:
    """Control bytes for the next frame boundary. False: no room (or no memory) left."""
    if conn.urgent_length + length > URGENT_ROOM:
        return False
    if conn.urgent == NULL:
        conn.urgent = <uint8_t *>malloc(URGENT_ROOM)
        if conn.urgent == NULL:
            return False
    memcpy(conn.urgent + conn.urgent_length, data, length)
    conn.urgent_length += length
    return True


# -- planning --------------------------------------------------------------------------


cdef bint owes_elsewhere(const conn_t *conn, const lane_t *lane) noexcept nogil:
    """True when a lane other than ``lane`` has news for this connection."""
    cdef uint32_t slot
    cdef const lane_t *other
    for slot in range(conn.subscription_count):
        other = conn.subscriptions[slot].lane
        if other != lane and other.marked:
            if member_owes(other, &other.members[conn.subscriptions[slot].index]):
                return True
    return False


cdef bint _load(source_t *source, const conn_t *conn, bint planned) noexcept nogil:
    """Stand at the next frame that this connection gets; False: there is none.

    Frames that leave it out are stepped over. Unless something of this cursor is
    planned before them, they are done with at once.
    """
    cdef entry_t *entry
    cdef uint64_t index
    while True:
        if source.position == source.segment.count:
            index = source.segment.first + source.segment.count
            source.segment = log_find(&source.lane.log, index)
            if source.segment == NULL:
                if not planned:
                    member_move_on(source.lane, source.member, index)
                return False
            source.position = 0
        entry = segment_entry(source.segment, source.position)
        if entry.sequence > conn.limit:
            return False
        if entry.excluded != conn.serial:
            source.sequence = entry.sequence
            if not planned:
                index = source.segment.first + source.position
                if index != source.member.next:
                    member_move_on(source.lane, source.member, index)
            return True
        source.position += 1


cdef uint32_t _open_sources(writer_t *writer, conn_t *conn) noexcept nogil:
    cdef uint32_t count = 0
    cdef uint32_t slot
    cdef source_t *source
    cdef lane_t *lane
    for slot in range(conn.subscription_count):
        lane = conn.subscriptions[slot].lane
        source = &writer.sources[count]
        source.member = &lane.members[conn.subscriptions[slot].index]
        if not member_owes(lane, source.member):
            continue
        source.lane = lane
        source.segment = log_find(&lane.log, source.member.next)
        source.position = <uint32_t>(source.member.next - source.segment.first)
        if _load(source, conn, False):
            count += 1
    return count


cdef size_t _take_frames(
    source_t *source, const conn_t *conn, uint64_t before, part_t *part, iovec *vector
) noexcept nogil:
    """The frames of one cursor that come before the sequence ``before``, as far as they
    lie together."""
    cdef segment_t *segment = source.segment
    cdef uint32_t position = source.position
    cdef uint32_t start = segment_start(segment, position)
    cdef entry_t *entry
    part.member = source.member
    part.lane = source.lane
    part.segment = segment
    part.first = position
    while position < segment.count:
        entry = segment_entry(segment, position)
        if (
            entry.sequence >= before
            or entry.excluded == conn.serial
            or entry.sequence > conn.limit
        ):
            break
        position += 1
    part.last = position
    source.position = position
    vector.iov_base = segment_data(segment) + start
    vector.iov_len = segment_start(segment, position) - start
    return vector.iov_len


cdef size_t _take_runs(
    const outbox_t *outbox,
    uint32_t *run,
    size_t start,
    uint64_t before,
    part_t *part,
    iovec *vector,
) noexcept nogil:
    """The outbox's frames handed over before the sequence ``before``."""
    cdef size_t end = start
    while run[0] < outbox.run_count:
        if outbox.runs[outbox.first_run + run[0]].sequence >= before:
            break
        end = outbox.runs[outbox.first_run + run[0]].end
        run[0] += 1
    part.member = NULL
    part.end = end
    vector.iov_base = outbox.data + start
    vector.iov_len = end - start
    return vector.iov_len


cdef uint32_t plan_visit(
    writer_t *writer, conn_t *conn, size_t most_bytes
) noexcept nogil:
    """Merge what is owed, at least one part and about ``most_bytes``, into the writer's
    parts and vectors; return how many there are."""
    cdef uint32_t parts = 0
    cdef size_t bytes = 0
    cdef uint32_t run = 0
    cdef size_t outbox_start = 0
    cdef outbox_t *outbox = conn.outbox
    cdef uint32_t count = 0
    cdef uint32_t best, position
    cdef uint64_t second, run_sequence, lowest
    if conn.urgent_length:
        writer.parts[0].member = NULL
        writer.parts[0].end = 0
        writer.vectors[0].iov_base = conn.urgent
        writer.vectors[0].iov_len = conn.urgent_length
        bytes = conn.urgent_length
        parts = 1
    if conn.subscription_count:
        count = _open_sources(writer, conn)
    if outbox != NULL:
        outbox_start = outbox.start
    while parts < MOST_PARTS and bytes < most_bytes:
        # The lowest and the second lowest sequence among the cursors.
        best = 0
        lowest = NEVER
        second = NEVER
        for position in range(count):
            if writer.sources[position].sequence < lowest:
                second = lowest
                lowest = writer.sources[position].sequence
                best = position
            elif writer.sources[position].sequence < second:
                second = writer.sources[position].sequence
        run_sequence = NEVER
        if outbox != NULL and run < outbox.run_count:
            run_sequence = outbox.runs[outbox.first_run + run].sequence
            # A run lies behind the publication whose sequence it carries.
            if run_sequence < lowest:
                bytes += _take_runs(
                    outbox,
                    &run,
                    outbox_start,
                    lowest,
                    &writer.parts[parts],
                    &writer.vectors[parts],
                )
                outbox_start = writer.parts[parts].end
                parts += 1
                continue
            if run_sequence + 1 < second:
                second = run_sequence + 1
        if lowest == NEVER:
            break
        bytes += _take_frames(
            &writer.sources[best],
            conn,
            second,
            &writer.parts[parts],
            &writer.vectors[parts],
        )
        parts += 1
        if not _load(&writer.sources[best], conn, True):
            count -= 1
            writer.sources[best] = writer.sources[count]
    return parts


# -- after writing ---------------------------------------------------------------------


cdef void _count_frames(writer_t *writer, uint64_t frames) noexcept nogil:
    writer.counters.deliveries += frames
    writer.counters.messages_sent += frames


cdef inline void _advance_part(
    writer_t *writer, conn_t *conn, part_t *part
) noexcept nogil:
    """The whole part has left."""
    if part.member != NULL:
        member_move_on(part.lane, part.member, part.segment.first + part.last)
        _count_frames(writer, part.last - part.first)
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
        if member_owes(lane, member):
            member_move_on(lane, member, lane.log.next)
        if conn.lag_start:
            lane_trim(lane)
    conn.lag_start = 0
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
    """A slow cursor stands; past its channel's bound it is noted. One frame always
    fits."""
    member_stand(lane, member)
    if lane.log.next - member.next > 1:
        if log_bytes_from(&lane.log, member.next) > lane.rule.max_lag:
            note(writer, member.conn, NOTE_LAGGED)


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
        member_move_on(part.lane, part.member, part.segment.first + part.first + frames)
        _count_frames(writer, frames)
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
