"""permessage-deflate (RFC 7692): negotiation for both roles, and the streams.

No socket, no loop, no frames. A server accepts the first of a client's offers that it
can keep; what was agreed on is an ``Agreement``, shared by all connections that agreed
on the same. A ``Deflate`` is one loop's: it owns the zlib streams, which are lent to
one message at a time. Only a peer that insists on referring to its earlier messages has
an inflater of its own.

What is published refers to nothing before it unless it belongs to a cohort: such bytes
are valid on every connection whose window is large enough, whatever else was agreed on,
so a broadcast is compressed once. A connection's own messages may refer to one another.
"""

from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from .counters cimport native
from .csrc cimport (
    FASTWS_BIT_RSV1,
    FASTWS_INFLATE_DONE,
    FASTWS_INFLATE_ENDED,
    FASTWS_INFLATE_FULL,
    FASTWS_INFLATE_MEMORY,
    FASTWS_WINDOW_BITS_MAX,
    FASTWS_WINDOW_BITS_MIN,
    fastws_deflate_available,
    fastws_deflate_bound,
    fastws_deflate_message,
    fastws_deflate_tail,
    fastws_deflater_free,
    fastws_deflater_new,
    fastws_deflater_reset,
    fastws_inflate,
    fastws_inflater_free,
    fastws_inflater_is_complete,
    fastws_inflater_new,
    fastws_inflater_reset,
)
from .payload cimport COMPRESS_ALWAYS, COMPRESS_AS_RULED

import re

from ..errors import ConfigError, ProtocolError


NAME = "permessage-deflate"

cdef enum:
    # Offers are as good as always one of a handful of strings; what is longer or comes
    # after so many different ones is read again each time.
    MOST_REMEMBERED = 128
    LONGEST_REMEMBERED = 256
    # An attack's offers are not read to the end: a browser makes one.
    MOST_OFFERS = 16
    # Bytes that every message ends with and no message carries (section 7.2.1).
    TAIL = 4
    # A message from which compressing is worth releasing the GIL: about a millisecond.
    RELEASED_FROM = 65536
    # Between the smallest window and the rule's, the one that is compressed for.
    MIDDLE_WINDOW = 12
    # What stays allocated between two messages.
    SCRATCH_KEPT = 65536 + TAIL


# RFC 6455 section 9.1: a token, or a quoted string that holds a token.
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(
    rf'[ \t]*({_TOKEN})[ \t]*(?:=[ \t]*(?:({_TOKEN})|"({_TOKEN})")[ \t]*)?'
)
# Section 7.1.2: no leading zeros.
_WINDOW_BITS = {str(bits): bits for bits in range(8, FASTWS_WINDOW_BITS_MAX + 1)}


cdef list _read_offers(bytes text):
    """[(name, {parameter: value or None}), …]; a parameter given twice has the value
    False, which no rule accepts. None: not a list of extensions."""
    cdef str rest = text.decode("latin-1")
    cdef Py_ssize_t position = 0
    cdef list offers = []
    cdef dict parameters = None
    while True:
        found = _PARAMETER.match(rest, position)
        if found is None:
            return None
        name = found[1].lower()
        value = found[2] if found[2] is not None else found[3]
        if parameters is None:
            if value is not None:
                return None
            if len(offers) == MOST_OFFERS:
                break
            parameters = {}
            offers.append((name, parameters))
        else:
            parameters[name] = False if name in parameters else value
        position = found.end()
        if position == len(rest):
            break
        if rest[position] == ",":
            parameters = None
        elif rest[position] != ";":
            return None
        position += 1
    return offers


# -- inflating, for the parser ---------------------------------------------------------


cdef bint inflating_begin(inflating_t *self) noexcept nogil:
    """A compressed message begins. False: no memory."""
    cdef const inflation_t *inflation = self.inflation
    self.wire = 0
    self.ended = False
    if self.stream == NULL:
        self.stream = inflation.streams.inflaters[inflation.window_bits]
        inflation.streams.inflaters[inflation.window_bits] = NULL
        if self.stream == NULL:
            self.stream = fastws_inflater_new(inflation.window_bits)
            if self.stream == NULL:
                return False
            native().inflaters += 1
    return True


