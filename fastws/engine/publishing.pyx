"""Publishing: the channels of one event loop, and what is published to them.

Base of Hub, which writes what is owed.
"""

from cpython.object cimport PyObject
from libc.stdlib cimport free

from .append cimport lane_unflushed, lanes_append, lanes_give_up, lanes_mark
from .batch cimport check_array_item
from .channel cimport Rule
from .cohort cimport cohort_left, lane_emptied
from .collector cimport collector_pause, collector_resume
from .csrc cimport FASTWS_OP_TEXT
from .deflate cimport Agreement
from .detour cimport member_recover, member_unsent
from .flush cimport clock_nanoseconds, flush_slice, mark_lane
from .forms cimport CompressedLane, Forms
from .history cimport (
    history_expire,
    history_find,
    history_push,
    history_reserve,
    history_t,
)
from .lane cimport (
    CONN_COHORT,
    LANE_COHORT,
    lane_join,
    lane_leave,
    member_owes,
    no_limit,
    subscription_t,
)
from .payload cimport (
    COMPRESS_AS_RULED,
    COMPRESS_NEVER,
    Encoded,
    frame_size,
    frame_write,
    payload_close,
    payload_open,
    wish_of,
)
from .roster cimport Owner, this_thread
from .writer cimport mark_dirty, writer_reserve_sources

import logging
from dataclasses import replace
from heapq import heappop, heappush

from ..config import ChannelRule
from ..types import Receipt


cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(object text)


_LOGGER = logging.getLogger("fastws")

_A_LOSS = (
    "compressing the messages of channel %r saves next to nothing: %d bytes became %d; "
    "app.channel(..., compress=False) spares the time"
)


cdef enum:
    # Unflushed bytes of a lane at which publishing flushes at once.
    FLUSH_AT_ONCE = 262144
    MOST_KEY_BYTES = 255
    # A frame's place in its segment is a number of 32 bits.
    MOST_BYTES = 0x7FFFFF00


