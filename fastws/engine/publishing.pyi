from collections.abc import Iterable
from typing import Any

from ..types import Receipt
from .channel import Channel
from .connection import Connection
from .roster import Roster

class Publishing(Roster):
    """The channels of one event loop, and what is published to them."""

    @property
    def channels(self) -> dict[str, Channel]:
        """The channels that have subscribers or history, by name (a copy)."""
    def channel(self, name: str) -> Channel | None:
        """The channel of this name; None: it has no subscribers and no history."""
    def publish(
        self,
        channel: str,
        message: Any,
        *,
        key: str | None = None,
        exclude: Connection | None = None,
        compress: bool | None = None,
    ) -> None:
        """Send a message to every subscriber of a channel, in the order of the calls.

        ``key`` says what it is about: under ``slow="latest"`` a slow subscriber gets
        the newest message of each key. ``compress`` is about those that agreed to
        compression: None goes by ``threshold`` and ``max_size`` of their rule (in a
        cohort by ``max_size`` alone), True compresses whatever the size, False does not
        compress. From any thread; from another than the loop's
        it is sent in a later turn, as it is now. Raises TypeError for what JSON cannot
        hold, ValueError for text that UTF-8 cannot and for a key over 255 bytes, and
        what ``rule_for`` raises. A channel with ``batch_form="array"`` takes JSON only
        (ValueError for bytes and for str that is none) and no ``exclude`` (ValueError).
        """
    def publish_batch(
        self, items: Iterable[tuple[str, Any] | tuple[str, Any, str | None]]
    ) -> None:
        """Publish (channel, message) or (channel, message, key), in this order.

        All of them are looked at and encoded before the first is published: what is
        wrong with one is raised as by ``publish``, and nothing has been sent.
        """
    def publish_confirmed(
        self,
        channel: str,
        message: Any,
        key: str | None = None,
        idempotency_key: str | None = None,
        compress: bool | None = None,
    ) -> Receipt:
        """Publish, and say where the message stands in the channel's history.

        An ``idempotency_key`` that this channel has seen in the last two minutes gives
        the first one's receipt and publishes nothing; the newest 100 000 keys are
        remembered. In the loop's thread only.
        """
    def broadcast(
        self,
        message: Any,
        *,
        exclude: Connection | None = None,
        compress: bool | None = None,
    ) -> None:
        """Send a message to every connection. Otherwise as ``publish``."""
