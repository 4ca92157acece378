"""The sweep: one timer per loop for every heartbeat and time-out.

It ticks ten times a second. Deadlines (handshakes, closings) are few and looked at on
each tick; all connections are scanned once a second, a tenth of them per tick, so that
twenty thousand idle ones cost a millisecond of each second.
"""

from libc.stdint cimport int32_t, uint32_t, uint64_t

from .hub cimport Hub
from .lane cimport CONN_BLOCKED, NOTE_DUE, TICKS, conn_t
from .roster cimport Owner
from .writer cimport note


cdef bint _due(const conn_t *conn, uint32_t tick) noexcept nogil:
    """A rough look: what it finds, the connection looks at closely."""
    if conn.flags & CONN_BLOCKED or conn.times == NULL:
        return conn.times != NULL
    return (
        (conn.times.ping_interval and <int32_t>(tick - conn.next_ping) >= 0)
        or (conn.pinged and tick - conn.pinged >= conn.times.pong_timeout)
        or (
            conn.message_start
            and tick - conn.message_start >= conn.times.message_timeout
        )
    )


cdef class Sweep:
    """Drives a hub's time."""

    cdef Hub hub
    cdef object timer
    cdef double start_time
    cdef uint32_t position

    def __init__(self, Hub hub not None):
        self.hub = hub
        self.start_time = hub.clock()

    def start(self) -> None:
        """Tick from now on, until ``stop``."""
        if self.timer is None:
            self.timer = self.hub.loop.call_later(1.0 / TICKS, self._tick)

    def stop(self) -> None:
        """Tick no more."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _tick(self) -> None:
        self.timer = self.hub.loop.call_later(1.0 / TICKS, self._tick)
        self.run()

    def run(self) -> None:
        """Act on what the clock says now."""
        cdef double now = self.hub.clock()
        cdef uint32_t before = self.hub.writer.tick
        cdef uint32_t tick = 1 + <uint32_t>((now - self.start_time) * TICKS)
        if tick < before:
            tick = before
        self.hub.writer.tick = tick
        self._expire(now)
        self.hub.expire()
        self._scan(tick, tick - before)

    cdef int _expire(self, double now) except -1:
        cdef Owner owner
        cdef list expired = None
        for owner in self.hub.watched:
            if now >= owner.deadline:
                if expired is None:
                    expired = []
                expired.append(owner)
        if expired is not None:
            for owner in expired:
                if owner.watch >= 0 and now >= owner.deadline:
                    self.hub.unwatch(owner)
                    owner.expired()
        return 0

    cdef int _scan(self, uint32_t tick, uint32_t elapsed) except -1:
        cdef uint64_t share = (self.hub.slot_count + TICKS - 1) // TICKS * elapsed
        cdef uint32_t count = self.hub.slot_count
        cdef conn_t *conn
        cdef bint found = False
        if share < count:
            count = <uint32_t>share
        while count:
            count -= 1
            if self.position >= self.hub.slot_count:
                self.position = 0
            conn = self.hub.at(self.position)
            self.position += 1
            if conn != NULL and _due(conn, tick):
                note(&self.hub.writer, conn, NOTE_DUE)
                found = True
        if found:
            self.hub.wake()
        return 0
