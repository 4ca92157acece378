from .hub import Hub

class Sweep:
    """Drives a hub's time: one timer for all heartbeats and time-outs."""

    def __init__(self, hub: Hub) -> None: ...
    def start(self) -> None:
        """Tick ten times a second from now on."""
    def stop(self) -> None:
        """Tick no more."""
    def run(self) -> None:
        """Act on what the hub's clock says now."""
