"""Input 115: one publication for peers that have agreed on different things, or on
nothing. Each one inflates what it gets by its own handshake."""

from __future__ import annotations

import random

import pytest

from fastws import Compression
from tests.support.client import RawClient
from tests.support.frames import text
from tests.support.inputs import check_leaves_well
from tests.support.seeds import fresh_seed
from tests.support.server import ServerProcess
from tests.support.stream import NumberedStream

PEERS = 200
STEPS = 100
CHANNEL = "mixed"
# What a publication is compressed for, once each: windows of 9 to 12 bits, and a
# cohort. Whoever offers more gets 12.
FORMS = 5
THRESHOLD = Compression().threshold

OFFER = "permessage-deflate"
OFFERS = [
    None,
    OFFER,
    f"{OFFER}; client_max_window_bits",
    f"{OFFER}; server_no_context_takeover",
    f"{OFFER}; client_no_context_takeover; client_max_window_bits=9",
    *(f"{OFFER}; server_max_window_bits={bits}" for bits in range(8, 16)),
    f"{OFFER}; server_max_window_bits=10; server_no_context_takeover",
    f"{OFFER}; server_max_window_bits=8, {OFFER}; server_max_window_bits=11",
    f"x-webkit-deflate-frame, {OFFER}",
]


class Mixed:
    """The peers of one channel, and what each has still to get."""

    def __init__(self, server: ServerProcess, app: str, seed: int) -> None:
        self.server = server
        self.app = app
        self.chooser = random.Random(seed)
        self.owed: dict[RawClient, list[str]] = {}

    def join(self) -> None:
        offer = self.chooser.choice(OFFERS)
        client = RawClient(self.server.addresses[self.app])
        self.owed[client] = []
        headers = {} if offer is None else {"Sec-WebSocket-Extensions": offer}
        client.upgrade(f"/stream/{CHANNEL}", headers)

    def leave(self) -> None:
        client = self.chooser.choice(list(self.owed))
        self.check(client)
        check_leaves_well(client)
        del self.owed[client]
        client.close()

    def publish(self) -> list[str]:
        texts = [self.message() for _ in range(self.chooser.randrange(1, 5))]
        self.server.call("publish_texts", app=self.app, channel=CHANNEL, texts=texts)
        for owed in self.owed.values():
            owed.extend(texts)
        return texts

    def answer(self) -> None:
        """A message that only one of them gets."""
        client = self.chooser.choice(list(self.owed))
        message = self.message()
        client.send(text(message))
        # What it is owed comes first, then the answer.
        self.owed[client].append(message)
        self.check(client)

    def message(self) -> str:
        size = self.chooser.choice((0, 1, 100, 1023, 1024, 3000, 9000))
        letters = self.chooser.choice(("ab", "share price quote ", "Grüße 😀 €"))
        return "".join(self.chooser.choices(letters, k=size))

    def check(self, client: RawClient) -> None:
        owed = self.owed[client]
        assert client.transcript(messages=len(owed)).messages == owed
        owed.clear()

    def close(self) -> None:
        for client in self.owed:
            client.close()


@pytest.mark.parametrize("app", ["compressing", "cohorts"])
def test_115_each_peer_inflates_what_it_has_agreed_on(
    frozen: ServerProcess, frozen_stream: NumberedStream, app: str
) -> None:
    seed = fresh_seed()
    with frozen.watched(records=PEERS + STEPS):
        mixed = Mixed(frozen, app, seed)
        before = frozen.counter("compressed_messages")
        published: list[str] = []
        answered = 0
        try:
            for _ in range(PEERS):
                mixed.join()
            for _ in range(STEPS):
                step = mixed.chooser.random()
                if step < 0.1:
                    # Whoever waits for it may join the cohort.
                    frozen.advance(0.1)
                elif step < 0.6:
                    published.extend(mixed.publish())
                elif step < 0.8:
                    mixed.answer()
                    answered += 1
                else:
                    mixed.leave()
                    mixed.join()
            for client in mixed.owed:
                mixed.check(client)
                check_leaves_well(client)
        finally:
            mixed.close()
        compressed = frozen.counter("compressed_messages") - before
        large = sum(len(one.encode()) >= THRESHOLD for one in published)
        assert large <= compressed <= len(published) * FORMS + answered
    frozen_stream.check()
