from cpython.object cimport PyObject
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from .deflate cimport Agreement, inflating_t, inflation_t


cdef enum Event:
    EVENT_RAISED = -1       # a Python exception is set (no memory)
    NEED_MORE = 0           # every byte was taken; nothing is complete
    MESSAGE = 1             # payload: str or bytes
    PING = 2                # payload: bytes
    PONG = 3                # payload: bytes
    CLOSE = 4               # payload: the reason as str; parser.close_code
    FAILED = 5              # parser.error; the peer broke the protocol


cdef enum Fault:
    FAULT_NONE = 0
    FAULT_RESERVED_BITS
    FAULT_RESERVED_OPCODE
    FAULT_MASK
    FAULT_LENGTH
    FAULT_CONTROL
    FAULT_CONTINUATION
    FAULT_INTERLEAVED
    FAULT_CLOSE_PAYLOAD
    FAULT_CLOSE_CODE
    FAULT_UTF8
    FAULT_TOO_BIG
    FAULT_FRAGMENTS
    FAULT_COMPRESSED
    FAULT_RATIO


ctypedef struct parser_limits_t:
    uint64_t max_message    # bytes of one message, all fragments together
    uint64_t max_fragments  # frames of one message, empty ones count


ctypedef struct parser_t:
    # -- configuration
    const parser_limits_t *limits
    # -- the message being assembled
    uint8_t *buffer
    size_t capacity
    size_t length
    uint64_t fragments
    # -- the frame being read
    uint64_t remaining      # payload bytes still to come
    uint32_t mask_offset
    uint32_t utf8           # validator state over the message
    uint8_t key[4]
    uint8_t header[14]
    uint8_t header_length   # bytes of an incomplete header
    uint8_t state
    uint8_t client          # our role: the peer is a server and does not mask
    uint8_t message_opcode  # 0 outside a message
    uint8_t frame_opcode
    uint8_t final
    uint8_t ascii           # every byte of the message so far is ASCII
    uint8_t compressed      # the message came with RSV1
    uint8_t control_length
    uint8_t *control        # payload of a control frame that came in pieces
    inflating_t inflating
    # -- results
    uint8_t fault
    uint32_t close_code     # of the peer's Close frame; 1005 when it had none


cdef void parser_init(
    parser_t *parser,
    const parser_limits_t *limits,
    bint client,
    const inflation_t *inflation,
) noexcept nogil
cdef void parser_free(parser_t *parser) noexcept nogil
cdef bint parser_idle(const parser_t *parser) noexcept nogil
cdef Event parser_next(
    parser_t *parser, const uint8_t **position, const uint8_t *end, PyObject **payload
) except EVENT_RAISED
cdef uint32_t fault_code(uint8_t fault) noexcept nogil
cdef str fault_kind(uint8_t fault)


cdef class Parser:
    cdef parser_t parser
    cdef parser_limits_t limits
    cdef Agreement agreement    # owns what the parser inflates with

    cdef tuple _describe(self, Event event, PyObject *payload)
