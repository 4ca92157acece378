"""The options: what is refused before anything is sent, and what follows from them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from fastws.load import LoadError, Options

URL = "ws://127.0.0.1:1/"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "flood"}, "--mode must be"),
        ({"size": 15}, "--size must be 16"),
        ({"size": 20, "publish": "<{message}>"}, "--size must be 24 or more"),
        ({"connections": 0}, "--connections must be 1"),
        ({"connections": 1.5}, "--connections must be a whole number"),
        ({"binary": 1}, "--binary must be true or false"),
        ({"depth": 65_536, "size": 65_536}, "--depth must be less"),
        ({"rate": 0.0}, "--rate must be more than 0"),
        ({"rate": float("nan")}, "--rate must be a number"),
        ({"rate": "fast"}, "--rate must be a number"),
        ({"warm_up": -1.0}, "--warm-up must be 0"),
        ({"duration": 0.0}, "--duration must be more than 0"),
        ({"sources": 251}, "--sources must be 1 to 250"),
        ({"header": ("no colon",)}, "--header must be"),
        ({"header": ("A: b\r\nC: d",)}, "--header must be"),
        ({"origin": "a\nb"}, "--origin must be one line"),
        ({"first_replies": 1}, "--first-replies must be 0 without --first"),
        ({"deflate_context": True}, "--deflate-context must be used with --deflate"),
        ({"mode": "fanout", "publishers": 101}, "--publishers must be 100 at most"),
        ({"mode": "fanout", "channels": 2}, "--publishers must be 2 or more"),
        ({"mode": "fanout", "publish": "hello"}, "--publish must be text with"),
        ({"mode": "fanout", "publisher_path": "x"}, "--publisher-path must be a path"),
        ({"mode": "fanout", "content": "xml"}, "--content must be text or records"),
        ({"content": "records"}, "--content means nothing with --mode echo"),
        (
            {"mode": "fanout", "content": "records", "publish": "<{message}>"},
            "--content must be text with --publish",
        ),
        ({"mode": "fanout", "stalled": 0.5}, "--stalled must be a share"),
        ({"mode": "fanout", "stalled": 50.0, "publishers": 51}, "--stalled must be a"),
        (
            {"mode": "fanout", "connections": 1, "deliveries": "others"},
            "--deliveries must be self",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(LoadError, match=words):
        Options(url=URL, **options)


def test_in_fanout_the_connections_are_the_subscribers() -> None:
    assert Options(url=URL, mode="fanout", subscribers=7).connections == 7
    assert Options(url=URL, mode="fanout", connections=8).receivers == 8
    assert Options(url=URL, mode="mixed", connections=8).receivers == 8
    assert Options(url=URL, mode="mixed", subscribers=9).receivers == 9
    assert Options(url=URL).receivers == 0


def test_stalled_is_a_share_of_the_subscribers() -> None:
    options = Options(url=URL, mode="fanout", connections=500, stalled=1.0)
    assert options.stalled_count == 5


def test_every_field_says_what_it_is() -> None:
    assert all(one.metadata["about"] for one in fields(Options))
