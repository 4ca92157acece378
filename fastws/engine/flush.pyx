"""Flushing: one slice of the work that the end of a tick has to do.

Connections with something of their own are visited first, then the marked lanes are
walked, from the end of their member array to its start. The fast way of visiting a
member is one ``send`` of the log's bytes since the last walk: the same memory for
everyone, all publications of the tick together. A slice runs without the GIL, touches C
structures only and ends when its time is over; what it finds is noted.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t

from .lane cimport (
    CONN_BLOCKED,
    CONN_BROKEN,
    CONN_DIRTY,
    CONN_LIMITED,
    CONN_LINKED,
    MEMBER_ON_LOG,
    NOTE_BROKEN,
    conn_t,
    lane_trim,
    member_owes,
    member_t,
)
from .log cimport log_find, segment_data, segment_entry, segment_start, segment_t
from .plan cimport nothing_of_its_own, owes_elsewhere
from .visit cimport check_lag, cut, list_linked, visit, write_parts
from .writer cimport iovec, note, part_t


cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec *time)
    int CLOCK_MONOTONIC


cdef extern from * nogil:
    void __builtin_prefetch(const void *address)


cdef enum:
    # A send takes one to three microseconds: the clock is read every 50 or so.
    SENDS_PER_LOOK = 32
    # Segments that one walk sends at a time; more than 2 MiB are visited the long way.
    MOST_FAST_PARTS = 32
    PREFETCH = 6
    # Frames of one walk that leave a member out; more are visited the long way.
    MOST_EXCLUSIONS = 16


cdef struct walk_t:
    # What one walk sends to everybody.
    part_t parts[MOST_FAST_PARTS]
    iovec vectors[MOST_FAST_PARTS]
    uint32_t count
    size_t bytes
    uint64_t frames
    uint64_t first_sequence


cdef struct exclusion_t:
    # A frame of a walk that leaves somebody out.
    uint32_t part
    uint32_t position       # in the part's segment


cdef uint64_t clock_nanoseconds() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1000000000 + <uint64_t>now.tv_nsec


cdef void mark_lane(writer_t *writer, lane_t *lane) noexcept nogil:
    """The lane has news."""
    if lane.marked:
        return
    lane.marked = True
    lane.next = NULL
    if writer.last_marked == NULL:
        writer.first_marked = lane
    else:
        writer.last_marked.next = lane
    writer.last_marked = lane
    writer.marked += 1


cdef void unmark_lane(writer_t *writer, lane_t *lane) noexcept nogil:
    cdef lane_t *before = NULL
    cdef lane_t *other = writer.first_marked
    if not lane.marked:
        return
    while other != lane:
        before = other
        other = other.next
    if before == NULL:
        writer.first_marked = lane.next
    else:
        before.next = lane.next
    if writer.last_marked == lane:
        writer.last_marked = before
    lane.next = NULL
    lane.marked = False
    lane.walking = False
    writer.marked -= 1


cdef bint flush_slice(writer_t *writer, uint64_t nanoseconds) noexcept nogil:
    """Write for about ``nanoseconds``. True when everything has been offered."""
    cdef uint64_t deadline = clock_nanoseconds() + nanoseconds
    cdef lane_t *lane
    if not _visit_dirty(writer, deadline):
        return False
    while writer.first_marked != NULL:
        lane = writer.first_marked
        if not _walk(writer, lane, deadline):
            return False
        unmark_lane(writer, lane)
        if lane.log.next > lane.flushed:
            mark_lane(writer, lane)
    return True


cdef bint _visit_dirty(writer_t *writer, uint64_t deadline) noexcept nogil:
    cdef conn_t *conn
    cdef uint32_t looks = 0
    while writer.dirty.count:
        writer.dirty.count -= 1
        conn = writer.dirty.items[writer.dirty.count]
        conn.flags &= ~<uint32_t>CONN_DIRTY
        _visit_any(writer, conn)
        looks += 1
        if looks % SENDS_PER_LOOK == 0 and clock_nanoseconds() >= deadline:
            return False
    return True


cdef inline void _visit_any(writer_t *writer, conn_t *conn) noexcept nogil:
    if conn.flags & CONN_LINKED:
        list_linked(writer, conn)
    else:
        visit(writer, conn)


# -- walking a lane --------------------------------------------------------------------


cdef bint _open_walk(walk_t *walk, lane_t *lane) noexcept nogil:
    """The log's bytes from where the last walk ended to this one's target. False: too
    many pieces, or nothing."""
    cdef uint64_t index = lane.flushed
    cdef segment_t *segment
    cdef part_t *part
    walk.count = 0
    walk.bytes = 0
    walk.frames = lane.target - index
    while index < lane.target:
        if walk.count == MOST_FAST_PARTS:
            return False
        segment = log_find(&lane.log, index)
        part = &walk.parts[walk.count]
        part.lane = lane
        part.segment = segment
        part.first = <uint32_t>(index - segment.first)
        part.last = segment.count
        if segment.first + part.last > lane.target:
            part.last = <uint32_t>(lane.target - segment.first)
        walk.bytes += _aim(part, &walk.vectors[walk.count])
        index = segment.first + part.last
        walk.count += 1
    if walk.count == 0:
        return False
    part = &walk.parts[0]
    walk.first_sequence = segment_entry(part.segment, part.first).sequence
    return True


cdef inline size_t _aim(const part_t *part, iovec *vector) noexcept nogil:
    """Have the vector mean the part's bytes; how many there are."""
    cdef uint32_t start = segment_start(part.segment, part.first)
    vector.iov_base = segment_data(part.segment) + start
    vector.iov_len = segment_start(part.segment, part.last) - start
    return vector.iov_len


