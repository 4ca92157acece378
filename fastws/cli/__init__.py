"""The command line: ``fastws`` and ``python -m fastws``."""

from __future__ import annotations

import sys
from importlib import metadata

__all__ = ["main"]

_OTHER_DISTRIBUTION = """\
Error: the distribution "fastws" is installed here. It is another project; its package
has the same name, so it overwrites files of this one, whose distribution is called
"fastws-engine". To repair this environment:

    pip uninstall --yes fastws
    pip install --force-reinstall --no-deps fastws-engine
"""


def main() -> None:
    """Run the ``fastws`` command."""
    # First, and with nothing imported from the package: its files may be the other's.
    if _other_distribution_is_installed():
        sys.exit(_OTHER_DISTRIBUTION)
    from .commands import command

    command(prog_name="fastws")


def _other_distribution_is_installed() -> bool:
    try:
        metadata.distribution("fastws")
    except metadata.PackageNotFoundError:
        return False
    return True
