"""The link on a plain TCP socket that the engine owns, and the table of these links.

Bytes go straight to the descriptor; what the kernel refuses waits here, and the socket
is watched for room only while something does. A socket that is watched for nothing is
taken out of the epoll: the kernel would report its end all the same, again and again.

A link is held by its place in the table until its end has been told. Only then is its
descriptor closed: whoever still writes to it directly can't reach another connection.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EAGAIN, EINTR, ENOBUFS, ENOMEM, errno
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

from .csrc cimport EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, fastws_watch
from .flush cimport clock_nanoseconds
from .hub cimport Hub
from .link cimport RECEIVE_BUFFER, Consumer, Link, receive_buffer

import os


cdef extern from "<sys/socket.h>" nogil:
    ssize_t send(int fd, const void *data, size_t length, int flags)
    ssize_t recv(int fd, void *data, size_t length, int flags)
    int shutdown(int fd, int how)
    int getsockname(int fd, void *address, uint32_t *length)
    int AF_INET
    int AF_INET6
    int MSG_NOSIGNAL
    int MSG_DONTWAIT
    int SHUT_WR


cdef extern from "<netinet/in.h>" nogil:
    struct in_addr:
        uint32_t s_addr
    struct sockaddr_in:
        in_addr sin_addr


cdef extern from "<arpa/inet.h>" nogil:
    uint16_t ntohs(uint16_t number)
    uint32_t ntohl(uint32_t number)
    const char *inet_ntop(int family, const void *address, char *text, uint32_t size)


cdef extern from "<unistd.h>" nogil:
    int close(int fd)


cdef enum:
    NO_PLACE = 0xFFFFFFFF
    ADDRESS_TEXT = 64


# -- addresses -------------------------------------------------------------------------


cdef object _address(const sockaddr_in6 *address):
    """As Python's own sockets write it; None outside of the internet families."""
    cdef char text[ADDRESS_TEXT]
    cdef uint16_t port = ntohs(address.sin6_port)
    if address.sin6_family == AF_INET:
        inet_ntop(
            AF_INET, &(<const sockaddr_in *>address).sin_addr, text, ADDRESS_TEXT
        )
        return (<bytes>text).decode("ascii"), port
    if address.sin6_family == AF_INET6:
        inet_ntop(AF_INET6, &address.sin6_addr, text, ADDRESS_TEXT)
        return (
            (<bytes>text).decode("ascii"),
            port,
            ntohl(address.sin6_flowinfo),
            address.sin6_scope_id,
        )
    return None


# -- the table -------------------------------------------------------------------------


cdef class Sockets:
    """The links of one loop, each in a place of its own."""

    def __cinit__(self, Hub hub not None):
        self.hub = hub
        self.buffer = receive_buffer(hub)
        self.epoll = -1
        self.free_place = NO_PLACE
        self.dying = []

    def __dealloc__(self):
        free(self.places)

    cdef uint32_t take_place(self, OwnLink link) except? 0xFFFFFFFF:
        cdef uint32_t place = self.free_place
        cdef uint32_t room
        cdef place_t *places
        if place != NO_PLACE:
            self.free_place = self.places[place].next
        else:
            if self.place_count == self.place_room:
                room = self.place_room * 2 if self.place_room else 64
                places = <place_t *>realloc(self.places, room * sizeof(place_t))
                if places == NULL:
                    raise MemoryError
                self.places = places
                self.place_room = room
            place = self.place_count
            self.place_count += 1
            self.places[place].generation = 0
        self.places[place].link = <PyObject *>link
        Py_INCREF(link)
        self.link_count += 1
        return place

    cdef int give_place(self, OwnLink link) except -1:
        cdef place_t *place = &self.places[link.place]
        place.link = NULL
        place.generation += 1
        place.next = self.free_place
        self.free_place = link.place
        self.link_count -= 1
        Py_DECREF(link)
        return 0

    cdef OwnLink made(self, int fd, const sockaddr_in6 *address, object local):
        """The link of a descriptor, which it owns from now on; not watched yet."""
        cdef OwnLink link = OwnLink.__new__(OwnLink)
        link.place = self.take_place(link)
        link.sockets = self
        link.fd = fd
        link.local = local
        link.family = <uint8_t>address.sin6_family
        link.port = address.sin6_port
        if address.sin6_family == AF_INET:
            link.short_address = (<const sockaddr_in *>address).sin_addr.s_addr
        elif address.sin6_family == AF_INET6:
            link.long_address = <sockaddr_in6 *>malloc(sizeof(sockaddr_in6))
            if link.long_address == NULL:
                link.family = 0
            else:
                memcpy(link.long_address, address, sizeof(sockaddr_in6))
        else:
            link.family = 0
        return link

    cdef int mourn(self, OwnLink link, object error) except -1:
        """Tell a link's end when nothing of it is being called."""
        self.dying.append(link)
        self.dying.append(error)
        if not self.turning and not self.burying:
            self.burying = True
            self.hub.loop.call_soon(self._bury_soon)
        return 0

    def _bury_soon(self) -> None:
        self.burying = False
        self.bury()
        self.idle()

    cdef int bury(self) except -1:
        """Tell the ends that are due, and close the descriptors; for one slice."""
        cdef OwnLink link
        cdef list dying
        cdef Py_ssize_t position = 0
        cdef uint64_t deadline
        if not self.dying:
            return 0
        deadline = clock_nanoseconds() + self.hub.slice_nanoseconds
        dying = self.dying
        self.dying = []
        while position < len(dying):
            link = dying[position]
            error = dying[position + 1]
            position += 2
            try:
                link.tell_lost(error)
            except Exception as fault:
                self.hub.loop.call_exception_handler({
                    "message": "fastws: the end of a connection failed",
                    "exception": fault,
                })
            finally:
                close(link.fd)
                link.fd = -1
                link.sockets = None
                self.give_place(link)
            if clock_nanoseconds() >= deadline:
                break
        self.dying = dying[position:] + self.dying
        if self.dying and not self.burying:
            self.burying = True
            self.hub.loop.call_soon(self._bury_soon)
        return 0

    cdef int idle(self) except -1:
        """Hook: perhaps the last link has gone."""
        return 0


