"""Appending: a publication becomes one frame in each lane of its channel.

All of them carry the same sequence and number, whatever their bytes are. No work per
subscriber.
"""

from libc.stdint cimport uint8_t, uint32_t

from .channel cimport COMPRESS_COHORT
from .cohort cimport cohort_tend
from .csrc cimport FASTWS_BIT_RSV1
from .flush cimport mark_lane
from .forms cimport CompressedLane, Forms
from .keyed cimport keyed_put
from .lane cimport (
    CONN_UNTOLD,
    LANE_COHORT,
    MEMBER_DETOUR,
    NOTE_LAGGED,
    detour_of,
    lane_subscription,
    limit_to,
    member_t,
    subscription_t,
)
from .log cimport log_append
from .payload cimport frame_size, frame_write
from .writer cimport note


cdef enum:
    # Subscribers under which a channel's log begins with little memory.
    FEW = 16


ctypedef struct publication_t:
    # What the frames of all lanes have in common.
    const payload_t *plain
    conn_t *excluded
    uint64_t sequence
    uint64_t number
    uint64_t serial         # of the connection that it leaves out; 0: none
    uint64_t prior          # sequence of the last one before that did
    uint64_t key
    uint32_t tick


cdef int lanes_append(
    Channel channel,
    const payload_t *payload,
    conn_t *excluded,
    uint64_t key,
    writer_t *writer,
) except -1:
    """To every lane that has subscribers. MemoryError: to none of them."""
    cdef publication_t publication
    if channel.forms is not None:
        if channel.rule.compress == COMPRESS_COHORT or channel.forms.strays:
            cohort_tend(channel, writer)
    writer.sequence += 1
    publication.plain = payload
    publication.excluded = excluded
    publication.sequence = writer.sequence
    publication.number = channel.number + 1
    publication.serial = 0
    publication.prior = 0
    publication.key = key
    publication.tick = writer.tick
    if excluded != NULL:
        publication.serial = excluded.serial
        publication.prior = excluded.excluded
    if channel.lane.count:
        if not _append_frame(&channel.lane, &publication, payload, writer):
            raise MemoryError
    if channel.forms is not None:
        _append_compressed(
            channel.forms, &publication, channel.lane.count > 0, writer
        )
    if excluded != NULL:
        excluded.excluded = writer.sequence
    return 0


cdef int _append_compressed(
    Forms forms, const publication_t *publication, bint published, writer_t *writer
) except -1:
    """The compressed lanes' frames; one that would get no smaller stays plain."""
    cdef CompressedLane lane
    cdef payload_t form
    cdef bint good
    for one in forms.lanes:
        lane = one
        if lane.lane.count == 0:
            continue
        form = publication.plain[0]
        forms.encode(lane, &form, publication.excluded != NULL)
        good = _append_frame(&lane.lane, publication, &form, writer)
        lane.deflate.release()
        if good:
            published = True
            if form.opcode & FASTWS_BIT_RSV1:
                lane.lane.compressed = publication.sequence
            continue
        if lane is forms.cohort:
            # Nothing may refer to a message that nobody has.
            forms.cohort.context.restart()
        if not published:
            raise MemoryError
        _give_up(&lane.lane, writer)
    return 0


cdef void lanes_give_up(Channel channel, writer_t *writer) noexcept:
    """As ``_give_up``, for all of a channel's lanes."""
    cdef CompressedLane lane
    _give_up(&channel.lane, writer)
    if channel.forms is not None:
        for one in channel.forms.lanes:
            lane = one
            _give_up(&lane.lane, writer)


cdef void _give_up(lane_t *lane, writer_t *writer) noexcept:
    """There was no memory for a publication that the other lanes have. No gap in
    silence: these subscribers are closed, as if they had been too slow, and get nothing
    that is published until then."""
    cdef uint32_t position
    cdef conn_t *conn
    writer.counters.frames_lost += lane.count
    for position in range(lane.count):
        conn = lane.members[position].conn
        conn.flags |= CONN_UNTOLD
        limit_to(conn, writer.sequence - 1)
        note(writer, conn, NOTE_LAGGED)


cdef inline bint _append_frame(
    lane_t *lane,
    const publication_t *publication,
    const payload_t *form,
    writer_t *writer,
) noexcept:
    """False: no memory."""
    cdef uint8_t *frame
    lane.log.small = lane.count < FEW
    frame = log_append(
        &lane.log,
        frame_size(form),
        publication.sequence,
        publication.number,
        publication.serial,
        publication.key,
        publication.prior,
        publication.tick,
    )
    if frame == NULL:
        return False
    frame_write(frame, form)
    if lane.detours and publication.excluded != NULL:
        _exclude_from_detour(lane, publication.excluded)
    if lane.keyed != NULL:
        # A cohort's frames can't be read out of order.
        if lane.kind == LANE_COHORT:
            form = publication.plain
        _keep_newest(lane, publication, form, writer)
    return True


cdef void _exclude_from_detour(lane_t *lane, conn_t *excluded) noexcept:
    """Of the newest frame: it is not missed by whom it leaves out."""
    cdef subscription_t *subscription = lane_subscription(lane, excluded)
    cdef member_t *member
    if subscription != NULL:
        member = &lane.members[subscription.index]
        if member.standing == MEMBER_DETOUR:
            detour_of(member).excluded += 1


cdef void _keep_newest(
    lane_t *lane,
    const publication_t *publication,
    const payload_t *form,
    writer_t *writer,
) noexcept:
    """The newest frame of its key, for cursors on a detour. Without memory the key is
    missed, and counted as such."""
    cdef uint8_t *frame = keyed_put(
        lane.keyed,
        lane.log.next - 1,
        publication.sequence,
        publication.key,
        publication.serial,
        <uint32_t>frame_size(form),
    )
    if frame != NULL:
        frame_write(frame, form)
    if lane.healing:
        writer.counters.keys_dropped += lane.keyed.dropped
    lane.keyed.dropped = 0


cdef size_t lanes_mark(Channel channel, writer_t *writer) noexcept:
    """They have news; how many bytes the one has that has most."""
    cdef CompressedLane lane
    cdef size_t most = 0
    if channel.lane.count:
        mark_lane(writer, &channel.lane)
        most = lane_unflushed(&channel.lane)
    if channel.forms is not None:
        for one in channel.forms.lanes:
            lane = one
            if lane.lane.count:
                mark_lane(writer, &lane.lane)
                most = max(most, lane_unflushed(&lane.lane))
    return most
