"""Bytes in, frames and messages out: RFC 6455 section 5, with no socket and no loop.

::

    READ_HEADER ──data frame──► READ_PAYLOAD ──frame complete──► READ_HEADER
        │  ▲                        │
        │  └──────complete──────────┼──── READ_CONTROL ◄──control frame── READ_HEADER
        └──────── Close frame or fault ────────► FINISHED  (what follows is ignored)

One short function per state; ``parser_next`` only dispatches. A frame that lies whole
in the bytes at hand never touches the message buffer: its payload is unmasked straight
into the Python object. Lengths from the wire stay unsigned and are compared with the
limit before anything is allocated or added.
"""

from cpython.exc cimport PyErr_Clear
from cpython.object cimport PyObject
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

from .counters cimport native
from .csrc cimport (
    FASTWS_BIT_CONTROL,
    FASTWS_BIT_MASK,
    FASTWS_BIT_RSV1,
    FASTWS_BITS_OPCODE,
    FASTWS_BITS_RSV,
    FASTWS_CLOSE_INVALID_DATA,
    FASTWS_CLOSE_NO_STATUS,
    FASTWS_CLOSE_POLICY_VIOLATION,
    FASTWS_CLOSE_PROTOCOL_ERROR,
    FASTWS_CLOSE_TOO_BIG,
    FASTWS_FRAME_ERR_CONTROL_FRAGMENT,
    FASTWS_FRAME_ERR_CONTROL_LENGTH,
    FASTWS_FRAME_ERR_OPCODE,
    FASTWS_OP_BINARY,
    FASTWS_OP_CLOSE,
    FASTWS_OP_CONTINUATION,
    FASTWS_OP_PING,
    FASTWS_OP_TEXT,
    fastws_frame_decode,
    fastws_frame_header,
    fastws_mask_copy,
    fastws_utf8_validate,
)
from .deflate cimport (
    INFLATE_CORRUPT,
    INFLATE_DONE,
    INFLATE_NO_MEMORY,
    Inflated,
    inflating_begin,
    inflating_drop,
    inflating_finish,
    inflating_step,
)


cdef extern from "Python.h":
    PyObject *PyUnicode_New(Py_ssize_t size, unsigned int maxchar)
    void *PyUnicode_DATA(PyObject *text)
    PyObject *PyUnicode_DecodeUTF8(
        const char *data, Py_ssize_t size, const char *errors
    )
    PyObject *PyBytes_New "PyBytes_FromStringAndSize"(const char *data, Py_ssize_t size)
    char *PyBytes_Data "PyBytes_AS_STRING"(PyObject *data)
    void Py_DECREF(PyObject *object)


cdef enum State:
    READ_HEADER = 0
    READ_PAYLOAD
    READ_CONTROL
    FINISHED


cdef enum:
    # A length is a claim, not data: the buffer starts at this or less and grows with
    # what really arrives, so a lying header costs its sender nothing of ours.
    FIRST_BUFFER = 65536
    CONTROL_BUFFER = 128
    # Compressed payload is unmasked this many bytes at a time, on the stack.
    UNMASKED = 4096
    # What a message inflates to is guessed as this many times its size.
    GUESSED_RATIO = 4
    SMALLEST_GUESS = 512
    # The ratio of a message that inflates to no more is nobody's concern.
    RATIO_FROM = 65536


# No limit: nothing that is not refused by its header reaches it.
cdef uint64_t UNLIMITED = 0x7FFFFFFFFFFFFFFF

# Every way a peer breaks the protocol: (stable name, close code).
_FAULTS = {
    FAULT_RESERVED_BITS: ("reserved_bits", FASTWS_CLOSE_PROTOCOL_ERROR),
    FAULT_RESERVED_OPCODE: ("reserved_opcode", FASTWS_CLOSE_PROTOCOL_ERROR),
    FAULT_MASK: ("bad_mask", FASTWS_CLOSE_PROTOCOL_ERROR),
    FAULT_LENGTH: ("bad_length", FASTWS_CLOSE_PROTOCOL_ERROR),
    FAULT_CONTROL: ("bad_control_frame", FASTWS_CLOSE_PROTOCOL_ERROR),
    FAULT_CONTINUATION: ("unexpected_continuation", FASTWS_CLOSE_PROTOCOL_ERROR),
    FAULT_INTERLEAVED: ("unfinished_message", FASTWS_CLOSE_PROTOCOL_ERROR),
    FAULT_CLOSE_PAYLOAD: ("bad_close_frame", FASTWS_CLOSE_PROTOCOL_ERROR),
    FAULT_CLOSE_CODE: ("bad_close_code", FASTWS_CLOSE_PROTOCOL_ERROR),
    FAULT_UTF8: ("invalid_utf8", FASTWS_CLOSE_INVALID_DATA),
    FAULT_TOO_BIG: ("message_too_big", FASTWS_CLOSE_TOO_BIG),
    FAULT_FRAGMENTS: ("too_many_fragments", FASTWS_CLOSE_POLICY_VIOLATION),
    FAULT_COMPRESSED: ("bad_compressed_data", FASTWS_CLOSE_INVALID_DATA),
    FAULT_RATIO: ("inflates_too_much", FASTWS_CLOSE_TOO_BIG),
}


