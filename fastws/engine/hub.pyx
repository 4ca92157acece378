"""The hub: all channels and connections of one event loop, and the flush.

No sockets and no event loop in here: the loop only gets asked to call ``flush`` soon,
time comes from ``clock`` and from the sweep's ticks. Everything but ``publish`` and
``broadcast`` belongs to the loop's thread.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy

from .counters cimport native
from .csrc cimport (
    FASTWS_BIT_FIN,
    FASTWS_CONTROL_MAX,
    FASTWS_FRAME_HEADER_MAX,
    fastws_frame_encode,
    fastws_frame_header_size,
    fastws_mask_copy,
)
from .flush cimport clock_nanoseconds, flush_slice, mark_lane, unmark_lane
from .lane cimport (
    CONN_BLOCKED,
    CONN_LINKED,
    CONN_LISTED,
    lane_free,
    lane_join,
    lane_leave,
    lane_subscription,
    lane_trim,
    member_owes,
    subscription_t,
)
from .log cimport log_append, log_bytes_from
from .outbox cimport outbox_append, outbox_give, outbox_take
from .payload cimport payload_close, payload_open
from .visit cimport (
    advance,
    blocked,
    caught_up,
    mark_dirty,
    nothing_of_its_own,
    owes_elsewhere,
    plan_visit,
    unlist,
    unlist_linked,
    urgent_append,
    visit,
    writer_free,
    writer_init,
    writer_reserve,
    writer_reserve_sources,
)

import os
import time

from ..config import ChannelRule, Limits
from ..errors import StateError


cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident() noexcept nogil


cdef enum:
    NO_SLOT = 0xFFFFFFFF
    # One slice of flushing, in nanoseconds: others are not kept waiting longer.
    SLICE = 5000000
    # Unflushed bytes of a lane at which publishing flushes at once.
    FLUSH_AT_ONCE = 262144
    # Members and dirty connections from which a slice is worth releasing the GIL.
    WORTH_RELEASING = 16
    # Bytes that a linked connection is given at a time; it then says whether it is
    # full.
    LINKED_BYTES = 65536
    ENTROPY = 4096
    # The sweep's ticks in a second.
    TICKS = 10


# A connection's limit while it is owed whatever is published.
cdef uint64_t NO_LIMIT = 0xFFFFFFFFFFFFFFFF


cdef unsigned long this_thread() noexcept nogil:
    return PyThread_get_thread_ident()


cdef class Owner:
    def __cinit__(self):
        self.watch = -1

    cdef int transmit(self, bytes data) except -1:
        raise NotImplementedError

    cdef int attend(self, uint32_t notes) except -1:
        raise NotImplementedError

    cpdef expired(self):
        """Called once when the deadline has passed."""


cdef class Rule:
    def __cinit__(self, rule):
        self.data.max_lag = rule.max_lag
        self.data.max_lag_age = max(1, round(rule.max_lag_age * TICKS))


cdef class Channel:
    """A named stream of messages. Owns its lanes; lives while it has subscribers."""

    def __cinit__(self, Hub hub, str name, Rule rule, *, bint hidden=False):
        self.hub = hub
        self.name = name
        self.rule = rule
        self.hidden = hidden
        self.lane.rule = &rule.data
        self.lane.channel = <PyObject *>self

    def __dealloc__(self):
        lane_free(&self.lane)

    def __repr__(self) -> str:
        return f"<Channel {self.name!r} subscribers={self.lane.count}>"

    @property
    def subscribers(self) -> int:
        """Connections subscribed now."""
        return self.lane.count


cdef class Hub:
    """One per event loop."""

    def __cinit__(self, limits=None, loop=None, clock=None):
        self.counters = Counters()
        self.free_slot = NO_SLOT
        self.slice_nanoseconds = SLICE
        if not writer_init(&self.writer, &self.counters.data):
            raise MemoryError
        self._channels = {}
        self._rules = {}
        self.watched = []

    def __init__(self, limits=None, loop=None, clock=None):
        self.limits = Limits() if limits is None else limits
        self.loop = loop
        self.clock = time.monotonic if clock is None else clock
        self.thread = this_thread()
        self.id_prefix = os.urandom(4).hex()
        self.rule_for = _default_rule

    def __dealloc__(self):
        free(self.slots)
        writer_free(&self.writer)

    # -- threads -----------------------------------------------------------------------

    cdef int wrong_thread(self, str what) except -1:
        """Raise unless this is the loop's thread."""
        if PyThread_get_thread_ident() != self.thread:
            raise StateError(
                f"{what} was called from another thread than its event loop's; use "
                "loop.call_soon_threadsafe(), or publish(), which may come from any "
                "thread"
            )
        return 0

    # -- life of a connection ----------------------------------------------------------

    cdef int enter(self, Owner owner) except -1:
        """Give the owner a ``conn_t``, and hold the owner until it leaves."""
        cdef conn_t *conn
        cdef uint32_t slot
        cdef uint32_t count = <uint32_t>self.counters.data.connections
        if not writer_reserve(&self.writer, count + 1):
            raise MemoryError
        slot = self._take_slot()
        conn = <conn_t *>calloc(1, sizeof(conn_t))
        if conn == NULL:
            self._give_slot(slot)
            raise MemoryError
        native().connections += 1
        self.serial += 1
        conn.fd = -1
        conn.slot = slot
        conn.serial = self.serial
        conn.owner = <PyObject *>owner
        conn.limit = NO_LIMIT
        Py_INCREF(owner)
        owner.conn = conn
        self.slots[slot] = conn
        self.counters.data.connections += 1
        self.counters.data.opened += 1
        if self._everyone is not None:
            self._join(conn, self._everyone)
        return 0

    cdef int leave(self, Owner owner) except -1:
        """Take the ``conn_t`` back with everything it holds."""
        cdef conn_t *conn = owner.conn
        if conn == NULL:
            return 0
        self.depart_all(conn)
        unlist(&self.writer, conn)
        self._give_slot(conn.slot)
        if conn.outbox != NULL:
            outbox_give(&self.writer.pool, conn.outbox)
        free(conn.urgent)
        free(conn.partial)
        free(conn)
        native().connections -= 1
        owner.conn = NULL
        self.counters.data.connections -= 1
        self.counters.data.closed += 1
        Py_DECREF(owner)
        return 0

    cdef uint32_t _take_slot(self) except? 0xFFFFFFFF:
        cdef uint32_t slot = self.free_slot
        cdef uint32_t room
        cdef conn_t **slots
        if slot != NO_SLOT:
            self.free_slot = <uint32_t>(<size_t>self.slots[slot] >> 1)
            return slot
        if self.slot_count == self.slot_room:
            room = self.slot_room * 2 if self.slot_room else 64
            slots = <conn_t **>realloc(self.slots, room * sizeof(conn_t *))
            if slots == NULL:
                raise MemoryError
            self.slots = slots
            self.slot_room = room
        self.slot_count += 1
        return self.slot_count - 1

    cdef void _give_slot(self, uint32_t slot) noexcept:
        # An odd number can't be a connection's address: a free place links to the next.
        self.slots[slot] = <conn_t *>(<size_t>self.free_slot << 1 | 1)
        self.free_slot = slot

    cdef conn_t *at(self, uint32_t slot) noexcept nogil:
        cdef conn_t *conn = self.slots[slot]
        return NULL if <size_t>conn & 1 else conn

    @property
    def connections(self) -> list:
        """Every open connection."""
        cdef uint32_t slot
        cdef conn_t *conn
        cdef list found = []
        for slot in range(self.slot_count):
            conn = self.at(slot)
            if conn != NULL:
                found.append(<object>conn.owner)
        return found

    @property
    def connection_count(self) -> int:
        """How many connections are open."""
        return self.counters.data.connections

    def connection(self, str id not None):
        """The open connection with this id, or None."""
        return self.owner_of(id)

    cdef Owner owner_of(self, str id):
        cdef uint64_t slot
        cdef conn_t *conn
        if not id.startswith(self.id_prefix):
            return None
        try:
            slot = int(id[len(self.id_prefix):].partition("-")[0], 16)
        except (ValueError, OverflowError):
            return None
        if slot >= self.slot_count:
            return None
        conn = self.at(<uint32_t>slot)
        # int() reads more spellings of a number than the one that was given out.
        if conn == NULL or id != self.id_of(<uint32_t>slot, conn.serial):
            return None
        return <Owner>conn.owner

    cdef str id_of(self, uint32_t slot, uint64_t serial):
        return f"{self.id_prefix}{slot:x}-{serial:x}"

    # -- deadlines ---------------------------------------------------------------------

    cdef int watch_until(self, Owner owner, double deadline) except -1:
        """Call ``owner.expired()`` when the clock has passed ``deadline``."""
        owner.deadline = deadline
        if owner.watch < 0:
            owner.watch = len(self.watched)
            self.watched.append(owner)
        return 0

    cdef int unwatch(self, Owner owner) except -1:
        cdef Owner last
        if owner.watch >= 0:
            last = self.watched.pop()
            if last is not owner:
                self.watched[owner.watch] = last
                last.watch = owner.watch
            owner.watch = -1
        owner.deadline = 0
        return 0

    # -- channels ----------------------------------------------------------------------

    @property
    def channels(self) -> dict:
        """The channels that have subscribers, by name (a copy)."""
        return dict(self._channels)

    cdef Channel _channel(self, str name):
        cdef Channel channel = self._channels.get(name)
        if channel is None:
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

    cdef int _join(self, conn_t *conn, Channel channel) except -1:
        if not (
            writer_reserve_sources(&self.writer, conn.subscription_count + 1)
            and lane_join(&channel.lane, conn)
        ):
            raise MemoryError
        return 0

    cdef Channel join(self, conn_t *conn, str name):
        """Subscribe; None when the connection was subscribed already."""
        cdef Channel channel = self._channel(name)
        if lane_subscription(&channel.lane, conn) != NULL:
            return None
        self._join(conn, channel)
        return channel

    cdef Channel depart(self, conn_t *conn, str name):
        """Unsubscribe; None when the connection was not subscribed."""
        cdef Channel channel = self._channels.get(name)
        cdef subscription_t *subscription
        if channel is None:
            return None
        subscription = lane_subscription(&channel.lane, conn)
        if subscription == NULL:
            return None
        if member_owes(&channel.lane, &channel.lane.members[subscription.index]):
            # What was published before goes out, unless the peer is too slow for it.
            self.visit_now(conn)
            self.counters.data.frames_lost += (
                channel.lane.log.next - channel.lane.members[subscription.index].next
            )
        lane_leave(&channel.lane, subscription.index)
        self._retire(channel)
        return channel

    cdef int depart_all(self, conn_t *conn) except -1:
        cdef subscription_t *subscription
        cdef Channel channel
        while conn.subscription_count:
            subscription = &conn.subscriptions[conn.subscription_count - 1]
            channel = <Channel>subscription.lane.channel
            lane_leave(&channel.lane, subscription.index)
            self._retire(channel)
        return 0

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

    cdef int _retire(self, Channel channel) except -1:
        """A channel without subscribers and without anything to keep costs nothing."""
        if channel.lane.count == 0:
            unmark_lane(&self.writer, &channel.lane)
            channel.lane.flushed = channel.lane.log.next
            lane_trim(&channel.lane)
            if not channel.hidden:
                self._channels.pop(channel.name, None)
        return 0

    # -- publishing --------------------------------------------------------------------

    def publish(self, str channel not None, message, *, Owner exclude=None) -> None:
        """Send a message to every subscriber of a channel. From any thread."""
        if PyThread_get_thread_ident() != self.thread:
            self.loop.call_soon_threadsafe(
                self._publish_later, channel, _frozen(message), exclude
            )
            return
        self.publish_local(channel, message, NULL if exclude is None else exclude.conn)

    def _publish_later(self, str channel, message, Owner exclude) -> None:
        self.publish_local(channel, message, NULL if exclude is None else exclude.conn)

    def broadcast(self, message, *, Owner exclude=None) -> None:
        """Send a message to every connection. From any thread."""
        cdef payload_t payload
        if PyThread_get_thread_ident() != self.thread:
            self.loop.call_soon_threadsafe(
                self._broadcast_later, _frozen(message), exclude
            )
            return
        if self._everyone is None:
            self._gather()
        _owner = payload_open(&payload, message)
        try:
            self.append(
                self._everyone, &payload, NULL if exclude is None else exclude.conn
            )
        finally:
            payload_close(&payload)

    cdef int _gather(self) except -1:
        """Everyone's channel: connections pay for it only in programs that
        broadcast."""
        cdef uint32_t slot
        cdef conn_t *conn
        self._everyone = Channel(self, "", Rule(ChannelRule()), hidden=True)
        for slot in range(self.slot_count):
            conn = self.at(slot)
            # Nothing may follow the Close frame of one that is closing.
            if conn != NULL and conn.limit == NO_LIMIT:
                self._join(conn, self._everyone)
        return 0

    def _broadcast_later(self, message, Owner exclude) -> None:
        self.broadcast(message, exclude=exclude)

    cdef int publish_local(self, str name, object message, conn_t *excluded) except -1:
        cdef payload_t payload
        cdef Channel channel = self._channels.get(name)
        # Encoded even for nobody: a message that can't be sent fails for its author
        # now, not on the day that somebody listens.
        _owner = payload_open(&payload, message)
        try:
            if channel is None:
                self.counters.data.publications += 1
            else:
                self.append(channel, &payload, excluded)
        finally:
            payload_close(&payload)
        return 0

    cdef int append(
        self, Channel channel, payload_t *payload, conn_t *excluded
    ) except -1:
        """One frame for the channel's log: no work per subscriber."""
        cdef lane_t *lane = &channel.lane
        cdef uint8_t *frame
        cdef size_t header
        self.counters.data.publications += 1
        channel.number += 1
        if lane.count == 0:
            return 0
        header = fastws_frame_header_size(payload.length, False)
        if payload.length > 0x7FFFFF00:
            raise ValueError("a message of 2 GiB or more can't be published")
        frame = log_append(
            &lane.log,
            header + payload.length,
            self.writer.sequence + 1,
            channel.number,
            0 if excluded == NULL else excluded.serial,
            0,
            self.writer.tick,
        )
        if frame == NULL:
            raise MemoryError
        self.writer.sequence += 1
        if excluded != NULL:
            excluded.excluded = self.writer.sequence
        fastws_frame_encode(
            frame, FASTWS_BIT_FIN | payload.opcode, payload.length, NULL
        )
        if payload.length:
            memcpy(frame + header, payload.data, payload.length)
        mark_lane(&self.writer, lane)
        if not self.awake:
            self.wake()
        if (
            lane.log.count > 1
            and log_bytes_from(&lane.log, lane.flushed) > FLUSH_AT_ONCE
        ):
            # Memory is bounded by writing early. Only C runs here: notes and linked
            # connections wait for the end of the tick.
            with nogil:
                flush_slice(&self.writer, self.slice_nanoseconds)
        return 0

    # -- a connection's own frames -----------------------------------------------------

    cdef int enqueue(
        self, conn_t *conn, payload_t *payload, uint8_t opcode, bint masked
    ) except -1:
        """A frame behind everything that the connection was handed so far."""
        cdef size_t header = fastws_frame_header_size(payload.length, masked)
        cdef uint8_t *frame
        cdef const uint8_t *key = NULL
        if masked:
            key = self._key()
        if conn.outbox == NULL:
            conn.outbox = outbox_take(&self.writer.pool)
            if conn.outbox == NULL:
                raise MemoryError
        frame = outbox_append(
            conn.outbox, header + payload.length, self.writer.sequence
        )
        if frame == NULL:
            raise MemoryError
        fastws_frame_encode(frame, FASTWS_BIT_FIN | opcode, payload.length, key)
        if payload.length == 0:
            return 0
        if masked:
            fastws_mask_copy(frame + header, payload.data, payload.length, key, 0)
        else:
            memcpy(frame + header, payload.data, payload.length)
        return 0

    cdef bint enqueue_urgent(
        self, conn_t *conn, payload_t *payload, bint masked
    ) noexcept:
        """A control frame for the next frame boundary; False: no room."""
        cdef uint8_t frame[FASTWS_FRAME_HEADER_MAX + FASTWS_CONTROL_MAX]
        cdef size_t header
        cdef const uint8_t *key = NULL
        if payload.length > FASTWS_CONTROL_MAX:
            return False
        if masked:
            key = self._key()
        header = fastws_frame_encode(
            frame, FASTWS_BIT_FIN | payload.opcode, payload.length, key
        )
        if payload.length:
            memcpy(frame + header, payload.data, payload.length)
        if masked:
            fastws_mask_copy(frame + header, frame + header, payload.length, key, 0)
        return urgent_append(conn, frame, <uint32_t>(header + payload.length))

    cdef const uint8_t *_key(self) noexcept:
        """Four bytes of entropy (RFC 6455 section 5.3)."""
        if self._entropy is None or self._entropy_used + 4 > ENTROPY:
            self._entropy = os.urandom(ENTROPY)
            self._entropy_used = 0
        self._entropy_used += 4
        return (
            <const uint8_t *>PyBytes_AS_STRING(self._entropy) + self._entropy_used - 4
        )

    # -- flushing ----------------------------------------------------------------------

    cdef int wake(self) except -1:
        """Have ``flush`` called at the end of this tick."""
        if not self.awake:
            self.awake = True
            if self.batching:
                self.flush_due = True
            elif self.loop is not None:
                self.loop.call_soon(self.flush)
        return 0

    cdef int begin_batch(self) except -1:
        """Many events are about to be handled: what they send leaves at their end."""
        self.batching = True
        return 0

    cdef int end_batch(self) except -1:
        self.batching = False
        if self.flush_due:
            # Without a turn of the loop in between.
            self.flush_due = False
            self.flush()
        return 0

    cdef int settle(self, conn_t *conn) except -1:
        """Write what the connection owns now, unless a publication is to go with it at
        the end of the tick."""
        if nothing_of_its_own(conn):
            return 0
        if self.writer.marked and owes_elsewhere(conn, NULL):
            mark_dirty(&self.writer, conn)
            return self.wake()
        return self.visit_now(conn)

    cdef int visit_now(self, conn_t *conn) except -1:
        if conn.flags & CONN_LINKED:
            self._visit_linked(conn)
        else:
            visit(&self.writer, conn)
        if self.writer.noted.count:
            self.wake()
        return 0

    def flush(self) -> None:
        """The end of a tick: write for one slice, then tell what was found."""
        cdef bint done
        self.awake = False
        self.counters.data.flushes += 1
        if self._amount() >= WORTH_RELEASING:
            with nogil:
                done = flush_slice(&self.writer, self.slice_nanoseconds)
        else:
            done = flush_slice(&self.writer, self.slice_nanoseconds)
        if not done:
            self.counters.data.slices += 1
            self.wake()
        self._visit_all_linked()
        self._tell()

    cdef uint64_t _amount(self) noexcept nogil:
        cdef uint64_t amount = self.writer.dirty.count
        cdef lane_t *lane = self.writer.first_marked
        while lane != NULL and amount < WORTH_RELEASING:
            amount += lane.count
            lane = lane.next
        return amount

    cdef int _visit_all_linked(self) except -1:
        """For one slice of time; who is left stays listed for the next one."""
        cdef uint64_t deadline = clock_nanoseconds() + self.slice_nanoseconds
        while self.writer.linked.count:
            self.writer.linked.count -= 1
            self._visit_linked(self.writer.linked.items[self.writer.linked.count])
            if self.writer.linked.count and clock_nanoseconds() >= deadline:
                self.counters.data.slices += 1
                return self.wake()
        return 0

    cdef int _visit_linked(self, conn_t *conn) except -1:
        """The visit of a connection whose bytes go through its link."""
        cdef uint32_t count
        cdef bytes data
        cdef object owner = <object>conn.owner
        if conn.flags & CONN_LISTED:
            unlist_linked(&self.writer, conn)
        while not conn.flags & CONN_BLOCKED:
            count = plan_visit(&self.writer, conn, LINKED_BYTES)
            if count == 0:
                caught_up(&self.writer, conn)
                return 0
            data = self._join_parts(count)
            advance(&self.writer, conn, count)
            self.counters.data.bytes_sent += <uint64_t>len(data)
            (<Owner>owner).transmit(data)
        blocked(&self.writer, conn)
        return 0

    cdef bytes _join_parts(self, uint32_t count):
        cdef size_t length = 0
        cdef uint32_t position
        cdef bytes data
        cdef char *target
        for position in range(count):
            length += self.writer.vectors[position].iov_len
        data = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>length)
        target = PyBytes_AS_STRING(data)
        for position in range(count):
            memcpy(
                target,
                self.writer.vectors[position].iov_base,
                self.writer.vectors[position].iov_len,
            )
            target += self.writer.vectors[position].iov_len
        return data

    cdef int _tell(self) except -1:
        """What flushing found, told now that it is over."""
        cdef conn_t *conn
        cdef uint32_t notes
        cdef Owner owner
        cdef uint32_t told = self.writer.noted.count
        # What is found while telling waits for the next turn: a program that sends
        # whenever it is told to go on would never let go of this one.
        while told and self.writer.noted.count:
            told -= 1
            self.writer.noted.count -= 1
            conn = self.writer.noted.items[self.writer.noted.count]
            notes = conn.notes
            conn.notes = 0
            owner = <Owner>conn.owner
            owner.attend(notes)
        if self.writer.noted.count:
            self.wake()
        return 0


def _default_rule(name: str):
    return ChannelRule()


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
