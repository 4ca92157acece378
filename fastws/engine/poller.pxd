from libc.stdint cimport uint32_t, uint64_t

from .csrc cimport epoll_event
from .opening cimport Entrance
from .ownlink cimport OwnLink, Sockets


cdef enum:
    # Events that one look at the kernel brings.
    MOST_EVENTS = 512


cdef class Listener:
    cdef object sock
    cdef object address         # None: it listens on every address
    cdef Entrance entrance      # None: it listens no more
    cdef int fd
    cdef uint32_t events        # watched for
    cdef uint32_t serial        # tells it from one that had its place before


cdef class Poller(Sockets):
    # -- listening
    cdef list listeners         # None in free places
    cdef uint32_t serial
    cdef object pause           # timer: accepting rests until then
    cdef int spare              # a descriptor to give up when there are no others
    cdef double complained      # when it was last logged that there are none
    # -- the events in hand; what a slice leaves, the next one goes on with
    cdef epoll_event[MOST_EVENTS] found
    cdef int count
    cdef int position
    cdef readonly uint64_t turns
    # -- its place in the loop
    cdef object watch           # None: not in it

    cdef int _open(self) except -1
    cdef int _close(self, bint orderly) except -1
    cdef int turn(self) except -1
    cdef int _handle(self, uint64_t deadline) except -1
    cdef OwnLink _link_of(self, uint64_t key)
    cdef int _accept_from(self, uint32_t place, uint32_t serial) except -1
    cdef int _accept(self, Listener listener) except -1
    cdef int _begin(self, OwnLink link, Entrance entrance) except -1
    cdef bint _no_accept(self, Listener listener) except -1
    cdef bint _turn_away(self, Listener listener) except -1
    cdef int _rest(self) except -1
    cdef int _complain(self, str what) except -1
    cdef int _watch_listener(self, uint32_t place, uint32_t events) noexcept
    cdef int _failed(self, OwnLink link, object error) except -1
