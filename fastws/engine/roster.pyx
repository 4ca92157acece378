"""The roster: the connections of one event loop, by slot and id, and their deadlines.

Base of Publishing, which is the base of Hub.
"""

from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdlib cimport calloc, free, realloc

from .counters cimport native
from .deflate cimport Deflate
from .lane cimport no_limit
from .outbox cimport outbox_give
from .writer cimport unlist, writer_free, writer_init, writer_reserve

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


_DEFAULT_RULE = ChannelRule()


def _default_rule(name: str):
    return _DEFAULT_RULE


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


cdef class Roster(Keeper):
    """The connections of one event loop."""

    def __cinit__(self, limits=None, loop=None, clock=None):
        self.counters = Counters()
        self.free_slot = NO_SLOT
        self.slice_nanoseconds = SLICE
        if not writer_init(&self.writer, &self.counters.data):
            raise MemoryError
        self._deflates = {}
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

    # -- what the layers above add -----------------------------------------------------

    cdef int entered(self, conn_t *conn) except -1:
        """There is a new connection."""
        return 0

    cdef int leaving(self, conn_t *conn) except -1:
        """A connection is about to be freed: nothing may point to it any more."""
        return 0

    cdef int wake(self) except -1:
        """Have what is owed written at the end of this tick."""
        raise NotImplementedError

    cdef int visit_now(self, conn_t *conn) except -1:
        """Write what a connection is owed."""
        raise NotImplementedError

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
        conn.limit = no_limit()
        Py_INCREF(owner)
        owner.conn = conn
        self.slots[slot] = conn
        self.counters.data.connections += 1
        self.counters.data.opened += 1
        self.entered(conn)
        return 0

    cdef int leave(self, Owner owner) except -1:
        """Take the ``conn_t`` back with everything it holds."""
        cdef conn_t *conn = owner.conn
        if conn == NULL:
            return 0
        self.leaving(conn)
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

    # -- compression -------------------------------------------------------------------

    def deflate(self, rule not None, *, has_cohorts=False) -> Deflate:
        """How this loop compresses under a rule: one for all rules that are equal."""
        key = rule, has_cohorts or rule.server_context
        found = self._deflates.get(key)
        if found is None:
            found = Deflate(rule, self.counters, has_cohorts=has_cohorts)
            self._deflates[key] = found
        return found

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
