"""The only door to fastws/csrc: plain C that knows nothing of Python."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef extern from "frame.h" nogil:
    enum:
        FASTWS_OP_CONTINUATION
        FASTWS_OP_TEXT
        FASTWS_OP_BINARY
        FASTWS_OP_CLOSE
        FASTWS_OP_PING
        FASTWS_OP_PONG

    enum:
        FASTWS_CLOSE_NORMAL
        FASTWS_CLOSE_GOING_AWAY
        FASTWS_CLOSE_PROTOCOL_ERROR
        FASTWS_CLOSE_UNSUPPORTED_DATA
        FASTWS_CLOSE_NO_STATUS
        FASTWS_CLOSE_ABNORMAL
        FASTWS_CLOSE_INVALID_DATA
        FASTWS_CLOSE_POLICY_VIOLATION
        FASTWS_CLOSE_TOO_BIG
        FASTWS_CLOSE_MANDATORY_EXTENSION
        FASTWS_CLOSE_INTERNAL_ERROR
        FASTWS_CLOSE_SERVICE_RESTART
        FASTWS_CLOSE_TRY_AGAIN_LATER
        FASTWS_CLOSE_BAD_GATEWAY

    enum:
        FASTWS_BIT_FIN
        FASTWS_BIT_RSV1
        FASTWS_BIT_RSV2
        FASTWS_BIT_RSV3
        FASTWS_BITS_RSV
        FASTWS_BITS_OPCODE
        FASTWS_BIT_CONTROL
        FASTWS_BIT_MASK
        FASTWS_BITS_LENGTH

    enum:
        FASTWS_CONTROL_MAX
        FASTWS_FRAME_HEADER_MAX

    enum:
        FASTWS_FRAME_ERR_OPCODE
        FASTWS_FRAME_ERR_CONTROL_FRAGMENT
        FASTWS_FRAME_ERR_CONTROL_LENGTH
        FASTWS_FRAME_ERR_LENGTH_16
        FASTWS_FRAME_ERR_LENGTH_64
        FASTWS_FRAME_ERR_LENGTH_SIGN

    ctypedef struct fastws_frame_header:
        uint64_t length
        uint8_t opcode
        uint8_t fin
        uint8_t rsv
        uint8_t masked
        uint8_t size
        uint8_t key[4]

    int fastws_frame_decode(
        const uint8_t *data, size_t available, fastws_frame_header *out
    ) noexcept
    size_t fastws_frame_encode(
        uint8_t *out, uint8_t first_byte, uint64_t length, const uint8_t *key_or_null
    ) noexcept
    size_t fastws_frame_header_size(uint64_t length, int masked) noexcept


cdef extern from "mask.h" nogil:
    enum:
        FASTWS_MASK_SHORT

    ctypedef int (*fastws_mask_function)(
        uint8_t *to, const uint8_t *source, size_t length, uint32_t word
    ) noexcept nogil
    ctypedef int (*fastws_ascii_function)(
        const uint8_t *data, size_t length
    ) noexcept nogil

    ctypedef struct fastws_mask_kernel:
        const char *name
        fastws_mask_function mask
        fastws_ascii_function is_ascii

    const fastws_mask_kernel *fastws_mask_kernels() noexcept
    uint32_t fastws_mask_word(const uint8_t *key, size_t offset) noexcept
    void fastws_mask(
        uint8_t *data, size_t length, const uint8_t *key, size_t offset
    ) noexcept
    int fastws_mask_copy(
        uint8_t *to,
        const uint8_t *source,
        size_t length,
        const uint8_t *key,
        size_t offset,
    ) noexcept
    int fastws_is_ascii(const uint8_t *data, size_t length) noexcept


cdef extern from "utf8.h" nogil:
    ctypedef uint32_t fastws_utf8_state

    ctypedef int (*fastws_utf8_function)(
        fastws_utf8_state *state, const uint8_t *data, size_t length
    ) noexcept nogil

    ctypedef struct fastws_utf8_kernel:
        const char *name
        fastws_utf8_function validate

    const fastws_utf8_kernel *fastws_utf8_kernels() noexcept
    int fastws_utf8_validate(
        fastws_utf8_state *state, const uint8_t *data, size_t length
    ) noexcept


cdef extern from "cpu.h" nogil:
    int fastws_cpu_has_avx2() noexcept


cdef extern from "deflate.h" nogil:
    enum:
        FASTWS_WINDOW_BITS_MIN
        FASTWS_WINDOW_BITS_MAX

    enum:
        FASTWS_INFLATE_DONE
        FASTWS_INFLATE_FULL
        FASTWS_INFLATE_ENDED
        FASTWS_INFLATE_CORRUPT
        FASTWS_INFLATE_MEMORY

    ctypedef struct fastws_deflater:
        pass
    ctypedef struct fastws_inflater:
        pass

    int fastws_deflate_available() noexcept
    fastws_deflater *fastws_deflater_new(
        int level, int window_bits, int memory_level
    ) noexcept
    void fastws_deflater_free(fastws_deflater *self) noexcept
    size_t fastws_deflate_bound(size_t length) noexcept
    size_t fastws_deflate_message(
        fastws_deflater *self,
        const uint8_t *data,
        size_t length,
        uint8_t *out,
        size_t room,
        int keep_context,
    ) noexcept
    void fastws_deflater_reset(fastws_deflater *self) noexcept
    fastws_inflater *fastws_inflater_new(int window_bits) noexcept
    void fastws_inflater_free(fastws_inflater *self) noexcept
    int fastws_inflater_reset(fastws_inflater *self, int window_bits) noexcept
    int fastws_inflate(
        fastws_inflater *self,
        const uint8_t **data,
        size_t *length,
        uint8_t **out,
        size_t *room,
    ) noexcept
    int fastws_inflater_is_complete(const fastws_inflater *self) noexcept
    const uint8_t fastws_deflate_tail[4]
cdef extern from "epoll.h" nogil:
    enum:
        FASTWS_HAS_EPOLL
        EPOLLIN
        EPOLLOUT
        EPOLLERR
        EPOLLHUP
        EPOLL_CLOEXEC

    union epoll_data_t:
        uint64_t u64

    struct epoll_event:
        uint32_t events
        epoll_data_t data

    int epoll_create1(int flags)
    int epoll_wait(int epoll, epoll_event *events, int most, int timeout)
    int fastws_accept(int listener, void *address, uint32_t *length)
    int fastws_watch(int epoll, int fd, uint32_t was, uint32_t events, uint64_t key)
