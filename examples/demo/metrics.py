"""One sample of everything the page draws."""

import time
from collections import deque
from collections.abc import Mapping
from typing import TypeAlias

from . import machine

INTERVAL = 0.1  # seconds from one sample to the next
# A rate is that of a whole second: in less, the kernel's ticks of 10 ms would show.
READINGS = round(1 / INTERVAL) + 1

Sample: TypeAlias = dict[str, float | None]


class Meter:
    """Turns counters that grow into rates over the last second."""

    def __init__(self) -> None:
        self._readings: deque[tuple[float, Mapping[str, int]]] = deque(maxlen=READINGS)

    def sample(self, server: Mapping[str, int]) -> Sample:
        rates = self._rates(time.monotonic(), {**machine.counters(), **server})
        ticks = rates.get("cpu_total")
        return {
            "time": time.time(),
            "cpu": rates["cpu_busy"] / ticks if ticks else None,
            "memory": machine.memory_used(),
            "network_in": rates.get("network_in"),
            "network_out": rates.get("network_out"),
            "connections": server["connections"],
            "messages": rates.get("messages_received"),
            "deliveries": rates.get("deliveries"),
        }

    def _rates(self, now: float, counters: Mapping[str, int]) -> dict[str, float]:
        readings = self._readings
        readings.append((now, counters))
        then, before = readings[0]
        if then == now:
            return {}
        return {
            name: (value - before.get(name, value)) / (now - then)
            for name, value in counters.items()
        }
