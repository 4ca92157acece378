from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t

from .counters cimport Counters, counters_t
from .csrc cimport fastws_deflater, fastws_inflater
from .payload cimport payload_t


cdef enum:
    WINDOW_SIZES = 16       # indexed by window bits, of which 8 to 15 are used


cdef enum Inflated:
    INFLATE_NO_MEMORY = -2
    INFLATE_CORRUPT = -1
    INFLATE_DONE = 0        # all input is used and all its output written
    INFLATE_FULL = 1        # there may be more output than room


ctypedef struct streams_t:
    # zlib streams of one loop that nobody uses now.
    fastws_deflater *deflaters[WINDOW_SIZES]
    fastws_inflater *inflaters[WINDOW_SIZES]
    int level
    int memory_level
    counters_t *counters


ctypedef struct inflation_t:
    # How a peer's messages are inflated: shared by all who agreed on the same.
    streams_t *streams
    int window_bits
    bint keeps_context      # a message may refer to the peer's earlier ones
    uint32_t ratio          # bytes out per byte in that are too much; 0: no limit


ctypedef struct inflating_t:
    # A parser's side of it.
    const inflation_t *inflation    # NULL: the extension was not agreed on
    fastws_inflater *stream         # during a message; longer when it keeps context
    size_t wire                     # bytes of the message as they came
    bint ended                      # the input so far ends with a last block


cdef bint inflating_begin(inflating_t *self) noexcept nogil
cdef Inflated inflating_step(
    inflating_t *self,
    const uint8_t **data,
    size_t *length,
    uint8_t **out,
    size_t *room,
) noexcept nogil
cdef bint inflating_finish(inflating_t *self, size_t inflated) noexcept nogil
cdef void inflating_drop(inflating_t *self) noexcept nogil


cdef class Agreement:
    cdef readonly Deflate deflate       # owns the streams
    cdef readonly bytes response        # what a server answers
    # -- what we send
    cdef readonly int send_bits         # window
    cdef readonly bint send_context     # a message may refer to earlier ones
    cdef readonly int shared_bits       # window of what is compressed for many
    cdef readonly bint own_context      # what is compressed for one refers, too
    # -- what the peer sends
    cdef readonly int receive_bits
    cdef readonly bint receive_context
    cdef inflation_t inflation


cdef class Deflate:
    cdef readonly object rule           # config.Compression
    cdef Counters counters
    cdef streams_t streams
    cdef dict _agreements               # offer -> Agreement or None
    cdef bint may_refer                 # what we send, to earlier messages
    # -- which messages are compressed unless somebody says so
    cdef size_t threshold
    cdef size_t most
    # -- the last compressed message, until it is released
    cdef uint8_t *scratch
    cdef size_t scratch_room

    cdef Agreement _choose(self, dict parameters)
    cdef Agreement _agreement(self)
    cdef Agreement _settle(self, Agreement agreement)
    cdef fastws_deflater *_deflater(self, int window_bits) noexcept nogil
    cdef bint wants(self, const payload_t *payload) noexcept nogil
    cdef bint shrink(self, payload_t *payload, int window_bits) noexcept
    cdef bint _compress(
        self,
        payload_t *payload,
        fastws_deflater *deflater,
        size_t room,
        bint keep_context,
    ) noexcept
    cdef void release(self) noexcept
    cdef bint _reserve(self, size_t room) noexcept nogil


cdef class Context:
    """A compressor that remembers: a message refers to those before it, back to the
    last restart."""

    cdef Deflate deflate
    cdef fastws_deflater *deflater

    cdef bint shrink(self, payload_t *payload) noexcept
    cdef void restart(self) noexcept
