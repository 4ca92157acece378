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


cdef class Link:
    cdef readonly object remote_address
    cdef readonly object local_address
    cdef readonly bint secure
    cdef readonly bint write_paused
    cdef readonly Consumer consumer

    cdef int tell_lost(self, object error) except -1
    cdef int descriptor(self) noexcept
    cdef size_t pending(self) except? 0xFFFFFFFF
    cpdef write(self, bytes data)
    cpdef close(self)
    cpdef close_write(self)
    cpdef abort(self)
    cpdef pause_reading(self)
    cpdef resume_reading(self)
