"""The hub: all channels and connections of one event loop, and the flush.

No sockets and no event loop in here: the loop only gets asked to call ``flush`` soon
and to say when a batch window is over, time comes from ``clock`` and from the sweep's
ticks. Everything but ``publish``, ``publish_batch`` and ``broadcast`` belongs to the
loop's thread.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memcpy

from .csrc cimport (
    FASTWS_BIT_FIN,
    FASTWS_CONTROL_MAX,
    FASTWS_FRAME_HEADER_MAX,
    fastws_frame_encode,
    fastws_frame_header_size,
    fastws_mask_copy,
)
from .flush cimport clock_nanoseconds, flush_slice
from .lane cimport CONN_BLOCKED, CONN_LINKED, CONN_LISTED, lane_t
from .outbox cimport outbox_append, outbox_take
from .plan cimport nothing_of_its_own, owes_elsewhere, plan_visit
from .roster cimport Owner
from .visit cimport advance, blocked, caught_up, visit
from .writer cimport mark_dirty, unlist_linked, urgent_append

import os


cdef enum:
    # Members and dirty connections from which a slice is worth releasing the GIL.
    WORTH_RELEASING = 16
    # Bytes that a linked connection is given at a time; it then says whether it is
    # full.
    LINKED_BYTES = 65536
    ENTROPY = 4096


cdef class Hub(Publishing):
    """One per event loop."""

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
        self.forced = 0
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
