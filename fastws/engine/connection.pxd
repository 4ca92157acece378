from libc.stdint cimport uint32_t, uint64_t

from .binding cimport Binding
from .deflate cimport Agreement
from .hub cimport Hub
from .link cimport Link
from .reading cimport Reading


cdef class Connection(Reading):
    cdef object __weakref__
    # -- who
    cdef readonly object subprotocol
    cdef readonly str path
    cdef dict _params           # None: there are none
    # Until on_open has returned. Bytes of a checked head are taken apart when somebody
    # asks for what is in them.
    cdef object request
    cdef object _state
    cdef uint64_t serial
    cdef uint32_t slot
    cdef bint request_wanted    # somebody has read from it
    # -- tasks
    cdef readonly object task   # of a coroutine endpoint

    # -- opening
    cdef int begin(self, Link link, bytes early) except -1
    cdef int _forget_request(self) except -1
    cdef int _start_endpoint(self) except -1
    # -- time-outs
    cdef int _check_stall(self, uint32_t tick) except -1
    cdef int _check_lag_age(self, uint32_t tick) except -1
    cdef uint32_t _max_stall(self) except? 0xFFFFFFFF
    cdef int _give_up(self, str reason) except -1
    # -- the end
    cdef int _finish(self) except -1


cdef Connection open_connection(
    Hub hub,
    Link link,
    Binding binding,
    object request,
    str path,
    dict params,
    object subprotocol,
    bytes early,
    Agreement agreement,
)
