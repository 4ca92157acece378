from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t

from .lane cimport times_t
from .parser cimport parser_limits_t


ctypedef struct limits_t:
    # A route's Limits as the engine reads them.
    parser_limits_t parser
    times_t times
    size_t high_water
    size_t low_water
    size_t write_cap
    double close_timeout
    double error_close_timeout
    float control_rate      # per tick; 0: no limit
    float control_burst
    float message_rate
    float message_burst
    uint32_t max_channels   # 0: no limit
    uint32_t max_channel_name


cdef class Binding:
    # -- the endpoint
    cdef readonly object app
    cdef readonly object coroutine
    cdef readonly object on_open
    cdef readonly object on_message
    cdef readonly object on_drain
    cdef readonly object on_close
    cdef readonly object on_skip
    cdef readonly bint is_async
    cdef readonly bint keep_headers
    # -- what its peers may cost
    cdef readonly object limits
    cdef limits_t data

    cdef int _read(self, limits) except -1
