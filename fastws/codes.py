"""The numbers of RFC 6455: opcodes (section 5.2) and close codes (section 7.4)."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["CloseCode", "Opcode"]


class Opcode(IntEnum):
    """What a frame carries (RFC 6455 section 5.2). 3–7 and 11–15 are reserved."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class CloseCode(IntEnum):
    """Why a connection ended (RFC 6455 section 7.4.1 and the IANA registry).

    ``NO_STATUS`` and ``ABNORMAL`` never travel: they say that the close frame had no
    code, and that there was no close frame at all. 3000–3999 belong to registered
    libraries and 4000–4999 to applications; they are plain integers here.
    """

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS = 1005
    ABNORMAL = 1006
    INVALID_DATA = 1007
    POLICY_VIOLATION = 1008
    TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
