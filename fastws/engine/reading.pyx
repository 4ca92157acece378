"""Reading: bytes from the link, through the parser, to whoever takes the messages.

Callbacks are called right here, one per message. A coroutine's messages wait in the
inbox; when it is too far behind, or callbacks have had their slice of time, the bytes
that are left are kept unparsed and the link reads no more.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject

from .am_send cimport FASTWS_SET_AM_SEND, PYGEN_NEXT, PYGEN_RETURN
from .binding cimport Binding
from .csrc cimport (
    FASTWS_CLOSE_ABNORMAL,
    FASTWS_CLOSE_POLICY_VIOLATION,
    FASTWS_OP_PING,
    FASTWS_OP_PONG,
)
from .flush cimport clock_nanoseconds
from .inbox cimport inbox_new, inbox_none, inbox_pop, inbox_push
from .lane cimport (
    CONN_BATCH,
    CONN_BLOCKED,
    CONN_FINISH,
    CONN_PINGED,
    CONN_WATCHED,
    NOTE_SKIPPED,
    conn_t,
)
from .outbox cimport outbox_pending
from .parser cimport (
    FAILED as PARSER_FAILED,
    MESSAGE,
    NEED_MORE,
    PING,
    PONG,
    CLOSE,
    fault_code,
    fault_kind,
    parser_free,
    parser_idle,
    parser_next,
)
from .visit cimport blocked
from .writer cimport mark_dirty, note
from .writing cimport CLOSED, CLOSING, ENDING, OPEN

import asyncio
import random
from collections.abc import Coroutine
from functools import partial

from msgspec import convert as _convert
from orjson import loads as _loads

from ..errors import ConnectionClosed, StateError


cdef extern from "Python.h":
    void Py_DECREF(PyObject *object)
    void Py_INCREF(PyObject *object)


cdef enum:
    # A coroutine that is this far behind stops the reading.
    INBOX_MESSAGES = 64
    INBOX_BYTES = 262144
    INBOX_RESUME = 16
    # What a message costs beside its characters.
    MESSAGE_OVERHEAD = 64
    # Callbacks of one connection run this long before others get their turn.
    READ_SLICE = 5000000
    MESSAGES_PER_LOOK = 32
    # `async for` takes what is there this long before it yields to the loop.
    RECEIVE_SLICE = 1000000
    RECEIVES_PER_LOOK = 16


cdef class Receiver:
    """Awaitable of the next message; the one of ``async for`` is reused."""

    cdef Reading connection
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

    # A coroutine to whoever asks, so that create_task() takes it.

    def send(self, value):
        """One step of the coroutine."""
        return self.__next__()

    def throw(self, kind, value=None, traceback=None):
        """End the coroutine with an exception."""
        raise kind if value is None else value

    def close(self) -> None:
        """End the coroutine."""


Coroutine.register(Receiver)


cdef int _receiver_send(
    PyObject *self, PyObject *argument, PyObject **result
) except -1:
    cdef bint finished = False
    cdef Receiver receiver = <Receiver>self
    value = receiver.connection.step(receiver.iterating, &finished)
    result[0] = <PyObject *>value
    Py_INCREF(result[0])
    return PYGEN_RETURN if finished else PYGEN_NEXT


FASTWS_SET_AM_SEND(Receiver, <void *>_receiver_send)


cdef Receiver _receiver(Reading connection, bint iterating):
    cdef Receiver receiver = Receiver.__new__(Receiver)
    receiver.connection = connection
    receiver.iterating = iterating
    return receiver


cdef class Reading(Writing):
    def __cinit__(self):
        self.inbox = inbox_none()

    # -- what the layer above adds -----------------------------------------------------

    cdef int handler_failed(self, object error) except -1:
        """The endpoint has raised."""
        raise NotImplementedError

    cdef int suspending(self) except -1:
        """A coroutine is about to wait for a message."""
        raise NotImplementedError

    # -- what the link calls -----------------------------------------------------------

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
        # Its Close may be in what waits. No more will come, so memory stays bounded.
        self.all_received = True
        while self.backlog is not None and self.phase <= CLOSING:
            self._unstash()
        if self.phase == OPEN:
            if self.deferred != NEED_MORE:
                # It may still be reading the answers.
                return 0
            self.record(FASTWS_CLOSE_ABNORMAL, "")
            self.drop_output()
            self.phase = ENDING
            self.wake_receiver()
        if self.conn == NULL or not self.conn.flags & CONN_FINISH:
            self.link.close()
        elif self.phase != CLOSED:
            # It may still be reading: the link closes when our Close has left.
            self.phase = ENDING
        return 0

    cdef int paused(self) except -1:
        if self.conn != NULL:
            blocked(&self.hub.writer, self.conn)
        return 0

    cdef int resumed(self) except -1:
        if self.conn != NULL:
            self.conn.flags &= ~<uint32_t>CONN_BLOCKED
            if self.conn.gaps != NULL:
                note(&self.hub.writer, self.conn, NOTE_SKIPPED)
            mark_dirty(&self.hub.writer, self.conn)
            self.hub.wake()
        return 0

    # -- parse and deliver -------------------------------------------------------------

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
        if self.phase <= CLOSING and (position < end or self._behind()):
            self._stash(position, <size_t>(end - position))
        if self.inbox.count or self.phase != OPEN:
            self.wake_receiver()
        if self.conn != NULL:
            self.hub.settle(self.conn)
        return 0

    cdef int _read_batch(self, const uint8_t **position, const uint8_t *end) except -1:
        """Handle what is complete, until nothing is, the time is over, or a coroutine
        is too far behind."""
        cdef PyObject *payload = NULL
        cdef Event event
        cdef uint32_t handled = 0
        # Few bytes may become many messages' work: the time is looked at each time.
        cdef uint32_t per_look = (
            1 if self.agreement is not None else MESSAGES_PER_LOOK
        )
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
                if handled & (per_look - 1) == 0:
                    if start == 0:
                        start = clock_nanoseconds()
                    elif clock_nanoseconds() - start >= READ_SLICE:
                        break
                if self._behind():
                    break
            elif (
                self.inbox.count
                and self.phase == OPEN
                and (event == CLOSE or event == PARSER_FAILED)
            ):
                self._defer(event, payload)
                position[0] = end
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
                self.handler_failed(error)
            if self.phase != OPEN:
                Py_DECREF(payload)
                return 0
        if self.client or binding.is_async or binding.coroutine is not None:
            if self.inbox == inbox_none():
                self.inbox = inbox_new()
            self.inbox.bytes += <size_t>_size(<object>payload)
            inbox_push(self.inbox, payload)
            return 0
        message = <object>payload
        Py_DECREF(payload)
        if binding.on_message is None:
            return 0
        try:
            binding.on_message(self, message)
        except Exception as error:
            self.handler_failed(error)
        return 0

    cdef int _handle(self, Event event, PyObject *payload) except -1:
        """Everything that is not a message for the endpoint."""
        cdef Binding binding = self.binding
        cdef object value
        if event == PARSER_FAILED:
            return self._broken()
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

    cdef int _defer(self, Event event, PyObject *payload) except -1:
        """The peer has ended behind messages that a coroutine has not taken: they are
        answered first, for as long as a closing may take."""
        cdef Binding binding = self.binding
        self.deferred = event
        if event == CLOSE:
            self.keep_aside().deferred_reason = <str><object>payload
            Py_DECREF(payload)
        self.hub.watch_until(
            self,
            self.hub.clock()
            + (
                binding.data.close_timeout
                if event == CLOSE
                else binding.data.error_close_timeout
            ),
        )
        return 0

    cdef int end_deferred(self) except -1:
        cdef Event event = self.deferred
        if event == NEED_MORE:
            return 0
        self.deferred = NEED_MORE
        if event == CLOSE:
            return self._peer_closed(
                self.parser.close_code, self.aside.deferred_reason
            )
        return self._broken()

    cdef int _broken(self) except -1:
        """The peer has broken the protocol."""
        self.hub.counters.data.protocol_errors += 1
        return self.fail(
            fault_code(self.parser.fault),
            fault_kind(self.parser.fault).replace("_", " "),
        )

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
        """A coroutine has enough to do, or the peer does not take the answers to what
        it has sent; of a closing connection nothing more is wanted."""
        return self.phase == OPEN and not self.all_received and (
            self.inbox.count >= INBOX_MESSAGES
            or self.inbox.bytes >= INBOX_BYTES
            or self._output_waits()
        )

    cdef bint _output_waits(self) noexcept:
        return (
            self.conn.flags & CONN_BLOCKED
            and outbox_pending(self.conn.outbox) >= self.binding.data.high_water
        )

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
        if self._output_waits():
            self.conn.flags |= CONN_WATCHED
        elif not self._behind():
            # The slice was over: the others first.
            self.hub.loop.call_soon(self._read_on)
        return 0

    cdef int read_on(self) except -1:
        if self.backlog is not None:
            self.hub.loop.call_soon(self._read_on)
        return 0

    def _read_on(self) -> None:
        """The next slice of what was read already."""
        if self.backlog is None or self.delivering:
            return
        if self.phase == OPEN and self._output_waits():
            self.conn.flags |= CONN_WATCHED
        elif not self._behind():
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

    # -- what a coroutine sees ---------------------------------------------------------

    def __aiter__(self):
        return self

    def __anext__(self):
        if self.phase == CLOSED:
            # Kept, it would keep the connection in a cycle.
            return _receiver(self, True)
        if self.receiver is None:
            self.receiver = _receiver(self, True)
        return self.receiver

    def receive(self, timeout=None):
        """Awaitable of the next message."""
        self.check("receive()")
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
        """The next message (finished), or what the task is to wait for (not
        finished)."""
        cdef PyObject *message
        cdef object result
        if self.inbox.count == 0 and self.backlog is not None:
            self._unstash()
        if self.inbox.count:
            if self.inbox.streak % RECEIVES_PER_LOOK == 0:
                if self.inbox.streak == 0:
                    self.inbox.streak_start = clock_nanoseconds()
                elif clock_nanoseconds() - self.inbox.streak_start >= RECEIVE_SLICE:
                    # A bare yield: the task goes to the end of the loop's queue.
                    self.inbox.streak = 0
                    self.flush_soon()
                    return None
            self.inbox.streak += 1
            message = inbox_pop(self.inbox)
            result = <object>message
            Py_DECREF(message)
            self.inbox.bytes -= <size_t>_size(result)
            if self.backlog is not None and self.inbox.count <= INBOX_RESUME:
                self.hub.loop.call_soon(self._read_on)
            finished[0] = True
            return result
        self.end_deferred()
        if self.phase != OPEN:
            if iterating:
                self.receiver = None
                raise StopAsyncIteration
            raise ConnectionClosed(self.close_code, self.close_reason)
        if self.waiter is not None and not self.waiter.done():
            raise StateError("another coroutine is receiving from this connection")
        if self.inbox.streak:
            self.inbox.streak = 0
        self.suspending()
        self.hub.settle(self.conn)
        self.waiter = self.hub.loop.create_future()
        self.waiter._asyncio_future_blocking = True
        return self.waiter

    cdef int wake_receiver(self) except -1:
        cdef object waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            if not waiter.done():
                waiter.set_result(None)
        return 0

    # -- control frames ----------------------------------------------------------------

    cdef int _answer_ping(self, bytes payload) except -1:
        cdef conn_t *conn = self.conn
        cdef uint32_t before
        if conn.flags & CONN_BLOCKED and self.pong_end and conn.urgent_length:
            # A peer that does not read has one pong waiting at most, the last one
            # (section 5.5.3 allows to answer only that).
            if conn.urgent_length != self.pong_end:
                return 0
            conn.urgent_length = self.pong_start
        before = conn.urgent_length
        self.queue_urgent(FASTWS_OP_PONG, payload)
        if conn.urgent_length == before:
            return 0
        # Queueing may have written what was there, so the place is known only now.
        self.pong_end = conn.urgent_length
        self.pong_start = self.pong_end - <uint32_t>(
            PyBytes_GET_SIZE(payload) + (6 if self.client else 2)
        )
        return 0

    cdef int _pong_received(self, bytes payload) except -1:
        cdef object future
        self.hub.counters.data.pongs_received += 1
        if self.ping_payload and payload == _ping_bytes(self.ping_payload):
            self.ping_payload = 0
            self.latency_seconds = max(self.hub.clock() - self.ping_time, 1e-6)
        if self.aside is not None and self.aside.pings and payload in self.aside.pings:
            future, start = self.aside.pings.pop(payload)
            if not future.done():
                future.set_result(self.hub.clock() - start)
        return 0

    cdef int heartbeat(self, uint32_t tick) except -1:
        self.conn.next_ping = tick + self.binding.data.times.ping_interval
        if self.conn.flags & CONN_BLOCKED or self.phase != OPEN:
            # It could not leave; the stall has its own time-out.
            return 0
        self.ping_payload = random.getrandbits(64) | 1
        self.ping_time = self.hub.clock()
        self.conn.flags |= CONN_PINGED
        self.pong_end = 0
        self.hub.counters.data.pings_sent += 1
        return self.queue_urgent(FASTWS_OP_PING, _ping_bytes(self.ping_payload))

    def ping(self):
        """Send a ping; await the result to wait for its pong: seconds of the round
        trip."""
        cdef bytes payload
        self.check("ping()")
        if self.phase != OPEN:
            raise ConnectionClosed(self.close_code, self.close_reason)
        payload = _ping_bytes(random.getrandbits(64) | 1)
        future = self.hub.loop.create_future()
        pings = self.keep_aside().pings
        pings[payload] = (future, self.hub.clock())
        future.add_done_callback(partial(_forget_ping, pings, payload))
        self.queue_urgent(FASTWS_OP_PING, payload)
        return future

    cdef int _peer_closed(self, uint32_t code, str reason) except -1:
        if self.phase == OPEN:
            self.record(code, reason)
            if not self.queue_close(code, reason):
                return 0
            self.hub.watch_until(
                self, self.hub.clock() + self.binding.data.close_timeout
            )
            self.phase = ENDING
            self.wake_receiver()
        elif self.phase == CLOSING:
            self.phase = ENDING
            if not self.conn.flags & CONN_FINISH:
                self.link.close()
        return 0

    # -- when it ends ------------------------------------------------------------------

    cdef int stop_reading(self) except -1:
        self.backlog = None
        parser_free(&self.parser)
        return 0

    cdef int read_and_discard(self) except -1:
        if self.reading_paused:
            self.reading_paused = False
            self.link.resume_reading()
        return 0


def _forget_ping(dict pings, bytes payload, future):
    pings.pop(payload, None)


cdef bytes _ping_bytes(uint64_t number):
    return (<const char *>&number)[:8]


cdef Py_ssize_t _size(object message) except -1:
    return len(message) + MESSAGE_OVERHEAD
