"""Negotiation, and messages that inflate: against zlib itself, in every chunking."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable
from typing import Any

import pytest

from fastws.config import Compression
from fastws.engine.deflate import Agreement, Deflate
from fastws.engine.parser import Parser
from fastws.errors import ProtocolError
from tests.support.chunkings import byte_by_byte, random_splits
from tests.support.deflating import TAIL, compressed, deflated
from tests.support.frames import BINARY, CONTINUATION, TEXT, frame
from tests.support.seeds import fresh_seed

KIB = 1024
MIB = 1 << 20
OFFER = b"permessage-deflate; client_max_window_bits"


def agreement(offer: bytes = OFFER, **rule: Any) -> Agreement:
    found = Deflate(Compression(**rule)).agree(offer)
    assert found is not None
    return found


def parser(offer: bytes = OFFER, max_message: int = MIB, **rule: Any) -> Parser:
    return Parser(agreement=agreement(offer, **rule), max_message=max_message)


def fed(target: Parser, pieces: Iterable[bytes]) -> list[tuple[Any, ...]]:
    return [event for piece in pieces for event in target.feed(piece)]


# Negotiation


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        (
            "permessage-deflate",
            "server_no_context_takeover; client_no_context_takeover",
        ),
        (
            "permessage-deflate; client_max_window_bits",
            "server_no_context_takeover; client_no_context_takeover",
        ),
        (
            "permessage-deflate; server_max_window_bits=9",
            "server_no_context_takeover; client_no_context_takeover; "
            "server_max_window_bits=9",
        ),
        (
            'Permessage-Deflate ; server_max_window_bits = "15"',
            "server_no_context_takeover; client_no_context_takeover; "
            "server_max_window_bits=12",
        ),
        (
            "x-webkit-deflate-frame, permessage-deflate",
            "server_no_context_takeover; client_no_context_takeover",
        ),
    ],
)
def test_an_offer_gets_its_answer(offer: str, answer: str) -> None:
    found = agreement(offer.encode())
    assert found.response == f"permessage-deflate; {answer}".encode()


def test_contexts_are_kept_where_the_rule_allows_and_the_client_does_not_refuse() -> (
    None
):
    found = agreement(server_context=True, client_context=True)
    assert found.response == b"permessage-deflate; client_max_window_bits=12"
    assert (found.send_context, found.receive_context) == (True, True)
    found = agreement(
        b"permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        server_context=True,
        client_context=True,
    )
    assert (found.send_context, found.receive_context) == (False, False)


@pytest.mark.parametrize("wanted", [False, True])
@pytest.mark.parametrize("has_cohorts", [False, True])
@pytest.mark.parametrize("refused", [False, True])
def test_a_cohort_needs_the_clients_consent_and_no_context_for_each(
    wanted: bool, has_cohorts: bool, refused: bool
) -> None:
    offer = OFFER + b"; server_no_context_takeover" * refused
    deflate = Deflate(Compression(server_context=wanted), has_cohorts=has_cohorts)
    found = deflate.agree(offer)
    assert found is not None
    assert found.send_context == (not refused and (wanted or has_cohorts))
    assert found.own_context == (not refused and wanted)
    assert (b"server_no_context_takeover" in found.response) != found.send_context


def test_a_client_may_have_a_context_of_its_own() -> None:
    rule = Compression(server_context=True)
    assert b"client_no_context_takeover" not in Deflate(rule).offer()
    taken = Deflate(rule).agreed(b"permessage-deflate; server_no_context_takeover")
    assert (taken.send_context, taken.own_context) == (True, True)
    # zlib writes no window that small.
    tiny = b"permessage-deflate; server_no_context_takeover; client_max_window_bits=8"
    assert not Deflate(rule).agreed(tiny).own_context


def test_client_window_bits_are_not_named_unless_they_were_offered() -> None:
    """HARDENING 30."""
    found = agreement(b"permessage-deflate", client_context=True)
    assert b"client_max_window_bits" not in found.response
    assert found.receive_bits == 15


@pytest.mark.parametrize("bits", ["7", "16", "08", "abc", "", '""', "9; =", "8"])
def test_bad_server_window_bits_decline_the_offer(bits: str) -> None:
    """HARDENING 29; 8 is a right value, but zlib writes no window of 256 bytes."""
    offer = f"permessage-deflate; server_max_window_bits={bits}".encode()
    assert Deflate(Compression()).agree(offer) is None


@pytest.mark.parametrize(
    "parameters",
    [
        "server_max_window_bits",
        "server_max_window_bits=10; server_max_window_bits=10",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=010",
        "server_no_context_takeover=1",
        "client_no_context_takeover=true",
        "server_no_context_takeover; server_no_context_takeover",
        "unknown",
        "constructor=__class__",
    ],
)
def test_an_offer_that_breaks_the_rules_is_declined(parameters: str) -> None:
    deflate = Deflate(Compression())
    offer = f"permessage-deflate; {parameters}".encode()
    assert deflate.agree(offer) is None
    # The next one stands for itself (HARDENING 31).
    found = deflate.agree(offer + b", permessage-deflate; server_max_window_bits=10")
    assert found is not None
    assert found.send_bits == 10


@pytest.mark.parametrize(
    "offers",
    [
        b"",
        b",",
        b";",
        b"=",
        b"permessage-deflate;",
        b"permessage-deflate; =1",
        b'permessage-deflate; server_max_window_bits="10',
        b"permessage deflate",
        b"\xff\xfe",
        b"; " * 4096,
        b"constructor, __class__, prototype",
    ],
)
def test_hostile_syntax_is_no_offer(offers: bytes) -> None:
    """HARDENING 28."""
    assert Deflate(Compression()).agree(offers) is None


def test_a_thousand_offers_are_not_read_to_their_end() -> None:
    """HARDENING 28."""
    deflate = Deflate(Compression())
    offers = b"permessage-deflate; unknown, " * 1000 + b"permessage-deflate"
    assert deflate.agree(offers) is None


def test_the_same_offer_is_the_same_agreement() -> None:
    deflate = Deflate(Compression())
    assert deflate.agree(OFFER) is deflate.agree(OFFER)


def test_both_roles_agree() -> None:
    deflate = Deflate(Compression())
    server = deflate.agree(deflate.offer())
    assert server is not None
    client = deflate.agreed(server.response)
    assert client.receive_context == server.send_context
    assert client.send_context == server.receive_context
    assert client.receive_bits >= server.send_bits
    assert client.send_bits <= server.receive_bits


@pytest.mark.parametrize(
    "answer",
    [
        b"permessage-deflate",
        b"permessage-deflate; server_no_context_takeover; unknown",
        b"permessage-deflate; server_no_context_takeover; client_max_window_bits=7",
        b"permessage-deflate; server_no_context_takeover; client_max_window_bits",
        b"permessage-deflate; server_no_context_takeover, permessage-deflate",
        b"x-other",
        b"",
    ],
)
def test_a_client_refuses_an_answer_that_breaks_the_rules(answer: bytes) -> None:
    with pytest.raises(ProtocolError):
        Deflate(Compression()).agreed(answer)


# Inflating


@pytest.mark.parametrize("size", [0, 1, 2, 100, 4095, 4096, 65_536, 300_000])
@pytest.mark.parametrize("bits", [9, 12, 15])
def test_messages_inflate(size: int, bits: int) -> None:
    body = random.Random(size).randbytes(size // 2) + b"a" * (size - size // 2)
    wire = compressed(deflated(body, bits=bits), BINARY)
    for cut in (lambda data: (data,), byte_by_byte, random_splits(size)):
        target = parser(f"permessage-deflate; client_max_window_bits={bits}".encode())
        assert fed(target, cut(wire * 2)) == [("message", body)] * 2
        assert target.buffered == 0


def test_messages_inflate_from_any_fragments_with_and_without_context() -> None:
    chooser = random.Random(fresh_seed())
    for keeps in (False, True):
        target = parser(client_context=keeps)
        compressor = zlib.compressobj(wbits=-12)
        for _ in range(500):
            length = chooser.choice((1, 3, 50, 500, 5000))
            words = "".join(chooser.choice("abcdé€😀 ") for _ in range(length))
            payload = deflated(words.encode(), compressor if keeps else None, bits=12)
            cuts = sorted(chooser.randrange(len(payload) + 1) for _ in range(3))
            pieces = [
                payload[start:end]
                for start, end in zip([0, *cuts], [*cuts, len(payload)], strict=True)
            ]
            wire = compressed(pieces[0], fin=False) + b"".join(
                frame(CONTINUATION, piece, fin=number == 3)
                for number, piece in enumerate(pieces[1:], 1)
            )
            split = random_splits(chooser.getrandbits(32))
            assert fed(target, split(wire)) == [("message", words)]


def test_empty_messages_inflate() -> None:
    """HARDENING 109."""
    target = parser()
    for payload in (b"", b"\x00", b"\x02\x00"):
        assert target.feed(compressed(payload)) == [("message", "")]
    assert target.feed(compressed(deflated(b"next"))) == [("message", "next")]


def test_a_last_block_ends_its_stream_and_not_the_connection() -> None:
    """HARDENING 110 and RFC 7692 section 7.2.3.4."""
    compressor = zlib.compressobj(wbits=-15)
    ended = compressor.compress(b"Hello") + compressor.flush(zlib.Z_FINISH)
    for keeps in (False, True):
        target = parser(client_context=keeps)
        for payload in (ended, ended + b"\x00", deflated(b"Hello")):
            assert target.feed(compressed(payload)) == [("message", "Hello")]


def test_every_kind_of_block_inflates() -> None:
    """HARDENING 111."""
    body = b"some text, some more text, " * 40
    blocks = b""
    for level, strategy in ((0, zlib.Z_DEFAULT_STRATEGY), (9, zlib.Z_FIXED), (9, 0)):
        compressor = zlib.compressobj(level, wbits=-15, strategy=strategy)
        blocks += compressor.compress(body) + compressor.flush(zlib.Z_FULL_FLUSH)
    target = parser()
    payload = blocks.removesuffix(TAIL)
    assert target.feed(compressed(payload, BINARY)) == [("message", body * 3)]


def test_a_message_may_inflate_to_the_limit_and_no_further() -> None:
    """HARDENING 104."""
    for body in (b"a" * 4096, random.Random(1).randbytes(4096)):
        target = parser(max_message=4096)
        assert target.feed(compressed(deflated(body), BINARY)) == [("message", body)]
        events = target.feed(compressed(deflated(body + b"a"), BINARY))
        assert events == [("error", 1009, "message_too_big")]


def test_a_bomb_ends_at_the_limit_and_costs_no_more_memory() -> None:
    """HARDENING 102 and 103."""
    bomb = deflated(bytes(64 * MIB), bits=15)
    halves = [
        frame(BINARY, bomb[:30_000], fin=False, rsv=4),
        frame(CONTINUATION, bomb[30_000:]),
    ]
    for pieces in ([compressed(bomb, BINARY)], halves):
        target = parser(max_ratio=None)
        assert fed(target, pieces) == [("error", 1009, "message_too_big")]
        assert target.buffered == 0


def test_what_inflates_too_much_is_refused() -> None:
    """HARDENING section 1, the decompression ratio; little is let pass."""
    small, large = bytes(64 * KIB), bytes(512 * KIB)
    target = parser()
    assert target.feed(compressed(deflated(small), BINARY)) == [("message", small)]
    events = target.feed(compressed(deflated(large), BINARY))
    assert events == [("error", 1009, "inflates_too_much")]


@pytest.mark.parametrize(
    "payload",
    [
        b"\xff\xff\xff",
        b"\x07",
        deflated(b"hello world, hello world")[:-4],
        deflated(random.Random(2).randbytes(1000))[:-1],
        b"\x00\x05\x00\xfa\xfeHello" + b"\x00\x05\x00\xfa\xffHello\x00",
    ],
    ids=[
        "reserved block",
        "reserved last block",
        "cut text",
        "cut bytes",
        "bad length",
    ],
)
def test_what_is_not_deflate_is_invalid_data(payload: bytes) -> None:
    """HARDENING 107 and 108."""
    for cut in (lambda data: (data,), byte_by_byte):
        events = fed(parser(), cut(compressed(payload, BINARY)))
        assert events == [("error", 1007, "bad_compressed_data")]


def test_a_distance_beyond_the_agreed_window_is_invalid_data() -> None:
    """HARDENING 112."""
    noise = random.Random(3).randbytes(2000)
    payload = deflated(noise + noise, bits=15)
    target = parser(b"permessage-deflate; client_max_window_bits=9")
    events = target.feed(compressed(payload, BINARY))
    assert events == [("error", 1007, "bad_compressed_data")]
    target = parser(b"permessage-deflate; client_max_window_bits=11")
    assert target.feed(compressed(payload, BINARY)) == [("message", noise * 2)]


def test_a_context_that_was_given_up_is_gone() -> None:
    """HARDENING 113: and what it held is never another connection's."""
    compressor = zlib.compressobj(wbits=-15)
    first = deflated(b"a secret of this connection", compressor)
    second = deflated(b"a secret of this connection", compressor)
    shared = agreement()
    for target in (Parser(agreement=shared), Parser(agreement=shared)):
        wire = compressed(first)
        assert target.feed(wire) == [("message", "a secret of this connection")]
        events = target.feed(compressed(second))
        assert events == [("error", 1007, "bad_compressed_data")]
        events = Parser(agreement=shared).feed(compressed(second))
        assert events == [("error", 1007, "bad_compressed_data")]