cdef bint _is_alone(const writer_t *writer) noexcept nogil:
    """All that is marked are lanes of one channel: nobody reads two of them."""
    cdef const lane_t *lane = writer.first_marked
    cdef const void *channel = lane.channel
    while lane != NULL and lane.channel == channel:
        lane = lane.next
    return lane == NULL


cdef bint _walk(writer_t *writer, lane_t *lane, uint64_t deadline) noexcept nogil:
    """Bring every member to the lane's head. False: time is over, go on here later."""
    cdef walk_t walk
    cdef uint32_t looks = 0
    cdef member_t *member
    cdef conn_t *conn
    cdef bint alone = writer.gathering == 0 and _is_alone(writer)
    cdef bint fast
    if not lane.walking:
        lane.walking = True
        lane.walk = lane.count
        lane.target = lane.log.next
    fast = _open_walk(&walk, lane)
    while lane.walk:
        lane.walk -= 1
        if lane.walk >= PREFETCH:
            __builtin_prefetch(lane.members[lane.walk - PREFETCH].conn)
        member = &lane.members[lane.walk]
        conn = member.conn
        if not member_owes(lane, member):
            continue
        if conn.flags & (CONN_BLOCKED | CONN_BROKEN):
            check_lag(writer, lane, member)
            continue
        if not (
            fast
            and member.next == lane.flushed
            and member.standing == MEMBER_ON_LOG
            and not conn.flags & (CONN_LINKED | CONN_LIMITED)
            and nothing_of_its_own(conn)
            and (alone or not owes_elsewhere(conn, lane))
            and _send_fast(writer, member, &walk)
        ):
            _visit_any(writer, conn)
        looks += 1
        if looks % SENDS_PER_LOOK == 0 and clock_nanoseconds() >= deadline:
            if lane.walk:
                return False
    lane.walking = False
    lane.flushed = lane.target
    lane_trim(lane)
    return True


cdef inline bint _send_fast(
    writer_t *writer, member_t *member, walk_t *walk
) noexcept nogil:
    """Send the walk's bytes to one member. False: it needs a visit."""
    cdef ssize_t sent
    if member.conn.excluded >= walk.first_sequence:
        return _send_around(writer, member, walk)
    sent = write_parts(member.conn, walk.vectors, walk.count)
    if sent == <ssize_t>walk.bytes:
        _sent(writer, member, walk.frames, walk.bytes)
    else:
        _cut_fast(writer, member, walk, sent)
    return True


