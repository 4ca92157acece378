from ..config import Compression
from .counters import Counters

NAME: str

def require_zlib() -> None:
    """Raise ConfigError when the machine has no zlib."""

class Agreement:
    """What one handshake has agreed on (RFC 7692 section 7.1). Immutable.

    ``response`` is the value of the server's Sec-WebSocket-Extensions. ``send_bits``
    and ``receive_bits`` are the windows of the two directions (base-two logarithm of
    bytes); ``send_context`` and ``receive_context`` say whether a message may refer to
    earlier ones; those of a cohort then do, and with ``own_context`` those that are
    sent to this connection alone.
    """

    @property
    def deflate(self) -> Deflate: ...
    @property
    def response(self) -> bytes: ...
    @property
    def send_bits(self) -> int: ...
    @property
    def shared_bits(self) -> int: ...
    @property
    def send_context(self) -> bool: ...
    @property
    def own_context(self) -> bool: ...
    @property
    def receive_bits(self) -> int: ...
    @property
    def receive_context(self) -> bool: ...

class Deflate:
    """permessage-deflate as one loop does it. Owns its zlib streams.

    What it does is counted in ``counters``. Raises ConfigError when the machine has no
    zlib.
    """

    def __init__(
        self,
        rule: Compression,
        counters: Counters | None = None,
        *,
        has_cohorts: bool = False,
    ) -> None: ...
    @property
    def rule(self) -> Compression: ...
    def agree(self, offers: bytes) -> Agreement | None:
        """The agreement for a client's Sec-WebSocket-Extensions, or None.

        The first offer that can be kept wins (section 5). A header that is no list of
        extensions, and other extensions, are no offers.
        """
    def offer(self) -> bytes:
        """A client's offer: nothing is kept on either side unless the rule says so."""
    def agreed(self, answer: bytes) -> Agreement:
        """What a server's answer to ``offer`` means; ProtocolError when it breaks the
        rules of section 7.1 or of the offer."""

class Context:
    """A compressor that remembers: a message refers to those before it, back to the
    last restart."""

    def __init__(self, deflate: Deflate, window_bits: int) -> None: ...
