"""What is asked of a server: every scenario as data, and the sets of them.

A name says the case: `echo-100x64-d16` is 100 connections, 64 bytes, 16 in flight;
`fanout-1000x128-d1` is 1 000 subscribers, 128 bytes, one publication open; `-deflate`
is compressed, each message alone, and `-context` with what came before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

# What a scenario is measured by: a key of the load generator's result. Latency stands
# in a record of its own there.
RATE = "per_second"
MEMORY = "bytes_per_connection"
LATENCY = "p99"
CPU = "server_cpu"
WIRE = "bytes_per_frame"

# A target against the best of the others without the control.
BEST_PEER = "the best peer"
CONTROL = "control"

Options = dict[str, int | float | str | bool]


@dataclass(frozen=True)
class Target:
    """What is asked of one of our servers in a scenario.

    Of the ratio to the best of control and peers by default; to one server, or the best
    peer, with `against`; to the scenario beside this one with `is_beside`; of the
    figure itself with `is_absolute`. `condition` names what the target presupposes, for
    the reader.
    """

    server: str
    bound: float
    against: str = ""
    is_beside: bool = False
    is_absolute: bool = False
    condition: str = ""

    @property
    def kind(self) -> str:
        if self.is_absolute:
            return "absolute"
        return "beside" if self.is_beside else self.against or "best"


@dataclass(frozen=True)
class Scenario:
    """One row of the report: what the load generator does, and by what it is judged."""

    name: str
    group: str
    title: str
    short: str  # within its group, for the overview
    mode: str  # of the load generator
    options: Options
    unit: str
    value: str = RATE
    path: str = "/echo"
    deflate: bool = False
    cohort: bool = False  # who can share a context among subscribers does so
    channels: bool = False  # the server must know /fanout/{n}
    server_arguments: tuple[str, ...] = ()  # beyond port and compression
    beside: str = ""  # a scenario that this one is compared with, server by server
    duration: float | None = None  # seconds, where the caller's choice is too short
    targets: tuple[Target, ...] = field(default=())
    is_charted: bool = False

    @property
    def needs(self) -> frozenset[str]:
        """What a server must know to take part; anyone can hold connections."""
        found = set()
        if self.mode in ("echo", "fanout"):
            found.add(f"{self.mode}-deflate" if self.deflate else self.mode)
        elif self.deflate:
            found.add("fanout-deflate")
        if self.channels:
            found.add("channels")
        if self.server_arguments:
            found.add("pings")
        return frozenset(found)

    def arguments_for(self, can: Collection[str]) -> tuple[str, ...]:
        """What a server that can do this is told beyond port and compression."""
        shares = self.cohort and "cohort" in can
        return (*self.server_arguments, *(["--cohort"] if shares else []))

    @property
    def lower_is_better(self) -> bool:
        return self.value != RATE

    @property
    def wants_busy_server(self) -> bool:
        """Whether the figure means something only when the server had no time left."""
        return self.value == RATE


# --- echo -------------------------------------------------------------------------

BYTES = {
    64: "64 B",
    128: "128 B",
    137: "137 B",
    1024: "1 KB",
    4096: "4 KB",
    16384: "16 KB",
}

ECHO_TARGETS = {
    "echo-100x64-d16": (Target("fastws", 0.9), Target("fastws-async", 0.6)),
    "echo-100x64-d1": (Target("fastws", 0.95),),
}


def grouped(number: int) -> str:
    """With a thin space between thousands."""
    return f"{number:,}".replace(",", "\u2009")


def count(number: int, noun: str) -> str:
    plural = "" if number == 1 else "s"
    return f"{grouped(number)} {noun}{plural}"


def echo(connections: int, size: int, depth: int) -> Scenario:
    name = f"echo-{connections}x{size}-d{depth}"
    each = "" if connections == 1 else " on each"
    return Scenario(
        name=name,
        group="echo",
        title=f"Echo of {BYTES[size]}, {count(connections, 'connection')}, "
        f"{depth} in flight{each}",
        short=f"{BYTES[size]} × {grouped(connections)}, {depth} in flight",
        mode="echo",
        options={"connections": connections, "size": size, "depth": depth},
        unit="messages/s",
        targets=ECHO_TARGETS.get(name, ()),
        is_charted=name in ECHO_TARGETS,
    )


def echo_grid() -> Iterator[Scenario]:
    for size in (64, 1024, 16384):
        for connections in (1, 100, 1000):
            for depth in (1, 16):
                yield echo(connections, size, depth)


# --- fan-out ----------------------------------------------------------------------

FANOUT_TARGETS = {
    "fanout-1000x128-d1": (Target("fastws", 0.97),),
    "fanout-1000x128-d16": (Target("fastws", 1.0, against=BEST_PEER),),
    "fanout-5000x128-d1": (Target("fastws", 0.97),),
    "fanout-5000x128-d16": (Target("fastws", 1.0, against=BEST_PEER),),
    "fanout-1000x1024-d16-deflate": (
        Target("fastws", 0.9, is_beside=True),
        Target("fastws", 10.0, against="uws"),
    ),
}


# Compressed messages are JSON, and another one each time.
RECORDS: Options = {"content": "records"}


def fanout(subscribers: int, size: int, depth: int, deflate: bool = False) -> Scenario:
    plain = f"fanout-{subscribers}x{size}-d{depth}"
    name = plain + ("-deflate" if deflate else "")
    options: Options = {"connections": subscribers, "size": size, "depth": depth}
    if deflate:
        options |= RECORDS | {"deflate": True}
    compressed = "Compressed fan-out" if deflate else "Fan-out"
    return Scenario(
        name=name,
        group="fanout-deflate" if deflate else "fanout",
        title=f"{compressed} of {BYTES[size]} to {count(subscribers, 'subscriber')}, "
        f"{count(depth, 'publication')} open",
        short=f"{BYTES[size]} × {grouped(subscribers)}, {depth} open",
        mode="fanout",
        options=options,
        unit="deliveries/s",
        path="/fanout",
        deflate=deflate,
        beside=plain if deflate else "",
        targets=FANOUT_TARGETS.get(name, ()),
        is_charted=name in FANOUT_TARGETS,
    )


def fanout_grid() -> Iterator[Scenario]:
    for deflate in (False, True):
        for size in (128, 1024):
            for subscribers in (100, 1000, 5000):
                for depth in (1, 16):
                    yield fanout(subscribers, size, depth, deflate)


# --- bytes on the wire ------------------------------------------------------------


def wire(how: str, title: str, **changes: Any) -> Scenario:
    name = "wire-1000x137"
    options: Options = {"connections": 1000, "size": 137, "depth": 16, **RECORDS}
    return Scenario(
        name=f"{name}-{how}" if how else name,
        group="wire",
        title=f"Bytes of a delivery, 137 B of JSON to {grouped(1000)}, {title}",
        short=f"137 B × {grouped(1000)}, {title}",
        mode="fanout",
        options=options | changes.pop("options", {}),
        unit="bytes of a delivery",
        value=WIRE,
        path="/fanout",
        beside=name if how else "",
        **changes,
    )


WIRE_ROWS = (
    wire("", "as it is"),
    wire("deflate", "compressed alone", options={"deflate": True}, deflate=True),
    wire(
        "context",
        "with context",
        options={"deflate": True, "deflate-context": True},
        deflate=True,
        cohort=True,
        targets=(Target("fastws", 0.25, is_beside=True),),
        is_charted=True,
    ),
)

# --- everything else --------------------------------------------------------------

# One address has some 28 000 ports to connect from, fewer while closed connections
# linger: crowds come from several.
CROWD: Options = {"parallel": 100, "sources": 8}

CHANNELS = Scenario(
    name="channels-1000x10",
    group="application",
    title="1\u2009000 channels of 10 subscribers, 128 B, one publisher in each",
    short="1\u2009000 channels × 10 subscribers",
    mode="fanout",
    options={
        "connections": 10_000,
        "channels": 1000,
        "publishers": 1000,
        "size": 128,
        "depth": 1,
        **CROWD,
    },
    unit="deliveries/s",
    path="/fanout/{channel}",
    channels=True,
    is_charted=True,
)

CHAT = Scenario(
    name="chat-100x64",
    group="application",
    title="Chat: 100 connections in one room, everyone publishes 64 B",
    short="chat: 100 publish to 100",
    mode="fanout",
    options={"connections": 100, "publishers": 100, "size": 64, "depth": 1},
    unit="deliveries/s",
    path="/fanout",
    targets=(Target("fastws", 1.0, against="uws"),),
    is_charted=True,
)

CONNECT = Scenario(
    name="connect",
    group="connections",
    title="Connect storm: 8\u2009000 handshakes, 100 at a time, a browser's headers",
    short="8\u2009000 handshakes",
    mode="connect",
    options={"connections": 8000, **CROWD},
    unit="handshakes/s",
    targets=(Target("fastws", 1.0, against="uws", condition="own sockets"),),
    is_charted=True,
)

IDLE = Scenario(
    name="idle-8000",
    group="connections",
    title="Memory of an idle connection: 8\u2009000, after a browser's handshake",
    short="memory of an idle connection",
    mode="idle",
    options={"connections": 8000, **CROWD},
    unit="resident memory for each",
    value=MEMORY,
    targets=(
        Target("fastws", 3 * 1024, is_absolute=True),
        Target("fastws", 0.7 * 1024, is_absolute=True, condition="own sockets"),
    ),
    is_charted=True,
)

# As a browser offers it: what is kept for each connection is the server's choice.
IDLE_DEFLATE = Scenario(
    name="idle-8000-deflate",
    group="connections",
    title="Memory of an idle connection that compresses: 8\u2009000, a browser's offer",
    short="memory of an idle one, deflate",
    mode="idle",
    options={
        "connections": 8000,
        "deflate": True,
        "deflate-context": True,
        **CROWD,
    },
    unit="resident memory for each",
    value=MEMORY,
    deflate=True,
    beside="idle-8000",
)

IDLE_PINGS = Scenario(
    name="idle-18000-pings",
    group="connections",
    title="CPU for 18\u2009000 idle connections, each pinged every 25 s",
    short="18\u2009000 idle, pinged every 25 s",
    mode="idle",
    options={"connections": 18_000, **CROWD},
    unit="share of a core",
    value=CPU,
    server_arguments=("--ping", "25"),
    duration=25.0,
    targets=(Target("fastws", 1.2),),
)

PACED = Scenario(
    name="paced-1000x128",
    group="latency",
    title="100 publications/s of 128 B to 1\u2009000 subscribers",
    short="128 B × 1\u2009000, 100/s",
    mode="fanout",
    options={"connections": 1000, "size": 128, "rate": 100},
    unit="99th percentile",
    value=LATENCY,
    path="/fanout",
    duration=3.0,
    targets=(Target("fastws", 1.15, against=CONTROL),),
    is_charted=True,
)

# Large enough that a reader who stalls fills the kernel's buffers within the run, and
# the server has to decide what to do with it.
PACED_LARGE = Scenario(
    name="paced-500x4096",
    group="latency",
    title="100 publications/s of 4 KB to 500 subscribers",
    short="4 KB × 500, 100/s",
    mode="fanout",
    options={"connections": 500, "size": 4096, "rate": 100},
    unit="99th percentile",
    value=LATENCY,
    path="/fanout",
    duration=5.0,
)


def stalled(percent: int, targets: tuple[Target, ...] = ()) -> Scenario:
    return Scenario(
        name=f"paced-500x4096-stalled{percent}",
        group="latency",
        title="100 publications/s of 4 KB to 500 subscribers, "
        f"{percent} % of them stalled",
        short=f"4 KB × 500, 100/s, {percent} % stalled",
        mode="fanout",
        options={"connections": 500, "size": 4096, "rate": 100, "stalled": percent},
        unit="99th percentile of the others",
        value=LATENCY,
        path="/fanout",
        beside="paced-500x4096",
        duration=5.0,
        targets=targets,
        is_charted=bool(targets),
    )


STALLED_FEW = stalled(1)
STALLED_MANY = stalled(10, (Target("fastws", 1.1, is_beside=True),))

ALL = (
    *echo_grid(),
    *fanout_grid(),
    *WIRE_ROWS,
    CHANNELS,
    CHAT,
    CONNECT,
    IDLE,
    IDLE_DEFLATE,
    IDLE_PINGS,
    PACED,
    PACED_LARGE,
    STALLED_FEW,
    STALLED_MANY,
)
SCENARIOS = {scenario.name: scenario for scenario in ALL}

GROUPS = {
    "echo": "Echo",
    "fanout": "Fan-out",
    "fanout-deflate": "Compressed fan-out",
    "wire": "Bytes on the wire",
    "application": "Channels and chat",
    "connections": "Connections",
    "latency": "Latency under a fixed rate",
}

QUICK = (
    "echo-100x64-d16",
    "echo-100x64-d1",
    "fanout-1000x128-d16",
    "fanout-1000x128-d1",
    "connect",
    "idle-8000",
)


def targeted() -> tuple[str, ...]:
    """The scenarios that targets are set for, and those they are compared with."""
    wanted = [scenario for scenario in ALL if scenario.targets]
    names = {scenario.name for scenario in wanted}
    names |= {scenario.beside for scenario in wanted if scenario.beside}
    return tuple(name for name in SCENARIOS if name in names)


SETS = {"quick": QUICK, "targets": targeted(), "all": tuple(SCENARIOS)}