def test_interleaved_messages_of_two_peers_do_not_mix() -> None:
    """HARDENING 116."""
    shared = agreement()
    bodies = [b"first peer " * 100, b"second peer " * 100]
    wires = [compressed(deflated(body), BINARY) for body in bodies]
    targets = [Parser(agreement=shared) for _ in bodies]
    events: list[list[Any]] = [[], []]
    for at in range(max(map(len, wires))):
        for number, wire in enumerate(wires):
            events[number] += targets[number].feed(wire[at : at + 1])
    assert events == [[("message", body)] for body in bodies]


def test_text_is_checked_while_it_inflates() -> None:
    """HARDENING 114; the bad byte is found before the message ends."""
    payload = deflated(b"fine so far \xff and on and on")
    assert parser().feed(compressed(payload)) == [("error", 1007, "invalid_utf8")]
    target = parser()
    unfinished = compressed(payload, fin=False)
    assert target.feed(unfinished) == [("error", 1007, "invalid_utf8")]
    assert parser().feed(compressed(deflated("€".encode()[:2]))) == [
        ("error", 1007, "invalid_utf8")
    ]


@pytest.mark.parametrize(
    "wire",
    [
        frame(TEXT, b"", rsv=2),
        frame(TEXT, b"", rsv=5),
        frame(9, b"", rsv=4),
        frame(8, b"", rsv=4),
        compressed(b"", fin=False) + frame(CONTINUATION, b"", rsv=4),
    ],
)
def test_reserved_bits_elsewhere_are_an_error(wire: bytes) -> None:
    """RFC 7692 section 6."""
    assert parser().feed(wire) == [("error", 1002, "reserved_bits")]