cdef uint32_t fault_code(uint8_t fault) noexcept nogil:
    if fault == FAULT_UTF8 or fault == FAULT_COMPRESSED:
        return FASTWS_CLOSE_INVALID_DATA
    if fault == FAULT_TOO_BIG or fault == FAULT_RATIO:
        return FASTWS_CLOSE_TOO_BIG
    if fault == FAULT_FRAGMENTS:
        return FASTWS_CLOSE_POLICY_VIOLATION
    return FASTWS_CLOSE_PROTOCOL_ERROR


cdef str fault_kind(uint8_t fault):
    return _FAULTS[fault][0]


cdef void parser_init(
    parser_t *parser,
    const parser_limits_t *limits,
    bint client,
    const inflation_t *inflation,
) noexcept nogil:
    """``limits`` and ``inflation`` (NULL: no compression) must outlive the parser."""
    memset(parser, 0, sizeof(parser_t))
    parser.limits = limits
    parser.client = client
    parser.inflating.inflation = inflation


cdef void parser_free(parser_t *parser) noexcept nogil:
    """Give back what is being assembled; the parser ignores everything from now on."""
    _drop_buffer(parser)
    inflating_drop(&parser.inflating)
    if parser.control != NULL:
        free(parser.control)
        parser.control = NULL
        native().buffers -= 1
    parser.state = FINISHED


cdef bint parser_idle(const parser_t *parser) noexcept nogil:
    """True between two messages, with no byte of the next one seen."""
    return (
        parser.state == READ_HEADER
        and parser.header_length == 0
        and parser.message_opcode == 0
    )


cdef Event parser_next(
    parser_t *parser, const uint8_t **position, const uint8_t *end, PyObject **payload
) except EVENT_RAISED:
    """The next thing in the bytes from ``position`` on, which moves behind it.

    A payload is a new reference. After FAILED or CLOSE every byte is ignored.
    """
    cdef Event event
    while True:
        if parser.state == READ_HEADER:
            event = _read_header(parser, position, end, payload)
        elif parser.state == READ_PAYLOAD:
            event = _read_payload(parser, position, end, payload)
        elif parser.state == READ_CONTROL:
            event = _read_control(parser, position, end, payload)
        else:
            position[0] = end
            return NEED_MORE
        if event != NEED_MORE or position[0] == end:
            return event


# -- header ----------------------------------------------------------------------------


cdef inline Event _fail(parser_t *parser, uint8_t fault) noexcept nogil:
    parser_free(parser)
    parser.fault = fault
    return FAILED


cdef Event _read_header(
    parser_t *parser, const uint8_t **position, const uint8_t *end, PyObject **payload
) except EVENT_RAISED:
    cdef fastws_frame_header header
    cdef const uint8_t *start = position[0]
    cdef size_t available = <size_t>(end - start)
    cdef int size
    cdef uint8_t fault
    if parser.header_length == 0:
        if available == 0:
            return NEED_MORE
        fault = _check_first_bytes(parser, start, available)
        if fault:
            return _fail(parser, fault)
        size = fastws_frame_decode(start, available, &header)
        if size > 0:
            position[0] = start + size
            return _begin_frame(parser, &header, position, end, payload)
        if size < 0:
            return _fail(parser, _header_fault(size))
    return _collect_header(parser, position, end, payload)


