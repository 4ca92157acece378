from .publishing import Publishing

class Hub(Publishing):
    """All channels and connections of one event loop, and the flush.

    Belongs to the thread that makes it; only ``publish``, ``publish_batch`` and
    ``broadcast`` may come from others. ``clock`` gives monotonic
    seconds; tests pass one of their own.
    """

    def flush(self) -> None:
        """The end of a tick: write what is owed, for one slice of time."""
