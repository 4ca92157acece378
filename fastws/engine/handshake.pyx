"""The opening handshake, both sides (RFC 6455 section 4): no socket and no loop.

A request becomes the accept key of its 101 or a refusal; a client's request becomes
bytes, and the answer to it a subprotocol or an error. Requests are parsed by httptools
(see ``request``) after a stricter check of their bytes (see ``head``).
"""

from base64 import b64encode
from hashlib import sha1

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from ..errors import HandshakeError, ProtocolError
from .head import METHODS, HeadScanner, Refused, phrase_of, response_head
from .request import Headers, Query, Request, parse_head, read_request

from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)

from .deflate cimport Deflate
from .head cimport BASE64, TARGET, TOKEN, header_line, is_all, run_end
from .request cimport Request as request_t, has_token

# What the layers above need of a request comes from here, too.
__all__ = [
    "METHODS",
    "HeadScanner",
    "Headers",
    "Query",
    "Refused",
    "Request",
    "accept_response",
    "check_response",
    "check_upgrade",
    "client_request",
    "parse_head",
    "phrase_of",
    "read_request",
    "response_head",
]

# RFC 6455 section 1.3.
cdef bytes GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
cdef bytes ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: "
)

# Headers that the server writes itself into a 101: a hook must not repeat them.
cdef frozenset HANDSHAKE_HEADERS = frozenset((
    "upgrade", "connection", "content-length", "transfer-encoding",
    "sec-websocket-accept", "sec-websocket-protocol", "sec-websocket-extensions",
))

cdef enum:
    # A browser offers a handful of subprotocols; more is an attack or an error.
    MAX_SUBPROTOCOLS = 64
    # 16 bytes in base64: 22 digits and two paddings.
    KEY_LENGTH = 24


# ---------------------------------------------------------------------- the server side

def check_upgrade(request_t request not None):
    """The accept key for a right handshake; Refused (400, 405, 426, 505) otherwise.

    Sets ``request.subprotocols``. RFC 6455 section 4.2.1; the Origin is not looked at.
    """
    if request.method != "GET":
        raise Refused(405, "a WebSocket opens with GET", {"Allow": "GET"})
    if request.chunked or request.content_length:
        raise Refused(400, "a WebSocket handshake has no body")
    if not request.is_upgrade:
        raise upgrade_required("this is a WebSocket endpoint")
    if request.http_version != "1.1":
        raise Refused(505, "a WebSocket needs HTTP/1.1")
    if not has_token(request.connection_value, b"upgrade"):
        raise upgrade_required("the Connection header does not say Upgrade")
    if request.version_count > 1:
        raise Refused(400, "more than one Sec-WebSocket-Version")
    if request.version_value != b"13":
        raise upgrade_required("the WebSocket version is 13")
    if request.key_count != 1:
        raise Refused(400, "a handshake has one Sec-WebSocket-Key")
    if not is_key(request.key_value):
        raise Refused(400, "malformed Sec-WebSocket-Key")
    if request.protocol_value is not None:
        request.subprotocols = parse_subprotocols(request.protocol_value)
    return accept_key(request.key_value)


cdef object upgrade_required(str reason):
    cdef dict headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
    headers["Sec-WebSocket-Version"] = "13"
    return Refused(426, reason, headers)


cdef bint is_key(bytes key) noexcept:
    # Spare bits of the last digit are let be, as by decoders; nothing is decoded here.
    cdef const unsigned char *data = <const unsigned char *>PyBytes_AS_STRING(key)
    return (
        PyBytes_GET_SIZE(key) == KEY_LENGTH
        and run_end(data, 0, KEY_LENGTH, BASE64) == KEY_LENGTH - 2
        and data[KEY_LENGTH - 2] == c"="
        and data[KEY_LENGTH - 1] == c"="
    )


cdef str accept_key(bytes key):
    digest = sha1(key + GUID, usedforsecurity=False).digest()
    return (<bytes>b64encode(digest)).decode("ascii")