cdef Event _collect_header(
    parser_t *parser, const uint8_t **position, const uint8_t *end, PyObject **payload
) except EVENT_RAISED:
    """A header that came in pieces: at most 14 bytes, one at a time."""
    cdef fastws_frame_header header
    cdef int size
    cdef uint8_t fault
    while position[0] < end:
        parser.header[parser.header_length] = position[0][0]
        parser.header_length += 1
        position[0] += 1
        fault = _check_first_bytes(parser, parser.header, parser.header_length)
        if fault:
            return _fail(parser, fault)
        size = fastws_frame_decode(parser.header, parser.header_length, &header)
        if size < 0:
            return _fail(parser, _header_fault(size))
        if size > 0:
            parser.header_length = 0
            return _begin_frame(parser, &header, position, end, payload)
    return NEED_MORE


cdef inline uint8_t _check_first_bytes(
    const parser_t *parser, const uint8_t *data, size_t available
) noexcept nogil:
    """What depends on extensions, on the message at hand and on our role."""
    cdef uint8_t opcode = data[0] & FASTWS_BITS_OPCODE
    if data[0] & FASTWS_BITS_RSV:
        # RFC 7692 section 6: RSV1 on a data message's first frame, and nowhere else.
        if (
            parser.inflating.inflation == NULL
            or data[0] & FASTWS_BITS_RSV != FASTWS_BIT_RSV1
            or opcode == FASTWS_OP_CONTINUATION
            or opcode & FASTWS_BIT_CONTROL
        ):
            return FAULT_RESERVED_BITS
    if opcode == FASTWS_OP_CONTINUATION:
        if parser.message_opcode == 0:
            return FAULT_CONTINUATION
    elif opcode <= FASTWS_OP_BINARY and parser.message_opcode:
        return FAULT_INTERLEAVED
    if available > 1 and ((data[1] & FASTWS_BIT_MASK) != 0) == parser.client:
        return FAULT_MASK
    return FAULT_NONE


cdef uint8_t _header_fault(int error) noexcept nogil:
    if error == FASTWS_FRAME_ERR_OPCODE:
        return FAULT_RESERVED_OPCODE
    if (
        error == FASTWS_FRAME_ERR_CONTROL_FRAGMENT
        or error == FASTWS_FRAME_ERR_CONTROL_LENGTH
    ):
        return FAULT_CONTROL
    return FAULT_LENGTH


cdef Event _begin_frame(
    parser_t *parser,
    const fastws_frame_header *header,
    const uint8_t **position,
    const uint8_t *end,
    PyObject **payload,
) except EVENT_RAISED:
    cdef bint first = header.opcode != FASTWS_OP_CONTINUATION
    if header.opcode & FASTWS_BIT_CONTROL:
        return _begin_control(parser, header, position, end, payload)
    if header.rsv or (parser.compressed and not first):
        # What is too big shows while it inflates: little may become much, and what
        # can't be compressed comes with a few bytes more than it has.
        if first:
            _begin_message(parser, header)
            parser.compressed = True
            parser.ascii = False
            if not inflating_begin(&parser.inflating):
                raise MemoryError
    elif first:
        if header.length > parser.limits.max_message:
            return _fail(parser, FAULT_TOO_BIG)
        if header.fin and header.length <= <uint64_t>(end - position[0]):
            return _whole_message(parser, header, position, payload)
        _begin_message(parser, header)
    # length <= max_message holds from the frame before, so this cannot wrap around.
    elif header.length > parser.limits.max_message - parser.length:
        return _fail(parser, FAULT_TOO_BIG)
    parser.fragments += 1
    if parser.fragments > parser.limits.max_fragments:
        return _fail(parser, FAULT_FRAGMENTS)
    memcpy(parser.key, header.key, 4)
    parser.mask_offset = 0
    parser.remaining = header.length
    parser.final = header.fin
    parser.state = READ_PAYLOAD
    return _read_payload(parser, position, end, payload)


cdef inline void _begin_message(
    parser_t *parser, const fastws_frame_header *header
) noexcept nogil:
    parser.message_opcode = header.opcode
    parser.utf8 = 0
    parser.ascii = True
    parser.compressed = False
    parser.fragments = 0


# -- data frames -----------------------------------------------------------------------


