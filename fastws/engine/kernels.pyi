"""The one door for tests and micro-benchmarks into fastws/csrc.

Nothing of the engine imports this module. Payloads are copied to a buffer of their
own between guard bytes, at a chosen distance (``alignment``, 0 to 63) from a multiple
of 64; a kernel that writes outside its buffer raises ``RuntimeError``.

``implementation`` is a name out of ``implementations()`` or, for text, out of
``utf8_implementations()``; or ``"auto"``: what the engine itself calls, the inline path
for short payloads included. A name this machine can't run raises ``ValueError``.
"""

from collections.abc import Iterable
from typing import Any

from _typeshed import ReadableBuffer

OPCODES: dict[str, int]
"""The opcodes of ``frame.h`` by the names of ``codes.Opcode``."""

CLOSE_CODES: dict[str, int]
"""The close codes of ``frame.h`` by the names of ``codes.CloseCode``."""

FRAME_ERRORS: dict[int, str]
"""What ``frame_decode`` calls the negative answers of ``fastws_frame_decode``."""

def implementations() -> list[str]:
    """The mask kernels of this machine, the naive oracle first, the chosen one last."""

def utf8_implementations() -> list[str]:
    """The UTF-8 kernels of this machine, in the same order."""

def mask(
    data: ReadableBuffer,
    key: ReadableBuffer,
    offset: int = 0,
    implementation: str = "auto",
    alignment: int = 0,
) -> bytes:
    """``data[i] ^ key[(offset + i) & 3]``, done in place on a copy of ``data``."""

def mask_copy(
    data: ReadableBuffer,
    key: ReadableBuffer,
    offset: int = 0,
    implementation: str = "auto",
    from_alignment: int = 0,
    to_alignment: int = 0,
) -> tuple[bytes, bool]:
    """The same from one buffer to another, and whether the result is all ASCII."""

def is_ascii(
    data: ReadableBuffer, implementation: str = "auto", alignment: int = 0
) -> bool:
    """Whether every byte is below 0x80."""

def utf8_validate(
    chunks: Iterable[ReadableBuffer], implementation: str = "auto"
) -> tuple[int, bool]:
    """How many chunks of one text were accepted, and whether the text is complete.

    Stops at the first chunk with a byte that no valid text has there (RFC 3629).
    """

def frame_decode(data: ReadableBuffer) -> dict[str, Any] | str | None:
    """The header at the start of ``data``: its fields by name.

    ``None`` when more bytes are needed; a value of ``FRAME_ERRORS`` when it is wrong.
    """

def frame_encode(
    first_byte: int, length: int, key: ReadableBuffer | None = None
) -> bytes:
    """The header of a frame with ``length`` bytes of payload (RFC 6455 section 5.2)."""

def frame_header_size(length: int, masked: bool) -> int:
    """How many bytes ``frame_encode`` returns for this length."""

def sweep_masks(
    data: ReadableBuffer, alignment: int, implementation: str = "auto"
) -> tuple[str, int, int] | None:
    """Masks every prefix of ``data``, copied and in place, against the naive kernel.

    Returns the first difference: what, length, key offset; ``None`` when there is none.
    """

def sweep_fenced(longest: int, implementation: str = "auto") -> int | None:
    """Every length to ``longest``, at both edges of memory that can't be touched.

    An access outside ends the process. Returns the first length with a wrong result.
    """

def sweep_ascii(
    longest: int, implementation: str = "auto"
) -> tuple[str, int, int | None] | None:
    """The ASCII answer for every length, with a byte over 0x7F at every position.

    Returns the first wrong one: what, length, the byte's position (``None``: no such
    byte); ``None`` when all are right.
    """

def sweep_utf8(
    classes: ReadableBuffer,
    filler: ReadableBuffer,
    position: int,
    implementation: str = "auto",
) -> bytes | None:
    """Every four bytes out of ``classes`` at ``position`` in ``filler``, whole and cut.

    Returns the first text on which the kernel and the naive one differ.
    """

def time_mask(
    length: int, rounds: int, implementation: str = "auto", copy: bool = True
) -> float:
    """Seconds that ``rounds`` calls took, without Python between them."""
