"""Requests: a checked head taken apart by httptools, and what it means.

A handshake is answered from a few headers, which are noted while llhttp tells them; the
tables of all headers and of the query are made only if somebody asks for them.
"""

from urllib.parse import parse_qsl

import orjson
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from .head import Refused

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memchr

from .head cimport HOST, HeadScanner, is_all


cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char *first, const char *second, size_t length)


cdef enum:
    # Digits of a Content-Length that always fit in 63 bits.
    MAX_LENGTH_DIGITS = 18


cdef class Fields:
    """Names with one or more values each, in the order they came."""

    cdef dict read(self):
        return {}

    cdef str fold(self, str name):
        return name

    def getall(self, str name):
        """Every value of this name, an empty list when there is none."""
        if self.table is None:
            self.table = self.read()
        return list(self.table.get(self.fold(name), ()))

    def get(self, str name, default=None):
        """The first value of this name."""
        if self.table is None:
            self.table = self.read()
        values = self.table.get(self.fold(name))
        return default if values is None else values[0]

    def __getitem__(self, str name):
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __contains__(self, object name):
        return isinstance(name, str) and self.get(name) is not None

    def __iter__(self):
        if self.table is None:
            self.table = self.read()
        return iter(self.table)

    def __len__(self):
        if self.table is None:
            self.table = self.read()
        return len(self.table)

    def keys(self):
        """Every name, once."""
        return list(self)

    def values(self):
        """The first value of each name."""
        return [value for _, value in self.items()]

    def items(self):
        """Each name with its first value."""
        if self.table is None:
            self.table = self.read()
        return [(name, values[0]) for name, values in self.table.items()]

    def __repr__(self):
        # Values can be cookies and tokens: they don't go where reprs go.
        return f"<{type(self).__name__} {', '.join(self)}>"


cdef class Headers(Fields):
    """The headers of a request, looked up without regard to case."""

    def __init__(self, list raw not None):
        self.raw = raw

    cdef str fold(self, str name):
        return name.lower()

    cdef dict read(self):
        cdef dict table = {}
        for name, value in self.raw:
            table.setdefault(name.decode("latin-1").lower(), []).append(
                value.decode("latin-1")
            )
        return table


cdef class Query(Fields):
    """The parameters of a query string, percent-decoded."""

    def __init__(self, str text not None):
        self.text = text

    cdef dict read(self):
        cdef dict table = {}
        for name, value in parse_qsl(self.text, keep_blank_values=True):
            table.setdefault(name, []).append(value)
        return table


@cython.final
cdef class _HeadCollector:
    """What httptools tells about a head, noted in a request."""

    cdef Request request
    cdef bytes target

    def on_url(self, bytes url):
        self.target = url if self.target is None else self.target + url

    def on_header(self, bytes name, bytes value):
        # llhttp keeps the white space behind a value.
        cdef Py_ssize_t length = PyBytes_GET_SIZE(value)
        cdef const char *data = PyBytes_AS_STRING(value)
        if length and (data[length - 1] == c" " or data[length - 1] == c"\t"):
            value = value.rstrip(b" \t")
        self.request.raw_headers.append((name, value))
        self.request.note_header(name, value)


