"""Links in memory: what one end writes, the other receives in a later turn of the loop.

For tests and for ``fastws.testing``. Bytes arrive in order; a closed end is seen by the
other as the end of its bytes, like a socket.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t

from .hub cimport Hub
from .link cimport Link

from collections import deque


cdef tuple _ADDRESS = ("memory", 0)


cdef class MemoryLink(Link):
    cdef object loop
    cdef MemoryLink other
    cdef object incoming        # deque of bytes; None in it: no more will come
    cdef bint scheduled
    cdef bint reading_paused
    cdef bint ended             # this end writes no more
    cdef bint gone              # `lost` is due or has been told

    def __init__(self, loop):
        self.loop = loop
        self.incoming = deque()

    cdef int _schedule(self) except -1:
        if not self.scheduled:
            self.scheduled = True
            self.loop.call_soon(self._deliver)
        return 0

    def _deliver(self) -> None:
        cdef bytes data
        self.scheduled = False
        while self.incoming and not self.gone and not self.reading_paused:
            data = self.incoming.popleft()
            if data is None:
                self.consumer.ended()
                self.abort()
            else:
                self.consumer.received(
                    <const uint8_t *>PyBytes_AS_STRING(data),
                    <size_t>PyBytes_GET_SIZE(data),
                )

    cdef int _pass(self, bytes data) except -1:
        if self.other is not None and not self.other.gone:
            self.other.incoming.append(data)
            self.other._schedule()
        return 0

    cdef object peer_address(self):
        return _ADDRESS

    cdef object own_address(self):
        return _ADDRESS

    cpdef write(self, bytes data):
        if not self.ended and data:
            self._pass(data)

    cpdef close(self):
        self.abort()

    cpdef close_write(self):
        if not self.ended:
            self.ended = True
            self._pass(None)

    cpdef abort(self):
        if not self.gone:
            self.close_write()
            self.gone = True
            self.loop.call_soon(self._lost)

    def _lost(self) -> None:
        self.incoming.clear()
        self.other = None
        self.tell_lost(None)

    cpdef pause_reading(self):
        self.reading_paused = True

    cpdef resume_reading(self):
        self.reading_paused = False
        if self.incoming:
            self._schedule()


def memory_pair(Hub first not None, Hub second not None):
    """Two links, each the other's peer."""
    cdef MemoryLink one = MemoryLink(first.loop)
    cdef MemoryLink two = MemoryLink(second.loop)
    one.other = two
    two.other = one
    return one, two
