"""An endpoint as the engine calls it: built once per route, shared by its
connections."""

from libc.string cimport memset

from .channel cimport ticks_of
from .lane cimport TICKS

from ..config import Limits


cdef class Binding:
    def __cinit__(self):
        memset(&self.data, 0, sizeof(limits_t))

    def __init__(
        self,
        *,
        app=None,
        limits=None,
        coroutine=None,
        on_open=None,
        on_message=None,
        on_drain=None,
        on_close=None,
        on_skip=None,
        bint is_async=False,
        bint keep_headers=False,
    ):
        self.app = app
        self.coroutine = coroutine
        self.on_open = on_open
        self.on_message = on_message
        self.on_drain = on_drain
        self.on_close = on_close
        self.on_skip = on_skip
        self.is_async = is_async
        self.keep_headers = keep_headers
        self.limits = Limits() if limits is None else limits
        self._read(self.limits)

    cdef int _read(self, limits) except -1:
        cdef limits_t *data = &self.data
        data.parser.max_message = (
            <uint64_t>0x7FFFFFFFFFFFFFFF
            if limits.max_message is None
            else <uint64_t>limits.max_message
        )
        data.parser.max_fragments = (
            <uint64_t>0x7FFFFFFFFFFFFFFF
            if limits.fragment_limit is None
            else <uint64_t>limits.fragment_limit
        )
        data.times.ping_interval = ticks_of(limits.ping_interval)
        data.times.pong_timeout = ticks_of(limits.pong_timeout)
        data.times.message_timeout = ticks_of(limits.message_timeout)
        data.times.max_stall = ticks_of(limits.max_stall)
        data.high_water = limits.write_high_water
        data.low_water = limits.write_low_water
        data.write_cap = limits.write_cap
        data.close_timeout = limits.close_timeout
        data.error_close_timeout = limits.error_close_timeout
        data.control_rate = (limits.control_rate or 0.0) / TICKS
        data.control_burst = limits.control_burst
        data.message_rate = (limits.message_rate or 0.0) / TICKS
        data.message_burst = limits.message_burst
        data.max_channels = limits.max_channels or 0
        data.max_channel_name = limits.max_channel_name
        return 0
