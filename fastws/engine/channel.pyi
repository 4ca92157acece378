from ..config import ChannelRule
from ..types import CompressionCounts, Position, Recovery

class Rule:
    """A ChannelRule as the engine reads it."""

    def __init__(self, rule: ChannelRule) -> None: ...
    @property
    def batch(self) -> float | None: ...

class Keeper:
    """Where channels live."""

class Channel:
    """A named stream of messages; exists while it has subscribers or history."""

    def __init__(
        self, hub: Keeper, name: str, rule: Rule, *, hidden: bool = False
    ) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def hub(self) -> Keeper: ...
    @property
    def subscribers(self) -> int:
        """Connections subscribed now."""
    @property
    def compression(self) -> CompressionCounts | None:
        """What compressing its messages has come to; None: none was tried on."""
    @property
    def position(self) -> Position | None:
        """The newest place of the history; None: the channel has none."""
    @property
    def epoch(self) -> str | None:
        """Names this life of the history; None: the channel has none."""
    def read(self, since: Position | None = None, limit: int | None = None) -> Recovery:
        """What the history holds, in the order of its offsets.

        With ``since`` everything behind that place, at most the first ``limit``; when
        some of that is gone, ``recovered`` is False and there is nothing. Without it
        everything that is kept, at most the newest ``limit``. ``position`` is the place
        behind the last one given, to read on from. Raises StateError when the channel's
        rule has no history.
        """
    def clear(self) -> None:
        """Forget the history. What is published next starts a new epoch, so that nobody
        recovers across the gap."""