cdef Inflated inflating_step(
    inflating_t *self,
    const uint8_t **data,
    size_t *length,
    uint8_t **out,
    size_t *room,
) noexcept nogil:
    """Inflate from ``data`` to ``out``; all four move behind what was used."""
    cdef int result
    self.wire += length[0]
    result = fastws_inflate(self.stream, data, length, out, room)
    self.wire -= length[0]
    self.ended = result == FASTWS_INFLATE_ENDED
    if result == FASTWS_INFLATE_DONE or result == FASTWS_INFLATE_ENDED:
        return INFLATE_DONE
    if result == FASTWS_INFLATE_FULL:
        return INFLATE_FULL
    return INFLATE_NO_MEMORY if result == FASTWS_INFLATE_MEMORY else INFLATE_CORRUPT


cdef bint inflating_finish(inflating_t *self, size_t inflated) noexcept nogil:
    """The message's last byte has been inflated. False: it was cut off."""
    cdef counters_t *counters = self.inflation.streams.counters
    cdef const uint8_t *tail = fastws_deflate_tail
    cdef size_t length = 4
    cdef uint8_t byte
    cdef uint8_t *out = &byte
    cdef size_t room = 1
    cdef bint good = True
    # Some senders take an empty message for one without a single block; and what ends
    # with a last block has no tail that could have been left out.
    if self.wire and not self.ended:
        good = (
            fastws_inflate(self.stream, &tail, &length, &out, &room)
            == FASTWS_INFLATE_DONE
            and room == 1
            and fastws_inflater_is_complete(self.stream)
        )
    if good:
        counters.inflated_messages += 1
        counters.inflate_bytes_in += self.wire
        counters.inflate_bytes_out += inflated
    if not (good and self.inflation.keeps_context):
        inflating_drop(self)
    return good


cdef void inflating_drop(inflating_t *self) noexcept nogil:
    """Give the stream back, with nothing of this peer's in it."""
    cdef fastws_inflater *stream = self.stream
    cdef const inflation_t *inflation = self.inflation
    if stream == NULL:
        return
    self.stream = NULL
    if (
        inflation.streams.inflaters[inflation.window_bits] == NULL
        and fastws_inflater_reset(stream, inflation.window_bits) == 0
    ):
        inflation.streams.inflaters[inflation.window_bits] = stream
    else:
        fastws_inflater_free(stream)
        native().inflaters -= 1


# -- negotiation -----------------------------------------------------------------------


cdef class Agreement:
    """What one handshake has agreed on. Immutable."""

    def __init__(self):
        raise TypeError("agreements come from Deflate.agree and Deflate.agreed")

    def __repr__(self) -> str:
        return f"<Agreement {self.response.decode()}>"


def require_zlib() -> None:
    """Raise ConfigError when the machine has no zlib."""
    if not fastws_deflate_available():
        raise ConfigError(
            "compression needs zlib, and this machine has no libz.so.1: install "
            "the package zlib1g (Debian), zlib (Fedora, Alpine)"
        )


