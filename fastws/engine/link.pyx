"""A link carries one connection's bytes; a consumer receives them.

Contract of every link, whatever is below it:

* ``write`` takes bytes in order and never raises because the peer has gone. It may pass
  them on at once or later; ``write_paused`` says whether it holds any, and its consumer
  is told each change by ``paused`` and ``resumed``.
* While ``descriptor()`` is not -1 and ``write_paused`` is false, the consumer may write
  to the descriptor itself; not after ``close``, ``close_write`` or ``abort``.
* ``received`` gets a view that is valid during the call only. ``ended`` says that the
  peer will send no more: close then, unless an answer is still due (under TLS the link
  closes by itself). ``lost`` comes exactly once, last, and never from inside another
  call of the link or of ``received``.
* Everything happens in the loop's thread.
"""

from cpython.buffer cimport PyBUF_WRITE
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc


cdef extern from "<sys/socket.h>" nogil:
    int setsockopt(int fd, int level, int option, const void *value, uint32_t length)


cdef extern from *:
    """
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #ifdef TCP_NOTSENT_LOWAT
    #define FASTWS_NOTSENT_LOWAT TCP_NOTSENT_LOWAT
    #else
    #define FASTWS_NOTSENT_LOWAT -1
    #endif
    """
    int IPPROTO_TCP
    int TCP_NODELAY
    int FASTWS_NOTSENT_LOWAT


cdef enum:
    # Or the kernel hides up to 4 MB per stalled peer.
    NOTSENT_LOWAT = 131072


cdef void tune(int fd) noexcept:
    """Options of a TCP socket; one that can't be tuned still works."""
    cdef int on = 1
    cdef int lowat = NOTSENT_LOWAT
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(int))
    if FASTWS_NOTSENT_LOWAT >= 0:
        setsockopt(fd, IPPROTO_TCP, FASTWS_NOTSENT_LOWAT, &lowat, sizeof(int))


cdef class ReceiveBuffer:
    """Owns the memory that the links of one loop read into."""

    def __cinit__(self):
        self.data = <uint8_t *>malloc(RECEIVE_BUFFER)
        if self.data == NULL:
            raise MemoryError
        self.view = PyMemoryView_FromMemory(
            <char *>self.data, RECEIVE_BUFFER, PyBUF_WRITE
        )

    def __dealloc__(self):
        free(self.data)


cdef ReceiveBuffer receive_buffer(Hub hub):
    """The hub's, made for its first link."""
    if hub.receive_buffer is None:
        hub.receive_buffer = ReceiveBuffer()
    return hub.receive_buffer


cdef class Consumer(Owner):
    """Who receives a link's bytes. Base of Connection and of ByteConsumer."""

    cdef int received(self, const uint8_t *data, size_t length) except -1:
        raise NotImplementedError

    cdef int ended(self) except -1:
        raise NotImplementedError

    cdef int lost(self, object error) except -1:
        raise NotImplementedError

    cdef int paused(self) except -1:
        raise NotImplementedError

    cdef int resumed(self) except -1:
        raise NotImplementedError

    def set_deadline(self, seconds) -> None:
        """Have ``expired`` called once, that many seconds from now; None: never."""
        if seconds is None:
            self.hub.unwatch(self)
        else:
            self.hub.watch_until(self, self.hub.clock() + <double>seconds)


cdef class ByteConsumer(Consumer):
    """A consumer written in Python: override what is called here."""

    def __init__(self, Hub hub not None, Link link not None):
        self.hub = hub
        self.link = link

    def change_link(self, Link link not None) -> None:
        """Go on with another link, whose consumer it becomes."""
        self.link = link

    cdef int received(self, const uint8_t *data, size_t length) except -1:
        self.data_received(data[:length])
        return 0

    cdef int ended(self) except -1:
        self.eof_received()
        return 0

    cdef int lost(self, object error) except -1:
        self.hub.unwatch(self)
        self.connection_lost(error)
        return 0

    cdef int paused(self) except -1:
        self.writing_paused()
        return 0

    cdef int resumed(self) except -1:
        self.writing_resumed()
        return 0

    def data_received(self, data: bytes) -> None:
        """Bytes from the peer."""

    def eof_received(self) -> None:
        """The peer will send no more."""

    def connection_lost(self, error) -> None:
        """The link is gone; nothing comes after this."""

    def writing_paused(self) -> None:
        """The link holds bytes that the peer has not taken."""

    def writing_resumed(self) -> None:
        """The link has got rid of all bytes."""


cdef class _Nobody(Consumer):
    """The consumer of a link that has none yet, or none any more."""

    cdef int received(self, const uint8_t *data, size_t length) except -1:
        return 0

    cdef int ended(self) except -1:
        return 0

    cdef int lost(self, object error) except -1:
        return 0

    cdef int paused(self) except -1:
        return 0

    cdef int resumed(self) except -1:
        return 0


cdef Consumer _nobody = _Nobody()


cdef class Link:
    """What carries one connection's bytes."""

    def __cinit__(self):
        self.consumer = _nobody

    cdef int tell_lost(self, object error) except -1:
        """The last call to the consumer; it and its link let go of each other, so that
        no cycle keeps them."""
        cdef Consumer consumer = self.consumer
        self.consumer = _nobody
        return consumer.lost(error)

    def set_consumer(self, Consumer consumer not None) -> None:
        """Who receives the bytes from now on."""
        self.consumer = consumer

    @property
    def remote_address(self):
        """Address of the peer, as its socket family writes it."""
        return self.peer_address()

    @property
    def local_address(self):
        """Our own end's."""
        return self.own_address()

    cdef object peer_address(self):
        return None

    cdef object own_address(self):
        return None

    cdef int descriptor(self) noexcept:
        """The socket for direct writes; -1: everything goes through ``write``."""
        return -1

    cdef size_t pending(self) except? 0xFFFFFFFF:
        """Bytes that ``write`` has taken and the kernel has not."""
        return 0

    cpdef write(self, bytes data):
        """Send bytes behind all bytes before."""
        raise NotImplementedError

    cpdef close(self):
        """Send what was written, then close."""
        raise NotImplementedError

    cpdef close_write(self):
        """Send what was written, then a FIN; reading goes on. Under TLS: close."""
        raise NotImplementedError

    cpdef abort(self):
        """Close now, whatever is still to be sent."""
        raise NotImplementedError

    cpdef pause_reading(self):
        """Read no more; what the peer sends waits in the kernel."""
        raise NotImplementedError

    cpdef resume_reading(self):
        """Read again."""
        raise NotImplementedError
