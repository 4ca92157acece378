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
    CONN_FINISH,
    CONN_LINKED,
    NOTE_BROKEN,
    conn_t,
    lane_trim,
    member_owes,
    member_t,
)
from .log cimport log_find, segment_data, segment_entry, segment_start, segment_t
from .visit cimport (
    check_lag,
    cut,
    iovec,
    list_linked,
    note,
    nothing_of_its_own,
    owes_elsewhere,
    part_t,
    visit,
    write_parts,
)


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


cdef uint32_t _fast_parts(
    lane_t *lane, part_t *parts, iovec *vectors, size_t *bytes
) noexcept nogil:
    """The log's bytes from where the last walk ended to this one's target; 0: too many
    pieces, or nothing."""
    cdef uint32_t count = 0
    cdef uint64_t index = lane.flushed
    cdef segment_t *segment
    cdef uint32_t first, last, start
    bytes[0] = 0
    while index < lane.target:
        if count == MOST_FAST_PARTS:
            return 0
        segment = log_find(&lane.log, index)
        first = <uint32_t>(index - segment.first)
        last = segment.count
        if segment.first + last > lane.target:
            last = <uint32_t>(lane.target - segment.first)
        start = segment_start(segment, first)
        parts[count].lane = lane
        parts[count].segment = segment
        parts[count].first = first
        parts[count].last = last
        vectors[count].iov_base = segment_data(segment) + start
        vectors[count].iov_len = segment_start(segment, last) - start
        bytes[0] += vectors[count].iov_len
        index = segment.first + last
        count += 1
    return count


cdef bint _walk(writer_t *writer, lane_t *lane, uint64_t deadline) noexcept nogil:
    """Bring every member to the lane's head. False: time is over, go on here later."""
    cdef part_t parts[MOST_FAST_PARTS]
    cdef iovec vectors[MOST_FAST_PARTS]
    cdef size_t bytes = 0
    cdef uint32_t count, looks = 0
    cdef uint64_t frames
    cdef uint64_t first_sequence = 0
    cdef member_t *member
    cdef conn_t *conn
    cdef bint alone
    if not lane.walking:
        lane.walking = True
        lane.walk = lane.count
        lane.target = lane.log.next
    count = _fast_parts(lane, parts, vectors, &bytes)
    frames = lane.target - lane.flushed
    alone = writer.marked == 1
    if count:
        first_sequence = segment_entry(parts[0].segment, parts[0].first).sequence
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
        if (
            count
            and member.next == lane.flushed
            and not conn.flags & (CONN_LINKED | CONN_FINISH)
            and nothing_of_its_own(conn)
            and conn.excluded < first_sequence
            and (alone or not owes_elsewhere(conn, lane))
        ):
            _send_fast(writer, lane, member, parts, vectors, count, bytes, frames)
        else:
            _visit_any(writer, conn)
        looks += 1
        if looks % SENDS_PER_LOOK == 0 and clock_nanoseconds() >= deadline:
            if lane.walk:
                return False
    lane.walking = False
    lane.flushed = lane.target
    lane_trim(lane)
    return True


cdef inline void _send_fast(
    writer_t *writer,
    lane_t *lane,
    member_t *member,
    part_t *parts,
    iovec *vectors,
    uint32_t count,
    size_t bytes,
    uint64_t frames,
) noexcept nogil:
    cdef ssize_t sent = write_parts(member.conn, vectors, count)
    if sent == <ssize_t>bytes:
        member.next = lane.target
        writer.counters.deliveries += frames
        writer.counters.messages_sent += frames
        writer.counters.bytes_sent += bytes
        return
    if sent == -2:
        member.conn.flags |= CONN_BROKEN
        note(writer, member.conn, NOTE_BROKEN)
        check_lag(writer, lane, member)
        return
    if sent > 0:
        writer.counters.bytes_sent += <uint64_t>sent
    _cut_fast(
        writer, member, parts, vectors, count, <size_t>sent if sent > 0 else 0
    )


cdef void _cut_fast(
    writer_t *writer,
    member_t *member,
    part_t *parts,
    iovec *vectors,
    uint32_t count,
    size_t sent,
) noexcept nogil:
    """The walk's parts stand for everybody; a cut needs them as this member's plan."""
    cdef uint32_t position
    for position in range(count):
        writer.parts[position] = parts[position]
        writer.parts[position].member = member
        writer.vectors[position] = vectors[position]
    cut(writer, member.conn, count, sent)
