from libc.stddef cimport size_t
from libc.stdint cimport uint8_t

from .hub cimport Hub
from .roster cimport Owner


cdef class Consumer(Owner):
    # -- life
    cdef readonly Hub hub
    cdef readonly Link link
    # -- what its link tells it
    cdef int received(self, const uint8_t *data, size_t length) except -1
    cdef int ended(self) except -1
    cdef int lost(self, object error) except -1
    cdef int paused(self) except -1
    cdef int resumed(self) except -1


cdef class ByteConsumer(Consumer):
    pass


cdef class ReceiveBuffer:
    cdef uint8_t *data
    cdef object view


cdef class Link:
    cdef readonly bint secure
    cdef readonly bint write_paused
    cdef readonly Consumer consumer

    cdef int tell_lost(self, object error) except -1
    cdef object peer_address(self)
    cdef object own_address(self)
    cdef int descriptor(self) noexcept
    cdef size_t pending(self) except? 0xFFFFFFFF
    cpdef write(self, bytes data)
    cpdef close(self)
    cpdef close_write(self)
    cpdef abort(self)
    cpdef pause_reading(self)
    cpdef resume_reading(self)


cdef enum:
    # One receive buffer for all connections of a loop: what it holds is used up before
    # the next read. Large enough for a burst, small enough for the cache.
    RECEIVE_BUFFER = 262144


cdef ReceiveBuffer receive_buffer(Hub hub)
cdef void tune(int fd) noexcept
