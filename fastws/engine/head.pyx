"""The head of an HTTP request, checked byte by byte; and heads of responses, written.

``HeadScanner`` holds a head against a grammar stricter than llhttp's (RFC 9112) and
against the limits, as the bytes arrive and however they are cut, so a bad or endless
head is refused at its first wrong byte::

    START ─► METHOD ─► TARGET ─► VERSION ─► REQUEST_LF ─► LINE ─CR─► END_LF ─► COMPLETE
      │ ▲                                                 │  ▲
      ▼ │                                            NAME ◄┘  └ VALUE_LF
    BLANK_LF  (one empty line may stand before a request)  └─► VALUE ─┘
"""

from http import HTTPStatus

from ..errors import FastwsError

from cpython.bytearray cimport (
    PyByteArray_AS_STRING,
    PyByteArray_Check,
    PyByteArray_GET_SIZE,
)
from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from libc.string cimport memcmp


cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char *first, const char *second, size_t length)


# Methods a handler can be registered for; another one is answered with 405.
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
cdef frozenset KNOWN_METHODS = frozenset(name.encode() for name in METHODS)
cdef str ALLOW = ", ".join(METHODS)
cdef bytes PREFACE_METHOD = b"PRI"

cdef unsigned char[256] CLASS


cdef void fill_classes() noexcept:
    cdef int byte
    for byte in range(256):
        CLASS[byte] = 0
        if 0x21 <= byte <= 0x7E:
            CLASS[byte] = VALUE
            # A target never has a fragment; everything else visible is passed on.
            if byte != c"#":
                CLASS[byte] |= TARGET
        elif byte == c" " or byte == c"\t" or byte >= 0x80:
            CLASS[byte] = VALUE
    for byte in b"!#$%&'*+-.^_`|~":
        CLASS[byte] |= TOKEN
    for byte in b"-._~!$&'()*+,;=:[]%":
        CLASS[byte] |= HOST
    for byte in b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ":
        CLASS[byte] |= TOKEN | HOST | BASE64
    for byte in b"+/":
        CLASS[byte] |= BASE64


fill_classes()


class Refused(FastwsError):
    """The answer to a request that is not served; ``to_bytes`` is what goes out.

    ``reason`` is a sentence for the peer and the log: it quotes nothing of the request.
    """

    def __init__(self, status, reason="", headers=None, body=None):
        super().__init__(f"{status} {reason}".rstrip())
        self.status = status
        self.reason = reason
        self.headers = dict(headers or {})
        if body is None:
            body = f"{status} {phrase_of(status)}"
            body = f"{body}: {reason}\n" if reason else f"{body}\n"
        if isinstance(body, str):
            self.headers.setdefault("Content-Type", "text/plain; charset=utf-8")
            body = body.encode()
        self.body = body

    def to_bytes(self, *, head_only=False):
        """The whole response, with ``Connection: close``; ValueError for bad headers.

        ``head_only`` leaves the body out, as the answer to a HEAD must.
        """
        head = response_head(
            self.status,
            {**self.headers, "Content-Length": str(len(self.body))},
            keep_alive=False,
        )
        return head if head_only else head + self.body


