"""What channels and subscriptions cost, as the operating system sees it."""

from __future__ import annotations

import subprocess
import sys

import pytest

# A program of its own, so that no other test's memory is reused.
PROGRAM = """
import asyncio, gc, os, sys
from fastws import ChannelRule, Connection, Limits
from fastws.engine.binding import Binding
from fastws.engine.hub import Hub
from fastws.engine.memory import memory_pair
from fastws.engine.handshake import parse_head

CONNECTIONS = 1000

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

async def main(channels, each):
    loop = asyncio.get_running_loop()
    hub, far = Hub(loop=loop), Hub(loop=loop)
    request = parse_head(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n", Limits())
    binding = Binding(limits=Limits(max_channels=None))
    kept, connections = [], []
    for _ in range(CONNECTIONS):
        near, other = memory_pair(hub, far)
        kept.append(other)
        ws = Connection.open(hub, near, binding, request, {}, None)
        connections.append(ws)
    before = resident()
    for number in range(channels):
        for place in range(each):
            connections[(number + place) % CONNECTIONS].subscribe(f"user.{number}")
    grown = resident() - before
    for number in range(channels):
        hub.publish(f"user.{number}", "x" * 100)
    print(grown, resident() - before)

asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
"""


def grown(channels: int, each: int) -> tuple[int, int]:
    """Bytes, with every channel idle, and with a publication in every channel."""
    command = [sys.executable, "-c", PROGRAM, str(channels), str(each)]
    output = subprocess.run(command, check=True, capture_output=True, timeout=120)
    idle, busy = output.stdout.split()
    return int(idle), int(busy)


@pytest.mark.unsanitized
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_million_channels_with_one_subscriber_fit_in_a_gigabyte() -> None:
    channels = 50_000
    idle, busy = grown(channels, 1)
    assert idle / channels < 500
    assert busy / channels < 1073


@pytest.mark.unsanitized
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_subscription_is_forty_bytes_and_the_room_to_grow() -> None:
    channels, each = 100, 1000
    idle, _ = grown(channels, each)
    # Arrays grow by half or by double.
    assert idle / (channels * each) < 2 * 40
