"""Connection: one WebSocket, from the answered handshake to its end.

Reading and writing are its bases; here are its endpoint and tasks, its channels, its
time-outs, and the end, after which it is inert.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int32_t, uint8_t
from libc.stdlib cimport free

from .binding cimport Binding
from .channel cimport Channel
from .counters cimport counters_t
from .csrc cimport (
    FASTWS_CLOSE_ABNORMAL,
    FASTWS_CLOSE_INTERNAL_ERROR,
    FASTWS_CLOSE_NORMAL,
    FASTWS_CLOSE_POLICY_VIOLATION,
)
from .deflate cimport Agreement
from .detour cimport member_lag
from .hub cimport Hub
from .inbox cimport inbox_free, inbox_none
from .lane cimport (
    CONN_BATCH,
    CONN_BLOCKED,
    CONN_LINKED,
    MEMBER_DETOUR,
    SLOW_CLOSE,
    conn_t,
    gap_t,
    gap_take,
    lane_t,
    member_owes,
    member_t,
    subscription_t,
    times_t,
)
from .log cimport log_tick
from .parser cimport CLOSE, parser_free, parser_init
from .visit cimport blocked, relieve
from .writing cimport CLOSED, CLOSING, FAILED, OPEN

import inspect
import logging
import random
import string
from types import GenericAlias, SimpleNamespace

from ..errors import ConnectionClosed, StateError
from ..types import Position
from .request import read_request


logger = logging.getLogger("fastws")


cdef class Connection(Reading):
    # Connection[State], for annotations.
    __class_getitem__ = classmethod(GenericAlias)

    def __init__(self):
        raise TypeError("connections are made by the server; see App.websocket")

    def __dealloc__(self):
        # Everything else was given back when the link was lost.
        parser_free(&self.parser)
        inbox_free(self.inbox)
        self.inbox = inbox_none()

    def __repr__(self) -> str:
        names = ("open", "closing", "closing", "closing", "closed")
        return f"<Connection {self.id} {self.path} {names[<int>self.phase]}>"

    # -- opening -----------------------------------------------------------------------

    @staticmethod
    def open(
        Hub hub not None,
        Link link not None,
        Binding binding not None,
        request,
        dict params not None,
        subprotocol,
        bytes early=b"",
        Agreement agreement=None,
    ) -> Connection:
        """Take over a link whose upgrade has been answered; run the endpoint."""
        return open_connection(
            hub,
            link,
            binding,
            request,
            request.path,
            params,
            subprotocol,
            early,
            agreement,
        )

    @staticmethod
    def open_client(
        Hub hub not None,
        Link link not None,
        limits,
        subprotocol=None,
        bytes early=b"",
        Agreement agreement=None,
    ) -> Connection:
        """The other end: masks what it sends, and is read by ``receive``."""
        cdef Connection self = Connection.__new__(Connection)
        self.hub = hub
        self.binding = Binding(limits=limits)
        self.client = True
        self.path = ""
        self.subprotocol = subprotocol
        self.agreement = agreement
        self.begin(link, early)
        return self

    cdef int begin(self, Link link, bytes early) except -1:
        cdef conn_t *conn
        cdef uint32_t interval = self.binding.data.times.ping_interval
        self.link = link
        self.hub.enter(self)
        conn = self.conn
        self.serial = conn.serial
        self.slot = conn.slot
        conn.times = &self.binding.data.times
        conn.low_water = <uint32_t>min(self.binding.data.low_water, 0xFFFFFFFF)
        conn.fd = link.descriptor()
        if conn.fd < 0:
            conn.flags |= CONN_LINKED
        if link.write_paused:
            blocked(&self.hub.writer, conn)
        # The first one comes up to a fifth earlier, or connections that came together
        # would be pinged together for ever.
        conn.next_ping = self.hub.writer.tick + <uint32_t>(
            interval - random.random() * 0.2 * interval
        )
        parser_init(
            &self.parser,
            &self.binding.data.parser,
            self.client,
            NULL if self.agreement is None else &self.agreement.inflation,
        )
        link.set_consumer(self)
        conn.flags |= CONN_BATCH
        try:
            self._start_endpoint()
        finally:
            if self.conn != NULL:
                conn.flags &= ~<uint32_t>CONN_BATCH
        if self.task is None:
            self._forget_request()
        if early:
            self.read(<const uint8_t *>PyBytes_AS_STRING(early), <size_t>len(early))
        elif self.conn != NULL:
            self.hub.settle(conn)
        return 0

    cdef int suspending(self) except -1:
        return self._forget_request()

    cdef int _forget_request(self) except -1:
        """Idle connections stay small: headers stay only where somebody wants them."""
        if not (self.binding.keep_headers or self.request_wanted):
            self.request = None
        return 0

    cdef int _start_endpoint(self) except -1:
        cdef Binding binding = self.binding
        try:
            if not self.client and self.hub.on_connect is not None:
                self.hub.on_connect(self)
            if binding.coroutine is not None:
                self._run(binding.coroutine(self))
            elif binding.is_async:
                self._run(_run_callbacks(self, binding))
            elif binding.on_open is not None:
                binding.on_open(self)
        except Exception as error:
            self.handler_failed(error)
        return 0

    def _run(self, coroutine) -> None:
        self.task = self.hub.loop.create_task(coroutine)
        self.task.add_done_callback(self._handler_done)

    def _handler_done(self, task) -> None:
        """The coroutine endpoint has returned, raised or been cancelled."""
        self.task = None
        if task.cancelled():
            if self.phase == OPEN:
                self.fail(FASTWS_CLOSE_INTERNAL_ERROR, "")
            return
        error = task.exception()
        if error is not None:
            self.handler_failed(error)
        elif self.phase == OPEN:
            self.close(FASTWS_CLOSE_NORMAL, "")

    cdef int handler_failed(self, object error) except -1:
        """Logged once; the peer learns that it was an error, and nothing else."""
        if isinstance(error, ConnectionClosed) and self.phase != OPEN:
            return 0
        self.hub.counters.data.handler_errors += 1
        logger.error(
            "handler of %s failed", _printable(self.path), exc_info=error
        )
        if self.phase == OPEN:
            self.record(FASTWS_CLOSE_INTERNAL_ERROR, "")
            if not self.queue_close(FASTWS_CLOSE_INTERNAL_ERROR, ""):
                return 0
            self.phase = CLOSING
            self.hub.watch_until(
                self, self.hub.clock() + self.binding.data.close_timeout
            )
            self.read_on()
        return 0

    # -- who ---------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """Opaque, unique for the life of the server."""
        return self.hub.id_of(self.slot, self.serial)

    @property
    def app(self):
        """The application that this connection belongs to."""
        return self.binding.app

    @property
    def state(self):
        """The user's own; a namespace until something else is assigned."""
        if self._state is None:
            self._state = SimpleNamespace()
        return self._state

    @state.setter
    def state(self, value) -> None:
        self._state = value

    @property
    def params(self) -> dict:
        """Parameters of the path."""
        if self._params is None:
            self._params = {}
        return self._params

    @property
    def headers(self):
        """Headers of the opening request."""
        return self._opening("headers").headers

    @property
    def query(self):
        """Query parameters of the opening request."""
        return self._opening("query").query

    def _opening(self, str what):
        request = self.request
        if request is None:
            raise StateError(
                f"{what} can be read until on_open has returned (a coroutine: until it "
                "first waits for a message); give the route keep_headers=True to keep "
                "the request"
            )
        self.request_wanted = True
        if isinstance(request, bytes):
            request = read_request(
                request, self.link.remote_address, self.link.secure
            )
            self.request = request
        return request

    @property
    def remote_address(self):
        """Address of the peer, as its socket family writes it."""
        return self.link.remote_address

    @property
    def is_open(self) -> bool:
        """True until either side has begun to close."""
        return self.phase == OPEN

    @property
    def latency(self):
        """Seconds between our last ping and its pong; None before the first."""
        return self.latency_seconds if self.latency_seconds > 0 else None

    # -- time-outs ---------------------------------------------------------------------

    cdef int drained(self) except -1:
        if self.binding.on_drain is not None and self.phase == OPEN:
            try:
                result = self.binding.on_drain(self)
                if inspect.isawaitable(result):
                    self.spawn(result)
            except Exception as error:
                self.handler_failed(error)
        return 0

    cdef int due(self) except -1:
        """Some time is over: the sweep has looked roughly, here it is looked at
        closely."""
        cdef conn_t *conn = self.conn
        cdef uint32_t tick = self.hub.writer.tick
        cdef const times_t *times = conn.times
        cdef counters_t *counters = &self.hub.counters.data
        if self.phase != OPEN:
            return 0
        if self.reading_paused:
            # What it has sent waits unread: nothing can be held against the peer.
            conn.pinged = tick if conn.pinged else 0
            conn.message_start = tick if conn.message_start else 0
        if (
            times.pong_timeout
            and conn.pinged
            and tick - conn.pinged >= times.pong_timeout
        ):
            counters.pong_timeouts += 1
            self._give_up("ping timeout")
        elif (
            times.message_timeout
            and conn.message_start
            and tick - conn.message_start >= times.message_timeout
        ):
            counters.message_timeouts += 1
            self.fail(FASTWS_CLOSE_POLICY_VIOLATION, "message took too long")
        elif conn.flags & CONN_BLOCKED:
            self._check_stall(tick)
        elif times.ping_interval and <int32_t>(tick - conn.next_ping) >= 0:
            self.heartbeat(tick)
        return 0

    cdef int _check_stall(self, uint32_t tick) except -1:
        """A peer that has stopped taking bytes, or takes them too slowly."""
        cdef conn_t *conn = self.conn
        cdef size_t pending = self.link.pending()
        cdef uint32_t most = self._max_stall()
        if <uint32_t>pending != conn.stall_pending:
            conn.stall_pending = <uint32_t>pending
            conn.stall_start = tick
        if most and tick - conn.stall_start >= most:
            self.hub.counters.data.evicted_stall += 1
            return self._give_up("slow consumer")
        return self._check_lag_age(tick)

    cdef uint32_t _max_stall(self) except? 0xFFFFFFFF:
        """The shortest of its channels' rules; without channels the route's limit. In
        ticks; 0: none."""
        cdef uint32_t route = self.conn.times.max_stall
        cdef uint32_t shortest = 0
        cdef uint32_t one, slot
        cdef Channel channel
        cdef bint any_channel = False
        for slot in range(self.conn.subscription_count):
            channel = <Channel>self.conn.subscriptions[slot].lane.channel
            if not channel.hidden:
                any_channel = True
                one = channel.rule.data.max_stall or route
                if one and (shortest == 0 or one < shortest):
                    shortest = one
        return shortest if any_channel else route

    cdef int _check_lag_age(self, uint32_t tick) except -1:
        """What a cursor owes has waited too long: its channel's policy acts."""
        cdef conn_t *conn = self.conn
        cdef uint32_t slot
        cdef lane_t *lane
        cdef member_t *member
        for slot in range(conn.subscription_count):
            lane = conn.subscriptions[slot].lane
            member = &lane.members[conn.subscriptions[slot].index]
            if (
                member.standing == MEMBER_DETOUR
                or not member_owes(lane, member)
                or tick - log_tick(&lane.log, member.next) < lane.rule.max_lag_age
            ):
                continue
            if lane.rule.slow == SLOW_CLOSE:
                self.hub.counters.data.evicted_lag_age += 1
                return self.evict("slow consumer")
            relieve(&self.hub.writer, lane, member)
        return 0

    cdef int skipped(self) except -1:
        """It takes bytes again: the endpoint is told what it has missed, once for each
        channel."""
        cdef gap_t *gap
        cdef list missed = []
        while True:
            gap = gap_take(self.conn)
            if gap == NULL:
                break
            channel = <Channel>gap.lane.channel
            if not (<Channel>channel).hidden:
                missed.append((channel.name, gap.missed))
            free(gap)
        for name, count in missed:
            self._tell_skip(name, count)
        return 0

    def _tell_skip(self, str channel, count) -> None:
        for callback in (self.binding.on_skip, self.hub.on_skip):
            if callback is not None and self.phase == OPEN:
                try:
                    result = callback(self, channel, count)
                    if inspect.isawaitable(result):
                        self.spawn(result)
                except Exception as error:
                    self.handler_failed(error)

    cdef int _give_up(self, str reason) except -1:
        """The peer is not there, or does not take a Close frame either."""
        self.record(FASTWS_CLOSE_ABNORMAL, reason)
        self.drop_output()
        self.phase = FAILED
        self.link.abort()
        return 0

    # -- channels ----------------------------------------------------------------------

    def subscribe(self, str channel not None, *, since=None):
        """Receive what is published to a channel from now on, and with ``since`` what
        was published behind that position."""
        cdef Channel found
        cdef bint recovered = False
        cdef uint32_t most = self.binding.data.max_channels
        self.check("subscribe()")
        if self.phase != OPEN:
            raise ConnectionClosed(self.close_code, self.close_reason)
        _check_name(channel, self.binding.data.max_channel_name)
        if most and self.conn.subscription_count >= most:
            names = self.channels
            if len(names) >= most and channel not in names:
                raise StateError(
                    f"a connection may have {most} channels (Limits.max_channels)"
                )
        if since is not None and not isinstance(since, Position):
            raise TypeError(f"since must be a Position, not {type(since).__name__}")
        found = self.hub.join(self.conn, channel)
        if found is None:
            if since is not None:
                raise StateError(
                    f"already subscribed to {channel!r}: what was missed can't be sent "
                    "between what has been; unsubscribe first"
                )
            found = self.hub._channels[channel]
            return Subscription(channel, found.place())
        if since is not None:
            recovered = self.hub.recover(self.conn, found, since)
        subscription = Subscription(channel, found.place(), recovered)
        if self.hub.on_subscribe is not None:
            self.hub.on_subscribe(self, channel)
        return subscription

    def unsubscribe(self, str channel not None) -> bool:
        """Stop receiving a channel; False when it was not subscribed."""
        self.check("unsubscribe()")
        if self.conn == NULL or self.hub.depart(self.conn, channel) is None:
            return False
        if self.hub.on_unsubscribe is not None:
            self.hub.on_unsubscribe(self, channel)
        return True

    @property
    def channels(self) -> list:
        """Names of the channels that this connection is subscribed to."""
        return [] if self.conn == NULL else self.hub.channel_names(self.conn)

    def lag(self, str channel not None) -> int:
        """Bytes of a channel that are owed to this connection."""
        cdef Channel found
        cdef subscription_t *subscription
        self.check("lag()")
        found = self.hub._channels.get(channel)
        if found is None or self.conn == NULL:
            return 0
        subscription = found.subscription(self.conn)
        if subscription == NULL:
            return 0
        return member_lag(
            subscription.lane, &subscription.lane.members[subscription.index]
        )

    def publish(
        self,
        str channel not None,
        message,
        *,
        str key=None,
        bint include_self=False,
        compress=None,
    ) -> None:
        """Send a message to every subscriber of a channel, but not to this
        connection."""
        self.check("publish()")
        self.hub.publish_local(
            channel, message, NULL if include_self else self.conn, key, compress
        )

    # -- tasks -------------------------------------------------------------------------

    def spawn(self, coroutine):
        """Run a coroutine beside the handler; it is cancelled when the connection
        ends."""
        self.check("spawn()")
        task = self.hub.loop.create_task(coroutine)
        self.keep_aside().spawned.add(task)
        task.add_done_callback(self._spawned_done)
        if self.phase == CLOSED:
            task.cancel()
        return task

    def _spawned_done(self, task) -> None:
        self.aside.spawned.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.handler_failed(task.exception())

    # -- the end -----------------------------------------------------------------------

    cdef int lost(self, object error) except -1:
        return self._finish()

    cdef int _finish(self) except -1:
        """The link is gone: nothing native is left after this, and nothing is
        called."""
        if self.phase == CLOSED:
            return 0
        if self.deferred == CLOSE:
            self.record(self.parser.close_code, self.aside.deferred_reason)
        self.record(FASTWS_CLOSE_ABNORMAL, "")
        self.phase = CLOSED
        self.stop_reading()
        self.receiver = None
        self.hub.unwatch(self)
        self.leave_channels()
        self.hub.leave(self)
        self.wake_receiver()
        if self.aside is not None:
            self.release(self.aside.drain_waiters)
            self.release(self.aside.close_waiters)
            self.aside.context = None
            self._end_tasks()
        self.receiver = None
        self._tell_closed()
        return 0

    def _end_tasks(self) -> None:
        for future, _ in list(self.aside.pings.values()):
            if not future.done():
                future.set_exception(
                    ConnectionClosed(self.close_code, self.close_reason)
                )
                # Who doesn't await it doesn't want to know.
                future.exception()
        self.aside.pings.clear()
        for task in list(self.aside.spawned):
            task.cancel()

    def _tell_closed(self) -> None:
        cdef Hub hub = self.hub
        cdef list left = None
        if self.aside is not None:
            left = self.aside.left
            self.aside.left = None
        if left is not None:
            for name in left:
                self._tell(hub.on_unsubscribe, name)
        if not self.binding.is_async:
            self._tell(self.binding.on_close, self.close_code, self.close_reason)
        if not self.client:
            self._tell(hub.on_disconnect, self.close_code, self.close_reason)

    def _tell(self, callback, *arguments) -> None:
        """What one of them raises keeps nothing from the others."""
        if callback is not None:
            try:
                callback(self, *arguments)
            except Exception as error:
                self.handler_failed(error)


