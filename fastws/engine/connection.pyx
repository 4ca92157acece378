"""Connection: one WebSocket, from the answered handshake to its end.

Cut by phase: opening, reading (parse, deliver, hold back), writing, channels, closing.
What the wire says is the parser's business, what is owed to the peer the hub's; here is
what a connection does with both, and with its endpoint.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport int32_t
from libc.stdlib cimport free

from .counters cimport counters_t
from .csrc cimport (
    FASTWS_CLOSE_ABNORMAL,
    FASTWS_CLOSE_INTERNAL_ERROR,
    FASTWS_CLOSE_NO_STATUS,
    FASTWS_CLOSE_NORMAL,
    FASTWS_CLOSE_POLICY_VIOLATION,
    FASTWS_CLOSE_TRY_AGAIN_LATER,
    FASTWS_OP_CLOSE,
    FASTWS_OP_PING,
    FASTWS_OP_PONG,
)
from .flush cimport clock_nanoseconds
from .hub cimport Channel, Hub, this_thread
from .inbox cimport inbox_clear, inbox_pop, inbox_push
from .lane cimport (
    CONN_BATCH,
    CONN_BLOCKED,
    CONN_FINISH,
    CONN_LINKED,
    CONN_PINGED,
    CONN_WATCHED,
    NOTE_BROKEN,
    NOTE_DRAINED,
    NOTE_DUE,
    NOTE_FINISHED,
    NOTE_HANDOVER,
    NOTE_LAGGED,
    conn_t,
    lane_subscription,
    lane_t,
    member_owes,
    subscription_t,
    times_t,
)
from .log cimport log_bytes_from
from .outbox cimport outbox_give, outbox_pending
from .parser cimport (
    CLOSE,
    FAILED as PARSER_FAILED,
    MESSAGE,
    NEED_MORE,
    PING,
    PONG,
    fault_code,
    fault_kind,
    parser_free,
    parser_idle,
    parser_init,
    parser_next,
)
from .payload cimport payload_close, payload_open
from .sent cimport sent_accepted, sent_pending, sent_refused
from .visit cimport blocked, mark_dirty

import asyncio
import inspect
import logging
import random
from types import SimpleNamespace

from msgspec import convert as _convert
from orjson import loads as _loads

from ..codes import CloseCode
from ..errors import ConnectionClosed, StateError


cdef extern from "Python.h":
    ctypedef int (*sendfunc)(PyObject *, PyObject *, PyObject **)
    void Py_DECREF(PyObject *object)
    void Py_INCREF(PyObject *object)


cdef extern from *:
    """
    #define FASTWS_SET_AM_SEND(type, function) \
        (((PyTypeObject *)(type))->tp_as_async->am_send = (sendfunc)(function))
    """
    void FASTWS_SET_AM_SEND(object type, void *function)


cdef enum:
    # A coroutine that is this far behind stops the reading.
    INBOX_MESSAGES = 64
    INBOX_BYTES = 262144
    INBOX_RESUME = 16
    # Callbacks of one connection run this long before others get their turn.
    READ_SLICE = 5000000
    MESSAGES_PER_LOOK = 32
    # `async for` takes what is there this long before it yields to the loop.
    RECEIVE_SLICE = 1000000
    RECEIVES_PER_LOOK = 16
    REASON_BYTES = 123
    PYGEN_RETURN = 0
    PYGEN_NEXT = 1


logger = logging.getLogger("fastws")


cdef class Receiver:
    """Awaitable of the next message; the one of ``async for`` is reused."""

    cdef Connection connection
    cdef bint iterating

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        cdef bint finished = False
        result = self.connection.step(self.iterating, &finished)
        if finished:
            raise StopIteration(result)
        return result


cdef int _receiver_send(
    PyObject *self, PyObject *argument, PyObject **result
) except -1:
    cdef bint finished = False
    cdef Receiver receiver = <Receiver>self
    value = receiver.connection.step(receiver.iterating, &finished)
    result[0] = <PyObject *>value
    Py_INCREF(result[0])
    return PYGEN_RETURN if finished else PYGEN_NEXT


# Without am_send every message would be raised and caught inside a StopIteration.
FASTWS_SET_AM_SEND(Receiver, <void *>_receiver_send)


cdef Receiver _receiver(Connection connection, bint iterating):
    cdef Receiver receiver = Receiver.__new__(Receiver)
    receiver.connection = connection
    receiver.iterating = iterating
    return receiver


cdef class Connection(Consumer):
    def __init__(self):
        raise TypeError("connections are made by the server; see App.websocket")

    def __dealloc__(self):
        # Native state is given back when the link is lost; a connection that never got
        # a link has none.
        parser_free(&self.parser)
        inbox_clear(&self.inbox)

    def __repr__(self) -> str:
        names = ("open", "closing", "closing", "closing", "closed")
        return f"<Connection {self.id} {self.path} {names[<int>self.phase]}>"

    # -- opening -------------------------------------------------------------------------

    @staticmethod
    def open(
        Hub hub not None,
        Link link not None,
        Binding binding not None,
        request,
        dict params not None,
        subprotocol,
        bytes early=b"",
    ) -> Connection:
        """Take over a link whose upgrade has been answered; run the endpoint."""
        cdef Connection self = Connection.__new__(Connection)
        self.hub = hub
        self.binding = binding
        self.request = request
        self.path = request.path
        self.params = params
        self.subprotocol = subprotocol
        self.begin(link, early)
        return self

    @staticmethod
    def open_client(
        Hub hub not None, Link link not None, limits, subprotocol=None, bytes early=b""
    ) -> Connection:
        """The other end: masks what it sends, and is read by ``receive``."""
        cdef Connection self = Connection.__new__(Connection)
        self.hub = hub
        self.binding = Binding(limits=limits)
        self.client = True
        self.path = ""
        self.params = {}
        self.subprotocol = subprotocol
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
        conn.low_water = self.binding.data.low_water
        conn.fd = link.descriptor()
        if conn.fd < 0:
            conn.flags |= CONN_LINKED
        if link.write_paused:
            blocked(&self.hub.writer, conn)
        # Jitter, or connections that came together would be pinged together for ever.
        conn.next_ping = self.hub.writer.tick + (
            1 + <uint32_t>(random.random() * interval) if interval else 0
        )
        parser_init(&self.parser, &self.binding.data.parser, self.client)
        link.set_consumer(self)
        conn.flags |= CONN_BATCH
        try:
            self._start_endpoint()
        finally:
            if self.conn != NULL:
                conn.flags &= ~<uint32_t>CONN_BATCH
        if not self.binding.keep_headers:
            self.request = None
        if early:
            self.read(<const uint8_t *>PyBytes_AS_STRING(early), <size_t>len(early))
        elif self.conn != NULL:
            self.hub.settle(conn)
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
            self._handler_failed(error)
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
            self._handler_failed(error)
        elif self.phase == OPEN:
            self.close(FASTWS_CLOSE_NORMAL, "")

    cdef int _handler_failed(self, object error) except -1:
        """Logged once; the peer learns that it was an error, and nothing else."""
        if isinstance(error, ConnectionClosed) and self.phase != OPEN:
            return 0
        self.hub.counters.data.handler_errors += 1
        logger.error(
            "handler of %s failed", _printable(self.path), exc_info=error
        )
        if self.phase == OPEN:
            self._record(FASTWS_CLOSE_INTERNAL_ERROR, "")
            self._queue_close(FASTWS_CLOSE_INTERNAL_ERROR, "")
            self.phase = CLOSING
            self.hub.watch_until(
                self, self.hub.clock() + self.binding.data.error_close_timeout
            )
        return 0

    # -- who -------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """Opaque, unique for the life of the server."""
        return f"{self.hub.id_prefix}{self.slot:x}-{self.serial:x}"

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
    def headers(self):
        """Headers of the opening request."""
        return self._opening("headers").headers

    @property
    def query(self):
        """Query parameters of the opening request."""
        return self._opening("query").query

    def _opening(self, str what):
        if self.request is None:
            raise StateError(
                f"{what} can be read until on_open has returned; give the route "
                "keep_headers=True to keep the request"
            )
        return self.request

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
        return self._latency if self._latency > 0 else None

    # -- reading: what the link calls ------------------------------------------------------

    cdef int received(self, const uint8_t *data, size_t length) except -1:
        self.hub.counters.data.bytes_received += length
        if self.phase >= ENDING:
            return 0
        # Any byte counts as life.
        self.conn.pinged = 0
        if self.backlog is not None:
            return self._stash(data, length)
        return self.read(data, length)

    cdef int ended(self) except -1:
        """The peer sends no more; without a Close that is the end."""
        if self.phase == OPEN:
            self._record(FASTWS_CLOSE_ABNORMAL, "")
            self._drop_output()
            self.phase = ENDING
            self._wake_receiver()
        self.link.close()
        return 0

    cdef int lost(self, object error) except -1:
        return self._finish()

    cdef int paused(self) except -1:
        if self.conn != NULL:
            blocked(&self.hub.writer, self.conn)
        return 0

    cdef int resumed(self) except -1:
        if self.conn != NULL:
            self.conn.flags &= ~<uint32_t>CONN_BLOCKED
            mark_dirty(&self.hub.writer, self.conn)
            self.hub.wake()
        return 0

    # -- reading: parse and deliver ----------------------------------------------------------

    cdef int read(self, const uint8_t *data, size_t length) except -1:
        cdef const uint8_t *position = data
        cdef const uint8_t *end = data + length
        self.conn.flags |= CONN_BATCH
        self.delivering = True
        try:
            self._read_batch(&position, end)
        finally:
            self.delivering = False
            if self.conn != NULL:
                self.conn.flags &= ~<uint32_t>CONN_BATCH
        if self.phase <= CLOSING and position < end:
            self._stash(position, <size_t>(end - position))
        if self.inbox.count or self.phase != OPEN:
            self._wake_receiver()
        if self.conn != NULL:
            self.hub.settle(self.conn)
        return 0

    cdef int _read_batch(self, const uint8_t **position, const uint8_t *end) except -1:
        """Handle what is complete, until nothing is, the time is over, or a coroutine is
        too far behind."""
        cdef PyObject *payload = NULL
        cdef Event event
        cdef uint32_t handled = 0
        cdef uint64_t start = 0
        cdef bint completed = False
        while self.phase <= CLOSING:
            event = parser_next(&self.parser, position, end, &payload)
            if event == NEED_MORE:
                break
            if event == MESSAGE and self.phase == OPEN:
                completed = True
                self._deliver(payload)
                handled += 1
                if handled % MESSAGES_PER_LOOK == 0:
                    if start == 0:
                        start = clock_nanoseconds()
                    elif clock_nanoseconds() - start >= READ_SLICE:
                        break
                if self._behind():
                    break
            else:
                completed = completed or event == MESSAGE
                self._handle(event, payload)
        if self.conn != NULL:
            self._message_times(completed)
        return 0

    cdef int _deliver(self, PyObject *payload) except -1:
        """One message for the endpoint; takes over the reference."""
        cdef Binding binding = self.binding
        cdef object message
        self.hub.counters.data.messages_received += 1
        if binding.data.message_rate > 0 and self._overflows(
            &self.message_bucket, binding.data.message_rate, binding.data.message_burst
        ):
            Py_DECREF(payload)
            self.hub.counters.data.rate_limited += 1
            return self.fail(FASTWS_CLOSE_POLICY_VIOLATION, "too many messages")
        if self.hub.on_message is not None and not self.client:
            try:
                self.hub.on_message(self, <object>payload)
            except Exception as error:
                self._handler_failed(error)
            if self.phase != OPEN:
                Py_DECREF(payload)
                return 0
        if self.client or binding.is_async or binding.coroutine is not None:
            self.inbox_bytes += <size_t>_size(<object>payload)
            inbox_push(&self.inbox, payload)
            return 0
        message = <object>payload
        Py_DECREF(payload)
        if binding.on_message is None:
            return 0
        try:
            binding.on_message(self, message)
        except Exception as error:
            self._handler_failed(error)
        return 0

    cdef int _handle(self, Event event, PyObject *payload) except -1:
        """Everything that is not a message for the endpoint."""
        cdef Binding binding = self.binding
        cdef object value
        if event == PARSER_FAILED:
            self.hub.counters.data.protocol_errors += 1
            return self.fail(
                fault_code(self.parser.fault),
                fault_kind(self.parser.fault).replace("_", " "),
            )
        value = <object>payload
        Py_DECREF(payload)
        if event == MESSAGE:
            return 0
        if binding.data.control_rate > 0 and self._overflows(
            &self.control_bucket, binding.data.control_rate, binding.data.control_burst
        ):
            self.hub.counters.data.rate_limited += 1
            return self.fail(FASTWS_CLOSE_POLICY_VIOLATION, "too many control frames")
        if event == PING:
            return self._answer_ping(value)
        if event == PONG:
            return self._pong_received(value)
        return self._peer_closed(self.parser.close_code, value)

    cdef bint _overflows(self, bucket_t *bucket, float rate, float burst) noexcept:
        """One more; a bucket that leaks ``rate`` per tick and holds ``burst``."""
        cdef uint32_t tick = self.hub.writer.tick
        bucket.level -= <float>(tick - bucket.tick) * rate
        bucket.tick = tick
        if bucket.level < 0:
            bucket.level = 0
        bucket.level += 1
        return bucket.level > burst

    cdef int _message_times(self, bint completed) except -1:
        """When the unfinished message began, for its time-out."""
        if parser_idle(&self.parser):
            self.conn.message_start = 0
        elif completed or self.conn.message_start == 0:
            self.conn.message_start = self.hub.writer.tick
        return 0

    cdef bint _behind(self) noexcept:
        return self.inbox.count >= INBOX_MESSAGES or self.inbox_bytes >= INBOX_BYTES

    cdef int _stash(self, const uint8_t *data, size_t length) except -1:
        """Keep bytes for later and read no more until they are used up."""
        cdef bytes rest = data[:length]
        if self.backlog is not None:
            rest = self.backlog[self.backlog_used:] + rest
        self.backlog = rest
        self.backlog_used = 0
        if not self.reading_paused:
            self.reading_paused = True
            self.link.pause_reading()
        if not self._behind():
            # The slice was over: the others first.
            self.hub.loop.call_soon(self._read_on)
        return 0

    def _read_on(self) -> None:
        """The next slice of what was read already."""
        if self.backlog is not None and not self.delivering and not self._behind():
            self._unstash()

    cdef int _unstash(self) except -1:
        cdef bytes data = self.backlog
        cdef Py_ssize_t used = self.backlog_used
        self.backlog = None
        if self.phase <= CLOSING:
            self.read(
                <const uint8_t *>PyBytes_AS_STRING(data) + used,
                <size_t>(PyBytes_GET_SIZE(data) - used),
            )
        if self.backlog is None and self.reading_paused and self.phase != CLOSED:
            self.reading_paused = False
            self.link.resume_reading()
        return 0

    # -- reading: what a coroutine sees ------------------------------------------------------

    def __aiter__(self):
        if self.receiver is None:
            self.receiver = _receiver(self, True)
        return self

    def __anext__(self):
        if self.receiver is None:
            self.receiver = _receiver(self, True)
        return self.receiver

    def receive(self, timeout=None):
        """Awaitable of the next message."""
        self._check("receive()")
        if timeout is not None:
            return self._receive_within(timeout)
        return _receiver(self, False)

    async def _receive_within(self, timeout):
        async with asyncio.timeout(timeout):
            return await _receiver(self, False)

    async def receive_json(self, type=None):
        """The next message, decoded from JSON, checked against ``type`` when given."""
        value = _loads(await _receiver(self, False))
        return value if type is None else _convert(value, type)

    cdef object step(self, bint iterating, bint *finished):
        """The next message (finished), or what the task is to wait for (not finished)."""
        cdef PyObject *message
        cdef object result
        if self.inbox.count == 0 and self.backlog is not None:
            self._unstash()
        if self.inbox.count:
            if self.streak % RECEIVES_PER_LOOK == 0:
                if self.streak == 0:
                    self.streak_start = clock_nanoseconds()
                elif clock_nanoseconds() - self.streak_start >= RECEIVE_SLICE:
                    # A bare yield: the task goes to the end of the loop's queue.
                    self.streak = 0
                    self.flush_soon()
                    return None
            self.streak += 1
            message = inbox_pop(&self.inbox)
            result = <object>message
            Py_DECREF(message)
            self.inbox_bytes -= <size_t>_size(result)
            if self.backlog is not None and self.inbox.count <= INBOX_RESUME:
                self.hub.loop.call_soon(self._read_on)
            finished[0] = True
            return result
        if self.phase != OPEN:
            if iterating:
                raise StopAsyncIteration
            raise ConnectionClosed(self.close_code, self.close_reason)
        if self.waiter is not None and not self.waiter.done():
            raise StateError("another coroutine is receiving from this connection")
        self.streak = 0
        self.hub.settle(self.conn)
        self.waiter = self.hub.loop.create_future()
        self.waiter._asyncio_future_blocking = True
        return self.waiter

    cdef int _wake_receiver(self) except -1:
        cdef object waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            if not waiter.done():
                waiter.set_result(None)
        return 0

    # -- control frames ----------------------------------------------------------------------

    cdef int _answer_ping(self, bytes payload) except -1:
        # A peer that does not read gets one pong at most, and that is queued already.
        if self.conn.flags & CONN_BLOCKED and self.conn.urgent_length:
            return 0
        return self._queue_urgent(FASTWS_OP_PONG, payload)

    cdef int _queue_urgent(self, uint8_t opcode, bytes payload) except -1:
        cdef payload_t frame
        frame.data = <const uint8_t *>PyBytes_AS_STRING(payload)
        frame.length = <size_t>PyBytes_GET_SIZE(payload)
        frame.opcode = opcode
        frame.viewed = False
        if not self.hub.enqueue_urgent(self.conn, &frame, self.client):
            self.hub.settle(self.conn)
            if self.conn.urgent_length == 0:
                self.hub.enqueue_urgent(self.conn, &frame, self.client)
        return self.flush_soon()

    cdef int _pong_received(self, bytes payload) except -1:
        cdef object future
        self.hub.counters.data.pongs_received += 1
        if self.ping_payload and payload == _ping_bytes(self.ping_payload):
            self.ping_payload = 0
            self._latency = max(self.hub.clock() - self.ping_time, 1e-6)
        if self.pings:
            future = self.pings.pop(payload, None)
            if future is not None and not future.done():
                future.set_result(None)
        return 0

    cdef int _heartbeat(self, uint32_t tick) except -1:
        self.conn.next_ping = tick + self.binding.data.times.ping_interval
        if self.conn.flags & CONN_BLOCKED or self.phase != OPEN:
            # It could not leave; the stall has its own time-out.
            return 0
        self.ping_payload = random.getrandbits(64) | 1
        self.ping_time = self.hub.clock()
        self.conn.flags |= CONN_PINGED
        self.hub.counters.data.pings_sent += 1
        return self._queue_urgent(FASTWS_OP_PING, _ping_bytes(self.ping_payload))

    def ping(self):
        """Send a ping; await the result to wait for its pong: seconds of the round trip."""
        cdef bytes payload
        self._check("ping()")
        if self.phase != OPEN:
            raise ConnectionClosed(self.close_code, self.close_reason)
        payload = _ping_bytes(random.getrandbits(64) | 1)
        future = self.hub.loop.create_future()
        if self.pings is None:
            self.pings = {}
        self.pings[payload] = future
        self._queue_urgent(FASTWS_OP_PING, payload)
        return _round_trip(self, payload, future)

    # -- writing -------------------------------------------------------------------------------

    cdef int flush_soon(self) except -1:
        """Write at the end of the read batch, or of the tick."""
        if not self.conn.flags & CONN_BATCH:
            mark_dirty(&self.hub.writer, self.conn)
            self.hub.wake()
        return 0

    def send(self, message, *, compress=None) -> Sent:
        """Queue a message; never blocks and never raises because the peer has gone."""
        cdef payload_t payload
        cdef object owner
        self._check("send()")
        if self.phase != OPEN:
            return sent_refused()
        owner = payload_open(&payload, message)
        try:
            return self._send(&payload)
        finally:
            payload_close(&payload)

    cdef Sent _send(self, payload_t *payload):
        cdef conn_t *conn = self.conn
        cdef Binding binding = self.binding
        cdef size_t pending = outbox_pending(conn.outbox)
        if pending >= binding.data.high_water and not conn.flags & CONN_BLOCKED:
            self.hub.settle(conn)
            pending = outbox_pending(conn.outbox)
        if pending > binding.data.write_cap:
            self.hub.counters.data.sends_refused += 1
            self.hub.counters.data.evicted_write_cap += 1
            self.evict("slow consumer")
            return sent_refused()
        self.hub.enqueue(conn, payload, payload.opcode, self.client)
        self.hub.counters.data.messages_sent += 1
        if not conn.flags & CONN_BATCH:
            mark_dirty(&self.hub.writer, conn)
            self.hub.wake()
        if pending + payload.length >= binding.data.high_water:
            return self._pending()
        return sent_accepted()

    cdef Sent _pending(self):
        future = self.hub.loop.create_future()
        if self.drain_waiters is None:
            self.drain_waiters = []
        self.drain_waiters.append(future)
        self.conn.flags |= CONN_WATCHED
        return sent_pending(future)

    def drain(self) -> Sent:
        """Awaitable: wait until the outbox is under its low-water mark."""
        self._check("drain()")
        if self.conn == NULL:
            return sent_refused()
        if outbox_pending(self.conn.outbox) <= self.binding.data.low_water:
            return sent_accepted()
        return self._pending()

    @property
    def buffered(self) -> int:
        """Bytes of this connection's own frames that the kernel has not taken."""
        if self.conn == NULL:
            return 0
        return (
            outbox_pending(self.conn.outbox)
            + self.conn.urgent_length
            + self.conn.partial_length
            + self.link.pending()
        )

    cdef int transmit(self, bytes data) except -1:
        self.link.write(data)
        if self.link.write_paused and self.conn != NULL:
            blocked(&self.hub.writer, self.conn)
        return 0

    cdef int attend(self, uint32_t notes) except -1:
        """What a flush or the sweep found."""
        if notes & NOTE_HANDOVER:
            self._hand_over()
        if notes & NOTE_BROKEN:
            self.link.abort()
        elif notes & NOTE_LAGGED and self.phase == OPEN:
            self.hub.counters.data.evicted_lag += 1
            self.evict("slow consumer")
        if notes & NOTE_DUE and self.conn != NULL:
            self._due()
        if notes & NOTE_DRAINED and self.conn != NULL:
            self._drained()
        if notes & NOTE_FINISHED and self.conn != NULL:
            self._written()
        return 0

    def _hand_over(self) -> None:
        """The kernel has refused bytes: the link holds them now and will say when it has
        got rid of them."""
        cdef conn_t *conn = self.conn
        cdef bytes data
        if conn == NULL or conn.partial == NULL:
            return
        data = PyBytes_FromStringAndSize(<char *>conn.partial, conn.partial_length)
        free(conn.partial)
        conn.partial = NULL
        conn.partial_length = 0
        self.hub.counters.data.bytes_sent += <uint64_t>len(data)
        self.link.write(data)
        if self.conn != NULL and not self.link.write_paused:
            # It could be written after all.
            self.resumed()

    def _drained(self) -> None:
        self.conn.flags &= ~<uint32_t>CONN_WATCHED
        self._release(self.drain_waiters)
        self.drain_waiters = None
        if self.binding.on_drain is not None and self.phase == OPEN:
            try:
                result = self.binding.on_drain(self)
                if inspect.isawaitable(result):
                    self.spawn(result)
            except Exception as error:
                self._handler_failed(error)

    def _release(self, list waiters) -> None:
        if waiters is not None:
            for future in waiters:
                if not future.done():
                    future.set_result(None)

    def _due(self) -> None:
        """Some time is over: the sweep has looked roughly, here it is looked at closely."""
        cdef conn_t *conn = self.conn
        cdef uint32_t tick = self.hub.writer.tick
        cdef const times_t *times = conn.times
        cdef counters_t *counters = &self.hub.counters.data
        if self.phase != OPEN:
            return
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
            self._heartbeat(tick)

    cdef int _check_stall(self, uint32_t tick) except -1:
        """A peer that has stopped taking bytes, or takes them too slowly."""
        cdef conn_t *conn = self.conn
        cdef size_t pending = self.link.pending()
        cdef uint32_t slot
        cdef lane_t *lane
        if pending != conn.stall_pending:
            conn.stall_pending = pending
            conn.stall_start = tick
        if conn.times.max_stall and tick - conn.stall_start >= conn.times.max_stall:
            self.hub.counters.data.evicted_stall += 1
            return self._give_up("slow consumer")
        for slot in range(conn.subscription_count):
            lane = conn.subscriptions[slot].lane
            if (
                member_owes(lane, &lane.members[conn.subscriptions[slot].index])
                and tick - conn.lag_start >= lane.rule.max_lag_age
            ):
                self.hub.counters.data.evicted_lag_age += 1
                return self.evict("slow consumer")
        return 0

    cdef int _give_up(self, str reason) except -1:
        """The peer is not there, or does not take a Close frame either."""
        self._record(FASTWS_CLOSE_ABNORMAL, reason)
        self._drop_output()
        self.phase = FAILED
        self.link.abort()
        return 0

    # -- channels ------------------------------------------------------------------------------

    def subscribe(self, str channel not None) -> Subscription:
        """Receive what is published to a channel from now on."""
        cdef Channel found
        cdef uint32_t most = self.binding.data.max_channels
        self._check("subscribe()")
        if self.phase != OPEN:
            raise ConnectionClosed(self.close_code, self.close_reason)
        _check_name(channel, self.binding.data.max_channel_name)
        if most and self.conn.subscription_count >= most and channel not in self.channels:
            raise StateError(
                f"a connection may have {most} channels (Limits.max_channels)"
            )
        found = self.hub.join(self.conn, channel)
        if found is not None and self.hub.on_subscribe is not None:
            self.hub.on_subscribe(self, channel)
        return Subscription(channel)

    def unsubscribe(self, str channel not None) -> bool:
        """Stop receiving a channel; False when it was not subscribed."""
        self._check("unsubscribe()")
        if self.conn == NULL or self.hub.depart(self.conn, channel) is None:
            return False
        if self.hub.on_unsubscribe is not None:
            self.hub.on_unsubscribe(self, channel)
        return True

    @property
    def channels(self) -> list:
        """Names of the channels that this connection is subscribed to."""
        cdef uint32_t slot
        cdef Channel channel
        cdef list names = []
        if self.conn != NULL:
            for slot in range(self.conn.subscription_count):
                channel = <Channel>self.conn.subscriptions[slot].lane.channel
                if not channel.hidden:
                    names.append(channel.name)
        return names

    def lag(self, str channel not None) -> int:
        """Bytes of a channel that are owed to this connection."""
        cdef Channel found = self.hub._channels.get(channel)
        cdef subscription_t *subscription
        if found is None or self.conn == NULL:
            return 0
        subscription = lane_subscription(&found.lane, self.conn)
        if subscription == NULL:
            return 0
        return log_bytes_from(
            &found.lane.log, found.lane.members[subscription.index].next
        )

    def publish(self, str channel not None, message, *, bint include_self=False) -> None:
        """Send a message to every subscriber of a channel, but not to this connection."""
        self._check("publish()")
        self.hub.publish_local(channel, message, NULL if include_self else self.conn)

    # -- tasks -----------------------------------------------------------------------------------

    def spawn(self, coroutine):
        """Run a coroutine beside the handler; it is cancelled when the connection ends."""
        self._check("spawn()")
        task = self.hub.loop.create_task(coroutine)
        if self.spawned is None:
            self.spawned = set()
        self.spawned.add(task)
        task.add_done_callback(self._spawned_done)
        if self.phase == CLOSED:
            task.cancel()
        return task

    def _spawned_done(self, task) -> None:
        if self.spawned is not None:
            self.spawned.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._handler_failed(task.exception())

    # -- closing -----------------------------------------------------------------------------------

    def close(self, code=1000, str reason not None="") -> Sent:
        """Begin the closing handshake; await the result to wait for its end."""
        self._check("close()")
        _check_close(code, reason)
        if self.phase == OPEN:
            self._record(code, reason)
            self._queue_close(code, reason)
            self.phase = CLOSING
            self.hub.watch_until(
                self, self.hub.clock() + self.binding.data.close_timeout
            )
            if not self.delivering:
                self._wake_receiver()
        return self._closed()

    cdef Sent _closed(self):
        if self.phase == CLOSED:
            return sent_accepted()
        future = self.hub.loop.create_future()
        if self.close_waiters is None:
            self.close_waiters = []
        self.close_waiters.append(future)
        return sent_pending(future)

    def wait_closed(self) -> Sent:
        """Awaitable: wait until the connection has ended."""
        self._check("wait_closed()")
        return self._closed()

    def abort(self) -> None:
        """End the connection at once, without a Close frame."""
        self._check("abort()")
        if self.phase != CLOSED:
            self._record(FASTWS_CLOSE_ABNORMAL, "")
            self._drop_output()
            self.phase = FAILED
            self.link.abort()

    cdef int _record(self, object code, str reason) except -1:
        """What came first is what is reported."""
        if self.close_code is None:
            self.close_code = int(code)
            self.close_reason = reason
        return 0

    cdef int _queue_close(self, uint32_t code, str reason) except -1:
        """Our Close frame, behind everything that was handed over before it."""
        cdef bytes payload = _close_payload(code, reason)
        cdef payload_t frame
        frame.data = <const uint8_t *>PyBytes_AS_STRING(payload)
        frame.length = <size_t>PyBytes_GET_SIZE(payload)
        frame.opcode = FASTWS_OP_CLOSE
        frame.viewed = False
        self.hub.enqueue(self.conn, &frame, FASTWS_OP_CLOSE, self.client)
        self.conn.limit = self.hub.writer.sequence
        self.conn.flags |= CONN_FINISH
        return self.flush_soon()

    cdef int fail(self, uint32_t code, str reason) except -1:
        """The peer broke a rule: answer what came before, say why, listen no more."""
        cdef Phase before = self.phase
        if before >= ENDING:
            return 0
        self._record(code, reason)
        if before == OPEN:
            self._queue_close(code, reason)
        self.phase = FAILED
        parser_free(&self.parser)
        self.hub.watch_until(
            self, self.hub.clock() + self.binding.data.error_close_timeout
        )
        if before == CLOSING and not self.conn.flags & CONN_FINISH:
            self.link.close_write()
        self._wake_receiver()
        return 0

    cdef int evict(self, str reason) except -1:
        """A slow consumer: what it is owed is dropped, a Close goes at the next frame
        boundary if one comes in time."""
        if self.phase != OPEN:
            return 0
        self._record(FASTWS_CLOSE_TRY_AGAIN_LATER, reason)
        self._drop_output()
        self.phase = FAILED
        self.conn.flags |= CONN_FINISH
        self._queue_urgent(
            FASTWS_OP_CLOSE, _close_payload(FASTWS_CLOSE_TRY_AGAIN_LATER, reason)
        )
        self.hub.watch_until(
            self, self.hub.clock() + self.binding.data.error_close_timeout
        )
        self._wake_receiver()
        return 0

    cdef int _drop_output(self) except -1:
        """Forget what is owed and not yet written; each lost frame is counted."""
        cdef conn_t *conn = self.conn
        cdef uint32_t slot
        cdef lane_t *lane
        if conn == NULL:
            return 0
        for slot in range(conn.subscription_count):
            lane = conn.subscriptions[slot].lane
            self.hub.counters.data.frames_lost += (
                lane.log.next - lane.members[conn.subscriptions[slot].index].next
            )
        self.hub.depart_all(conn)
        if conn.outbox != NULL:
            outbox_give(&self.hub.writer.pool, conn.outbox)
            conn.outbox = NULL
        conn.urgent_length = 0
        return 0

    cdef int _peer_closed(self, uint32_t code, str reason) except -1:
        if self.phase == OPEN:
            self._record(code, reason)
            self._queue_close(code, reason)
            self.hub.watch_until(
                self, self.hub.clock() + self.binding.data.close_timeout
            )
            self.phase = ENDING
            self._wake_receiver()
        elif self.phase == CLOSING:
            self.phase = ENDING
            if not self.conn.flags & CONN_FINISH:
                self.link.close()
        return 0

    cdef int _written(self) except -1:
        """Our Close has left, and everything before it."""
        self.conn.flags &= ~<uint32_t>CONN_FINISH
        self.hub.depart_all(self.conn)
        if self.phase == ENDING:
            self.link.close()
        elif self.phase == FAILED:
            if self.reading_paused:
                # What still comes is thrown away: unread bytes would turn our FIN
                # into a reset that overtakes the Close frame.
                self.reading_paused = False
                self.link.resume_reading()
            self.link.close_write()
        return 0

    cpdef expired(self):
        """The closing has taken too long."""
        if self.phase != CLOSED:
            if self.phase != FAILED:
                self.hub.counters.data.close_timeouts += 1
            self.link.abort()

    cdef int _finish(self) except -1:
        """The link is gone: nothing native is left after this, and nothing is called."""
        cdef list channels
        if self.phase == CLOSED:
            return 0
        self._record(FASTWS_CLOSE_ABNORMAL, "")
        channels = self.channels if self.hub.on_unsubscribe is not None else None
        self.phase = CLOSED
        self.backlog = None
        parser_free(&self.parser)
        self.hub.unwatch(self)
        self.hub.leave(self)
        self._wake_receiver()
        self._release(self.drain_waiters)
        self._release(self.close_waiters)
        self.drain_waiters = None
        self.close_waiters = None
        self._end_tasks()
        self._tell_closed(channels)
        return 0

    def _end_tasks(self) -> None:
        if self.pings:
            for future in self.pings.values():
                if not future.done():
                    future.set_result(None)
            self.pings = None
        if self.spawned is not None:
            for task in list(self.spawned):
                task.cancel()

    def _tell_closed(self, list channels) -> None:
        cdef Hub hub = self.hub
        try:
            if channels:
                for name in channels:
                    hub.on_unsubscribe(self, name)
            if self.binding.on_close is not None and not self.binding.is_async:
                self.binding.on_close(self, self.close_code, self.close_reason)
            if hub.on_disconnect is not None and not self.client:
                hub.on_disconnect(self, self.close_code, self.close_reason)
        except Exception as error:
            self._handler_failed(error)

    cdef int _check(self, str what) except -1:
        if this_thread() != self.hub.thread:
            self.hub.wrong_thread(f"Connection.{what}")
        return 0