cdef class Publishing(Roster):
    def __cinit__(self, limits=None, loop=None, clock=None):
        self._channels = {}
        self._rules = {}
        self.receipts = Receipts()
        self.expiring = []

    cdef int entered(self, conn_t *conn) except -1:
        if self._everyone is not None:
            self._join(conn, self._everyone)
        return 0

    cdef int leaving(self, conn_t *conn) except -1:
        return self.depart_all(conn)

    # -- channels ----------------------------------------------------------------------

    @property
    def channels(self) -> dict:
        """The channels that have subscribers, by name (a copy)."""
        return dict(self._channels)

    def channel(self, str name not None):
        """The channel of this name; None: it has no subscribers and no history."""
        return self._channels.get(name)

    cdef Channel _channel(self, str name, object rule=None):
        cdef Channel channel = self._channels.get(name)
        if channel is None:
            if rule is None:
                rule = self.rule_for(name)
            # The rule's author may have subscribed somebody meanwhile.
            channel = self._channels.get(name)
        if channel is None:
            kept = self._rules.get(rule)
            if kept is None:
                kept = self._rules[rule] = Rule(rule)
            channel = Channel(self, name, kept)
            self._channels[name] = channel
        return channel

    cdef Channel _lasting(self, str name):
        """The channel if it exists or if history keeps what is published to it."""
        cdef Channel channel = self._channels.get(name)
        if channel is None:
            rule = self.rule_for(name)
            if rule.history:
                return self._channel(name, rule)
        return channel

    cdef int _join(self, conn_t *conn, Channel channel) except -1:
        cdef Agreement agreement = (<Owner>conn.owner).agreement
        cdef lane_t *lane = &channel.lane
        cdef bint was_running
        if agreement is not None:
            # In what lane it reads must still be so when that has been made.
            was_running = collector_pause()
            try:
                lane = channel.lane_for(agreement, conn.flags)
            finally:
                collector_resume(was_running)
        if not (
            writer_reserve_sources(&self.writer, conn.subscription_count + 1)
            and lane_join(lane, conn)
        ):
            raise MemoryError
        return 0

    cdef Channel join(self, conn_t *conn, str name):
        """Subscribe; None when the connection was subscribed already."""
        cdef Channel channel = self._channel(name)
        cdef bint was_running
        if channel.subscription(conn) != NULL:
            return None
        if channel.texts is not None:
            # What is being gathered was published before.
            was_running = collector_pause()
            try:
                self._send_array(channel)
            finally:
                collector_resume(was_running)
        try:
            self._join(conn, channel)
        except MemoryError:
            self.retire(channel)
            raise
        return channel

    cdef bint recover(self, conn_t *conn, Channel channel, object since) except? True:
        """Owe a new subscriber everything behind a position; False: it is not all
        there, and nothing is owed."""
        cdef uint64_t number = channel.covers(since)
        cdef subscription_t *subscription = channel.subscription(conn)
        cdef lane_t *lane = subscription.lane
        if number == 0:
            return False
        self.writer.sequence += 1
        if not member_recover(
            lane, &lane.members[subscription.index], number, self.writer.sequence
        ):
            lane_leave(lane, subscription.index)
            self._left(channel, lane)
            raise MemoryError
        mark_dirty(&self.writer, conn)
        self.wake()
        return True

    cdef Channel depart(self, conn_t *conn, str name):
        """Unsubscribe; None when the connection was not subscribed."""
        cdef Channel channel = self._channels.get(name)
        cdef bint was_running
        if channel is None or channel.subscription(conn) == NULL:
            return None
        was_running = collector_pause()
        try:
            self._depart(<Owner>conn.owner, channel)
        finally:
            collector_resume(was_running)
        return channel

    cdef int _depart(self, Owner owner, Channel channel) except -1:
        cdef conn_t *conn = owner.conn
        cdef subscription_t *subscription
        cdef lane_t *lane
        cdef bint in_cohort
        self._send_array(channel)
        # That may have taken it to another lane.
        subscription = channel.subscription(conn)
        lane = subscription.lane
        if member_owes(lane, &lane.members[subscription.index]):
            # What was published before goes out, unless the peer is too slow for it.
            self.visit_now(conn)
            # A link may have called somebody who has ended it.
            subscription = NULL if owner.conn == NULL else channel.subscription(conn)
            if subscription == NULL:
                return 0
            lane = subscription.lane
            self.counters.data.frames_lost += member_unsent(
                lane, &lane.members[subscription.index]
            )
        in_cohort = lane.kind == LANE_COHORT
        lane_leave(lane, subscription.index)
        self._left(channel, lane)
        if in_cohort:
            cohort_left(conn, &self.writer)
        return 0

    cdef int depart_all(self, conn_t *conn) except -1:
        cdef subscription_t *subscription
        cdef lane_t *lane
        cdef Channel channel
        while conn.subscription_count:
            subscription = &conn.subscriptions[conn.subscription_count - 1]
            lane = subscription.lane
            channel = <Channel>lane.channel
            lane_leave(lane, subscription.index)
            self._left(channel, lane)
        conn.flags &= ~<uint32_t>CONN_COHORT
        return 0

    cdef int _left(self, Channel channel, lane_t *lane) except -1:
        lane_emptied(channel, lane, &self.writer)
        return self.retire(channel)

    cdef list channel_names(self, const conn_t *conn):
        """What the connection is subscribed to."""
        cdef uint32_t slot
        cdef Channel channel
        cdef list names = []
        for slot in range(conn.subscription_count):
            channel = <Channel>conn.subscriptions[slot].lane.channel
            if not channel.hidden:
                names.append(channel.name)
        return names

    cdef uint32_t tick(self) noexcept:
        return self.writer.tick

    cdef int retire(self, Channel channel) except -1:
        """A channel without subscribers and without anything to keep costs nothing."""
        cdef history_t *history = channel.lane.history
        cdef CompressedLane lane
        if channel.count():
            return 0
        channel.texts = None
        self._close_window(channel)
        if channel.forms is not None:
            # Only where there was no memory for a member is one left.
            for one in list(channel.forms.lanes):
                lane = one
                lane_emptied(channel, &lane.lane, &self.writer)
        if history != NULL and history.count:
            return 0
        if self._channels.get(channel.name) is channel:
            del self._channels[channel.name]
        return 0

    cdef int expire(self) except -1:
        """Histories whose time is over; called by the sweep, for one slice of time."""
        cdef uint32_t tick = self.writer.tick
        cdef uint64_t deadline = clock_nanoseconds() + self.slice_nanoseconds
        cdef Channel channel
        cdef history_t *history
        while self.expiring and self.expiring[0][0] <= tick:
            channel = heappop(self.expiring)[2]
            history = channel.lane.history
            history.waiting = False
            history_expire(history, tick)
            self._expire_later(channel)
            self.retire(channel)
            if clock_nanoseconds() >= deadline:
                return 0
        return 0

    cdef int _expire_later(self, Channel channel) except -1:
        """Look again when its newest publication is too old: once for all of them."""
        cdef history_t *history = channel.lane.history
        if history.ttl and history.count and not history.waiting:
            self.turn += 1
            history.waiting = True
            heappush(
                self.expiring,
                (
                    history_find(history, history.last).tick + history.ttl,
                    self.turn,
                    channel,
                ),
            )
        return 0

    # -- publishing --------------------------------------------------------------------

    def publish(
        self,
        str channel not None,
        message,
        *,
        str key=None,
        Owner exclude=None,
        compress=None,
    ) -> None:
        """Send a message to every subscriber of a channel. From any thread."""
        if this_thread() != self.thread:
            _key_id(key)
            wish_of(compress)
            self.loop.call_soon_threadsafe(
                self._publish_later, channel, _frozen(message), key, exclude, compress
            )
            return
        self.publish_local(
            channel, message, NULL if exclude is None else exclude.conn, key, compress
        )

    def _publish_later(
        self, str channel, message, str key, Owner exclude, compress
    ) -> None:
        self.publish_local(
            channel, message, NULL if exclude is None else exclude.conn, key, compress
        )

    def publish_batch(self, items) -> None:
        """Publish (channel, message) or (channel, message, key): all or none. From any
        thread."""
        cdef list batch = [_item(item) for item in items]
        if this_thread() != self.thread:
            batch = [(name, _frozen(message), key) for name, message, key in batch]
            self.loop.call_soon_threadsafe(self._publish_batch, batch)
        else:
            self._publish_batch(batch)

    def _publish_batch(self, list batch) -> None:
        cdef Encoded encoded
        cdef list ready = []
        for name, message, key in batch:
            encoded = Encoded(message)
            _check(self._lasting(name), message, &encoded.payload, False)
            ready.append((name, key, encoded))
        for name, key, one in ready:
            encoded = one
            # A rule's author may have changed who is subscribed.
            self._publish(self._channels.get(name), &encoded.payload, NULL, key)

    def publish_confirmed(
        self,
        str channel not None,
        message,
        str key=None,
        str idempotency_key=None,
        compress=None,
    ):
        """Publish, and say where the message stands in the channel's history."""
        cdef Channel found
        self.wrong_thread("Hub.publish_confirmed()")
        if idempotency_key is not None:
            _check_key_size(idempotency_key, "an idempotency key")
            receipt = self.receipts.find(channel, idempotency_key, self.clock())
            if receipt is not None:
                return replace(receipt, duplicate=True)
        self.publish_local(channel, message, NULL, key, compress)
        found = self._channels.get(channel)
        if found is None or found.lane.history == NULL:
            receipt = Receipt(None, None, "nothing")
        else:
            receipt = Receipt(found._epoch, found.place().offset, "process")
        if idempotency_key is not None:
            self.receipts.keep(channel, idempotency_key, self.clock(), receipt)
        return receipt

    def broadcast(self, message, *, Owner exclude=None, compress=None) -> None:
        """Send a message to every connection. From any thread."""
        cdef payload_t payload
        if this_thread() != self.thread:
            wish_of(compress)
            self.loop.call_soon_threadsafe(
                self._broadcast_later, _frozen(message), exclude, compress
            )
            return
        if self._everyone is None:
            self._gather_everyone()
        _owner = payload_open(&payload, message)
        try:
            if compress is not None:
                payload.compress = wish_of(compress)
            _check(self._everyone, message, &payload, False)
            self._publish(
                self._everyone,
                &payload,
                NULL if exclude is None else exclude.conn,
                None,
            )
        finally:
            payload_close(&payload)

    cdef int _gather_everyone(self) except -1:
        """Everyone's channel: connections pay for it only in programs that
        broadcast."""
        cdef uint32_t slot
        cdef conn_t *conn
        cdef Channel everyone = Channel(self, "", Rule(ChannelRule()), hidden=True)
        try:
            for slot in range(self.slot_count):
                conn = self.at(slot)
                # Nothing may follow the Close frame of one that is closing.
                if conn != NULL and conn.limit == no_limit():
                    self._join(conn, everyone)
        except MemoryError:
            self._dissolve(everyone)
            raise
        self._everyone = everyone
        return 0

    cdef int _dissolve(self, Channel channel) except -1:
        """Nobody subscribes to it any more."""
        cdef uint32_t slot
        cdef conn_t *conn
        cdef subscription_t *subscription
        for slot in range(self.slot_count):
            conn = self.at(slot)
            subscription = NULL if conn == NULL else channel.subscription(conn)
            if subscription != NULL:
                lane_leave(subscription.lane, subscription.index)
        return 0

    def _broadcast_later(self, message, Owner exclude, compress) -> None:
        self.broadcast(message, exclude=exclude, compress=compress)

    cdef int publish_local(
        self, str name, object message, conn_t *excluded, str key, object compress
    ) except -1:
        cdef payload_t payload
        cdef Channel channel = self._lasting(name)
        # Encoded even for nobody: a message that can't be sent fails for its author
        # now, not on the day that somebody listens.
        _owner = payload_open(&payload, message)
        try:
            if compress is not None:
                payload.compress = wish_of(compress)
            _check(channel, message, &payload, excluded != NULL)
            self._publish(channel, &payload, excluded, key)
        finally:
            payload_close(&payload)
        return 0

    cdef int _publish(
        self, Channel channel, payload_t *payload, conn_t *excluded, str key
    ) except -1:
        """A message that has been checked."""
        cdef uint64_t key_id = _key_id(key)
        self.counters.data.publications += 1
        if channel is None:
            return 0
        if channel.rule.array:
            return self._collect(channel, payload)
        return self._append(channel, payload, excluded, key, key_id)

    cdef int _append(
        self,
        Channel channel,
        payload_t *payload,
        conn_t *excluded,
        str key,
        uint64_t key_id,
    ) except -1:
        """One frame for the channel's history and for the log of each lane: no work per
        subscriber."""
        cdef history_t *history = channel.lane.history
        cdef size_t size = frame_size(payload)
        cdef uint8_t *kept = NULL
        cdef bint has_subscribers = channel.lane.count or channel.count()
        cdef size_t unflushed
        if history != NULL:
            kept = history_reserve(history, size)
            if kept == NULL:
                raise MemoryError
            frame_write(kept, payload)
        if has_subscribers:
            try:
                lanes_append(channel, payload, excluded, key_id, &self.writer)
            except MemoryError:
                free(kept)
                raise
        if history != NULL:
            if not has_subscribers:
                self.writer.sequence += 1
            history_push(
                history,
                kept,
                size,
                self.writer.sequence,
                0 if excluded == NULL else excluded.serial,
                NULL if key is None else <PyObject *>key,
                self.writer.tick,
            )
            self._expire_later(channel)
        channel.number += 1
        if not has_subscribers:
            return 0
        if channel.rule.batch is not None and self.loop is not None:
            self._open_window(channel)
        else:
            unflushed = lanes_mark(channel, &self.writer)
            if not self.awake:
                self.wake()
            if unflushed > FLUSH_AT_ONCE:
                self._flush_at_once()
        return 0 if channel.forms is None else self._look_back(channel)

    cdef int _flush_at_once(self) except -1:
        """Memory is bounded by writing early, for one slice of time in each tick. Only
        C runs here: notes and linked connections wait for the end of the tick."""
        cdef uint64_t start
        if self.forced < self.slice_nanoseconds:
            start = clock_nanoseconds()
            with nogil:
                flush_slice(&self.writer, self.slice_nanoseconds - self.forced)
            self.forced += clock_nanoseconds() - start
        return 0

    # -- batching ----------------------------------------------------------------------

    cdef int _open_window(self, Channel channel) except -1:
        """The channel's frames leave at the end of the window, or when they are
        many."""
        cdef CompressedLane lane
        cdef size_t most
        if channel.window is None:
            channel.window = self.loop.call_later(
                channel.rule.batch, self._window_over, channel
            )
        if channel.texts is not None:
            return 0
        most = self._gather(&channel.lane)
        if channel.forms is not None:
            for one in channel.forms.lanes:
                lane = one
                most = max(most, self._gather(&lane.lane))
        if most > FLUSH_AT_ONCE:
            self._close_window(channel)
            self._flush_at_once()
        return 0

    cdef size_t _gather(self, lane_t *lane) noexcept:
        """Its frames wait; how many bytes there are."""
        if lane.count and not lane.gathering:
            lane.gathering = True
            self.writer.gathering += 1
        return lane_unflushed(lane)

    def _window_over(self, Channel channel) -> None:
        if channel.texts is not None:
            self._send_array(channel)
        else:
            self._close_window(channel)

    cdef int _close_window(self, Channel channel) except -1:
        cdef CompressedLane lane
        if channel.window is not None:
            channel.window.cancel()
            channel.window = None
        self._stop_gathering(&channel.lane)
        if channel.forms is not None:
            for one in channel.forms.lanes:
                lane = one
                self._stop_gathering(&lane.lane)
        return 0

    cdef int _stop_gathering(self, lane_t *lane) except -1:
        if lane.gathering:
            lane.gathering = False
            self.writer.gathering -= 1
        if lane.log.next > lane.flushed and lane.count:
            mark_lane(&self.writer, lane)
            self.wake()
        return 0

    cdef int _collect(self, Channel channel, payload_t *payload) except -1:
        """One more JSON text of the array that the window will send."""
        if channel.count() == 0:
            return 0
        if channel.texts is None:
            channel.texts = []
            channel.texts_bytes = 0
            channel.texts_compress = COMPRESS_AS_RULED
        if payload.compress == COMPRESS_NEVER or (
            payload.compress and channel.texts_compress != COMPRESS_NEVER
        ):
            # One that must not be compressed decides for all of the array.
            channel.texts_compress = payload.compress
        channel.texts.append(payload.data[:payload.length])
        channel.texts_bytes += payload.length
        if self.loop is None or channel.texts_bytes > FLUSH_AT_ONCE:
            return self._send_array(channel)
        return self._open_window(channel)

    cdef int _send_array(self, Channel channel) except -1:
        """What has been gathered, if anything has: one text frame."""
        cdef Encoded encoded
        cdef list texts = channel.texts
        if texts is None:
            return 0
        channel.texts = None
        channel.texts_bytes = 0
        try:
            encoded = Encoded(b"[" + b",".join(texts) + b"]")
            encoded.payload.opcode = FASTWS_OP_TEXT
            encoded.payload.compress = channel.texts_compress
            lanes_append(channel, &encoded.payload, NULL, 0, &self.writer)
        except MemoryError:
            # Their authors were told that they are published.
            self.writer.sequence += 1
            lanes_give_up(channel, &self.writer)
            self.wake()
        channel.number += 1
        self._close_window(channel)
        return 0 if channel.forms is None else self._look_back(channel)

    cdef int _look_back(self, Channel channel) except -1:
        """Was it worth compressing? Said in a turn of its own: whoever listens to the
        log may do with the channels what it likes."""
        cdef Forms forms = channel.forms
        if forms.is_a_loss() and self.loop is not None:
            self.loop.call_soon(
                _LOGGER.warning,
                _A_LOSS,
                channel.name,
                forms.bytes_before,
                forms.bytes_after,
            )
        return 0

    cdef int send_arrays(self, const conn_t *conn) except -1:
        """What was published to a connection until now is to reach it."""
        cdef uint32_t slot
        for slot in range(conn.subscription_count):
            self._send_array(<Channel>conn.subscriptions[slot].lane.channel)
        return 0


