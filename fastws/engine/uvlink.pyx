"""The link on an asyncio transport: uvloop's or asyncio's, plain TCP or TLS.

On plain TCP, bytes go straight to the descriptor while the transport is empty. The
write-buffer limit is zero, so ``pause_writing`` and ``resume_writing`` say exactly when
it is not. What the kernel refuses is handed to the transport, and nothing is written
directly until it has got rid of it. Under TLS everything goes through the transport.

Both loops close the descriptor only after ``connection_lost`` has been called, so it
can't have become another connection's while we still use it.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stddef cimport size_t

from .hub cimport Hub
from .link cimport Link, ReceiveBuffer, receive_buffer, tune

import asyncio
import socket


cdef extern from "<sys/socket.h>" nogil:
    ssize_t send(int fd, const void *data, size_t length, int flags)
    int MSG_NOSIGNAL
    int MSG_DONTWAIT


cdef enum:
    # Encrypted bytes that a transport may hold before it says that it is full.
    TLS_BUFFER = 65536


cdef class TransportLink(Link):
    """A link on a transport; the protocol that the transport talks to."""

    cdef Hub hub
    cdef object peer_factory
    cdef object transport
    cdef ReceiveBuffer buffer
    cdef object remote
    cdef object local
    cdef int fd
    cdef bint closing           # nothing is written any more
    cdef bint closed            # close or abort has been called

    def __init__(self, Hub hub not None, peer_factory):
        self.hub = hub
        self.peer_factory = peer_factory
        self.fd = -1
        self.buffer = receive_buffer(hub)

    # -- what the transport calls ------------------------------------------------------

    def connection_made(self, transport) -> None:
        cdef object sock = transport.get_extra_info("socket")
        self.transport = transport
        self.remote = transport.get_extra_info("peername")
        self.local = transport.get_extra_info("sockname")
        self.secure = transport.get_extra_info("sslcontext") is not None
        # So pause and resume say exactly when the transport is empty. Under TLS they
        # can't: both loops compare with >=, and a limit of zero would pause for good.
        if self.secure:
            transport.set_write_buffer_limits(high=TLS_BUFFER)
        else:
            transport.set_write_buffer_limits(high=0)
        if sock is not None and sock.family in _INTERNET:
            tune(sock.fileno())
            if not self.secure:
                self.fd = sock.fileno()
        factory = self.peer_factory
        self.peer_factory = None
        self.set_consumer(factory(self.hub, self))

    def get_buffer(self, sizehint):
        return self.buffer.view

    def buffer_updated(self, Py_ssize_t length) -> None:
        self.consumer.received(self.buffer.data, <size_t>length)

    def eof_received(self):
        self.consumer.ended()
        # True keeps the transport open for an answer that is still to be written; TLS
        # has no half-closed connections.
        return not (self.closing or self.secure)

    def connection_lost(self, error) -> None:
        self.fd = -1
        self.closing = True
        self.closed = True
        self.tell_lost(error)
        self.transport = None

    def pause_writing(self) -> None:
        self.write_paused = True
        if self.consumer is not None:
            self.consumer.paused()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self.consumer is not None:
            self.consumer.resumed()

    # -- what the consumer calls -------------------------------------------------------

    cdef object peer_address(self):
        return self.remote

    cdef object own_address(self):
        return self.local

    cdef int descriptor(self) noexcept:
        return self.fd

    cdef size_t pending(self) except? 0xFFFFFFFF:
        if self.transport is None:
            return 0
        return self.transport.get_write_buffer_size()

    cpdef write(self, bytes data):
        cdef ssize_t sent
        cdef Py_ssize_t length = PyBytes_GET_SIZE(data)
        if self.closing or length == 0:
            return
        if self.fd >= 0 and not self.write_paused:
            sent = send(
                self.fd,
                PyBytes_AS_STRING(data),
                <size_t>length,
                MSG_NOSIGNAL | MSG_DONTWAIT,
            )
            if sent == length:
                return
            if sent > 0:
                data = data[sent:]
            # Refused or failed: the transport waits, or finds the same error.
        self.transport.write(data)

    cpdef close(self):
        if not self.closed:
            self.closing = True
            self.closed = True
            self.fd = -1
            self.transport.close()

    cpdef close_write(self):
        if self.closing:
            return
        if self.secure or not self.transport.can_write_eof():
            self.close()
            return
        self.closing = True
        self.fd = -1
        self.transport.write_eof()

    cpdef abort(self):
        self.closing = True
        self.closed = True
        self.fd = -1
        if self.transport is not None:
            self.transport.abort()

    cpdef pause_reading(self):
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    cpdef resume_reading(self):
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()


_INTERNET = (socket.AF_INET, socket.AF_INET6)


class UvLink(TransportLink, asyncio.BufferedProtocol):
    """What a server's protocol factory returns: asyncio asks for its own base class."""

    __slots__ = ()
