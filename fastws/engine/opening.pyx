"""Opening: what stands behind one of our own sockets until its first bytes are there.

Nearly all of them are the whole head of a plain upgrade: a known path, no hook, nothing
wrong with it. Such a request is checked, answered and becomes a connection right here.
Everything else, down to the last byte of a refusal, is the HTTP side's: it gets the
link with the bytes, and cannot tell that somebody has looked at them before.
"""

from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from libc.string cimport memchr, memcmp, memset

from .connection cimport open_connection
from .deflate cimport Agreement
from .handshake cimport accept_key, is_key, parse_subprotocols
from .head cimport HOST, HeadScanner, run_end
from .link cimport Consumer
from .ownlink cimport OwnLink
from .request cimport list_has

from .handshake import accept_response
from .head import Refused


cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char *first, const char *second, size_t length)


cdef enum:
    # Paths that are remembered; a program with more routes finds the rest each time.
    MOST_LITERALS = 1024
    SCHEME = 7              # bytes of "http://"
    NO_LIMIT = 0x7FFFFFFF


# -- taking a checked head apart -------------------------------------------------------


cdef bint _is(const char *name, const char *wanted, size_t length) noexcept nogil:
    return strncasecmp(name, wanted, length) == 0


cdef int _field_of(const char *name, Py_ssize_t length) noexcept nogil:
    """Which field it is; -1: one that only the HTTP side understands."""
    if length == 4:
        return FIELD_HOST if _is(name, "host", 4) else FIELD_OTHER
    if length == 6:
        if _is(name, "origin", 6):
            return FIELD_ORIGIN
        return -1 if _is(name, "expect", 6) else FIELD_OTHER
    if length == 7:
        return FIELD_UPGRADE if _is(name, "upgrade", 7) else FIELD_OTHER
    if length == 10:
        return FIELD_CONNECTION if _is(name, "connection", 10) else FIELD_OTHER
    if length == 14:
        return -1 if _is(name, "content-length", 14) else FIELD_OTHER
    if length == 17:
        if _is(name, "sec-websocket-key", 17):
            return FIELD_KEY
        return -1 if _is(name, "transfer-encoding", 17) else FIELD_OTHER
    if length == 21:
        return FIELD_VERSION if _is(name, "sec-websocket-version", 21) else FIELD_OTHER
    if length == 22:
        if _is(name, "sec-websocket-protocol", 22):
            return FIELD_PROTOCOL
    if length == 24 and _is(name, "sec-websocket-extensions", 24):
        return FIELD_EXTENSIONS
    return FIELD_OTHER


cdef bint _read_line(
    const char *line, const char *end, head_t *head
) noexcept nogil:
    """One header line without its end; False: not for us."""
    cdef const char *colon = <const char *>memchr(line, c":", <size_t>(end - line))
    cdef const char *value = colon + 1
    cdef int field = _field_of(line, colon - line)
    if field == FIELD_OTHER:
        return True
    # A repeated one is a list or an error.
    if field < 0 or head.fields[field].data != NULL:
        return False
    while value < end and (value[0] == c" " or value[0] == c"\t"):
        value += 1
    while end > value and ((end - 1)[0] == c" " or (end - 1)[0] == c"\t"):
        end -= 1
    head.fields[field].data = value
    head.fields[field].length = end - value
    return True


cdef bint _read_head(const char *data, Py_ssize_t size, head_t *head) noexcept nogil:
    """Take a head apart that the scanner has found right; False: not for us."""
    cdef const char *end = data + size
    cdef const char *line_end
    cdef const char *position = data
    cdef const char *mark
    if size < 16 or memcmp(data, "GET /", 5) != 0:
        return False
    line_end = <const char *>memchr(data, c"\r", <size_t>size)
    if line_end - data < 14 or memcmp(line_end - 9, " HTTP/1.1", 9) != 0:
        return False
    head.path.data = data + 4
    mark = <const char *>memchr(data, c"?", <size_t>(line_end - data))
    head.path.length = (line_end - 9 if mark == NULL else mark) - head.path.data
    position = line_end + 2
    while position < end and position[0] != c"\r":
        line_end = <const char *>memchr(position, c"\r", <size_t>(end - position))
        if not _read_line(position, line_end, head):
            return False
        position = line_end + 2
    return True