cdef class Unsent:
    def __cinit__(self):
        self.pieces = []


# -- one link --------------------------------------------------------------------------


cdef class OwnLink(Link):
    def __cinit__(self):
        self.fd = -1

    def __dealloc__(self):
        free(self.long_address)

    cdef object peer_address(self):
        cdef sockaddr_in6 address
        if self.family == AF_INET6:
            return _address(self.long_address)
        if self.family == 0:
            return None
        address.sin6_family = AF_INET
        address.sin6_port = self.port
        (<sockaddr_in *>&address).sin_addr.s_addr = self.short_address
        return _address(&address)

    cdef object own_address(self):
        cdef sockaddr_in6 address
        cdef uint32_t length = sizeof(sockaddr_in6)
        if self.local is None and self.fd >= 0:
            if getsockname(self.fd, &address, &length) == 0:
                return _address(&address)
        return self.local

    # -- what the poller calls ---------------------------------------------------------

    cdef int happened(self, uint32_t events) except -1:
        """An event of this very socket; bytes that were read."""
        if self.unsent is not None and events & (EPOLLOUT | EPOLLERR | EPOLLHUP):
            self._send_unsent()
        if (
            self.events & EPOLLIN
            and events & (EPOLLIN | EPOLLERR | EPOLLHUP)
        ):
            return self.receive()
        return 0

    cdef int receive(self) except -1:
        """One read, and what it brings; bytes that it brought."""
        cdef uint8_t *data = self.sockets.buffer.data
        cdef ssize_t got = recv(self.fd, data, RECEIVE_BUFFER, MSG_DONTWAIT)
        # Held: it may be replaced while it is being called.
        cdef Consumer consumer = self.consumer
        if got > 0:
            consumer.received(data, <size_t>got)
            return <int>got
        if got == 0:
            self.ended = True
            self.rearm()
            consumer.ended()
            if self.closing:
                # Both directions have ended.
                self.close()
            return 0
        if errno != EAGAIN and errno != EINTR and errno != ENOMEM and errno != ENOBUFS:
            self.die(_os_error())
        return 0

    cdef int rearm(self) except -1:
        """Watch for what is wanted now."""
        cdef uint8_t wanted = 0
        if not self.dead:
            if not (self.ended or self.reading_paused or self.closed):
                wanted = EPOLLIN
            if self.unsent is not None:
                wanted |= EPOLLOUT
        if wanted == self.events:
            return 0
        if fastws_watch(
            self.sockets.epoll,
            self.fd,
            self.events,
            wanted,
            self.sockets.key_of(self.place),
        ) < 0 and wanted:
            self.die(_os_error())
            return 0
        self.events = wanted
        return 0

    # -- what the consumer calls -------------------------------------------------------

    cdef int descriptor(self) noexcept:
        return -1 if self.closing else self.fd

    cdef size_t pending(self) except? 0xFFFFFFFF:
        return 0 if self.unsent is None else self.unsent.length

    cpdef write(self, bytes data):
        cdef ssize_t sent
        cdef Py_ssize_t length = PyBytes_GET_SIZE(data)
        if self.closing or length == 0:
            return
        if self.unsent is not None:
            self.unsent.pieces.append(data)
            self.unsent.length += <size_t>length
            return
        sent = send(
            self.fd,
            PyBytes_AS_STRING(data),
            <size_t>length,
            MSG_NOSIGNAL | MSG_DONTWAIT,
        )
        if sent == length:
            return
        if sent < 0:
            if not _refused():
                self.die(_os_error())
                return
            sent = 0
        self._keep(data, <size_t>sent)

    cdef int _keep(self, bytes data, size_t sent) except -1:
        """Hold what the kernel has refused, and say so."""
        cdef Unsent unsent = Unsent.__new__(Unsent)
        unsent.pieces.append(data)
        unsent.first = sent
        unsent.length = <size_t>PyBytes_GET_SIZE(data) - sent
        self.unsent = unsent
        self.rearm()
        if not self.dead and not self.write_paused:
            self.write_paused = True
            self.consumer.paused()
        return 0

    cdef int _send_unsent(self) except -1:
        """The kernel may have room again."""
        cdef Unsent unsent = self.unsent
        cdef bytes piece
        cdef ssize_t sent
        cdef size_t length
        cdef Py_ssize_t done = 0
        while done < len(unsent.pieces):
            piece = unsent.pieces[done]
            length = <size_t>PyBytes_GET_SIZE(piece) - unsent.first
            sent = send(
                self.fd,
                PyBytes_AS_STRING(piece) + unsent.first,
                length,
                MSG_NOSIGNAL | MSG_DONTWAIT,
            )
            if sent < 0:
                if not _refused():
                    return self.die(_os_error())
                sent = 0
            unsent.length -= <size_t>sent
            if <size_t>sent < length:
                unsent.first += <size_t>sent
                break
            unsent.first = 0
            done += 1
        if unsent.length:
            del unsent.pieces[:done]
            return 0
        self.unsent = None
        if self.closed:
            return self.die(None)
        self.rearm()
        if self.closing:
            shutdown(self.fd, SHUT_WR)
        if not self.dead:
            self.write_paused = False
            self.consumer.resumed()
        return 0

    cpdef close(self):
        if self.closed:
            return
        self.closing = True
        self.closed = True
        if self.unsent is None:
            self.die(None)
        else:
            self.rearm()

    cpdef close_write(self):
        if self.closing:
            return
        self.closing = True
        if self.unsent is None:
            shutdown(self.fd, SHUT_WR)

    cpdef abort(self):
        if self.sockets is not None:
            self.die(None)

    cdef int die(self, object error) except -1:
        """The end: nothing comes and nothing goes any more, it is told soon."""
        if self.dead:
            return 0
        self.dead = True
        self.closing = True
        self.closed = True
        self.unsent = None
        # Not left to close(): a forked child may keep the socket open, and then the
        # kernel would go on reporting it.
        self.rearm()
        return self.sockets.mourn(self, error)

    cpdef pause_reading(self):
        if not self.closed:
            self.reading_paused = True
            self.rearm()

    cpdef resume_reading(self):
        if not self.closed:
            self.reading_paused = False
            self.rearm()

    # -- moving to another link --------------------------------------------------------

    def duplicate(self) -> int:
        """A second descriptor; this one rests meanwhile."""
        cdef int second = os.dup(self.fd)
        self.pause_reading()
        return second

    def take_back(self) -> None:
        """Go on with it after all."""
        self.resume_reading()

    def give_up(self) -> None:
        """Let go of the socket without a word."""
        cdef Sockets sockets = self.sockets
        if self.dead:
            return
        self.dead = True
        self.closing = True
        self.closed = True
        self.unsent = None
        self.rearm()
        close(self.fd)
        self.fd = -1
        self.sockets = None
        sockets.give_place(self)
        sockets.idle()


cdef bint _refused() noexcept:
    """The kernel takes nothing now, which is no error."""
    return errno == EAGAIN or errno == EINTR or errno == ENOBUFS or errno == ENOMEM


cdef object _os_error():
    cdef int number = errno
    return OSError(number, os.strerror(number))
