from libc.stdint cimport uint32_t, uint64_t

from .channel cimport Keeper
from .counters cimport Counters
from .deflate cimport Agreement
from .lane cimport conn_t
from .writer cimport writer_t


cdef class Owner:
    """What stands behind a ``conn_t``: the hub tells it what flushing found, and when
    its deadline has passed. The upward hook of this layer."""

    cdef conn_t *conn           # NULL before it is open and after it has ended
    cdef double deadline        # on the hub's clock; 0: none
    cdef Py_ssize_t watch       # place in the hub's list of deadlines; -1: none
    cdef readonly Agreement agreement   # on compression; None: there is none

    cdef int transmit(self, bytes data) except -1
    cdef int attend(self, uint32_t notes) except -1
    cpdef expired(self)


cdef class Roster(Keeper):
    # -- what it is given
    cdef readonly object limits
    cdef readonly object loop
    cdef public object clock
    cdef readonly Counters counters
    cdef unsigned long thread
    # -- hooks of the layers above
    cdef public object rule_for
    cdef public object on_connect
    cdef public object on_disconnect
    cdef public object on_subscribe
    cdef public object on_unsubscribe
    cdef public object on_message
    cdef public object on_skip
    cdef public Py_ssize_t handshakes
    cdef public object receive_buffer   # the links' own, one per loop
    cdef public object poller           # of our own sockets; None: there are none
    # -- connections
    cdef conn_t **slots
    cdef uint32_t slot_count    # places ever used
    cdef uint32_t slot_room
    cdef uint32_t free_slot     # head of the free list, linked through the places
    cdef uint64_t serial
    cdef readonly str id_prefix
    # -- compression
    cdef dict _deflates         # (config.Compression, has_cohorts) -> Deflate
    # -- deadlines
    cdef list watched
    # -- flushing
    cdef writer_t writer
    cdef public uint64_t slice_nanoseconds  # of one flush, before others get a turn

    # -- hooks
    cdef int entered(self, conn_t *conn) except -1
    cdef int leaving(self, conn_t *conn) except -1
    cdef int wake(self) except -1
    cdef int visit_now(self, conn_t *conn) except -1
    # -- life of a connection
    cdef int enter(self, Owner owner) except -1
    cdef int leave(self, Owner owner) except -1
    cdef uint32_t _take_slot(self) except? 0xFFFFFFFF
    cdef void _give_slot(self, uint32_t slot) noexcept
    cdef conn_t *at(self, uint32_t slot) noexcept nogil
    cdef Owner owner_of(self, str id)
    cdef str id_of(self, uint32_t slot, uint64_t serial)
    # -- deadlines
    cdef int watch_until(self, Owner owner, double deadline) except -1
    cdef int unwatch(self, Owner owner) except -1
    cdef int wrong_thread(self, str what) except -1


cdef unsigned long this_thread() noexcept nogil
