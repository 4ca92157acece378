def native_counts() -> dict[str, int]:
    """Live native allocations of this process: connections, segments, outboxes,
    members (cursors), buffers (messages being assembled), detours and gaps (of slow
    subscribers) and kept (messages in a history). All are zero when every connection
    has been closed and no history is left; inflaters and deflaters (zlib streams) when
    their hub has gone too."""

class Counters:
    """Event counts of one loop.

    Written by the engine, read by anyone. All counts only grow, except
    ``connections``, which is the number open now. Sizes are in bytes.
    ``compress_bytes_in`` and ``compress_bytes_out`` are those of every message that
    compression was tried on, ``compressed_messages`` the ones that got smaller.
    """

    def __init__(self) -> None: ...
    def snapshot(self) -> dict[str, int]:
        """Every counter by name, as it stands now."""
