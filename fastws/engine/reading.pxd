from cpython.object cimport PyObject
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from .inbox cimport inbox_t
from .parser cimport Event, parser_t
from .writing cimport Writing


ctypedef struct bucket_t:
    # A leaky bucket over the sweep's ticks.
    float level
    uint32_t tick


cdef class Reading(Writing):
    # -- from bytes to messages
    cdef parser_t parser
    cdef bytes backlog          # bytes that were read and wait to be parsed
    cdef Py_ssize_t backlog_used
    cdef uint8_t reading_paused
    cdef uint8_t all_received   # the peer sends no more
    # The peer's end, behind messages that a coroutine has not taken yet: CLOSE or
    # FAILED; NEED_MORE: nothing.
    cdef Event deferred
    cdef bucket_t control_bucket
    cdef bucket_t message_bucket
    # -- messages for a coroutine
    cdef inbox_t *inbox
    cdef object receiver        # the awaitable of `async for`
    cdef object waiter          # future of the receive that is waiting
    # -- the pong that waits among the urgent bytes of a peer that does not read
    cdef uint32_t pong_start
    cdef uint32_t pong_end      # 0: there is none
    # -- heartbeat
    cdef uint64_t ping_payload
    cdef double ping_time
    cdef double latency_seconds

    # -- hook
    cdef int handler_failed(self, object error) except -1
    cdef int suspending(self) except -1
    # -- parse and deliver
    cdef int read(self, const uint8_t *data, size_t length) except -1
    cdef int _read_batch(self, const uint8_t **position, const uint8_t *end) except -1
    cdef int _deliver(self, PyObject *payload) except -1
    cdef int _broken(self) except -1
    cdef int _handle(self, Event event, PyObject *payload) except -1
    cdef bint _overflows(self, bucket_t *bucket, float rate, float burst) noexcept
    cdef int _defer(self, Event event, PyObject *payload) except -1
    cdef int _message_times(self, bint completed) except -1
    cdef bint _behind(self) noexcept
    cdef bint _output_waits(self) noexcept
    cdef int _stash(self, const uint8_t *data, size_t length) except -1
    cdef int _unstash(self) except -1
    # -- what a coroutine sees
    cdef object step(self, bint iterating, bint *finished)
    # -- control frames
    cdef int _answer_ping(self, bytes payload) except -1
    cdef int _pong_received(self, bytes payload) except -1
    cdef int heartbeat(self, uint32_t tick) except -1
    cdef int _peer_closed(self, uint32_t code, str reason) except -1