cdef inline void _sent(
    writer_t *writer, member_t *member, uint64_t frames, size_t bytes
) noexcept nogil:
    member.next += frames
    writer.counters.deliveries += frames
    writer.counters.messages_sent += frames
    writer.counters.bytes_sent += bytes


cdef void _cut_fast(
    writer_t *writer, member_t *member, walk_t *walk, ssize_t sent
) noexcept nogil:
    """The walk's parts stand for everybody; a cut needs them as this member's plan."""
    cdef uint32_t position
    for position in range(walk.count):
        writer.parts[position] = walk.parts[position]
        writer.parts[position].member = member
        writer.vectors[position] = walk.vectors[position]
    _cut_plan(writer, member, walk.count, sent)


cdef void _cut_plan(
    writer_t *writer, member_t *member, uint32_t count, ssize_t sent
) noexcept nogil:
    """Less than the plan has left."""
    cdef conn_t *conn = member.conn
    if sent == -2:
        conn.flags |= CONN_BROKEN
        note(writer, conn, NOTE_BROKEN)
        check_lag(writer, writer.parts[0].lane, member)
        return
    if sent > 0:
        writer.counters.bytes_sent += <uint64_t>sent
    cut(writer, conn, count, <size_t>sent if sent > 0 else 0)


# -- a member that is left out of some of it: in a chat, everyone ----------------------


cdef bint _send_around(
    writer_t *writer, member_t *member, walk_t *walk
) noexcept nogil:
    """Send the walk's bytes but for the frames that leave this member out. They are
    found through each other, not by looking at all. False: they are many, or
    elsewhere."""
    cdef exclusion_t exclusions[MOST_EXCLUSIONS]
    cdef uint32_t left_out = 0
    cdef uint32_t count
    cdef size_t bytes = 0
    cdef ssize_t sent
    cdef uint64_t sequence = member.conn.excluded
    while sequence >= walk.first_sequence:
        if left_out == MOST_EXCLUSIONS or not _locate(
            walk, sequence, &exclusions[left_out]
        ):
            return False
        sequence = segment_entry(
            walk.parts[exclusions[left_out].part].segment,
            exclusions[left_out].position,
        ).prior
        left_out += 1
    count = _plan_around(writer, member, walk, exclusions, left_out, &bytes)
    sent = write_parts(member.conn, writer.vectors, count) if count else 0
    if sent == <ssize_t>bytes:
        _sent(writer, member, walk.frames - left_out, bytes)
        member.next += left_out
    else:
        _cut_plan(writer, member, count, sent)
    return True


cdef bint _locate(
    const walk_t *walk, uint64_t sequence, exclusion_t *found
) noexcept nogil:
    """Where the frame of this sequence lies; False: not in this walk."""
    cdef uint32_t part = walk.count - 1
    cdef uint32_t low, high, middle
    cdef segment_t *segment
    while (
        segment_entry(walk.parts[part].segment, walk.parts[part].first).sequence
        > sequence
    ):
        part -= 1
    segment = walk.parts[part].segment
    low = walk.parts[part].first
    high = walk.parts[part].last
    while high - low > 1:
        middle = (low + high) // 2
        if segment_entry(segment, middle).sequence <= sequence:
            low = middle
        else:
            high = middle
    found.part = part
    found.position = low
    return segment_entry(segment, low).sequence == sequence


cdef uint32_t _plan_around(
    writer_t *writer,
    member_t *member,
    const walk_t *walk,
    const exclusion_t *exclusions,
    uint32_t left_out,
    size_t *bytes,
) noexcept nogil:
    """The walk's parts cut at the exclusions, which are given from the last to the
    first, as the writer's plan."""
    cdef uint32_t count = 0
    cdef uint32_t position, first, last
    cdef part_t *part
    for position in range(walk.count):
        first = walk.parts[position].first
        while first < walk.parts[position].last:
            last = walk.parts[position].last
            if left_out and exclusions[left_out - 1].part == position:
                left_out -= 1
                last = exclusions[left_out].position
            if last > first:
                part = &writer.parts[count]
                part[0] = walk.parts[position]
                part.member = member
                part.first = first
                part.last = last
                bytes[0] += _aim(part, &writer.vectors[count])
                count += 1
            first = last + 1
    return count