def phrase_of(int status):
    """The reason phrase of a status, such as ``"Not Found"``."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def response_head(int status, headers, *, bint keep_alive=True):
    """Status line and headers as bytes, up to and with the empty line.

    ValueError for a name that is no token or a value with CR, LF, NUL or another
    control byte: what a handler sets can't start a second header or response.
    """
    cdef list lines = [f"HTTP/1.1 {status} {phrase_of(status)}\r\n".encode("ascii")]
    for name, value in headers.items():
        lines.append(header_line(name, value))
    if not keep_alive:
        lines.append(b"Connection: close\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


cdef bytes header_line(str name, str value):
    # Latin-1 is what the wire has; other text can't be in a header.
    cdef:
        bytes raw_name = name.encode("latin-1", "replace")
        bytes raw_value
    try:
        raw_value = value.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(f"the value of header {name!a} is not Latin-1") from None
    if not is_all(raw_name, TOKEN) or not raw_name:
        raise ValueError(f"{name!a} is not a header name")
    if not is_all(raw_value, VALUE):
        raise ValueError(f"the value of header {name!a} has a control character")
    return b"%b: %b\r\n" % (raw_name, raw_value)


cdef bint is_all(bytes text, unsigned char kind) noexcept:
    cdef:
        const unsigned char *data = <const unsigned char *>PyBytes_AS_STRING(text)
        Py_ssize_t index
    for index in range(PyBytes_GET_SIZE(text)):
        if not CLASS[data[index]] & kind:
            return False
    return True


cdef Py_ssize_t run_end(
    const unsigned char *data, Py_ssize_t position, Py_ssize_t size, unsigned char kind
) noexcept nogil:
    while position < size and CLASS[data[position]] & kind:
        position += 1
    return position


cdef bint word_is(HeadScanner scanner, bytes word) noexcept:
    cdef Py_ssize_t length = PyBytes_GET_SIZE(word)
    return (
        scanner.word_length == length
        and memcmp(scanner.word, PyBytes_AS_STRING(word), <size_t>length) == 0
    )


cdef class HeadScanner:
    """Checks a request head as its bytes arrive; see the diagram at the top.

    Each byte is looked at once, so a head sent byte by byte costs no more than one in
    one piece, and the answer doesn't depend on the cutting.
    """

    def __init__(self, limits):
        self.max_request_line = limits.max_request_line
        self.max_header_line = limits.max_header_line
        self.max_headers = limits.max_headers
        self.max_header_bytes = limits.max_header_bytes
        self.reset()

    cpdef void reset(self):
        self.state = HEAD_START
        self.blank_skipped = False
        self.line_length = 0
        self.target_length = 0
        self.section_length = 0
        self.header_count = 0
        self.word_length = 0
        self.method_is_known = False

    cpdef Py_ssize_t feed(self, object data, Py_ssize_t start=0) except -2:
        cdef:
            const unsigned char *bytes_at
            Py_ssize_t size
        if PyByteArray_Check(data):
            bytes_at = <const unsigned char *>PyByteArray_AS_STRING(data)
            size = PyByteArray_GET_SIZE(data)
        elif isinstance(data, bytes):
            bytes_at = <const unsigned char *>PyBytes_AS_STRING(data)
            size = PyBytes_GET_SIZE(data)
        else:
            raise TypeError("a head is scanned from bytes or a bytearray")
        if start < 0:
            raise ValueError("start must not be negative")
        while start < size and self.state != HEAD_COMPLETE:
            if self.state == HEAD_VALUE:
                start = self.read_value(bytes_at, start, size)
            elif self.state == HEAD_NAME:
                start = self.read_name(bytes_at, start, size)
            elif self.state == HEAD_LINE:
                start = self.read_line(bytes_at, start)
            elif self.state == HEAD_TARGET:
                start = self.read_target(bytes_at, start, size)
            elif self.state == HEAD_VERSION:
                start = self.read_version(bytes_at, start)
            elif self.state == HEAD_METHOD:
                start = self.read_method(bytes_at, start, size)
            elif self.state == HEAD_START:
                start = self.read_start(bytes_at, start)
            else:
                start = self.read_line_feed(bytes_at, start)
        return start if self.state == HEAD_COMPLETE else -1

    cdef Py_ssize_t read_start(
        self, const unsigned char *data, Py_ssize_t position
    ) except -2:
        # RFC 9112 section 2.2: an empty line before the request is ignored. Once.
        if data[position] == c"\r" and not self.blank_skipped:
            self.blank_skipped = True
            self.state = HEAD_BLANK_LF
            return position + 1
        self.state = HEAD_METHOD
        return position

    cdef Py_ssize_t read_method(
        self, const unsigned char *data, Py_ssize_t position, Py_ssize_t size
    ) except -2:
        cdef Py_ssize_t end = run_end(data, position, size, TOKEN)
        if self.word_length + end - position > WORD_SIZE:
            raise Refused(400, "the request line has no known method")
        while position < end:
            self.word[self.word_length] = data[position]
            self.word_length += 1
            position += 1
        self.line_length = self.word_length
        if position == size:
            return position
        if data[position] != c" " or self.word_length == 0:
            raise Refused(400, "malformed request line")
        # Told at the end of the line, after the faults of the line itself.
        self.method_is_known = (
            PyBytes_FromStringAndSize(<char *>self.word, self.word_length)
            in KNOWN_METHODS
        )
        if not self.method_is_known and word_is(self, PREFACE_METHOD):
            self.method_is_known = True
        self.state = HEAD_TARGET
        self.count_request_line(1)
        return position + 1

    cdef Py_ssize_t read_target(
        self, const unsigned char *data, Py_ssize_t position, Py_ssize_t size
    ) except -2:
        cdef Py_ssize_t end = run_end(data, position, size, TARGET)
        self.target_length += end - position
        self.count_request_line(end - position)
        if end == size:
            return end
        if data[end] != c" " or self.target_length == 0:
            raise Refused(400, "malformed request target")
        self.state = HEAD_VERSION
        self.word_length = 0
        self.count_request_line(1)
        return end + 1

    cdef Py_ssize_t read_version(
        self, const unsigned char *data, Py_ssize_t position
    ) except -2:
        cdef unsigned char byte = data[position]
        if byte == c"\r":
            self.state = HEAD_REQUEST_LF
            check_version(self)
            return position + 1
        if self.word_length == 8 or byte <= c" " or byte >= 0x7F:
            raise Refused(400, "malformed request line")
        self.word[self.word_length] = byte
        self.word_length += 1
        self.count_request_line(1)
        return position + 1

    cdef Py_ssize_t read_line(
        self, const unsigned char *data, Py_ssize_t position
    ) except -2:
        cdef unsigned char byte = data[position]
        if byte == c"\r":
            self.state = HEAD_END_LF
            return position + 1
        if byte == c" " or byte == c"\t":
            raise Refused(400, "folded header line")
        if not CLASS[byte] & TOKEN:
            raise Refused(400, "malformed header name")
        self.header_count += 1
        if self.header_count > self.max_headers:
            raise Refused(431, "too many headers")
        self.line_length = 0
        self.word_length = 0
        self.state = HEAD_NAME
        return position

    cdef Py_ssize_t read_name(
        self, const unsigned char *data, Py_ssize_t position, Py_ssize_t size
    ) except -2:
        cdef Py_ssize_t end = run_end(data, position, size, TOKEN)
        cdef Py_ssize_t index
        for index in range(position, end):
            if self.word_length < WORD_SIZE:
                self.word[self.word_length] = data[index]
            # Counted past the room too: a longer name is none of those looked for.
            self.word_length += 1
        self.count_header(end - position)
        if end == size:
            return end
        if data[end] != c":":
            raise Refused(400, "malformed header name")
        self.state = HEAD_VALUE
        self.count_header(1)
        return end + 1

    cdef Py_ssize_t read_value(
        self, const unsigned char *data, Py_ssize_t position, Py_ssize_t size
    ) except -2:
        cdef Py_ssize_t end = run_end(data, position, size, VALUE)
        self.count_header(end - position)
        if end == size:
            return end
        if data[end] != c"\r":
            raise Refused(400, "control character in a header value")
        self.state = HEAD_VALUE_LF
        return end + 1

    cdef Py_ssize_t read_line_feed(
        self, const unsigned char *data, Py_ssize_t position
    ) except -2:
        if data[position] != c"\n":
            raise Refused(400, "carriage return without line feed")
        if self.state == HEAD_VALUE_LF:
            # The section's limit counts line ends too, the line's doesn't.
            self.section_length += 2
            self.state = HEAD_LINE
        elif self.state == HEAD_REQUEST_LF:
            self.state = HEAD_LINE
        elif self.state == HEAD_END_LF:
            self.state = HEAD_COMPLETE
        else:
            self.state = HEAD_START
        return position + 1

    cdef int count_request_line(self, Py_ssize_t length) except -1:
        self.line_length += length
        if self.line_length > self.max_request_line:
            raise Refused(414, "the request line is too long")
        return 0

    cdef int count_header(self, Py_ssize_t length) except -1:
        self.line_length += length
        self.section_length += length
        if (
            self.line_length > self.max_header_line
            or self.section_length > self.max_header_bytes
        ):
            raise oversize(self)
        return 0


cdef object check_version(HeadScanner scanner):
    cdef unsigned char *word = scanner.word
    if scanner.word_length != 8 or memcmp(word, b"HTTP/", 5) != 0 or word[6] != c".":
        raise Refused(400, "malformed HTTP version")
    if not c"0" <= word[5] <= c"9" or not c"0" <= word[7] <= c"9":
        raise Refused(400, "malformed HTTP version")
    if word[5] != c"1" or word[7] > c"1":
        raise Refused(505, "this server speaks HTTP/1.1")
    if not scanner.method_is_known:
        raise Refused(405, "method not allowed", {"Allow": ALLOW})


cdef object oversize(HeadScanner scanner):
    # What can't be a valid value at any size is named so, before its size is.
    cdef Py_ssize_t length = scanner.word_length
    cdef const char *word = <const char *>scanner.word
    if length == 6 and strncasecmp(word, b"origin", 6) == 0:
        return Refused(403, "origin not allowed")
    if length == 22 and strncasecmp(word, b"sec-websocket-protocol", 22) == 0:
        return Refused(400, "too many subprotocols")
    if length == 24 and strncasecmp(word, b"sec-websocket-extensions", 24) == 0:
        return Refused(400, "too many extensions")
    return Refused(431, "the headers are too large")