class Subscription:
    """In force at once; awaitable."""

    __slots__ = ("channel",)

    def __init__(self, channel):
        self.channel = channel

    def __repr__(self) -> str:
        return f"<Subscription {self.channel!r}>"

    def __await__(self):
        return self
        yield


async def _run_callbacks(Connection ws, Binding binding):
    """An endpoint with async callbacks: one at a time, in order."""
    await _maybe(binding.on_open, ws)
    async for message in ws:
        await _maybe(binding.on_message, ws, message)
    await ws.wait_closed()
    await _maybe(binding.on_close, ws, ws.close_code, ws.close_reason)


async def _maybe(callback, *arguments):
    if callback is not None:
        result = callback(*arguments)
        if inspect.isawaitable(result):
            await result


async def _round_trip(Connection ws, bytes payload, future):
    start = ws.hub.clock()
    try:
        await future
    finally:
        if ws.pings is not None:
            ws.pings.pop(payload, None)
    if ws.phase == CLOSED:
        raise ConnectionClosed(ws.close_code, ws.close_reason)
    return ws.hub.clock() - start


cdef bytes _ping_bytes(uint64_t number):
    return (<const char *>&number)[:8]


cdef Py_ssize_t _size(object message) except -1:
    return len(message) + 64


cdef str _printable(str text):
    """For the log: control characters escaped."""
    return text.encode("unicode_escape").decode()


cdef bytes _close_payload(uint32_t code, str reason):
    if code == FASTWS_CLOSE_NO_STATUS:
        return b""
    return int(code).to_bytes(2, "big") + reason.encode()


cdef int _check_close(code, str reason) except -1:
    """RFC 6455 section 7.4: which codes an endpoint may send."""
    if not (
        isinstance(code, int)
        and (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999)
    ):
        raise ValueError(
            "a close code must be 1000-1003, 1007-1014 or 3000-4999, "
            f"not {code!r}"
        )
    if len(reason.encode()) > REASON_BYTES:
        raise ValueError(
            f"a close reason may have {REASON_BYTES} bytes, "
            f"not {len(reason.encode())}"
        )
    return 0


cdef int _check_name(str name, uint32_t most) except -1:
    if 0 < len(name) <= most and name.translate(_NAME) == "":
        return 0
    raise ValueError(
        f"a channel name must have 1 to {most} of the characters "
        f"A-Z a-z 0-9 _ . : @ = , ; -, not {name[:most]!r}"
    )


_NAME = {
    ord(character): None
    for character in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:@=,;-"
}
