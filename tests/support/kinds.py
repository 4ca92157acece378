"""Which link and which loop the tests run on, where a test does not say itself.

FASTWS_LINK=uvloop FASTWS_LOOP=asyncio python -m pytest …
"""

from __future__ import annotations

import os
from typing import Literal, cast

from fastws.engine import poller

LinkName = Literal["auto", "uvloop"]
LoopName = Literal["uvloop", "asyncio"]

LINK = cast(LinkName, os.environ.get("FASTWS_LINK") or "auto")
LOOP = cast(LoopName, os.environ.get("FASTWS_LOOP") or "uvloop")
if LINK not in ("auto", "uvloop") or LOOP not in ("uvloop", "asyncio"):
    raise SystemExit(f"FASTWS_LINK={LINK} FASTWS_LOOP={LOOP}: there is no such kind")

# Plain TCP on sockets of our own
OWN = LINK == "auto" and poller.AVAILABLE