cdef class Deflate:
    """permessage-deflate as one loop does it. Owns its zlib streams."""

    def __cinit__(self, rule, counters=None, *, has_cohorts=False):
        memset(&self.streams, 0, sizeof(streams_t))
        self._agreements = {}

    def __init__(self, rule, counters=None, *, has_cohorts=False):
        require_zlib()
        self.rule = rule
        self.may_refer = rule.server_context or has_cohorts
        self.counters = Counters() if counters is None else counters
        self.streams.counters = &self.counters.data
        self.streams.level = rule.level
        self.streams.memory_level = rule.memory_level
        self.threshold = rule.threshold
        self.most = <size_t>-1 if rule.max_size is None else <size_t>rule.max_size

    def __dealloc__(self):
        cdef int bits
        free(self.scratch)
        for bits in range(WINDOW_SIZES):
            if self.streams.inflaters[bits] != NULL:
                fastws_inflater_free(self.streams.inflaters[bits])
                native().inflaters -= 1
            if self.streams.deflaters[bits] != NULL:
                fastws_deflater_free(self.streams.deflaters[bits])
                native().deflaters -= 1

    # -- the server side

    def agree(self, bytes offers not None):
        """The agreement for a client's Sec-WebSocket-Extensions, or None.

        The first offer that can be kept wins (RFC 7692 section 5). A header that is no
        list of extensions, and other extensions, are no offers.
        """
        cdef Agreement agreement = None
        if offers in self._agreements:
            return self._agreements[offers]
        for name, parameters in _read_offers(offers) or ():
            if name == NAME:
                agreement = self._choose(parameters)
                if agreement is not None:
                    break
        if (
            len(offers) <= LONGEST_REMEMBERED
            and len(self._agreements) < MOST_REMEMBERED
        ):
            self._agreements[offers] = agreement
        return agreement

    cdef Agreement _choose(self, dict parameters):
        """The answer to one offer; None: it can't be kept (section 7.1)."""
        cdef Agreement agreement = self._agreement()
        cdef list answer = [NAME]
        cdef object send_bits = None
        cdef object receive_bits = None
        cdef bint receive_bits_offered = False
        for name, value in parameters.items():
            if name in ("server_no_context_takeover", "client_no_context_takeover"):
                if value is not None:
                    return None
            elif name == "server_max_window_bits":
                send_bits = _WINDOW_BITS.get(value)
                # zlib writes no window of 256 bytes.
                if send_bits is None or send_bits < FASTWS_WINDOW_BITS_MIN:
                    return None
            elif name == "client_max_window_bits":
                receive_bits_offered = True
                receive_bits = FASTWS_WINDOW_BITS_MAX
                if value is not None:
                    receive_bits = _WINDOW_BITS.get(value)
                if receive_bits is None:
                    return None
            else:
                return None
        if "server_no_context_takeover" in parameters or not self.may_refer:
            agreement.send_context = False
            answer.append("server_no_context_takeover")
        if "client_no_context_takeover" in parameters or not self.rule.client_context:
            agreement.receive_context = False
            answer.append("client_no_context_takeover")
        if send_bits is not None:
            agreement.send_bits = min(send_bits, self.rule.window_bits)
            answer.append(f"server_max_window_bits={agreement.send_bits}")
        if receive_bits_offered:
            agreement.receive_bits = receive_bits
            if agreement.receive_context and receive_bits > self.rule.window_bits:
                # It has an inflater of its own: a smaller window is less memory.
                agreement.receive_bits = self.rule.window_bits
                answer.append(f"client_max_window_bits={agreement.receive_bits}")
        agreement.response = "; ".join(answer).encode()
        return self._settle(agreement)

    cdef Agreement _agreement(self):
        """What holds when nobody says anything (section 7.1)."""
        cdef Agreement agreement = Agreement.__new__(Agreement)
        agreement.deflate = self
        agreement.send_bits = self.rule.window_bits
        agreement.send_context = True
        agreement.receive_bits = FASTWS_WINDOW_BITS_MAX
        agreement.receive_context = True
        return agreement

    cdef Agreement _settle(self, Agreement agreement):
        # Peers choose the size of their windows, but not how often a publication is
        # compressed: a smaller window is valid for a larger one.
        agreement.shared_bits = agreement.send_bits
        if agreement.send_bits < self.rule.window_bits:
            agreement.shared_bits = min(agreement.send_bits, FASTWS_WINDOW_BITS_MIN)
            if agreement.send_bits >= MIDDLE_WINDOW:
                agreement.shared_bits = MIDDLE_WINDOW
        # zlib writes no window of 256 bytes.
        agreement.own_context = (
            self.rule.server_context
            and agreement.send_context
            and agreement.send_bits >= FASTWS_WINDOW_BITS_MIN
        )
        agreement.inflation.streams = &self.streams
        agreement.inflation.window_bits = agreement.receive_bits
        agreement.inflation.keeps_context = agreement.receive_context
        agreement.inflation.ratio = self.rule.max_ratio or 0
        return agreement

    # -- the client side

    def offer(self) -> bytes:
        """A client's offer: nothing is kept on either side unless the rule says so."""
        cdef list offer = [NAME]
        if not self.rule.client_context:
            offer.append("server_no_context_takeover")
        if not self.may_refer:
            offer.append("client_no_context_takeover")
        offer.append("client_max_window_bits")
        return "; ".join(offer).encode()

    def agreed(self, bytes answer not None) -> Agreement:
        """What a server's answer to ``offer`` means; ProtocolError when it breaks the
        rules of section 7.1 or of the offer."""
        cdef Agreement agreement = self._agreement()
        cdef list extensions = _read_offers(answer)
        if extensions is None or len(extensions) != 1 or extensions[0][0] != NAME:
            raise _bad_answer(answer)
        for name, value in extensions[0][1].items():
            if name == "server_no_context_takeover" and value is None:
                agreement.receive_context = False
            elif name == "client_no_context_takeover" and value is None:
                agreement.send_context = False
            elif name == "server_max_window_bits" and value in _WINDOW_BITS:
                agreement.receive_bits = _WINDOW_BITS[value]
            elif name == "client_max_window_bits" and value in _WINDOW_BITS:
                agreement.send_bits = min(agreement.send_bits, _WINDOW_BITS[value])
            else:
                raise _bad_answer(answer)
        if not self.rule.client_context and agreement.receive_context:
            # It was offered, so it had to be taken (section 7.1.1.1).
            raise _bad_answer(answer)
        agreement.response = answer
        return self._settle(agreement)

    # -- compressing

    cdef fastws_deflater *_deflater(self, int window_bits) noexcept nogil:
        """NULL: the peer wants a window that zlib does not write, or no memory."""
        cdef streams_t *streams = &self.streams
        if window_bits < FASTWS_WINDOW_BITS_MIN:
            return NULL
        if streams.deflaters[window_bits] == NULL:
            streams.deflaters[window_bits] = fastws_deflater_new(
                streams.level, window_bits, streams.memory_level
            )
            if streams.deflaters[window_bits] != NULL:
                native().deflaters += 1
        return streams.deflaters[window_bits]

    cdef bint wants(self, const payload_t *payload) noexcept nogil:
        """Whether its author or the rule would have the message compressed."""
        if payload.compress == COMPRESS_AS_RULED:
            return self.threshold <= payload.length <= self.most
        return payload.compress == COMPRESS_ALWAYS

    cdef bint shrink(self, payload_t *payload, int window_bits) noexcept:
        """Put a message's compressed bytes, which refer to no other message, in the
        place of its own, until ``release``. False: it would not get smaller, and
        nothing has changed."""
        # Into this fits what is smaller by a byte, and the tail that isn't sent.
        return self._compress(
            payload, self._deflater(window_bits), payload.length + TAIL, False
        )

    cdef bint _compress(
        self,
        payload_t *payload,
        fastws_deflater *deflater,
        size_t room,
        bint keep_context,
    ) noexcept:
        """For a large message the GIL is released, unless its bytes could change
        meanwhile."""
        cdef counters_t *counters = self.streams.counters
        cdef size_t length = payload.length
        cdef size_t written
        cdef uint64_t start
        if length == 0 or deflater == NULL or not self._reserve(room):
            return False
        start = _nanoseconds()
        if length >= RELEASED_FROM and not payload.viewed:
            with nogil:
                written = fastws_deflate_message(
                    deflater, payload.data, length, self.scratch, room, keep_context
                )
        else:
            written = fastws_deflate_message(
                deflater, payload.data, length, self.scratch, room, keep_context
            )
        counters.compress_nanoseconds += _nanoseconds() - start
        counters.compress_bytes_in += length
        counters.compress_bytes_out += written if written else length
        if written == 0:
            return False
        counters.compressed_messages += 1
        payload.data = self.scratch
        payload.length = written
        payload.opcode |= FASTWS_BIT_RSV1
        return True

    cdef bint _reserve(self, size_t room) noexcept nogil:
        if room > self.scratch_room:
            free(self.scratch)
            self.scratch_room = 0
            if room < SCRATCH_KEPT:
                room = SCRATCH_KEPT
            self.scratch = <uint8_t *>malloc(room)
            if self.scratch == NULL:
                return False
            self.scratch_room = room
        return True

    cdef void release(self) noexcept:
        """What ``shrink`` gave is used up."""
        if self.scratch_room > SCRATCH_KEPT:
            free(self.scratch)
            self.scratch = NULL
            self.scratch_room = 0


cdef class Context:
    def __cinit__(self, Deflate deflate, int window_bits):
        self.deflate = deflate
        self.deflater = fastws_deflater_new(
            deflate.streams.level, window_bits, deflate.streams.memory_level
        )
        if self.deflater == NULL:
            raise MemoryError
        native().deflaters += 1

    def __dealloc__(self):
        if self.deflater != NULL:
            fastws_deflater_free(self.deflater)
            native().deflaters -= 1

    cdef bint shrink(self, payload_t *payload) noexcept:
        """As ``Deflate.shrink``, but also where it gets no smaller: the messages behind
        it refer to it. False: no memory, and nothing refers to it."""
        return self.deflate._compress(
            payload,
            self.deflater,
            fastws_deflate_bound(payload.length) + TAIL,
            True,
        )

    cdef void restart(self) noexcept:
        """The next message refers to nothing before it."""
        fastws_deflater_reset(self.deflater)


cdef uint64_t _nanoseconds() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1000000000 + <uint64_t>now.tv_nsec


cdef object _bad_answer(bytes answer):
    return ProtocolError(
        1002, "bad_handshake", f"the 101 answers {answer!r} to our offer of {NAME}"
    )