cdef bint _is_plain_path(const text_t *path) noexcept nogil:
    """Nothing to decode and nothing to look at twice."""
    cdef Py_ssize_t index
    if memchr(path.data, c"%", <size_t>path.length) != NULL:
        return False
    for index in range(1, path.length):
        if path.data[index - 1] == c"/" and (
            path.data[index] == c"." or path.data[index] == c"/"
        ):
            return False
    return True


cdef bint _lists(
    const text_t *text, const char *token, Py_ssize_t length
) noexcept nogil:
    return text.data != NULL and list_has(text.data, text.length, token, length)


cdef bint _is_plain_upgrade(const head_t *head) noexcept nogil:
    cdef text_t host = head.fields[FIELD_HOST]
    cdef text_t version = head.fields[FIELD_VERSION]
    return (
        host.length > 0
        and run_end(<const unsigned char *>host.data, 0, host.length, HOST)
        == host.length
        and version.length == 2
        and memcmp(version.data, "13", 2) == 0
        and head.fields[FIELD_KEY].data != NULL
        and _lists(&head.fields[FIELD_UPGRADE], "websocket", 9)
        and _lists(&head.fields[FIELD_CONNECTION], "upgrade", 7)
        and _is_plain_path(&head.path)
    )


cdef bytes _bytes(const text_t *text):
    return PyBytes_FromStringAndSize(text.data, text.length)


# -- the entrance of a listening socket ------------------------------------------------


cdef class Entrance:
    """Who gets what is accepted: the consumer that a factory makes."""

    def __init__(self, factory):
        self.factory = factory

    cdef int begin(self) except -1:
        """Some accepts are about to come."""
        return 0

    cdef int admit(self, OwnLink link, const uint8_t *data, size_t length) except -1:
        """A new link, and what its first read has brought."""
        link.set_consumer(self.factory(link.sockets.hub, link))
        if length:
            (<Consumer>link.consumer).received(data, length)
        return 0