cdef inline Event _whole_message(
    parser_t *parser,
    const fastws_frame_header *header,
    const uint8_t **position,
    PyObject **payload,
) except EVENT_RAISED:
    """The usual case: one unfragmented frame, all of it here."""
    cdef Py_ssize_t length = <Py_ssize_t>header.length
    cdef const uint8_t *data = position[0]
    cdef PyObject *message
    cdef PyObject *decoded
    position[0] = data + length
    if header.opcode == FASTWS_OP_BINARY:
        message = PyBytes_New(NULL, length)
        if message == NULL:
            raise MemoryError
        fastws_mask_copy(<uint8_t *>PyBytes_Data(message), data, length, header.key, 0)
        payload[0] = message
        return MESSAGE
    message = PyUnicode_New(length, 127)
    if message == NULL:
        raise MemoryError
    if not fastws_mask_copy(
        <uint8_t *>PyUnicode_DATA(message), data, length, header.key, 0
    ):
        # Not ASCII: what lies unmasked in the new object is UTF-8 still to be decoded.
        decoded = PyUnicode_DecodeUTF8(
            <const char *>PyUnicode_DATA(message), length, NULL
        )
        Py_DECREF(message)
        if decoded == NULL:
            PyErr_Clear()
            return _fail(parser, FAULT_UTF8)
        message = decoded
    payload[0] = message
    return MESSAGE


cdef Event _read_payload(
    parser_t *parser, const uint8_t **position, const uint8_t *end, PyObject **payload
) except EVENT_RAISED:
    """Take what there is of the frame's payload into the message buffer."""
    cdef size_t taken = <size_t>(end - position[0])
    cdef uint8_t *target
    cdef uint8_t fault
    if taken > parser.remaining:
        taken = <size_t>parser.remaining
    if parser.compressed:
        fault = _take_compressed(parser, position, taken)
        if fault:
            return _fail(parser, fault)
    elif taken:
        if not _reserve(parser, taken):
            raise MemoryError
        target = parser.buffer + parser.length
        if not fastws_mask_copy(
            target, position[0], taken, parser.key, parser.mask_offset
        ):
            parser.ascii = False
        parser.mask_offset = <uint32_t>((parser.mask_offset + taken) & 3)
        position[0] += taken
        parser.length += taken
        parser.remaining -= taken
        if parser.message_opcode == FASTWS_OP_TEXT and not parser.ascii:
            if not fastws_utf8_validate(&parser.utf8, target, taken):
                return _fail(parser, FAULT_UTF8)
    if parser.remaining:
        return NEED_MORE
    parser.state = READ_HEADER
    if not parser.final:
        return NEED_MORE
    return _finish_message(parser, payload)


cdef uint8_t _take_compressed(
    parser_t *parser, const uint8_t **position, size_t taken
) except? 255:
    """Inflate what there is of the frame's payload; a fault, or FAULT_NONE."""
    cdef uint8_t unmasked[UNMASKED]
    cdef size_t size
    cdef uint8_t fault
    while taken:
        size = taken if taken < UNMASKED else UNMASKED
        fastws_mask_copy(
            unmasked, position[0], size, parser.key, parser.mask_offset
        )
        parser.mask_offset = <uint32_t>((parser.mask_offset + size) & 3)
        position[0] += size
        taken -= size
        # Before it is inflated, so that the guess of `_room` knows what is left.
        parser.remaining -= size
        fault = _inflate(parser, unmasked, size)
        if fault:
            return fault
    if parser.remaining == 0 and parser.final:
        if not inflating_finish(&parser.inflating, parser.length):
            return FAULT_COMPRESSED
    return FAULT_NONE


cdef uint8_t _inflate(
    parser_t *parser, const uint8_t *data, size_t length
) except? 255:
    """Into the message buffer, which never grows beyond what a message may have."""
    cdef uint8_t beyond
    cdef uint8_t *start
    cdef uint8_t *out
    cdef size_t room
    cdef size_t written
    cdef Inflated result
    cdef uint32_t ratio = parser.inflating.inflation.ratio
    while True:
        if parser.length == parser.capacity and not _make_room(parser, length):
            raise MemoryError
        start = parser.buffer + parser.length
        room = parser.capacity - parser.length
        if room == 0:
            # Full to the limit: one byte more says that it is over it.
            start = &beyond
            room = 1
        out = start
        result = inflating_step(&parser.inflating, &data, &length, &out, &room)
        written = <size_t>(out - start)
        if result == INFLATE_CORRUPT:
            return FAULT_COMPRESSED
        if result == INFLATE_NO_MEMORY:
            raise MemoryError
        if written and start == &beyond:
            return FAULT_TOO_BIG
        parser.length += written
        if ratio and parser.length > RATIO_FROM:
            if parser.length // ratio > parser.inflating.wire:
                return FAULT_RATIO
        if written and parser.message_opcode == FASTWS_OP_TEXT:
            if not fastws_utf8_validate(&parser.utf8, start, written):
                return FAULT_UTF8
        if result == INFLATE_DONE:
            return FAULT_NONE