def test_a_compressed_message_is_an_error_where_nothing_was_agreed_on() -> None:
    wire = compressed(deflated(b"Hello"))
    assert Parser().feed(wire) == [("error", 1002, "reserved_bits")]


def test_plain_and_compressed_messages_alternate() -> None:
    target = parser()
    wire = frame(TEXT, b"plain") + compressed(deflated(b"small"))
    for cut in (lambda data: (data,), byte_by_byte):
        assert (
            fed(target, cut(wire * 2))
            == [
                ("message", "plain"),
                ("message", "small"),
            ]
            * 2
        )


def test_fragments_of_a_compressed_message_count() -> None:
    target = Parser(agreement=agreement(), max_fragments=3)
    wire = compressed(b"", fin=False) + frame(CONTINUATION, b"", fin=False) * 3
    assert target.feed(wire) == [("error", 1008, "too_many_fragments")]


@pytest.mark.parametrize(
    ("rule", "asked", "shared"),
    [
        (15, {9: 9, 10: 9, 11: 9, 12: 12, 13: 12, 14: 12, 15: 15, None: 15}, 3),
        (12, {9: 9, 10: 9, 11: 9, 12: 12, 15: 12, None: 12}, 2),
        (9, {9: 9, 15: 9, None: 9}, 1),
    ],
)
def test_few_sizes_of_window_are_compressed_for(
    rule: int, asked: dict[int | None, int], shared: int
) -> None:
    """Peers choose their windows, but not how often a publication is compressed."""
    deflate = Deflate(Compression(window_bits=rule))
    found = {}
    for bits in asked:
        offer = b"permessage-deflate"
        if bits is not None:
            offer += f"; server_max_window_bits={bits}".encode()
        agreement = deflate.agree(offer)
        assert agreement is not None
        assert agreement.shared_bits <= agreement.send_bits <= (bits or 15)
        found[bits] = agreement.shared_bits
    assert found == asked
    assert len(set(found.values())) == shared
