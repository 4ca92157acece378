from libc.stdint cimport int64_t, uint64_t


ctypedef struct native_t:
    # What the process holds in native memory: back at zero when everyone has left.
    int64_t connections
    int64_t segments
    int64_t outboxes
    int64_t members
    int64_t buffers
    int64_t inflaters
    int64_t deflaters
    int64_t detours
    int64_t kept
    int64_t gaps


ctypedef struct counters_t:
    # -- gauges
    uint64_t connections
    # -- life of connections
    uint64_t opened
    uint64_t closed
    # -- traffic
    uint64_t messages_received
    uint64_t messages_sent
    uint64_t bytes_received
    uint64_t bytes_sent
    uint64_t publications
    uint64_t deliveries
    uint64_t pings_sent
    uint64_t pongs_received
    # -- refusals and faults
    uint64_t sends_refused
    uint64_t frames_lost
    uint64_t protocol_errors
    uint64_t handler_errors
    uint64_t rate_limited
    # -- evictions and time-outs, by reason
    uint64_t evicted_lag
    uint64_t evicted_lag_age
    uint64_t evicted_stall
    uint64_t evicted_write_cap
    uint64_t pong_timeouts
    uint64_t close_timeouts
    uint64_t message_timeouts
    uint64_t handshake_timeouts
    # -- compression
    uint64_t compressed_messages
    uint64_t compress_bytes_in      # of all that it was tried on
    uint64_t compress_bytes_out     # what of these got no smaller counts as it was
    uint64_t compress_nanoseconds
    uint64_t inflated_messages
    uint64_t inflate_bytes_in
    uint64_t inflate_bytes_out
    # -- slow subscribers that healed
    uint64_t lag_skips          # cursors that went to the head
    uint64_t lag_heals          # cursors that went over to the newest frame of each key
    uint64_t lag_refills        # cursors that history has brought back
    uint64_t lag_refill_misses  # cursors that history could not
    uint64_t keys_dropped       # over max_keys
    uint64_t frames_skipped     # that a living subscriber did not get
    # -- how flushing went
    uint64_t flushes
    uint64_t slices


cdef native_t* native() noexcept nogil


cdef class Counters:
    cdef counters_t data
