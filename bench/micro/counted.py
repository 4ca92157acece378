"""The works whose instructions the guard counts, and the program that callgrind runs.

``python -m bench.micro.counted [NAME …]`` does each work under callgrind with nothing
counted but the work itself: the interpreter's start and each work's preparation are
left out by callgrind's client requests (marks.c). It prints what it ran on, and how
often it did each work, as one line of JSON. ``counts.py`` starts it.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import random
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fastws.engine import kernels

from . import control, works
from .rig import Rig, client_frame, rig
from .works import Work, text_of

WARM_UPS = 16
"""Runs before the counted ones: CPython specialises a function in its first calls."""

C, PYTHON = "control-c", "control-python"


@dataclass(frozen=True)
class Counted:
    """A work to count; ``control`` is what its count is compared with on a machine
    that the baselines were not made on."""

    prepare: Callable[[Rig], Work]
    control: str = ""
    runs: int = 4


class Scatter:
    """Leaves malloc another heap for each run.

    A block too large for malloc's per-thread lists costs a few in a hundred more or
    less, as its neighbours are free or not, and those change with any line of Python.
    Of many heaps the mean stays the same.
    """

    def __init__(self) -> None:
        self._random = random.Random(6455)
        self._kept: list[bytearray] = []

    def scatter(self) -> None:
        choose = self._random
        self._kept += [bytearray(choose.randrange(20_000)) for _ in range(20)]
        for _ in range(15):
            self._kept.pop(choose.randrange(len(self._kept)))


def control_c(_: Rig) -> Work:
    """Loops that the same C compiler made of other sources."""
    data = client_frame(text_of(64)) * works.BATCH
    room = control.Room(len(data))
    payload = text_of(64).encode()

    def run() -> None:
        for _ in range(4):
            room.parse(data)
            room.encode(payload, 16)
        control.copy(16384, 16)

    return Work(run)


def control_python(_: Rig) -> Work:
    """What only the interpreter and its library do."""
    document = dict(works.DOCUMENT)

    def run() -> None:
        for number in range(16):
            document["time"] = number
            data = json.dumps(document).encode()
            data.decode().split(",")

    return Work(run)


COUNTED: dict[str, Counted] = {
    C: Counted(control_c, runs=8),
    PYTHON: Counted(control_python, runs=8),
    "unmask-16": Counted(lambda _: works.unmask(16, 20_000), C),
    "unmask-1024": Counted(lambda _: works.unmask(1024, 5_000), C),
    "utf8-mixed-1024": Counted(lambda _: works.validate(works.mixed_of(1024)), C),
    "parse-text-64": Counted(lambda _: works.parse(text_of(64)), C, runs=64),
    "parse-binary-900": Counted(
        lambda _: works.parse(text_of(900).encode()), C, runs=32
    ),
    "parse-mixed-256": Counted(
        lambda _: works.parse(works.mixed_of(200).decode()), C, runs=16
    ),
    "parse-pieces-300": Counted(lambda _: works.parse_pieces(300), C, runs=32),
    "deliver-64": Counted(lambda rig: works.deliver(rig, text_of(64)), PYTHON, 64),
    "send-64": Counted(lambda rig: works.send(rig, text_of(64)), PYTHON, runs=32),
    "send-json": Counted(lambda rig: works.send(rig, works.DOCUMENT), PYTHON, 32),
    "echo-64-deep": Counted(lambda rig: works.echo(rig, text_of(64), 16), PYTHON, 32),
    "echo-64-single": Counted(lambda rig: works.echo(rig, text_of(64), 1), PYTHON, 16),
    "handshake": Counted(lambda _: works.handshake(4), PYTHON, runs=16),
    "publish-128": Counted(lambda rig: works.publish(rig, text_of(128)), PYTHON, 32),
    "flush-200x1": Counted(lambda rig: works.flush(rig, 128, 200), C, runs=16),
    "flush-200x16": Counted(lambda rig: works.flush(rig, 128, 200, 16), C, runs=16),
    "subscribe": Counted(works.subscribe, PYTHON, runs=16),
}


def environment() -> dict[str, str]:
    """What a count depends on besides our sources. Valgrind's processor is always the
    same one, but it has only the instruction sets that the real one has."""
    return {
        "python": platform.python_version(),
        "python_compiler": platform.python_compiler(),
        "compiler": control.compiler(),
        "machine": platform.machine(),
        "libc": " ".join(platform.libc_ver()),
        "kernels": kernels.implementations()[-1],
    }


def count(name: str) -> int:
    """Do one work, counted, and have callgrind write the count under its name; how
    often the work was done."""
    marks = control.library()
    with rig() as here:
        work = COUNTED[name].prepare(here)
        for _ in range(WARM_UPS):
            work.reset()
            work.run()
        gc.collect()
        scatter = Scatter()
        marks.marks_zero()
        for _ in range(COUNTED[name].runs):
            scatter.scatter()
            work.reset()
            marks.marks_toggle()
            work.run()
            marks.marks_toggle()
        marks.marks_dump(name.encode())
    return work.per_run * COUNTED[name].runs


def count_apart(name: str) -> int:
    """The same in a process of its own, so that no work finds what another left."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.write(writer, str(count(name)).encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as answers:
        answer = answers.read()
    _, status = os.waitpid(child, 0)
    if status:
        raise RuntimeError(f"{name}: its process ended with {status}")
    return int(answer)


def main(names: Sequence[str]) -> int:
    """Count these works, or all."""
    marks = control.library()
    if marks.marks_available() != 1:
        print("not under valgrind, or built without its header", file=sys.stderr)
        return 1
    # A collection that came earlier or later would be counted.
    gc.disable()
    marks.marks_start()
    done = {name: count_apart(name) for name in names or COUNTED}
    print(json.dumps({"environment": environment(), "operations": done}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
