"""The poller: listening and connected sockets of our own, in a private epoll.

The user's loop watches the epoll's descriptor (``add_reader``: uvloop and asyncio have
it), so one Python call per tick serves every ready socket. What was thought through:

* **Descriptor reuse.** A descriptor is closed after its link's end has been told, which
  happens behind the last event of a slice. Events don't name descriptors but a place in
  the table and its generation, so what is still in hand for a former user of a place,
  or of a number, is recognised and dropped.
* **Closed connections.** A link that is aborted, closed or moved while events are in
  hand leaves the epoll at once and is dead for all of them; its place is free only
  after its end.
* **EMFILE.** Level-triggered, a peer that can't be accepted would be reported for ever.
  A spare descriptor is closed, the peer accepted with its number and closed, the spare
  opened again: the peer sees an orderly end, the loop goes on, and as soon as
  descriptors are free peers are accepted again. Where that can't help (ENFILE, ENOBUFS,
  ENOMEM: it is not ours to free) accepting rests for a tick of the sweep.
* **Level or edge.** Level: nothing is lost when a slice ends, reading can be paused and
  resumed without asking whether something came meanwhile, and one read per event is
  enough. It costs the kernel a look at a socket that was just read; an echo server was
  not measurably faster edge-triggered. EPOLLOUT is asked for only while bytes wait:
  level-triggered it would never be silent.
* **Starvation.** Events are handled in slices of 5 ms; one read per socket, and of a
  listener so many accepts. What a slice leaves is handled before the kernel is asked
  again: it gives ready sockets in a fixed order, and the first ones, ready again at
  once, would starve the others. A slice ends by returning to the loop, and what was
  sent in it leaves then, without another turn.
* **Fork.** A child shares the epoll itself, not a copy. So we take a descriptor out
  before we close it (the child may keep the socket open, and the kernel would report it
  to us for ever), and a child that lets go of its copy of a poller closes descriptors
  only, and takes nothing out of its parent's epoll.
"""

from libc.errno cimport (
    EAGAIN,
    EBADF,
    EINVAL,
    EMFILE,
    ENFILE,
    ENOBUFS,
    ENOMEM,
    ENOTSOCK,
    errno,
)
from libc.stdint cimport uint8_t

from .csrc cimport (
    EPOLL_CLOEXEC,
    EPOLLIN,
    FASTWS_HAS_EPOLL,
    epoll_create1,
    epoll_wait,
    fastws_accept,
    fastws_watch,
)
from .flush cimport clock_nanoseconds
from .hub cimport Hub
from .link cimport RECEIVE_BUFFER, Consumer, tune
from .opening cimport Entrance
from .ownlink cimport OwnLink, Sockets, sockaddr_in6

import logging
import os


cdef extern from "<fcntl.h>" nogil:
    int open_read "open"(const char *path, int flags)
    int O_RDONLY
    int O_CLOEXEC


cdef extern from "<sys/socket.h>" nogil:
    int getpeername(int fd, void *address, uint32_t *length)
    ssize_t recv(int fd, void *data, size_t length, int flags)
    int MSG_DONTWAIT


cdef extern from "<unistd.h>" nogil:
    int close(int fd)


cdef enum:
    # Accepts of one event, before others get their turn.
    MOST_ACCEPTS = 64
    # The clock is looked at after so much work: small reads, which take about five
    # microseconds unless their handlers take longer, or the bytes of a larger one.
    WORK_PER_LOOK = 4
    BYTES_PER_WORK = 4096
    # In the low half of an event's key: it is a listener's.
    LISTENER = 0x80000000


# Seconds that accepting rests: a tick of the sweep.
cdef double REST = 0.1
# Seconds between two complaints about the same thing.
cdef double SILENCE = 10.0
cdef tuple ANYWHERE = ("0.0.0.0", "::")

AVAILABLE = bool(FASTWS_HAS_EPOLL)

logger = logging.getLogger("fastws.server")


def poller_of(Hub hub not None):
    """The hub's poller, made when it is first asked for."""
    if hub.poller is None:
        hub.poller = Poller(hub)
    return hub.poller


cdef class _Watch:
    """What the loop calls; the loop's alone, so that its end is seen."""

    cdef Poller poller
    cdef object token           # the poller has the same while this is its place

    def __call__(self):
        self.poller.turn()

    def __del__(self):
        if self.poller is not None and self.poller.watch is self.token:
            # The loop was closed under us: nobody will come back for the sockets.
            self.poller.watch = None
            self.poller._close(False)


cdef class Listener:
    pass


