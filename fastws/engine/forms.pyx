"""Forms: the compressed lanes of a channel.

A channel has one plain lane, and for each way in which subscribers have agreed to
compression one more: a frame that refers to no other one is valid for all of them, so
it is compressed once. A cohort's frames refer to those before them, for members only.
"""

from .counters cimport counters_t
from .keyed cimport keyed_new
from .lane cimport LANE_COHORT, LANE_COMPRESSED, SLOW_LATEST, lane_free
from .payload cimport COMPRESS_AS_RULED, COMPRESS_NEVER


cdef enum:
    # Messages after which it shows whether compressing them was worth it.
    MESSAGES_PER_LOOK = 1000


cdef class CompressedLane:
    def __dealloc__(self):
        lane_free(&self.lane)

    cdef bint encode(self, payload_t *payload, bint excludes) noexcept:
        """Put the message's compressed bytes in its place, until the lane's ``deflate``
        releases them. False: this one goes as it is."""
        return self.deflate.wants(payload) and self.deflate.shrink(
            payload, self.window_bits
        )


cdef class CohortLane(CompressedLane):
    cdef bint encode(self, payload_t *payload, bint excludes) noexcept:
        """Small messages gain the most. A frame that some member does not get must not
        be part of the context."""
        if excludes or payload.compress == COMPRESS_NEVER:
            return False
        if (
            payload.compress == COMPRESS_AS_RULED
            and payload.length > self.deflate.most
        ):
            return False
        return self.context.shrink(payload)


cdef int _open(
    CompressedLane lane, const lane_t *plain, Deflate deflate, int window_bits
) except -1:
    lane.deflate = deflate
    lane.window_bits = window_bits
    lane.lane.rule = plain.rule
    lane.lane.channel = plain.channel
    lane.lane.history = plain.history
    return 0


cdef class Forms:
    def __cinit__(self):
        self.lanes = []

    cdef lane_t *lane_for(self, const lane_t *plain, Agreement agreement) except NULL:
        """The lane of those who have agreed on the same, made when it is needed."""
        cdef CompressedLane lane
        for one in self.lanes:
            lane = one
            if (
                lane is not self.cohort
                and lane.deflate is agreement.deflate
                and lane.window_bits == agreement.shared_bits
            ):
                return &lane.lane
        lane = CompressedLane.__new__(CompressedLane)
        _open(lane, plain, agreement.deflate, agreement.shared_bits)
        lane.lane.kind = LANE_COMPRESSED
        self.lanes.append(lane)
        return &lane.lane

    cdef CohortLane open_cohort(self, const lane_t *plain, Deflate deflate):
        cdef CohortLane lane = CohortLane.__new__(CohortLane)
        _open(lane, plain, deflate, deflate.rule.window_bits)
        lane.lane.kind = LANE_COHORT
        lane.context = Context(deflate, lane.window_bits)
        if plain.rule.slow == SLOW_LATEST:
            # From the first frame on: those of the log can't be read out of order.
            lane.lane.keyed = keyed_new(plain.rule.max_keys, 0)
        self.lanes.append(lane)
        self.cohort = lane
        return lane

    cdef int drop(self, const lane_t *lane) except -1:
        """A lane that has lost its last member."""
        cdef CompressedLane one
        cdef Py_ssize_t position
        for position in range(len(self.lanes)):
            one = self.lanes[position]
            if &one.lane == lane:
                if one is self.cohort:
                    self.cohort = None
                del self.lanes[position]
                return 0
        return 0

    cdef bint encode(
        self, CompressedLane lane, payload_t *payload, bint excludes
    ) noexcept:
        """As ``CompressedLane.encode``, counted for the channel."""
        cdef counters_t *counters = lane.deflate.streams.counters
        cdef uint64_t before = counters.compress_bytes_in
        cdef uint64_t after = counters.compress_bytes_out
        cdef uint64_t nanoseconds = counters.compress_nanoseconds
        cdef bint compressed = lane.encode(payload, excludes)
        if counters.compress_bytes_in > before:
            self.messages += 1
            self.bytes_before += counters.compress_bytes_in - before
            self.bytes_after += counters.compress_bytes_out - after
            self.nanoseconds += counters.compress_nanoseconds - nanoseconds
        return compressed

    cdef bint is_a_loss(self) noexcept:
        """True once: compressing has cost time and saved nothing worth it."""
        if (
            self.warned
            or self.messages < MESSAGES_PER_LOOK
            or self.bytes_after <= self.bytes_before - self.bytes_before // 20
        ):
            return False
        self.warned = True
        return True
