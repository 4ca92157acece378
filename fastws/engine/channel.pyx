"""Channels: named streams of messages, and their rules and histories."""

from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeUTF8

from .csrc cimport (
    FASTWS_OP_TEXT,
    FASTWS_WINDOW_BITS_MIN,
    fastws_frame_decode,
    fastws_frame_header,
)
from .forms cimport CompressedLane
from .history cimport (
    history_clear,
    history_expire,
    history_find,
    history_free,
    history_new,
    history_oldest,
    history_t,
    kept_t,
)
from .lane cimport (
    CONN_COHORT,
    SLOW_CLOSE,
    SLOW_LATEST,
    SLOW_RESUME,
    SLOW_SKIP,
    TICKS,
    lane_free,
    lane_subscription,
)

import os

from ..errors import StateError
from ..types import CompressionCounts, Position, Publication, Recovery


cdef enum:
    # Seconds without one byte taken, under the policies that heal.
    HEALING_STALL = 60


_POLICIES = {
    "close": SLOW_CLOSE,
    "skip": SLOW_SKIP,
    "latest": SLOW_LATEST,
    "resume": SLOW_RESUME,
}


_COMPRESSING = {
    False: COMPRESS_NOTHING,
    True: COMPRESS_SHARED,
    "cohort": COMPRESS_COHORT,
}


cdef uint32_t ticks_of(object seconds):
    """None, which is off, is 0; nothing else is."""
    if seconds is None:
        return 0
    return max(1, min(round(seconds * TICKS), 0x7FFFFFFF))


cdef class Rule:
    def __cinit__(self, rule):
        self.data.slow = _POLICIES[rule.slow]
        self.data.max_lag = rule.max_lag
        self.data.max_lag_age = ticks_of(rule.max_lag_age)
        self.data.max_keys = min(rule.max_keys, 0x3FFFFFFF)
        self.data.max_stall = ticks_of(rule.max_stall)
        if rule.max_stall is None and self.data.slow != SLOW_CLOSE:
            self.data.max_stall = HEALING_STALL * TICKS
        self.history = rule.history or 0
        self.history_bytes = rule.history_bytes
        self.history_ttl = ticks_of(rule.history_ttl)
        self.batch = rule.batch
        self.array = rule.batch is not None and rule.batch_form == "array"
        self.compress = _COMPRESSING[rule.compress]
        self.cohort_join = ticks_of(rule.cohort_join)


cdef class Keeper:
    cdef uint32_t tick(self) noexcept:
        return 0

    cdef int retire(self, Channel channel) except -1:
        raise NotImplementedError