cdef bint _make_room(parser_t *parser, size_t waiting) noexcept nogil:
    """For what inflates from the ``waiting`` bytes at hand and those that the frame
    still announces: a guess first, then twice as much each time."""
    cdef uint64_t most = parser.limits.max_message
    cdef size_t capacity = parser.capacity * 2
    if capacity == 0:
        if parser.remaining < UNMASKED:
            waiting += <size_t>parser.remaining
        capacity = waiting * GUESSED_RATIO
        if capacity < SMALLEST_GUESS:
            capacity = SMALLEST_GUESS
    if capacity > most:
        capacity = <size_t>most
    return capacity == parser.capacity or _resize(parser, capacity)


cdef bint _reserve(parser_t *parser, size_t wanted) noexcept nogil:
    """Room for ``wanted`` more bytes: from min(length, 64 KiB) on, half as much again
    each time, never beyond what the frame at hand has announced."""
    cdef size_t needed = parser.length + wanted
    cdef uint64_t announced = parser.length + parser.remaining
    cdef size_t capacity
    if needed <= parser.capacity:
        return True
    capacity = parser.capacity + (parser.capacity >> 1)
    if capacity < FIRST_BUFFER:
        capacity = FIRST_BUFFER
    if capacity > announced and parser.final:
        capacity = <size_t>announced
    elif capacity > parser.limits.max_message:
        capacity = <size_t>parser.limits.max_message
    elif parser.capacity == 0 and not parser.final and announced < 4096:
        # A message of small fragments: no 64 KiB for the first of them.
        capacity = 4096
    if capacity < needed:
        capacity = needed
    return _resize(parser, capacity)


cdef bint _resize(parser_t *parser, size_t capacity) noexcept nogil:
    cdef uint8_t *buffer = <uint8_t *>realloc(parser.buffer, capacity)
    if buffer == NULL:
        return False
    if parser.buffer == NULL:
        native().buffers += 1
    parser.buffer = buffer
    parser.capacity = capacity
    return True


cdef void _drop_buffer(parser_t *parser) noexcept nogil:
    if parser.buffer != NULL:
        free(parser.buffer)
        parser.buffer = NULL
        native().buffers -= 1
    parser.capacity = 0
    parser.length = 0
    parser.message_opcode = 0
    parser.compressed = False


cdef Event _finish_message(
    parser_t *parser, PyObject **payload
) except EVENT_RAISED:
    cdef Py_ssize_t length = <Py_ssize_t>parser.length
    cdef PyObject *message
    if parser.message_opcode == FASTWS_OP_BINARY:
        message = PyBytes_New(<const char *>parser.buffer, length)
    elif parser.utf8:
        return _fail(parser, FAULT_UTF8)
    elif parser.ascii:
        message = PyUnicode_New(length, 127)
        if message != NULL and length:
            memcpy(PyUnicode_DATA(message), parser.buffer, length)
    else:
        message = PyUnicode_DecodeUTF8(<const char *>parser.buffer, length, NULL)
    if message == NULL:
        raise MemoryError
    _drop_buffer(parser)
    payload[0] = message
    return MESSAGE


# -- control frames --------------------------------------------------------------------


cdef Event _begin_control(
    parser_t *parser,
    const fastws_frame_header *header,
    const uint8_t **position,
    const uint8_t *end,
    PyObject **payload,
) except EVENT_RAISED:
    cdef uint8_t data[CONTROL_BUFFER]
    parser.frame_opcode = header.opcode
    if header.length <= <uint64_t>(end - position[0]):
        fastws_mask_copy(data, position[0], <size_t>header.length, header.key, 0)
        position[0] += header.length
        return _finish_control(parser, data, <size_t>header.length, payload)
    if parser.control == NULL:
        parser.control = <uint8_t *>malloc(CONTROL_BUFFER)
        if parser.control == NULL:
            raise MemoryError
        native().buffers += 1
    memcpy(parser.header, header.key, 4)
    parser.control_length = 0
    # A control frame may lie between the fragments of a message, whose own `remaining`
    # is zero there: both can share the field.
    parser.remaining = header.length
    parser.state = READ_CONTROL
    return _read_control(parser, position, end, payload)


