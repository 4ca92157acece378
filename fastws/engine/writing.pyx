"""Writing: what a connection's program sends, and how the connection ends.

The queues are the hub's; here are their water marks, the Close frame, evictions, and
what a flush finds. Base of Reading, which is the base of Connection.
"""

from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from libc.stdint cimport uint64_t
from libc.stdlib cimport free

from .binding cimport Binding
from .collector cimport collector_pause, collector_resume
from .csrc cimport (
    FASTWS_CLOSE_ABNORMAL,
    FASTWS_CLOSE_NO_STATUS,
    FASTWS_CLOSE_TRY_AGAIN_LATER,
    FASTWS_OP_CLOSE,
)
from .deflate cimport Agreement, Context, Deflate
from .detour cimport member_unsent
from .lane cimport (
    CONN_BATCH,
    CONN_BLOCKED,
    CONN_COHORT,
    CONN_FINISH,
    CONN_MIXED,
    CONN_UNTOLD,
    CONN_WATCHED,
    NOTE_BROKEN,
    NOTE_DRAINED,
    NOTE_DUE,
    NOTE_FINISHED,
    NOTE_HANDOVER,
    NOTE_LAGGED,
    NOTE_SKIPPED,
    conn_t,
    lane_t,
    limit_to,
)
from .outbox cimport outbox_give, outbox_pending
from .payload cimport payload_close, payload_open, wish_of
from .roster cimport this_thread
from .sent cimport sent_accepted, sent_pending, sent_refused
from .visit cimport blocked
from .writer cimport mark_dirty


cdef enum:
    REASON_BYTES = 123      # of a control frame's 125, two are the code


cdef class Aside:
    def __cinit__(self):
        self.drain_waiters = []
        self.close_waiters = []
        self.pings = {}
        self.spawned = set()