cdef Connection open_connection(
    Hub hub,
    Link link,
    Binding binding,
    object request,
    str path,
    dict params,
    object subprotocol,
    bytes early,
    Agreement agreement,
):
    """``Connection.open``; the request may be the bytes of its head."""
    cdef Connection self = Connection.__new__(Connection)
    self.hub = hub
    self.binding = binding
    self.request = request
    self.path = path
    self._params = params or None
    self.subprotocol = subprotocol
    self.agreement = agreement
    self.begin(link, early)
    return self


cdef class Subscription:
    """In force at once; awaiting it waits for nothing and gives itself."""

    cdef readonly str channel
    cdef readonly object position
    cdef readonly bint recovered

    def __init__(
        self, str channel not None, position=None, bint recovered=False
    ):
        self.channel = channel
        self.position = position
        self.recovered = recovered

    def __repr__(self) -> str:
        return f"<Subscription {self.channel!r} recovered={self.recovered}>"

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        raise StopIteration(self)


async def _run_callbacks(Connection ws, Binding binding):
    """An endpoint with async callbacks: one at a time, in order."""
    try:
        await _maybe(binding.on_open, ws)
        async for message in ws:
            await _maybe(binding.on_message, ws, message)
    except Exception as error:
        ws.handler_failed(error)
    await ws.wait_closed()
    await _maybe(binding.on_close, ws, ws.close_code, ws.close_reason)


async def _maybe(callback, *arguments):
    if callback is not None:
        result = callback(*arguments)
        if inspect.isawaitable(result):
            await result


cdef str _printable(str text):
    """For the log: control characters escaped."""
    return text.encode("unicode_escape").decode()


cdef int _check_name(str name, uint32_t most) except -1:
    if 0 < len(name) <= most and name.translate(_NAME) == "":
        return 0
    raise ValueError(
        f"a channel name must have 1 to {most} of the characters "
        f"A-Z a-z 0-9 _ . : @ = , ; -, not {name[:most]!r}"
    )


_NAME = {
    ord(character): None
    for character in string.ascii_letters + string.digits + "_.:@=,;-"
}
