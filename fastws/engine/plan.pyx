"""Planning a visit: what one connection is owed, merged in sequence order.

Urgent control bytes, the outbox and all cursors of the connection become parts, each
some whole frames that lie one behind the other. A cursor reads its lane's log or its
detour. Nothing is copied and nothing framed here.
"""

from .detour cimport detour_finish, detour_miss, detour_move
from .history cimport history_find, history_t, kept_t
from .keyed cimport keyed_find, keyed_t, pinned_t
from .lane cimport (
    DETOUR_KEYED,
    DETOUR_LEAVING,
    MEMBER_DETOUR,
    NOTE_LAGGED,
    SLOW_CLOSE,
    detour_of,
    member_move_on,
    member_owes,
)
from .log cimport (
    entry_t,
    log_find,
    segment_data,
    segment_entry,
    segment_start,
    segment_t,
)
from .outbox cimport outbox_t
from .writer cimport MOST_PARTS, iovec, note, part_t, source_t


cdef uint64_t NEVER = 0xFFFFFFFFFFFFFFFF


cdef bint owes_elsewhere(const conn_t *conn, const lane_t *lane) noexcept nogil:
    """True when a lane other than ``lane`` has news for this connection."""
    cdef uint32_t slot
    cdef const lane_t *other
    for slot in range(conn.subscription_count):
        other = conn.subscriptions[slot].lane
        if other != lane and (other.marked or other.gathering):
            if member_owes(other, &other.members[conn.subscriptions[slot].index]):
                return True
    return False


cdef bint _load(
    writer_t *writer, source_t *source, const conn_t *conn, bint planned
) noexcept nogil:
    """Stand at the next frame that this connection gets; False: there is none.

    Frames that leave it out are stepped over. Unless something of this cursor is
    planned before them, they are done with at once.
    """
    if source.detour == NULL:
        return _load_log(source, conn, planned)
    if source.detour.kind == DETOUR_KEYED:
        return _load_keyed(writer, source, conn, planned)
    if source.detour.kind == DETOUR_LEAVING:
        return False
    return _load_history(writer, source, conn, planned)


cdef bint _load_log(
    source_t *source, const conn_t *conn, bint planned
) noexcept nogil:
    cdef entry_t *entry
    cdef uint64_t index
    while True:
        if source.place == source.segment.count:
            index = source.segment.first + source.segment.count
            source.segment = log_find(&source.lane.log, index)
            if source.segment == NULL:
                if not planned:
                    member_move_on(source.lane, source.member, index)
                return False
            source.place = 0
        entry = segment_entry(source.segment, <uint32_t>source.place)
        if entry.sequence > conn.limit:
            return False
        if entry.excluded != conn.serial:
            source.sequence = entry.sequence
            if not planned:
                index = source.segment.first + source.place
                if index != source.member.next:
                    member_move_on(source.lane, source.member, index)
            return True
        source.place += 1


cdef bint _load_keyed(
    writer_t *writer, source_t *source, const conn_t *conn, bint planned
) noexcept nogil:
    cdef const keyed_t *keyed = source.lane.keyed
    cdef const pinned_t *slot
    while source.place < keyed.count:
        slot = &keyed.slots[source.place]
        if slot.frame != NULL:
            if slot.sequence > conn.limit:
                return False
            if slot.excluded != conn.serial:
                source.sequence = slot.sequence
                if not planned:
                    detour_move(
                        writer.counters, source.lane, source.member, slot.index, 0
                    )
                return True
        source.place += 1
    if not planned:
        detour_finish(writer.counters, source.lane, source.member)
    return False


cdef bint _load_history(
    writer_t *writer, source_t *source, const conn_t *conn, bint planned
) noexcept nogil:
    cdef const history_t *history = source.lane.history
    cdef const kept_t *kept
    while source.place <= history.last:
        kept = history_find(history, source.place)
        if kept == NULL:
            _lost_way(writer, source.lane, source.member)
            return False
        if kept.sequence > conn.limit:
            return False
        if kept.excluded != conn.serial:
            source.sequence = kept.sequence
            if source.sequence < source.detour.sequence:
                source.sequence = source.detour.sequence
            if not planned:
                detour_move(
                    writer.counters, source.lane, source.member, source.place, 0
                )
            return True
        source.place += 1
    if not planned:
        detour_finish(writer.counters, source.lane, source.member)
    return False


cdef void _lost_way(writer_t *writer, lane_t *lane, member_t *member) noexcept nogil:
    """The history does not reach back to where this cursor stands: only what is owed
    first can be gone, so nothing of it is planned yet."""
    if lane.rule.slow == SLOW_CLOSE:
        # No gap in silence: this one was told that it has recovered.
        note(writer, member.conn, NOTE_LAGGED)
    detour_miss(writer.counters, lane, member)


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
        source.segment = NULL
        source.detour = NULL
        if source.member.standing == MEMBER_DETOUR:
            source.detour = detour_of(source.member)
            source.place = source.detour.position
            if source.detour.kind == DETOUR_KEYED:
                source.place = keyed_find(lane.keyed, source.place)
        else:
            source.segment = log_find(&lane.log, source.member.next)
            source.place = source.member.next - source.segment.first
        if _load(writer, source, conn, False):
            count += 1
    return count


cdef size_t _take_frames(
    source_t *source, const conn_t *conn, uint64_t before, part_t *part, iovec *vector
) noexcept nogil:
    """The frames of one cursor that come before the sequence ``before``, as far as they
    lie together."""
    cdef const pinned_t *slot
    cdef const kept_t *kept
    part.member = source.member
    part.lane = source.lane
    part.segment = source.segment
    if source.detour == NULL:
        return _take_from_log(source, conn, before, part, vector)
    if source.detour.kind == DETOUR_KEYED:
        slot = &source.lane.keyed.slots[source.place]
        vector.iov_base = slot.frame
        vector.iov_len = slot.size
        part.end = slot.index + 1
    else:
        kept = history_find(source.lane.history, source.place)
        vector.iov_base = kept.frame
        vector.iov_len = kept.size
        part.end = source.place + 1
    source.place += 1
    return vector.iov_len


cdef size_t _take_from_log(
    source_t *source, const conn_t *conn, uint64_t before, part_t *part, iovec *vector
) noexcept nogil:
    cdef segment_t *segment = source.segment
    cdef uint32_t position = <uint32_t>source.place
    cdef uint32_t start = segment_start(segment, position)
    cdef entry_t *entry
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
    source.place = position
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
        if not _load(writer, &writer.sources[best], conn, True):
            count -= 1
            writer.sources[best] = writer.sources[count]
    return parts