cdef class Writing(Consumer):
    cdef Aside keep_aside(self):
        """For what few connections have."""
        cdef bint was_running
        if self.aside is None:
            was_running = collector_pause()
            try:
                self.aside = Aside.__new__(Aside)
            finally:
                collector_resume(was_running)
        return self.aside

    # -- what the layers above add -----------------------------------------------------

    cdef int stop_reading(self) except -1:
        """Nothing that the peer still sends matters."""
        raise NotImplementedError

    cdef int read_and_discard(self) except -1:
        """Go on reading, so that unread bytes do not turn our FIN into a reset."""
        raise NotImplementedError

    cdef int read_on(self) except -1:
        """Only the peer's Close is waited for: a reader that is behind must not keep it
        from being read."""
        raise NotImplementedError

    cdef int wake_receiver(self) except -1:
        """A coroutine that waits for a message has something to learn."""
        raise NotImplementedError

    cdef int drained(self) except -1:
        """The outbox is under its low-water mark."""
        raise NotImplementedError

    cdef int skipped(self) except -1:
        """There are gaps to be told of."""
        raise NotImplementedError

    cdef int due(self) except -1:
        """Some time is over."""
        raise NotImplementedError

    cdef int end_deferred(self) except -1:
        """Act on an end of the peer's that has been put off, if there is one."""
        raise NotImplementedError

    cdef int check(self, str what) except -1:
        if this_thread() != self.hub.thread:
            self.hub.wrong_thread(f"Connection.{what}")
        return 0

    # -- sending -----------------------------------------------------------------------

    cdef int flush_soon(self) except -1:
        """Write at the end of the read batch, or of the tick."""
        if self.conn != NULL and not self.conn.flags & CONN_BATCH:
            mark_dirty(&self.hub.writer, self.conn)
            self.hub.wake()
        return 0

    def send(self, message, *, compress=None) -> Sent:
        """Queue a message; never blocks and never raises because the peer has gone."""
        cdef payload_t payload
        self.check("send()")
        if self.phase != OPEN:
            return sent_refused()
        _owner = payload_open(&payload, message)
        try:
            if compress is not None:
                payload.compress = wish_of(compress)
            return self._send(&payload)
        finally:
            payload_close(&payload)

    cdef Sent _send(self, payload_t *payload):
        cdef conn_t *conn = self.conn
        cdef Binding binding = self.binding
        cdef size_t pending = outbox_pending(conn.outbox)
        if pending >= binding.data.high_water and not conn.flags & CONN_BLOCKED:
            # Now, also when a publication is to go with it at the end of the tick: only
            # a peer that has refused bytes is slow.
            self.hub.visit_now(conn)
            if self.phase != OPEN:
                # A link may have called somebody who has closed it.
                return sent_refused()
            pending = outbox_pending(conn.outbox)
        if pending > binding.data.write_cap:
            self.hub.counters.data.sends_refused += 1
            self.hub.counters.data.evicted_write_cap += 1
            self.evict("slow consumer")
            return sent_refused()
        if self.agreement is None:
            self.hub.enqueue(conn, payload, payload.opcode, self.client)
        else:
            self._enqueue_shrunk(payload)
        self.hub.counters.data.messages_sent += 1
        if not conn.flags & CONN_BATCH:
            mark_dirty(&self.hub.writer, conn)
            self.hub.wake()
        if pending + payload.length >= binding.data.high_water:
            return self._pending()
        return sent_accepted()

    cdef int _enqueue_shrunk(self, payload_t *payload) except -1:
        cdef bint remembered = self._shrink(payload)
        try:
            self.hub.enqueue(self.conn, payload, payload.opcode, self.client)
        finally:
            self.agreement.deflate.release()
        if remembered:
            self.aside.context_end = self.hub.writer.sequence
            self.conn.flags &= ~<uint32_t>CONN_MIXED
        return 0

    cdef bint _shrink(self, payload_t *payload) except -1:
        """Compress the message if that is wanted; True: later ones may refer to it.
        What a cohort sends to its members refers to nothing but the cohort's."""
        cdef Deflate deflate = self.agreement.deflate
        if self.conn.flags & CONN_COHORT or not deflate.wants(payload):
            return False
        if self.agreement.own_context:
            return self._shrink_in_context(payload)
        deflate.shrink(payload, self.agreement.send_bits)
        return False

    cdef bint _shrink_in_context(self, payload_t *payload) except -1:
        cdef Agreement agreement = self.agreement
        cdef Aside aside = self.keep_aside()
        cdef bint was_running
        if aside.context is None:
            was_running = collector_pause()
            try:
                aside.context = Context(agreement.deflate, agreement.send_bits)
            finally:
                collector_resume(was_running)
        elif not self._is_in_step():
            aside.context.restart()
        if not aside.context.shrink(payload):
            return False
        # Until it is on its way.
        self.conn.flags |= CONN_MIXED
        return True

    cdef bint _is_in_step(self) noexcept:
        """Nothing compressed has been sent since the context's last message but what is
        in it. What leaves this connection leaves in the order of the calls."""
        cdef const conn_t *conn = self.conn
        cdef uint32_t slot
        if conn.flags & CONN_MIXED:
            return False
        for slot in range(conn.subscription_count):
            if conn.subscriptions[slot].lane.compressed > self.aside.context_end:
                return False
        return True

    cdef Sent _pending(self):
        future = self.hub.loop.create_future()
        self.keep_aside().drain_waiters.append(future)
        self.conn.flags |= CONN_WATCHED
        return sent_pending(future)

    def drain(self) -> Sent:
        """Awaitable: wait until the outbox is under its low-water mark."""
        self.check("drain()")
        if self.conn == NULL:
            return sent_refused()
        if outbox_pending(self.conn.outbox) <= self.binding.data.low_water:
            return sent_accepted()
        return self._pending()

    @property
    def buffered(self) -> int:
        """Bytes of this connection's own frames that the kernel has not taken."""
        self.check("buffered")
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
            self.due()
        if notes & NOTE_SKIPPED and self.conn != NULL:
            self.skipped()
        if (
            notes & NOTE_DRAINED
            and self.conn != NULL
            # Still, or it is noted again.
            and outbox_pending(self.conn.outbox) <= self.conn.low_water
        ):
            self.conn.flags &= ~<uint32_t>CONN_WATCHED
            if self.aside is not None:
                self.release(self.aside.drain_waiters)
            self.drained()
            self.read_on()
        if notes & NOTE_FINISHED and self.conn != NULL:
            self._written()
        return 0

    cdef int _hand_over(self) except -1:
        """The kernel has refused bytes: the link holds them now and will say when it
        has got rid of them."""
        cdef conn_t *conn = self.conn
        cdef bytes data
        if conn == NULL or conn.partial == NULL:
            return 0
        data = PyBytes_FromStringAndSize(<char *>conn.partial, conn.partial_length)
        free(conn.partial)
        conn.partial = NULL
        conn.partial_length = 0
        self.hub.counters.data.bytes_sent += <uint64_t>len(data)
        self.link.write(data)
        if self.conn != NULL and not self.link.write_paused:
            # It could be written after all.
            self.resumed()
        return 0

    cdef int release(self, list waiters) except -1:
        for future in waiters:
            if not future.done():
                future.set_result(None)
        waiters.clear()
        return 0

    cdef int queue_urgent(self, uint8_t opcode, bytes payload) except -1:
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

    # -- closing -----------------------------------------------------------------------

    def close(self, code=1000, str reason not None="") -> Sent:
        """Begin the closing handshake; await the result to wait for its end."""
        self.check("close()")
        _check_close(code, reason)
        self.end_deferred()
        if self.phase == OPEN and self.conn.flags & CONN_UNTOLD:
            # It has lost something, so it does not end in good order.
            self.evict("slow consumer")
        if self.phase == OPEN:
            self.record(code, reason)
            if not self.queue_close(code, reason):
                return self._closed()
            self.phase = CLOSING
            self.hub.watch_until(
                self, self.hub.clock() + self.binding.data.close_timeout
            )
            self.read_on()
            if not self.delivering:
                self.wake_receiver()
        return self._closed()

    cdef Sent _closed(self):
        if self.phase == CLOSED:
            return sent_accepted()
        future = self.hub.loop.create_future()
        self.keep_aside().close_waiters.append(future)
        return sent_pending(future)

    def wait_closed(self) -> Sent:
        """Awaitable: wait until the connection has ended."""
        self.check("wait_closed()")
        return self._closed()

    def abort(self) -> None:
        """End the connection at once, without a Close frame."""
        self.check("abort()")
        if self.phase != CLOSED:
            self.record(FASTWS_CLOSE_ABNORMAL, "")
            self.end_abruptly()

    cdef int record(self, object code, str reason) except -1:
        """What came first is what is reported."""
        if self.close_code is None:
            self.close_code = int(code)
            self.close_reason = reason
        return 0

    cdef bint queue_close(self, uint32_t code, str reason) except -1:
        """Our Close frame, behind everything that was handed over before it. False:
        there is no memory to say that it ends, so it has ended."""
        cdef bytes payload = _close_payload(code, reason)
        cdef payload_t frame
        self.hub.send_arrays(self.conn)
        frame.data = <const uint8_t *>PyBytes_AS_STRING(payload)
        frame.length = <size_t>PyBytes_GET_SIZE(payload)
        frame.opcode = FASTWS_OP_CLOSE
        frame.viewed = False
        try:
            self.hub.enqueue(self.conn, &frame, FASTWS_OP_CLOSE, self.client)
        except MemoryError:
            self.end_abruptly()
            return False
        limit_to(self.conn, self.hub.writer.sequence)
        self.conn.flags |= CONN_FINISH
        self.flush_soon()
        return True

    cdef int end_abruptly(self) except -1:
        self.drop_output()
        self.phase = FAILED
        self.link.abort()
        return 0

    cdef int fail(self, uint32_t code, str reason) except -1:
        """The peer broke a rule: answer what came before, say why, listen no more."""
        cdef Phase before = self.phase
        if before >= ENDING:
            return 0
        self.record(code, reason)
        if before == OPEN and not self.queue_close(code, reason):
            return 0
        self.phase = FAILED
        self.stop_reading()
        self.hub.watch_until(
            self, self.hub.clock() + self.binding.data.error_close_timeout
        )
        if before == CLOSING and not self.conn.flags & CONN_FINISH:
            self.link.close_write()
        self.wake_receiver()
        return 0

    cdef int evict(self, str reason) except -1:
        """A slow consumer: what it is owed is dropped, a Close goes at the next frame
        boundary if one comes in time."""
        if self.phase != OPEN:
            return 0
        self.record(FASTWS_CLOSE_TRY_AGAIN_LATER, reason)
        self.drop_output()
        self.phase = FAILED
        self.conn.flags |= CONN_FINISH
        self.queue_urgent(
            FASTWS_OP_CLOSE, _close_payload(FASTWS_CLOSE_TRY_AGAIN_LATER, reason)
        )
        self.hub.watch_until(
            self, self.hub.clock() + self.binding.data.error_close_timeout
        )
        self.wake_receiver()
        return 0

    cdef int drop_output(self) except -1:
        """Forget what is owed and not yet written; each lost frame is counted."""
        cdef conn_t *conn = self.conn
        cdef uint32_t slot
        cdef lane_t *lane
        if conn == NULL:
            return 0
        for slot in range(conn.subscription_count):
            lane = conn.subscriptions[slot].lane
            self.hub.counters.data.frames_lost += member_unsent(
                lane, &lane.members[conn.subscriptions[slot].index]
            )
        self.leave_channels()
        limit_to(conn, self.hub.writer.sequence)
        if conn.outbox != NULL:
            outbox_give(&self.hub.writer.pool, conn.outbox)
            conn.outbox = NULL
        conn.urgent_length = 0
        return 0

    cdef int leave_channels(self) except -1:
        """Nothing that is published from now on is for it."""
        cdef list names
        cdef Aside aside
        if self.hub.on_unsubscribe is not None:
            names = self.hub.channel_names(self.conn)
            if names:
                aside = self.keep_aside()
                aside.left = names if aside.left is None else aside.left + names
        self.hub.depart_all(self.conn)
        return 0

    cdef int _written(self) except -1:
        """Our Close has left, and everything before it."""
        self.conn.flags &= ~<uint32_t>CONN_FINISH
        self.leave_channels()
        if self.phase == ENDING:
            self.link.close()
        elif self.phase == FAILED:
            self.read_and_discard()
            self.link.close_write()
        return 0

    cpdef expired(self):
        """The closing has taken too long."""
        if self.phase == OPEN:
            self.end_deferred()
        elif self.phase != CLOSED:
            if self.phase != FAILED:
                self.hub.counters.data.close_timeouts += 1
            self.link.abort()


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
