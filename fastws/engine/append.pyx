"""Appending: a publication becomes one frame in each lane of its channel.

All of them carry the same sequence and number, whatever their bytes are. No work per
subscriber.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, malloc

from .channel cimport COMPRESS_COHORT
from .cohort cimport cohort_tend
from .flush cimport mark_lane
from .forms cimport CompressedLane, Forms
from .keyed cimport keyed_put
from .lane cimport (
    LANE_COHORT,
    MEMBER_DETOUR,
    detour_of,
    lane_subscription,
    member_t,
    subscription_t,
)
from .log cimport log_append
from .payload cimport frame_size, frame_write


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
    """To every lane that has subscribers. MemoryError: not to all of them."""
    cdef publication_t publication
    if channel.forms is not None and channel.rule.compress == COMPRESS_COHORT:
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
        _append_frame(&channel.lane, &publication, payload, writer)
    if channel.forms is not None:
        _append_compressed(channel.forms, &publication, writer)
    if excluded != NULL:
        excluded.excluded = writer.sequence
    return 0


cdef int _append_compressed(
    Forms forms, const publication_t *publication, writer_t *writer
) except -1:
    """The compressed lanes' frames; one that would get no smaller stays plain."""
    cdef CompressedLane lane
    cdef payload_t form
    cdef object failed = None
    for one in forms.lanes:
        lane = one
        form = publication.plain[0]
        forms.encode(lane, &form, publication.excluded != NULL)
        try:
            _append_frame(&lane.lane, publication, &form, writer)
        except MemoryError as error:
            # The other lanes' subscribers get it all the same.
            writer.counters.frames_lost += lane.lane.count
            failed = error
            if lane is forms.cohort:
                # Nothing may refer to a message that nobody has.
                forms.cohort.context.restart()
        lane.deflate.release()
    if failed is not None:
        raise failed
    return 0


cdef inline int _append_frame(
    lane_t *lane,
    const publication_t *publication,
    const payload_t *form,
    writer_t *writer,
) except -1:
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
        raise MemoryError
    frame_write(frame, form)
    if lane.detours and publication.excluded != NULL:
        _exclude_from_detour(lane, publication.excluded)
    if lane.keyed != NULL:
        _keep_newest(lane, publication, frame, form, writer)
    return 0


cdef void _exclude_from_detour(lane_t *lane, conn_t *excluded) noexcept:
    """Of the newest frame: it is not missed by whom it leaves out."""
    cdef subscription_t *subscription = lane_subscription(lane, excluded)
    cdef member_t *member
    if subscription != NULL:
        member = &lane.members[subscription.index]
        if member.standing == MEMBER_DETOUR:
            detour_of(member).excluded += 1


cdef int _keep_newest(
    lane_t *lane,
    const publication_t *publication,
    const uint8_t *frame,
    const payload_t *form,
    writer_t *writer,
) except -1:
    """The newest frame of its key, for cursors on a detour: one that refers to no
    other. Without memory the key is missed, and counted as such."""
    cdef uint8_t *own = NULL
    if lane.kind == LANE_COHORT:
        form = publication.plain
        own = <uint8_t *>malloc(frame_size(form))
        if own == NULL:
            raise MemoryError
        frame_write(own, form)
        frame = own
    keyed_put(
        lane.keyed,
        lane.log.next - 1,
        publication.sequence,
        publication.key,
        publication.serial,
        frame,
        <uint32_t>frame_size(form),
    )
    free(own)
    if lane.healing:
        writer.counters.keys_dropped += lane.keyed.dropped
    lane.keyed.dropped = 0
    return 0


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
            mark_lane(writer, &lane.lane)
            most = max(most, lane_unflushed(&lane.lane))
    return most
