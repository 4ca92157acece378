"""The healthy neighbour: a subscriber that must not notice what others do."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from .client import Address, RawClient
from .waits import DEADLINE, Deadline


class NumberedStream:
    """Reads the testee's numbered channel in a thread and looks for gaps."""

    def __init__(self, address: Address) -> None:
        self._client = RawClient(address)
        self._client.upgrade("/stream/numbers")
        self._changed = threading.Condition()
        self._last: int | None = None
        self._fault: str | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._thread.join(2 * DEADLINE)
        self._client.close()

    def _read(self) -> None:
        while not self._stopping.is_set():
            try:
                one = self._client.read_frame()
            except (EOFError, TimeoutError, AssertionError) as error:
                self._report(repr(error))
                return
            self._number(one.payload)

    def _number(self, payload: bytes) -> None:
        try:
            number = int(payload)
        except ValueError:
            self._report(f"not a number: {payload!r}")
            return
        with self._changed:
            if self._last is not None and number != self._last + 1:
                self._fault = f"{number} came after {self._last}"
            self._last = number
            self._changed.notify_all()

    def _report(self, fault: str) -> None:
        with self._changed:
            self._fault = fault
            self._changed.notify_all()

    def check(self) -> None:
        """No gap so far, and the next number still comes."""
        deadline = Deadline()
        with self._changed:
            last = self._last
            while self._last == last and self._fault is None:
                self._changed.wait(deadline.left)
            assert self._fault is None, self._fault
