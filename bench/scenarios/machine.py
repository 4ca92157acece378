"""What it all ran on, in the words of the report."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def is_virtual() -> bool:
    return " hypervisor" in Path("/proc/cpuinfo").read_text()


def memory() -> str:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f"{pages / 2**30:.0f} GiB"


def compiler() -> str:
    cc = os.environ.get("CC", "cc")
    if shutil.which(cc) is None:
        return "none"
    said = subprocess.run([cc, "--version"], capture_output=True, text=True, check=True)
    return said.stdout.splitlines()[0]


def describe() -> dict[str, str | int]:
    return {
        "processor": processor(),
        "cores": os.cpu_count() or 1,
        "memory": memory(),
        "virtual machine": "yes" if is_virtual() else "no",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "compiler of the control": compiler(),
    }


def revision() -> str:
    """The commit that is measured, marked when the sources differ from it."""
    if shutil.which("git") is None:
        return "unknown"
    said = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=10"],
        capture_output=True,
        text=True,
        check=False,
    )
    return said.stdout.strip() or "unknown"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="minutes")