cdef int _check(
    Channel channel, object message, const payload_t *payload, bint excludes
) except -1:
    """What can't be published to this channel (None: to nobody) is refused."""
    if payload.length > MOST_BYTES:
        raise ValueError("a message of 2 GiB or more can't be published")
    if channel is not None and channel.rule.array:
        check_array_item(message, payload, excludes)
    return 0


cdef int _check_key_size(str key, str what) except -1:
    if PyUnicode_IS_COMPACT_ASCII(key) and len(key) <= MOST_KEY_BYTES:
        return 0
    if len(key) > MOST_KEY_BYTES or len(key.encode()) > MOST_KEY_BYTES:
        raise ValueError(f"{what} may have {MOST_KEY_BYTES} bytes of UTF-8")
    return 0


cdef uint64_t _key_id(str key) except? 0:
    """A good hash, different in every process; 0: there is no key."""
    cdef uint64_t number
    if key is None:
        return 0
    _check_key_size(key, "a key")
    number = <uint64_t><size_t><Py_hash_t>hash(key)
    return number if number else 1


cdef tuple _item(object item):
    """Of a batch: (channel, message, key)."""
    cdef tuple parts = tuple(item) if isinstance(item, (tuple, list)) else ()
    if len(parts) == 2:
        parts += (None,)
    if (
        len(parts) == 3
        and isinstance(parts[0], str)
        and (parts[2] is None or isinstance(parts[2], str))
    ):
        _key_id(parts[2])
        return parts
    raise TypeError(
        "an item of a batch is (channel, message) or (channel, message, key), "
        f"not {item!r}"
    )


cdef object _frozen(object message):
    """The message as it is now: its author may change it before the loop sends it."""
    if isinstance(message, bytes):
        return message
    if isinstance(message, (bytearray, memoryview)):
        return bytes(message)
    cdef payload_t payload
    _owner = payload_open(&payload, message)
    try:
        return payload.data[:payload.length].decode()
    finally:
        payload_close(&payload)
