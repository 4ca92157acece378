"""The checker: what a client saw of a channel, against what was published.

Each fault has a kind: *lost*, *gap* (numbers jump, and nobody said so), *duplicate*,
*reorder*, *phantom* (never published), *corrupt* (other bytes than were published),
*stale* (recovered, but not from where it was asked) and *uncounted* (missing, but not
as many as the server said).
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Fault:
    """One thing that is not as it has to be."""

    kind: str
    where: str
    expected: object
    observed: object

    def __str__(self) -> str:
        return (
            f"{self.kind} at {self.where}: "
            f"expected {self.expected!r}, observed {self.observed!r}"
        )


@dataclass
class Journal:
    """One client's view of one channel, compared while it comes in.

    ``last`` is the number it starts behind. ``may_miss``: the channel's policy leaves
    messages out, and says how many.
    """

    where: str
    faults: list[Fault]
    last: int = 0
    may_miss: bool = False
    told: int = 0
    missing: set[int] = field(default_factory=set)

    def received(self, number: int) -> None:
        if number > self.last:
            if number > self.last + 1:
                if not self.may_miss:
                    self._fault("gap", self.last + 1, number)
                self.missing.update(range(self.last + 1, number))
            self.last = number
        elif number in self.missing:
            self.missing.discard(number)
            self._fault("reorder", f"above {self.last}", number)
        else:
            self._fault("duplicate", f"above {self.last}", number)

    def skipped(self, missed: int) -> None:
        """The server says that so many were never sent."""
        self.told += missed

    def returned(self, recovered: bool, position: int) -> None:
        """A new connection subscribed behind ``last``; the answer."""
        if recovered and position < self.last:
            self._fault("stale", f"from {self.last}", position)
        if not recovered:
            self.last = position

    def corrupt(self, expected: object, observed: object) -> None:
        self._fault("corrupt", expected, observed)

    def finish(self, published: int) -> None:
        """Everything has arrived that will."""
        if self.last > published:
            self._fault("phantom", published, self.last)
        if self.last < published:
            self._fault("lost", published, self.last)
        if self.may_miss and len(self.missing) != self.told:
            self._fault("uncounted", self.told, len(self.missing))

    def _fault(self, kind: str, expected: object, observed: object) -> None:
        self.faults.append(Fault(kind, self.where, expected, observed))
