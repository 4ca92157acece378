import asyncio

from .hub import Hub
from .link import Link

class MemoryLink(Link):
    """One end of a connection in memory."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None: ...

def memory_pair(first: Hub, second: Hub) -> tuple[MemoryLink, MemoryLink]:
    """Two links, each the other's peer; what one writes arrives in a later turn of the
    other's loop."""
