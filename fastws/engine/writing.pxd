from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from .binding cimport Binding
from .deflate cimport Agreement, Context
from .link cimport Consumer
from .payload cimport payload_t
from .sent cimport Sent


# The one state of a connection's life; every "is closing" is derived from it.
#
#   OPEN ──close(), handler's end──► CLOSING ──the peer's Close──► ENDING ──► CLOSED
#    ├────────the peer's Close───────────────────────────────────►   ▲          ▲
#    ├────────protocol fault, eviction────────► FAILED ──written─────────────────┤
#    └────────the link is gone (from every phase)────────────────────────────────┘
cdef enum Phase:
    OPEN = 0
    CLOSING         # our Close is on its way or sent; the peer's has not come
    ENDING          # both are done: the link closes when everything is written
    FAILED          # our Close goes out, the peer is not listened to any more
    CLOSED          # inert: no native state left


cdef class Aside:
    # What few connections have, and only at times
    cdef list drain_waiters
    cdef list close_waiters
    cdef list left              # channels it was taken out of, to be told at the end
    cdef str deferred_reason    # of a Close that is put off
    cdef dict pings             # payload -> (future of a ping(), its time)
    cdef set spawned            # tasks
    # -- where this connection's messages refer to its earlier ones
    cdef Context context
    cdef uint64_t context_end   # sequence of the last one


cdef class Writing(Consumer):
    # -- whose
    cdef readonly Binding binding
    cdef uint8_t client         # our role: what we send is masked
    # -- phase
    cdef uint8_t delivering     # the endpoint is being called
    cdef Phase phase
    cdef readonly object close_code
    cdef readonly object close_reason
    # -- the rest
    cdef Aside aside            # None until it is needed

    # -- hooks
    cdef int stop_reading(self) except -1
    cdef int read_and_discard(self) except -1
    cdef int read_on(self) except -1
    cdef int wake_receiver(self) except -1
    cdef int drained(self) except -1
    cdef int end_deferred(self) except -1
    cdef int skipped(self) except -1
    cdef int due(self) except -1
    cdef Aside keep_aside(self)
    # -- sending
    cdef int check(self, str what) except -1
    cdef int flush_soon(self) except -1
    cdef Sent _send(self, payload_t *payload)
    cdef int _enqueue_shrunk(self, payload_t *payload) except -1
    cdef bint _shrink(self, payload_t *payload) except -1
    cdef bint _shrink_in_context(self, payload_t *payload) except -1
    cdef bint _is_in_step(self) noexcept
    cdef Sent _pending(self)
    cdef int queue_urgent(self, uint8_t opcode, bytes payload) except -1
    cdef int _hand_over(self) except -1
    cdef int release(self, list waiters) except -1
    # -- closing
    cdef Sent _closed(self)
    cdef int record(self, object code, str reason) except -1
    cdef bint queue_close(self, uint32_t code, str reason) except -1
    cdef int end_abruptly(self) except -1
    cdef int fail(self, uint32_t code, str reason) except -1
    cdef int evict(self, str reason) except -1
    cdef int drop_output(self) except -1
    cdef int leave_channels(self) except -1
    cdef int _written(self) except -1
