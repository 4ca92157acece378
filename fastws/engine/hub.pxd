from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from .counters cimport Counters
from .lane cimport conn_t, lane_t, rule_t
from .payload cimport payload_t
from .visit cimport writer_t


cdef class Owner:
    """What stands behind a ``conn_t``: the hub tells it what flushing found, and when
    its deadline has passed. The upward hook of this layer."""

    cdef conn_t *conn           # NULL before it is open and after it has ended
    cdef double deadline        # on the hub's clock; 0: none
    cdef Py_ssize_t watch       # place in the hub's list of deadlines; -1: none

    cdef int transmit(self, bytes data) except -1
    cdef int attend(self, uint32_t notes) except -1
    cpdef expired(self)


cdef class Rule:
    cdef rule_t data


cdef class Channel:
    # -- whose
    cdef readonly str name
    cdef readonly Hub hub
    cdef Rule rule
    cdef bint hidden            # the hub's own, not among anybody's channels
    # -- state
    cdef uint64_t number        # of the last publication
    cdef lane_t lane


cdef class Hub:
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
    cdef public Py_ssize_t handshakes
    cdef public object receive_buffer   # the links' own, one per loop
    cdef public object poller           # of our own sockets; None: there are none
    # -- channels
    cdef dict _channels
    cdef dict _rules
    cdef Channel _everyone
    # -- connections
    cdef conn_t **slots
    cdef uint32_t slot_count    # places ever used
    cdef uint32_t slot_room
    cdef uint32_t free_slot     # head of the free list, linked through the places
    cdef uint64_t serial
    cdef readonly str id_prefix
    # -- deadlines
    cdef list watched
    # -- flushing
    cdef writer_t writer
    cdef public uint64_t slice_nanoseconds  # of one flush, before others get a turn
    cdef bint awake             # a flush is on its way
    cdef bint batching          # a batch of events is being handled: it flushes itself
    cdef bint flush_due         # at the end of that batch
    # -- masking keys of the client role
    cdef bytes _entropy
    cdef Py_ssize_t _entropy_used

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
    # -- channels
    cdef Channel _channel(self, str name)
    cdef int _join(self, conn_t *conn, Channel channel) except -1
    cdef int _retire(self, Channel channel) except -1
    cdef Channel join(self, conn_t *conn, str name)
    cdef Channel depart(self, conn_t *conn, str name)
    cdef int depart_all(self, conn_t *conn) except -1
    cdef list channel_names(self, const conn_t *conn)
    cdef int _gather(self) except -1
    cdef int append(
        self, Channel channel, payload_t *payload, conn_t *excluded
    ) except -1
    cdef int publish_local(self, str name, object message, conn_t *excluded) except -1
    # -- a connection's own frames
    cdef int enqueue(
        self, conn_t *conn, payload_t *payload, uint8_t opcode, bint masked
    ) except -1
    cdef bint enqueue_urgent(
        self, conn_t *conn, payload_t *payload, bint masked
    ) noexcept
    cdef const uint8_t *_key(self) noexcept
    # -- flushing
    cdef uint64_t _amount(self) noexcept nogil
    cdef int _visit_all_linked(self) except -1
    cdef int _visit_linked(self, conn_t *conn) except -1
    cdef bytes _join_parts(self, uint32_t count)
    cdef int _tell(self) except -1
    cdef int settle(self, conn_t *conn) except -1
    cdef int visit_now(self, conn_t *conn) except -1
    cdef int wake(self) except -1
    cdef int begin_batch(self) except -1
    cdef int end_batch(self) except -1
    cdef int wrong_thread(self, str what) except -1


cdef unsigned long this_thread() noexcept nogil