cdef class WebEntrance(Entrance):
    """The entrance of a web server: plain upgrades become connections at once."""

    def __init__(self, factory, service, admits_origin, log_accepted):
        super().__init__(factory)
        self.service = service
        self.admits_origin = admits_origin
        self.log_accepted = log_accepted
        self.same_host = service.allowed_origins is None
        self.scanner = HeadScanner(service.limits)
        self.literals = {}

    cdef int begin(self) except -1:
        limits = self.service.limits
        self.handshake_timeout = limits.handshake_timeout or 0.0
        self.max_handshakes = limits.max_handshakes or NO_LIMIT
        self.connection_limit = limits.connection_limit
        return 0

    cdef int admit(self, OwnLink link, const uint8_t *data, size_t length) except -1:
        cdef Opening opening
        cdef Py_ssize_t handshakes = link.sockets.hub.handshakes + 1
        if (
            handshakes > self.max_handshakes
            or <Py_ssize_t>link.sockets.hub.counters.data.connections
            + handshakes > self.connection_limit
        ):
            return self.pass_on(link, data, length, None)
        if length:
            if not self.upgrade(link, data, length):
                return self.pass_on(link, data, length, None)
            return 0
        opening = Opening.__new__(Opening)
        opening.hub = link.sockets.hub
        opening.link = link
        opening.entrance = self
        opening.hub.handshakes += 1
        self.waiting += 1
        link.set_consumer(opening)
        if self.handshake_timeout > 0:
            opening.due = opening.hub.clock() + self.handshake_timeout
            opening.hub.watch_until(opening, opening.due)
        return 0

    cdef int pass_on(
        self, OwnLink link, const uint8_t *data, size_t length, object deadline
    ) except -1:
        """To the HTTP side. With a deadline it was counted and admitted before."""
        link.set_consumer(self.factory(link.sockets.hub, link, deadline))
        if length and not link.dead:
            (<Consumer>link.consumer).received(data, length)
        return 0

    cdef bint upgrade(
        self, OwnLink link, const uint8_t *data, size_t length
    ) except -1:
        """Answer a plain upgrade; False: nothing has been done."""
        cdef bytes whole = PyBytes_FromStringAndSize(<const char *>data, length)
        cdef const char *text = PyBytes_AS_STRING(whole)
        cdef Py_ssize_t end
        cdef head_t head
        cdef tuple found
        if length < 16 or memcmp(text, "GET /", 5) != 0:
            return False
        self.scanner.reset()
        try:
            end = self.scanner.feed(whole)
        except Refused:
            return False
        if end < 0:
            return False
        memset(&head, 0, sizeof(head_t))
        if not (_read_head(text, end, &head) and _is_plain_upgrade(&head)):
            return False
        found = self.route_of(_bytes(&head.path))
        if found is None:
            return False
        return self._accept(link, whole, end, &head, found)

    cdef tuple route_of(self, bytes path):
        """Path, route and parameters, where no hook has a say."""
        cdef tuple found = self.literals.get(path)
        cdef str text
        if found is not None:
            return found
        text = path.decode("ascii")
        match = self.service.websocket_route(text)
        if match is None or match[0].upgrade is not None:
            return None
        found = (text, match[0], match[1])
        if not match[1] and len(self.literals) < MOST_LITERALS:
            # No other route can take a path from the one that spells it out.
            self.literals[path] = found
        return found

    cdef bint _admits(self, const head_t *head) except -1:
        cdef const text_t *origin = &head.fields[FIELD_ORIGIN]
        cdef const text_t *host = &head.fields[FIELD_HOST]
        if origin.data == NULL:
            return True
        if (
            self.same_host
            and origin.length == SCHEME + host.length
            and memcmp(origin.data, "http://", SCHEME) == 0
            and memcmp(origin.data + SCHEME, host.data, host.length) == 0
        ):
            # Nearly every page, letter by letter.
            return True
        return self.admits_origin(
            _bytes(origin).decode("latin-1"), _bytes(host).decode("ascii")
        )

    cdef Agreement _agree(self, OwnLink link, object route, const text_t *offers):
        """What the peer's offers and the route's rule come to."""
        if offers.data == NULL:
            return None
        rule = route.compression_under(self.service)
        if rule is None:
            return None
        return link.sockets.hub.deflate(
            rule, has_cohorts=self.service.has_cohorts
        ).agree(_bytes(offers))

    cdef bint _accept(
        self,
        OwnLink link,
        bytes whole,
        Py_ssize_t end,
        const head_t *head,
        tuple found,
    ) except -1:
        cdef bytes key = _bytes(&head.fields[FIELD_KEY])
        cdef object subprotocol = None
        cdef object route = found[1]
        cdef Agreement agreement
        if not is_key(key) or not self._admits(head):
            return False
        if head.fields[FIELD_PROTOCOL].data != NULL:
            try:
                offered = parse_subprotocols(_bytes(&head.fields[FIELD_PROTOCOL]))
            except Refused:
                return False
            for name in route.subprotocols:
                if name in offered:
                    subprotocol = name
                    break
        self.log_accepted(found[0])
        agreement = self._agree(link, route, &head.fields[FIELD_EXTENSIONS])
        link.write(
            accept_response(
                accept_key(key),
                subprotocol,
                None,
                None if agreement is None else agreement.response,
            )
        )
        open_connection(
            link.sockets.hub,
            link,
            route.binding,
            whole if end == PyBytes_GET_SIZE(whole) else whole[:end],
            found[0],
            found[2] or None,
            subprotocol,
            whole[end:],
            agreement,
        )
        return True

    def stop(self, links) -> None:
        """Close those of ``links`` that came through here and have sent nothing."""
        cdef OwnLink link
        for link in links:
            if (
                isinstance(link.consumer, Opening)
                and (<Opening>link.consumer).entrance is self
            ):
                link.close()


# -- before the first byte -------------------------------------------------------------


cdef class Opening(Consumer):
    """A connection of which nothing has been heard yet. It counts as a handshake."""

    cdef int leave(self) except -1:
        if self.entrance is not None:
            self.entrance.waiting -= 1
            self.entrance = None
            self.hub.handshakes -= 1
            self.hub.unwatch(self)
        return 0

    cdef int received(self, const uint8_t *data, size_t length) except -1:
        cdef WebEntrance entrance = self.entrance
        cdef OwnLink link = <OwnLink>self.link
        if entrance is None:
            return 0
        self.leave()
        self.link = None
        if not entrance.upgrade(link, data, length):
            entrance.pass_on(link, data, length, self.due)
        return 0

    cdef int ended(self) except -1:
        self.link.close()
        return 0

    cdef int lost(self, object error) except -1:
        self.leave()
        self.link = None
        return 0

    cdef int paused(self) except -1:
        return 0

    cdef int resumed(self) except -1:
        return 0

    cpdef expired(self):
        """The handshake took too long, and not a byte of it came."""
        if self.link is not None:
            self.link.close()