cdef Event _read_control(
    parser_t *parser, const uint8_t **position, const uint8_t *end, PyObject **payload
) except EVENT_RAISED:
    cdef size_t taken = <size_t>(end - position[0])
    cdef Event event
    if taken > parser.remaining:
        taken = <size_t>parser.remaining
    fastws_mask_copy(
        parser.control + parser.control_length,
        position[0],
        taken,
        parser.header,
        parser.control_length & 3,
    )
    position[0] += taken
    parser.control_length += <uint8_t>taken
    parser.remaining -= taken
    if parser.remaining:
        return NEED_MORE
    parser.state = READ_HEADER
    event = _finish_control(parser, parser.control, parser.control_length, payload)
    if parser.control != NULL:
        free(parser.control)
        parser.control = NULL
        native().buffers -= 1
    return event


cdef Event _finish_control(
    parser_t *parser, const uint8_t *data, size_t length, PyObject **payload
) except EVENT_RAISED:
    cdef PyObject *message
    if parser.frame_opcode == FASTWS_OP_CLOSE:
        return _finish_close(parser, data, length, payload)
    message = PyBytes_New(<const char *>data, <Py_ssize_t>length)
    if message == NULL:
        raise MemoryError
    payload[0] = message
    return PING if parser.frame_opcode == FASTWS_OP_PING else PONG


cdef Event _finish_close(
    parser_t *parser, const uint8_t *data, size_t length, PyObject **payload
) except EVENT_RAISED:
    """Section 5.5.1 and 7.4: empty, or a code that may be sent with a UTF-8 reason."""
    cdef PyObject *reason
    if length == 1:
        return _fail(parser, FAULT_CLOSE_PAYLOAD)
    parser.close_code = FASTWS_CLOSE_NO_STATUS
    if length:
        parser.close_code = <uint32_t>data[0] << 8 | data[1]
        if not _sendable(parser.close_code):
            return _fail(parser, FAULT_CLOSE_CODE)
        data += 2
        length -= 2
    reason = PyUnicode_DecodeUTF8(<const char *>data, <Py_ssize_t>length, NULL)
    if reason == NULL:
        PyErr_Clear()
        return _fail(parser, FAULT_UTF8)
    _drop_buffer(parser)
    parser.state = FINISHED
    payload[0] = reason
    return CLOSE


cdef inline bint _sendable(uint32_t code) noexcept nogil:
    return (
        1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999
    )


# -- the same for Python ---------------------------------------------------------------


cdef class Parser:
    """The parser by itself, for tests, fuzzing and tools. Owns its native state."""

    def __cinit__(
        self,
        *,
        bint client=False,
        max_message=1 << 20,
        max_fragments=None,
        Agreement agreement=None,
    ):
        self.agreement = agreement
        self.limits.max_message = (
            UNLIMITED if max_message is None else <uint64_t>max_message
        )
        if max_fragments is not None:
            self.limits.max_fragments = <uint64_t>max_fragments
        elif self.limits.max_message < 1024 * 256:
            self.limits.max_fragments = 1024
        else:
            self.limits.max_fragments = self.limits.max_message // 256
        parser_init(
            &self.parser,
            &self.limits,
            client,
            NULL if agreement is None else &agreement.inflation,
        )

    def __dealloc__(self):
        parser_free(&self.parser)

    @property
    def idle(self) -> bool:
        """True between two messages, with no byte of the next one seen."""
        return parser_idle(&self.parser)

    @property
    def buffered(self) -> int:
        """Bytes of memory held for an unfinished message."""
        return self.parser.capacity

    def feed(self, const uint8_t[::1] data not None) -> list:
        """Take bytes; return what they completed, in order."""
        cdef const uint8_t *position = NULL
        cdef const uint8_t *end
        cdef PyObject *payload = NULL
        cdef Event event
        cdef list events = []
        if data.shape[0] == 0:
            return events
        position = &data[0]
        end = position + data.shape[0]
        while True:
            event = parser_next(&self.parser, &position, end, &payload)
            if event == NEED_MORE:
                return events
            events.append(self._describe(event, payload))

    cdef tuple _describe(self, Event event, PyObject *payload):
        cdef object message
        if event == FAILED:
            return (
                "error", fault_code(self.parser.fault), fault_kind(self.parser.fault)
            )
        message = <object>payload
        Py_DECREF(payload)
        if event == MESSAGE:
            return ("message", message)
        if event == CLOSE:
            return ("close", self.parser.close_code, message)
        return ("ping" if event == PING else "pong", message)
