from cpython.object cimport PyObject
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from .hub cimport Hub
from .link cimport Link, ReceiveBuffer


cdef extern from "<netinet/in.h>" nogil:
    struct in6_addr:
        pass
    struct sockaddr_in6:
        uint16_t sin6_family
        uint16_t sin6_port
        uint32_t sin6_flowinfo
        in6_addr sin6_addr
        uint32_t sin6_scope_id


ctypedef struct place_t:
    # One place of the table of links.
    PyObject *link              # strong; NULL: free
    uint32_t generation         # counts its users: an event of a former one is known
    uint32_t next               # the next free place


cdef class Sockets:
    # -- whose
    cdef readonly Hub hub
    cdef ReceiveBuffer buffer
    # -- what is watched
    cdef int epoll
    cdef place_t *places
    cdef uint32_t place_count
    cdef uint32_t place_room
    cdef uint32_t free_place
    cdef readonly uint32_t link_count
    # -- links whose end is to be told
    cdef list dying             # each link is followed by its error
    cdef bint turning           # events are being handled: it is told at their end
    cdef bint burying           # on its way

    cdef uint32_t take_place(self, OwnLink link) except? 0xFFFFFFFF
    cdef int give_place(self, OwnLink link) except -1
    cdef inline uint64_t key_of(self, uint32_t place) noexcept:
        return <uint64_t>self.places[place].generation << 32 | place
    cdef OwnLink made(self, int fd, const sockaddr_in6 *address, object local)
    cdef int mourn(self, OwnLink link, object error) except -1
    cdef int bury(self) except -1
    cdef int idle(self) except -1


cdef class Unsent:
    # What the kernel has refused
    cdef list pieces
    cdef size_t first           # bytes of the first piece that have left
    cdef size_t length          # of all that has not


cdef class OwnLink(Link):
    cdef Sockets sockets        # None: the end has been told, or it was moved
    cdef Unsent unsent          # None: the kernel has everything
    # -- addresses: the peer's as the kernel gave it, ours shared with the listener
    cdef object local
    cdef sockaddr_in6 *long_address
    cdef uint32_t short_address
    cdef uint16_t port
    cdef uint8_t family         # 0: it has no internet address
    # -- state
    cdef uint8_t events         # watched for
    cdef int fd
    cdef uint32_t place
    cdef uint8_t closing        # nothing is written any more
    cdef uint8_t closed         # close or abort has been called
    cdef uint8_t dead           # only its end is still to be told
    cdef uint8_t ended          # the peer sends no more
    cdef uint8_t reading_paused

    cdef int happened(self, uint32_t events) except -1
    cdef int receive(self) except -1
    cdef int rearm(self) except -1
    cdef int _send_unsent(self) except -1
    cdef int _keep(self, bytes data, size_t sent) except -1
    cdef int die(self, object error) except -1
