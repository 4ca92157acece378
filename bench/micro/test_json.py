"""What does a message that is no text cost beside its JSON alone?

``send`` and ``publish`` encode it with orjson once, however many receive it. The
controls encode and do nothing with it.
"""

from __future__ import annotations

import json

import orjson

from . import works
from .conftest import Measure
from .rig import Rig
from .works import BATCH, DOCUMENT, Work


def test_json_send(measure: Measure, rig: Rig) -> None:
    measure(works.send(rig, DOCUMENT))


def test_json_publish_to_1000(measure: Measure, rig: Rig) -> None:
    measure(works.publish(rig, DOCUMENT, 1000))


def test_json_control_orjson(measure: Measure) -> None:
    def run() -> None:
        for _ in range(BATCH):
            orjson.dumps(DOCUMENT)

    measure(Work(run, BATCH))


def test_json_control_json(measure: Measure) -> None:
    def run() -> None:
        for _ in range(BATCH):
            json.dumps(DOCUMENT).encode()

    measure(Work(run, BATCH))