cdef class Request:
    """One HTTP request, its head complete and checked."""

    def __cinit__(self):
        self.raw_headers = []
        self.params = {}
        self.subprotocols = ()
        self.content = b""
        self.content_length = None

    @property
    def headers(self):
        if self.header_view is None:
            self.header_view = Headers(self.raw_headers)
        return self.header_view

    @property
    def query(self):
        if self.query_view is None:
            self.query_view = Query(self.query_string)
        return self.query_view

    @property
    def host(self):
        return "" if self.host_value is None else self.host_value.decode("ascii")

    @property
    def origins(self):
        """Every Origin header; more than one is never right."""
        if self.origin_count <= 1:
            # Decoded here so that a handshake needs no table of all headers.
            if self.origin_value is None:
                return []
            return [self.origin_value.decode("latin-1")]
        return self.headers.getall("origin")

    @property
    def is_upgrade(self):
        """Whether it asks for a WebSocket, rightly or not."""
        return has_token(self.upgrade_value, b"websocket")

    @property
    def extensions(self):
        """What the peer offers, as it was sent; several headers are one list."""
        return b"" if self.extensions_value is None else self.extensions_value

    @property
    def expects_continue(self):
        """Whether the peer waits for a 100 before it sends the body."""
        return self.expect_value is not None

    def set_body(self, bytes body not None):
        """Give the request its body; the server does so before the handler runs."""
        self.content = body

    async def body(self):
        return self.content

    async def text(self):
        try:
            return self.content.decode("utf-8")
        except UnicodeDecodeError:
            raise Refused(400, "the body is not UTF-8") from None

    async def json(self):
        try:
            return orjson.loads(self.content)
        except orjson.JSONDecodeError:
            raise Refused(400, "the body is not JSON") from None

    def __repr__(self):
        return f"<Request {self.method} {self.path!a}>"

    cdef void note_header(self, bytes name, bytes value):
        cdef const char *text = PyBytes_AS_STRING(name)
        cdef Py_ssize_t length = PyBytes_GET_SIZE(name)
        if length == 4 and strncasecmp(text, b"host", 4) == 0:
            self.host_value = value
            self.host_count += 1
        elif length == 6 and strncasecmp(text, b"origin", 6) == 0:
            self.origin_value = value
            self.origin_count += 1
        elif length == 6 and strncasecmp(text, b"expect", 6) == 0:
            self.expect_value = value
        elif length == 7 and strncasecmp(text, b"upgrade", 7) == 0:
            self.upgrade_value = joined(self.upgrade_value, value)
        elif length == 10 and strncasecmp(text, b"connection", 10) == 0:
            self.connection_value = joined(self.connection_value, value)
        elif length == 14 and strncasecmp(text, b"content-length", 14) == 0:
            self.length_value = value
            self.length_count += 1
        elif length == 17 and strncasecmp(text, b"sec-websocket-key", 17) == 0:
            self.key_value = value
            self.key_count += 1
        elif length == 17 and strncasecmp(text, b"transfer-encoding", 17) == 0:
            self.coding_value = value
            self.coding_count += 1
        elif length == 21 and strncasecmp(text, b"sec-websocket-version", 21) == 0:
            self.version_value = value
            self.version_count += 1
        elif length == 22 and strncasecmp(text, b"sec-websocket-protocol", 22) == 0:
            self.protocol_value = joined(self.protocol_value, value)
        elif length == 24 and strncasecmp(text, b"sec-websocket-extensions", 24) == 0:
            self.extensions_value = joined(self.extensions_value, value)

    cdef int check_host(self) except -1:
        if self.host_count > 1:
            raise Refused(400, "more than one Host header")
        if self.host_count == 0:
            if self.http_version == "1.0":
                return 0
            raise Refused(400, "no Host header")
        if not self.host_value or not is_all(self.host_value, HOST):
            raise Refused(400, "malformed Host header")
        return 0

    cdef int check_framing(self) except -1:
        """Where the body ends, RFC 9112 section 6.3; ambiguity is refused."""
        if self.coding_count:
            if self.length_count:
                raise Refused(400, "Content-Length beside Transfer-Encoding")
            if self.coding_count > 1 or self.coding_value.lower() != b"chunked":
                raise Refused(400, "the only transfer coding is chunked")
            if self.http_version == "1.0":
                raise Refused(400, "HTTP/1.0 has no transfer codings")
            self.chunked = True
        elif self.length_count:
            if self.length_count > 1:
                raise Refused(400, "more than one Content-Length")
            self.content_length = parse_length(self.length_value)
        return 0


cdef bytes joined(bytes first, bytes second):
    # RFC 9110 section 5.3: a list may be spread over several headers.
    return second if first is None else first + b"," + second


cdef object parse_length(bytes text):
    cdef const char *data = PyBytes_AS_STRING(text)
    cdef Py_ssize_t index, length = PyBytes_GET_SIZE(text)
    cdef long long number = 0
    if not 0 < length <= MAX_LENGTH_DIGITS:
        raise Refused(400, "malformed Content-Length")
    for index in range(length):
        if not c"0" <= data[index] <= c"9":
            raise Refused(400, "malformed Content-Length")
        number = number * 10 + (data[index] - c"0")
    return number