cdef class Channel:
    """A named stream of messages. Owns its lanes and its history."""

    def __cinit__(self, Keeper hub, str name, Rule rule, *, bint hidden=False):
        self.hub = hub
        self.name = name
        self.rule = rule
        self.hidden = hidden
        self.lane.rule = &rule.data
        self.lane.channel = <PyObject *>self
        if rule.history:
            self.lane.history = history_new(
                rule.history, rule.history_bytes, rule.history_ttl
            )
            if self.lane.history == NULL:
                raise MemoryError
            self._epoch = os.urandom(4).hex()

    def __dealloc__(self):
        lane_free(&self.lane)
        history_free(self.lane.history)

    def __repr__(self) -> str:
        return f"<Channel {self.name!r} subscribers={self.count()}>"

    @property
    def subscribers(self) -> int:
        """Connections subscribed now."""
        return self.count()

    # -- lanes -------------------------------------------------------------------------

    cdef lane_t *lane_for(self, Agreement agreement, uint32_t flags) except NULL:
        """Where a connection reads that has agreed on this."""
        if (
            agreement is None
            or self.rule.compress == COMPRESS_NOTHING
            or flags & CONN_COHORT
            # zlib writes no smaller window.
            or agreement.send_bits < FASTWS_WINDOW_BITS_MIN
        ):
            return &self.lane
        if self.forms is None:
            self.forms = Forms()
        return self.forms.lane_for(&self.lane, agreement)

    cdef subscription_t *subscription(self, conn_t *conn) noexcept:
        """Where the two meet; NULL: they don't."""
        cdef subscription_t *found = lane_subscription(&self.lane, conn)
        cdef CompressedLane lane
        if found == NULL and self.forms is not None:
            for one in self.forms.lanes:
                lane = one
                found = lane_subscription(&lane.lane, conn)
                if found != NULL:
                    break
        return found

    cdef uint32_t count(self) noexcept:
        """Subscribers, of whatever form."""
        cdef uint32_t count = self.lane.count
        cdef CompressedLane lane
        if self.forms is not None:
            for one in self.forms.lanes:
                lane = one
                count += lane.lane.count
        return count

    @property
    def compression(self):
        """What compressing has cost and saved; None: nothing was compressed."""
        cdef Forms forms = self.forms
        if forms is None or forms.messages == 0:
            return None
        return CompressionCounts(
            messages=forms.messages,
            bytes_before=forms.bytes_before,
            bytes_after=forms.bytes_after,
            seconds=forms.nanoseconds / 1e9,
        )

    # -- history -----------------------------------------------------------------------

    @property
    def epoch(self):
        """Names this life of the history; None: the channel has none."""
        return self._epoch

    @property
    def position(self):
        """The newest place of the history; None: the channel has none."""
        return self.place()

    cdef object place(self):
        cdef history_t *history = self.lane.history
        if history == NULL:
            return None
        return Position(self._epoch, history.last - history.origin)

    cdef uint64_t covers(self, object since) except? 0xFFFFFFFFFFFFFFFF:
        """Number of the first publication behind the position; 0: something behind it
        is gone, or it is of another epoch."""
        cdef history_t *history = self.lane.history
        cdef uint64_t number
        if not isinstance(since, Position):
            raise TypeError(f"since must be a Position, not {type(since).__name__}")
        if history == NULL or since.epoch != self._epoch:
            return 0
        offset = since.offset
        if not isinstance(offset, int) or not 0 <= offset <= (
            history.last - history.origin
        ):
            return 0
        history_expire(history, self.hub.tick())
        number = history.origin + <uint64_t>offset + 1
        return number if number >= history_oldest(history) else 0

    def read(self, since=None, limit=None):
        """What the history holds, in the order of its offsets."""
        cdef history_t *history = self.lane.history
        cdef uint64_t number, count
        if history == NULL:
            raise StateError(
                f"channel {self.name!r} has no history: its rule needs history="
            )
        if limit is not None and not (isinstance(limit, int) and limit > 0):
            raise ValueError(f"limit must be a number above 0, not {limit!r}")
        if since is None:
            history_expire(history, self.hub.tick())
            number = history_oldest(history)
            count = history.count
            if limit is not None and limit < count:
                number += count - <uint64_t>limit
        else:
            number = self.covers(since)
            if number == 0:
                return Recovery((), self.place(), False)
        count = history.last + 1 - number
        if limit is not None and limit < count:
            count = limit
        return Recovery(
            tuple([self._publication(number + place) for place in range(count)]),
            Position(self._epoch, number + count - 1 - history.origin),
            True,
        )

    cdef object _publication(self, uint64_t number):
        cdef kept_t *kept = history_find(self.lane.history, number)
        cdef fastws_frame_header header
        cdef const char *data
        if fastws_frame_decode(kept.frame, kept.size, &header) <= 0:
            raise SystemError("a frame of a history is none")
        data = <const char *>kept.frame + header.size
        if header.opcode == FASTWS_OP_TEXT:
            message = PyUnicode_DecodeUTF8(data, <Py_ssize_t>header.length, NULL)
        else:
            message = data[:header.length]
        return Publication(
            number - self.lane.history.origin,
            message,
            None if kept.key == NULL else <str>kept.key,
            kept.time,
        )

    def clear(self) -> None:
        """Forget the history; what is published next starts a new epoch."""
        if self.lane.history != NULL:
            history_clear(self.lane.history)
            self._epoch = os.urandom(4).hex()
            self.hub.retire(self)
