from cpython.object cimport PyObject
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from .binding cimport Binding
from .inbox cimport inbox_t
from .link cimport Consumer, Link
from .parser cimport Event, parser_t
from .payload cimport payload_t
from .sent cimport Sent


# The only state of a connection's life; what "is closing" means is derived from it.
#
#   OPEN ──close(), handler's end──► CLOSING ──the peer's Close──► ENDING ──► CLOSED
#    ├────────the peer's Close───────────────────────────────────►   ▲          ▲
#    ├────────protocol fault, eviction────────► FAILED ──written─────┘          │
#    └────────the link is gone (from every phase)───────────────────────────────┘
cdef enum Phase:
    OPEN = 0
    CLOSING         # our Close is on its way or sent; the peer's has not come
    ENDING          # both are done: the link closes when everything is written
    FAILED          # our Close goes out, the peer is not listened to any more
    CLOSED          # inert: no native state left


ctypedef struct bucket_t:
    float level
    uint32_t tick


cdef class Connection(Consumer):
    cdef object __weakref__
    # -- who
    cdef readonly Binding binding
    cdef readonly object subprotocol
    cdef readonly str path
    cdef readonly dict params
    cdef object request         # until on_open has returned, if nobody asked for it
    cdef object _state
    cdef uint64_t serial
    cdef uint32_t slot
    # -- phase
    cdef Phase phase
    cdef bint client
    cdef readonly object close_code
    cdef readonly object close_reason
    # -- reading
    cdef parser_t parser
    cdef bytes backlog          # bytes that were read and wait to be parsed
    cdef Py_ssize_t backlog_used
    cdef bint reading_paused
    cdef bint delivering        # inside the loop that parses and delivers
    cdef bucket_t control_bucket
    cdef bucket_t message_bucket
    # -- messages for a coroutine
    cdef inbox_t inbox
    cdef size_t inbox_bytes
    cdef object receiver
    cdef object waiter          # future of the receive that is waiting
    cdef uint32_t streak
    cdef uint64_t streak_start
    # -- tasks
    cdef object task
    cdef set spawned
    # -- waiting for others
    cdef list drain_waiters
    cdef list close_waiters
    cdef dict pings             # payload -> future
    # -- heartbeat
    cdef uint64_t ping_payload
    cdef double ping_time
    cdef double _latency

    # -- opening
    cdef int begin(self, Link link, bytes early) except -1
    cdef int _start_endpoint(self) except -1
    # -- reading
    cdef int read(self, const uint8_t *data, size_t length) except -1
    cdef int _read_batch(self, const uint8_t **position, const uint8_t *end) except -1
    cdef int _handle(self, Event event, PyObject *payload) except -1
    cdef int _stash(self, const uint8_t *data, size_t length) except -1
    cdef int _unstash(self) except -1
    cdef bint _behind(self) noexcept
    cdef int _message_times(self, bint completed) except -1
    cdef bint _overflows(
        self, bucket_t *bucket, float rate, float burst
    ) noexcept
    cdef int _deliver(self, PyObject *payload) except -1
    cdef int _pong_received(self, bytes payload) except -1
    cdef int _answer_ping(self, bytes payload) except -1
    cdef int _wake_receiver(self) except -1
    cdef object step(self, bint iterating, bint *finished)
    # -- writing
    cdef int flush_soon(self) except -1
    cdef Sent _send(self, payload_t *payload)
    cdef Sent _pending(self)
    cdef Sent _closed(self)
    cdef int _check_stall(self, uint32_t tick) except -1
    cdef int _give_up(self, str reason) except -1
    cdef int _queue_urgent(self, uint8_t opcode, bytes payload) except -1
    cdef int _heartbeat(self, uint32_t tick) except -1
    # -- closing
    cdef int _record(self, object code, str reason) except -1
    cdef int _queue_close(self, uint32_t code, str reason) except -1
    cdef int fail(self, uint32_t code, str reason) except -1
    cdef int evict(self, str reason) except -1
    cdef int _drop_output(self) except -1
    cdef int _peer_closed(self, uint32_t code, str reason) except -1
    cdef int _written(self) except -1
    cdef int _finish(self) except -1
    cdef int _handler_failed(self, object error) except -1
    cdef int _check(self, str what) except -1
