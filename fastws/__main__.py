"""``python -m fastws`` is the ``fastws`` command."""

from __future__ import annotations

from .cli import main

main()
