"""The channels of an App, as a mapping from their names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .engine.channel import Channel
    from .runtime import Runtime

__all__ = ["Channels"]


class Channels(Mapping[str, "Channel"]):
    """A live view: a name is looked up when it is asked for, and nothing is copied.

    A channel is in here while it has subscribers, or messages in its history.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def __getitem__(self, name: str) -> Channel:
        hub = self._runtime.hub
        channel = None if hub is None else hub.channel(name)
        if channel is None:
            raise KeyError(name)
        return channel

    def __iter__(self) -> Iterator[str]:
        # The names of this moment: channels come and go while somebody looks at them.
        hub = self._runtime.hub
        return iter(()) if hub is None else iter(hub.channels)

    def __len__(self) -> int:
        hub = self._runtime.hub
        return 0 if hub is None else len(hub.channels)

    def __repr__(self) -> str:
        return f"<Channels {', '.join(map(repr, self)) or 'none'}>"
