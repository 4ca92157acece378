from cpython.buffer cimport Py_buffer
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t


cdef enum Wish:
    # What its author wants of a message's compression.
    COMPRESS_AS_RULED = 0
    COMPRESS_ALWAYS = 1
    COMPRESS_NEVER = 2


ctypedef struct payload_t:
    # What a message becomes on the wire, borrowed from the message where possible.
    const uint8_t *data
    size_t length
    uint8_t opcode
    uint8_t compress        # see Wish
    bint viewed
    Py_buffer view


cdef size_t frame_size(const payload_t *payload) noexcept nogil
cdef void frame_write(uint8_t *frame, const payload_t *payload) noexcept nogil
cdef uint8_t wish_of(object compress) except 255
cdef object payload_open(payload_t *payload, object message)
cdef void payload_close(payload_t *payload) noexcept


cdef class Encoded:
    """A message, and what it becomes on the wire, until it is let go."""

    cdef payload_t payload
    cdef object owner