cdef bint has_token(bytes values, bytes token) noexcept:
    """Whether a comma-separated list has this lower-case token."""
    if values is None:
        return False
    return list_has(
        PyBytes_AS_STRING(values),
        PyBytes_GET_SIZE(values),
        PyBytes_AS_STRING(token),
        PyBytes_GET_SIZE(token),
    )


cdef bint list_has(
    const char *data, Py_ssize_t size, const char *token, Py_ssize_t length
) noexcept nogil:
    """One pass."""
    cdef:
        const char *comma
        Py_ssize_t start = 0, end, next_start
    while start <= size:
        comma = <const char *>memchr(data + start, c",", <size_t>(size - start))
        end = size if comma is NULL else comma - data
        next_start = end + 1
        while start < end and (data[start] == c" " or data[start] == c"\t"):
            start += 1
        while end > start and (data[end - 1] == c" " or data[end - 1] == c"\t"):
            end -= 1
        if end - start == length and strncasecmp(
            data + start, token, <size_t>length
        ) == 0:
            return True
        start = next_start
    return False


def parse_head(bytes data not None, limits, remote_address=None, bint secure=False):
    """The request whose whole head is ``data``; Refused when it is not right."""
    cdef HeadScanner scanner = HeadScanner(limits)
    if scanner.feed(data) != PyBytes_GET_SIZE(data):
        raise Refused(400, "the request head is not complete")
    return read_request(data, remote_address, secure)


def read_request(bytes head not None, remote_address=None, bint secure=False):
    """The request of a head that ``HeadScanner`` found complete."""
    cdef:
        Request request = Request.__new__(Request)
        _HeadCollector collector = _HeadCollector.__new__(_HeadCollector)
    collector.request = request
    parser = HttpRequestParser(collector)
    try:
        parser.feed_data(head)
    except HttpParserUpgrade:
        # llhttp stops here by itself: what follows is up to the handshake.
        pass
    except HttpParserError:
        raise Refused(400, "malformed request") from None
    request.method = parser.get_method().decode("ascii")
    request.remote_address = remote_address
    request.secure = secure
    request.http_version = "1.1" if parser.get_http_version() == "1.1" else "1.0"
    read_target(request, collector.target)
    request.check_host()
    request.check_framing()
    request.keep_alive = (
        request.http_version == "1.1"
        and not has_token(request.connection_value, b"close")
    )
    if (
        request.expect_value is not None
        and request.expect_value.lower() != b"100-continue"
        and not request.is_upgrade
    ):
        raise Refused(417, "the only expectation is 100-continue")
    return request


cdef object read_target(Request request, bytes target):
    """Split the target and decode its path, once: what is routed is what is served."""
    cdef bytes path, query
    if target is None or not target.startswith(b"/"):
        # The absolute form is for proxies, the asterisk form for the whole server.
        raise Refused(400, "the request target must be a path")
    request.target = target.decode("ascii")
    path, _, query = target.partition(b"?")
    request.query_string = query.decode("ascii")
    if b"%" in path:
        path = percent_decoded(path)
    if b"\0" in path:
        raise Refused(400, "NUL in the path")
    # Refused and not resolved: an honest client resolves dots itself, and two readers
    # of such a path (a proxy's rule and ours) could disagree.
    if path.startswith(b"//") or (
        b"/." in path and not {b".", b".."}.isdisjoint(path.split(b"/"))
    ):
        raise Refused(404, "no such path")
    try:
        request.path = path.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(400, "the path is not UTF-8") from None


cdef bytes percent_decoded(bytes text):
    cdef:
        const unsigned char *data = <const unsigned char *>PyBytes_AS_STRING(text)
        Py_ssize_t index = 0, size = PyBytes_GET_SIZE(text)
        bytearray decoded = bytearray()
        int high, low
    while index < size:
        if data[index] != c"%":
            decoded.append(data[index])
            index += 1
            continue
        if index + 2 >= size:
            raise Refused(400, "broken escape in the path")
        high = hex_digit(data[index + 1])
        low = hex_digit(data[index + 2])
        if high < 0 or low < 0:
            raise Refused(400, "broken escape in the path")
        decoded.append(high * 16 + low)
        index += 3
    return bytes(decoded)


cdef int hex_digit(unsigned char byte) noexcept:
    if c"0" <= byte <= c"9":
        return byte - c"0"
    byte |= 0x20
    if c"a" <= byte <= c"f":
        return byte - c"a" + 10
    return -1