cdef class Poller(Sockets):
    """The plain TCP sockets that the engine owns on one loop."""

    def __cinit__(self, Hub hub not None):
        self.listeners = []
        self.spare = -1

    def __init__(self, Hub hub not None):
        pass

    def __dealloc__(self):
        if self.spare >= 0:
            close(self.spare)
        if self.epoll >= 0:
            close(self.epoll)

    # -- its life ----------------------------------------------------------------------

    cdef int _open(self) except -1:
        cdef _Watch watch
        if self.epoll >= 0:
            return 0
        self.epoll = epoll_create1(EPOLL_CLOEXEC)
        if self.epoll < 0:
            raise OSError(errno, os.strerror(errno))
        self.spare = _spare()
        watch = _Watch.__new__(_Watch)
        watch.poller = self
        watch.token = self.watch = object()
        self.hub.loop.add_reader(self.epoll, watch)
        self.hub.poller = self
        return 0

    cdef int idle(self) except -1:
        """Without sockets it is in nobody's way."""
        cdef Listener listener
        if self.link_count or self.turning or self.watch is None:
            return 0
        for listener in self.listeners:
            if listener is not None:
                return 0
        self.watch = None
        self.hub.loop.remove_reader(self.epoll)
        return self._close(True)

    cdef int _close(self, bint orderly) except -1:
        """Give everything back; without a loop, nobody is told."""
        cdef uint32_t place
        cdef OwnLink link
        if self.pause is not None:
            self.pause.cancel()
            self.pause = None
        if self.epoll >= 0:
            close(self.epoll)
            self.epoll = -1
        if self.spare >= 0:
            close(self.spare)
            self.spare = -1
        self.count = self.position = 0
        if not orderly:
            for place in range(self.place_count):
                if self.places[place].link != NULL:
                    link = <OwnLink>self.places[place].link
                    link.dead = link.closing = link.closed = True
                    link.events = 0
                    close(link.fd)
                    link.fd = -1
                    link.sockets = None
                    self.give_place(link)
            self.listeners.clear()
        if self.hub.poller is self:
            self.hub.poller = None
        return 0

    @property
    def is_open(self) -> bool:
        """Whether it is in the loop."""
        return self.watch is not None

    @property
    def links(self) -> list:
        """Every link whose end has not been told."""
        cdef uint32_t place
        cdef list found = []
        for place in range(self.place_count):
            if self.places[place].link != NULL:
                found.append(<OwnLink>self.places[place].link)
        return found

    # -- what it is given --------------------------------------------------------------

    def listen(self, sock not None, Entrance entrance not None) -> None:
        """Accept from a listening socket."""
        cdef Listener listener = Listener.__new__(Listener)
        cdef uint32_t place = 0
        self._open()
        listener.sock = sock
        listener.fd = sock.fileno()
        listener.entrance = entrance
        address = sock.getsockname()
        listener.address = None if address[0] in ANYWHERE else address
        self.serial += 1
        listener.serial = self.serial
        sock.setblocking(False)
        # What is accepted has these options from it.
        tune(listener.fd)
        while place < <uint32_t>len(self.listeners):
            if self.listeners[place] is None:
                break
            place += 1
        else:
            self.listeners.append(None)
        self.listeners[place] = listener
        if self._watch_listener(place, EPOLLIN) < 0:
            number = errno
            self.listeners[place] = None
            raise OSError(number, os.strerror(number))

    def unlisten(self, sock not None) -> None:
        """Accept no more from it."""
        cdef Listener listener
        cdef uint32_t place
        for place in range(<uint32_t>len(self.listeners)):
            listener = self.listeners[place]
            if listener is not None and listener.sock is sock:
                self._watch_listener(place, 0)
                listener.entrance = None
                self.listeners[place] = None
        self.idle()

    cdef int _watch_listener(self, uint32_t place, uint32_t events) noexcept:
        cdef Listener listener = self.listeners[place]
        cdef int result = fastws_watch(
            self.epoll,
            listener.fd,
            listener.events,
            events,
            <uint64_t>listener.serial << 32 | LISTENER | place,
        )
        if result == 0:
            listener.events = events
        return result

    def adopt(self, sock not None, factory) -> OwnLink:
        """Take over a connected socket."""
        cdef OwnLink link
        cdef sockaddr_in6 address
        cdef uint32_t length = sizeof(sockaddr_in6)
        self._open()
        sock.setblocking(False)
        address.sin6_family = 0
        getpeername(sock.fileno(), &address, &length)
        link = self.made(sock.detach(), &address, None)
        tune(link.fd)
        link.set_consumer(factory(self.hub, link))
        link.rearm()
        return link

    # -- a slice -----------------------------------------------------------------------

    cdef int turn(self) except -1:
        """Handle what is ready, for one slice."""
        cdef uint64_t deadline
        cdef int count
        if self.turning or self.watch is None:
            return 0
        self.turning = True
        self.turns += 1
        self.hub.begin_batch()
        try:
            if self.position >= self.count:
                with nogil:
                    count = epoll_wait(self.epoll, self.found, MOST_EVENTS, 0)
                self.position = 0
                self.count = count if count > 0 else 0
            deadline = clock_nanoseconds() + self.hub.slice_nanoseconds
            self._handle(deadline)
        finally:
            self.turning = False
            self.bury()
            self.hub.end_batch()
            self.idle()
        return 0

    cdef int _handle(self, uint64_t deadline) except -1:
        """The events in hand, until the time is over."""
        cdef epoll_event *event
        cdef OwnLink link
        cdef uint32_t work = 0
        while self.position < self.count:
            event = &self.found[self.position]
            self.position += 1
            # What fails at a listener is no connection's fault.
            link = None
            try:
                if event.data.u64 & LISTENER:
                    work += self._accept_from(
                        <uint32_t>event.data.u64 & ~<uint32_t>LISTENER,
                        <uint32_t>(event.data.u64 >> 32),
                    )
                else:
                    link = self._link_of(event.data.u64)
                    if link is None:
                        continue
                    work += 1 + <uint32_t>link.happened(event.events) // BYTES_PER_WORK
            except Exception as error:
                self._failed(link, error)
            if work >= WORK_PER_LOOK:
                work = 0
                if clock_nanoseconds() >= deadline:
                    return 0
        return 0

    cdef OwnLink _link_of(self, uint64_t key):
        """The link that an event is about; None when it has gone."""
        cdef uint32_t place = <uint32_t>key
        if (
            place >= self.place_count
            or self.places[place].link == NULL
            or self.places[place].generation != <uint32_t>(key >> 32)
        ):
            return None
        return <OwnLink>self.places[place].link

    cdef int _failed(self, OwnLink link, object error) except -1:
        """A consumer has raised: its connection ends, as a transport's would."""
        self.hub.loop.call_exception_handler({
            "message": "fastws: a connection's bytes could not be handled",
            "exception": error,
        })
        if link is not None:
            link.die(error)
        return 0

    # -- accepting ---------------------------------------------------------------------

    cdef int _accept_from(self, uint32_t place, uint32_t serial) except -1:
        """Accept what waits, as far as one event may; how many there were."""
        cdef Listener listener
        if place >= <uint32_t>len(self.listeners):
            return 0
        listener = self.listeners[place]
        if listener is None or listener.serial != serial:
            return 0
        return self._accept(listener)

    cdef int _accept(self, Listener listener) except -1:
        cdef sockaddr_in6 address
        cdef uint32_t length
        cdef int accepted = 0
        cdef int fd
        cdef OwnLink link
        cdef Entrance entrance = listener.entrance
        entrance.begin()
        while accepted < MOST_ACCEPTS:
            length = sizeof(sockaddr_in6)
            fd = fastws_accept(listener.fd, &address, &length)
            if fd < 0:
                if self._no_accept(listener):
                    break
                accepted += 1
                continue
            accepted += 1
            try:
                link = self.made(fd, &address, listener.address)
            except MemoryError:
                close(fd)
                raise
            self._begin(link, entrance)
            # Whoever was called may have stopped the server.
            if listener.entrance is None:
                break
        return accepted

    cdef int _begin(self, OwnLink link, Entrance entrance) except -1:
        """A new link: under load its request is there already."""
        cdef uint8_t *data = self.buffer.data
        cdef ssize_t got = recv(link.fd, data, RECEIVE_BUFFER, MSG_DONTWAIT)
        cdef Consumer consumer
        try:
            entrance.admit(link, data, <size_t>got if got > 0 else 0)
            if got == 0 and not link.dead:
                link.ended = True
                consumer = link.consumer
                consumer.ended()
        except Exception as error:
            self._failed(link, error)
        link.rearm()
        return 0

    cdef bint _no_accept(self, Listener listener) except -1:
        """Nothing could be accepted; whether that is all for now."""
        cdef int number = errno
        if number == EAGAIN:
            return True
        if number == EMFILE:
            return not self._turn_away(listener)
        if number == ENFILE or number == ENOBUFS or number == ENOMEM:
            self._complain(os.strerror(number))
            self._rest()
            return True
        if number == EINVAL or number == EBADF or number == ENOTSOCK:
            # Somebody has closed or shut the listening socket.
            self._complain(os.strerror(number))
            self._rest()
            return True
        # The peer has gone while it waited, or the network had something to say about
        # it: the next one.
        return False

    cdef bint _turn_away(self, Listener listener) except -1:
        """Accept a peer with the spare descriptor, and close; False: can't."""
        cdef int fd
        self._complain("too many open files")
        if self.spare >= 0:
            close(self.spare)
        fd = fastws_accept(listener.fd, NULL, NULL)
        if fd >= 0:
            close(fd)
        self.spare = _spare()
        if self.spare < 0:
            self._rest()
            return False
        return fd >= 0

    cdef int _rest(self) except -1:
        """Accept nothing until the next tick."""
        cdef uint32_t place
        for place in range(<uint32_t>len(self.listeners)):
            if self.listeners[place] is not None:
                self._watch_listener(place, 0)
        if self.pause is None:
            self.pause = self.hub.loop.call_later(REST, self._go_on)
        return 0

    def _go_on(self) -> None:
        cdef uint32_t place
        self.pause = None
        if self.spare < 0:
            self.spare = _spare()
        for place in range(<uint32_t>len(self.listeners)):
            if self.listeners[place] is not None:
                if self._watch_listener(place, EPOLLIN) < 0:
                    self._rest()
                    return

    cdef int _complain(self, str what) except -1:
        cdef double now = self.hub.loop.time()
        if now - self.complained >= SILENCE or self.complained == 0:
            self.complained = now
            logger.error("new connections are turned away: %s", what)
        return 0


cdef int _spare() noexcept:
    return open_read("/dev/null", O_RDONLY | O_CLOEXEC)
