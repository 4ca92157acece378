"""Fuzz offers of permessage-deflate, and servers' answers to ours.

Run by ``run_atheris.sh``; takes libFuzzer's options. The oracles, for each input:

* an offer is declined, or answered with an extension that a strict reader of RFC 7692
  understands, that the client offered, and that holds no more than the rule allows;
* the answer of a server to our own offer is an agreement within the offer, or a
  ProtocolError, and nothing else;
* both roles understand the same by one answer, and a message gets across.

What is compiled tells the fuzzer nothing of its ways: the oracles' own do.
"""

from __future__ import annotations

import re
import sys
import zlib

import atheris  # type: ignore[import-untyped]

from fastws.config import Compression
from fastws.engine.deflate import NAME, Agreement, Deflate
from fastws.engine.parser import Parser
from fastws.errors import ProtocolError
from tests.support.deflating import compressed, deflated

RULES = [
    Compression(window_bits=bits, server_context=server, client_context=client)
    for bits in (9, 12, 15)
    for server in (False, True)
    for client in (False, True)
]

# What offers and answers are made of.
WORDS = (
    b"permessage-deflate",
    b"server_no_context_takeover",
    b"client_no_context_takeover",
    b"server_max_window_bits",
    b"client_max_window_bits",
    b"x-webkit-deflate-frame",
    b";",
    b"; ",
    b",",
    b", ",
    b"=",
    b'="',
    b'"',
    b"8",
    b"9",
    b"10",
    b"15",
    b"16",
    b"08",
    b"\t",
    b"\\",
    b"\xff",
)
ANSWER = re.compile(
    r"permessage-deflate"
    r"(; server_no_context_takeover)?(; client_no_context_takeover)?"
    r"(; server_max_window_bits=(9|1[0-5]))?(; client_max_window_bits=([89]|1[0-5]))?"
)
BODY = b"some text, some more text, " * 100


@atheris.instrument_func  # type: ignore[untyped-decorator]
def header(choices: atheris.FuzzedDataProvider) -> bytes:
    """Words of the field's own language, and other bytes between them."""
    parts: list[bytes] = [b"permessage-deflate"] if choices.ConsumeBool() else []
    while choices.remaining_bytes() and len(parts) < 40:
        place = choices.ConsumeIntInRange(0, len(WORDS))
        if place == len(WORDS):
            parts.append(choices.ConsumeBytes(choices.ConsumeIntInRange(0, 8)))
        else:
            parts.append(WORDS[place])
    # What a header line can't hold never gets here.
    return b"".join(parts).translate(None, b"\r\n\0").strip(b" \t")


@atheris.instrument_func  # type: ignore[untyped-decorator]
def check_offer(deflate: Deflate, rule: Compression, offer: bytes) -> None:
    agreement = deflate.agree(offer)
    assert deflate.agree(offer) is agreement or len(offer) > 256
    if agreement is None:
        return
    if agreement.send_bits != rule.window_bits:
        assert b"server_max_window_bits" in offer.lower()
    if agreement.receive_bits not in (15, rule.window_bits):
        assert b"client_max_window_bits" in offer.lower()
    text = offer.decode("latin-1").lower()
    answer = ANSWER.fullmatch(agreement.response.decode())
    assert answer is not None, agreement.response
    assert NAME in text
    assert answer[5] is None or "client_max_window_bits" in text
    assert answer[3] is None or "server_max_window_bits" in text
    assert agreement.send_bits <= rule.window_bits
    assert agreement.send_context <= rule.server_context
    assert agreement.receive_context <= rule.client_context
    assert agreement.send_context == (answer[1] is None)
    assert agreement.receive_context == (answer[2] is None)
    assert 8 <= agreement.receive_bits <= 15
    check_message(agreement, client=False)


@atheris.instrument_func  # type: ignore[untyped-decorator]
def check_answer(deflate: Deflate, answer: bytes) -> None:
    try:
        agreement = deflate.agreed(answer)
    except ProtocolError:
        return
    assert answer.decode("latin-1").lower().count(NAME) == 1
    assert 8 <= agreement.send_bits <= 15
    assert 8 <= agreement.receive_bits <= 15
    check_message(agreement, client=True)


def check_message(agreement: Agreement, *, client: bool) -> None:
    bits = max(9, agreement.receive_bits)
    if client:
        payload = deflated(BODY, zlib.compressobj(wbits=-bits))
        head = bytes([0xC2, 126]) + len(payload).to_bytes(2, "big")
        wire = head + payload if len(payload) > 125 else b""
    else:
        wire = compressed(deflated(BODY, bits=bits), 2)
    if wire and agreement.receive_bits > 8:
        parser = Parser(client=client, agreement=agreement)
        assert parser.feed(wire) == [("message", BODY)]


@atheris.instrument_func  # type: ignore[untyped-decorator]
def test_one_input(data: bytes) -> None:
    choices = atheris.FuzzedDataProvider(data)
    rule = RULES[choices.ConsumeIntInRange(0, len(RULES) - 1)]
    text = header(choices)
    deflate = Deflate(rule)
    check_offer(deflate, rule, text)
    check_answer(deflate, text)
    ours = deflate.agree(deflate.offer())
    assert ours is not None
    deflate.agreed(ours.response)


def main() -> None:
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