cdef tuple parse_subprotocols(bytes text):
    """RFC 6455 section 4.1 point 10: different tokens between commas; one pass."""
    cdef:
        const unsigned char *data = <const unsigned char *>PyBytes_AS_STRING(text)
        Py_ssize_t position = 0, start, size = PyBytes_GET_SIZE(text)
        list found = []
    while True:
        while position < size and (data[position] == c" " or data[position] == c"\t"):
            position += 1
        start = position
        position = run_end(data, position, size, TOKEN)
        if position == start or len(found) == MAX_SUBPROTOCOLS:
            raise Refused(400, "malformed Sec-WebSocket-Protocol")
        found.append(PyBytes_FromStringAndSize(<char *>data + start, position - start))
        while position < size and (data[position] == c" " or data[position] == c"\t"):
            position += 1
        if position == size:
            break
        if data[position] != c",":
            raise Refused(400, "malformed Sec-WebSocket-Protocol")
        position += 1
    if len(set(found)) != len(found):
        raise Refused(400, "a subprotocol is offered twice")
    return tuple([name.decode("ascii") for name in found])


def accept_response(
    str accept not None, subprotocol=None, extra_headers=None, bytes extensions=None
):
    """The 101 answer; ValueError when an extra header is malformed or reserved."""
    cdef bytes response = ACCEPTED + accept.encode("ascii") + b"\r\n"
    if subprotocol is not None:
        response += header_line("Sec-WebSocket-Protocol", subprotocol)
    if extensions is not None:
        response += header_line("Sec-WebSocket-Extensions", extensions.decode("ascii"))
    if extra_headers:
        for name, value in extra_headers.items():
            if name.lower() in HANDSHAKE_HEADERS:
                raise ValueError(f"header {name!a} belongs to the handshake itself")
            response += header_line(name, value)
    return response + b"\r\n"


# ---------------------------------------------------------------------- the client side

def client_request(
    str host not None,
    str path not None,
    str key not None,
    *,
    subprotocols=(),
    bytes extensions=None,
    origin=None,
    headers=None,
):
    """The upgrade request of a client; ValueError when a part would break it."""
    cdef bytes target = path.encode("ascii")
    if not target.startswith(b"/") or not is_all(target, TARGET):
        raise ValueError(f"{path!a} is not a request target")
    request = b"GET %b HTTP/1.1\r\n" % target
    request += header_line("Host", host)
    request += (
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    )
    request += header_line("Sec-WebSocket-Key", key)
    if subprotocols:
        request += header_line("Sec-WebSocket-Protocol", ", ".join(subprotocols))
    if extensions is not None:
        request += header_line("Sec-WebSocket-Extensions", extensions.decode("ascii"))
    if origin is not None:
        request += header_line("Origin", origin)
    for name, value in (headers or {}).items():
        request += header_line(name, value)
    return request + b"\r\n"


class ResponseCollector:
    """The headers of a response, by lower-case name."""

    def __init__(self):
        self.headers = {}

    def on_header(self, name, value):
        name = name.decode("latin-1").lower()
        value = value.decode("latin-1").strip()
        known = self.headers.get(name)
        self.headers[name] = value if known is None else f"{known}, {value}"


def check_response(
    bytes head not None, str key not None, subprotocols=(), Deflate deflate=None
):
    """What the server chose: the subprotocol and the agreement on compression, each one
    or None; the answer must be right.

    ``head`` ends with the empty line, ``deflate`` made the offer. HandshakeError for a
    status other than 101, ProtocolError for a 101 that does not answer this request.
    """
    collector = ResponseCollector()
    parser = HttpResponseParser(collector)
    try:
        parser.feed_data(head)
    except HttpParserUpgrade:
        pass
    except HttpParserError as error:
        raise bad_response(f"malformed response: {error}") from None
    status = parser.get_status_code()
    headers = collector.headers
    if status != 101:
        raise HandshakeError(status, b"", headers)
    if headers.get("upgrade", "").lower() != "websocket":
        raise bad_response("the 101 does not say Upgrade: websocket")
    if not has_token(headers.get("connection", "").encode("latin-1"), b"upgrade"):
        raise bad_response("the 101 does not say Connection: Upgrade")
    if headers.get("sec-websocket-accept") != accept_key(key.encode("ascii")):
        raise bad_response("the 101 answers another key")
    chosen = headers.get("sec-websocket-protocol")
    if chosen is not None and chosen not in subprotocols:
        raise bad_response("the 101 has a subprotocol that was not offered")
    extensions = headers.get("sec-websocket-extensions")
    if extensions is None:
        return chosen, None
    if deflate is None:
        raise bad_response("the 101 has an extension that was not offered")
    return chosen, deflate.agreed(extensions.encode("latin-1"))


cdef object bad_response(str message):
    return ProtocolError(1002, "bad_handshake", message)
