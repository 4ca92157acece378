"""The work of install.sh: every peer by its own client, and what came of it.

The outcome lies in bench/build/peers/installed.json: the peers and why one is missing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping

from .peers import BUILD, INSTALLED, VERSIONS, pins

Packages = Mapping[str, str]

DEADLINE = 300.0  # seconds for one package client
PIP = ["-m", "pip", "--disable-pip-version-check", "-qq", "install", "--no-deps"]
NPM = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--no-package-lock"]
APT = ["apt-get", "install", "-qq", "-y", "--no-install-recommends"]


class MissingError(Exception):
    """Why a peer is left out, in one line."""


def run(command: list[str], **environment: str) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=BUILD,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingError(str(error)) from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["?"]
        raise MissingError(f"{command[0]}: {said[-1]}")
    return done.stdout


def install_python(packages: Packages) -> None:
    wanted = [f"{name}=={version}" for name, version in packages.items()]
    run([str(BUILD / "venv" / "bin" / "python"), *PIP, *wanted])


def install_node(packages: Packages) -> None:
    if shutil.which("npm") is None or shutil.which("node") is None:
        raise MissingError("needs node and npm")
    folder = BUILD / "node"
    folder.mkdir(exist_ok=True)
    manifest = folder / "package.json"
    if not manifest.exists():
        manifest.write_text('{"private": true}\n')
    wanted = [f"{name}@{version}" for name, version in packages.items()]
    run([*NPM, "--prefix", str(folder), *wanted])


def debian_version(package: str) -> str:
    try:
        return run(["dpkg-query", "-W", "-f", "${Version}", package])
    except MissingError:
        return ""


def install_debian(packages: Packages) -> None:
    if not all(map(debian_version, packages)):
        if shutil.which("apt-get") is None or os.geteuid() != 0:
            raise MissingError(f"as root, apt-get install {' '.join(packages)}")
        # Without a run level the package's own service is not started.
        run(["apt-get", "update", "-qq"])
        run([*APT, *packages], DEBIAN_FRONTEND="noninteractive", RUNLEVEL="1")
    for package, version in packages.items():
        if not (found := debian_version(package)).startswith(version):
            raise MissingError(f"{package} is {found}, not {version}")


CLIENTS = {
    "python": install_python,
    "node": install_node,
    "debian": install_debian,
}


def install_together(client: str, peers: dict[str, Packages]) -> dict[str, str]:
    """All packages of one client at once; one by one if that fails, to name it."""
    packages = {name: v for wanted in peers.values() for name, v in wanted.items()}
    if not packages:
        return {}
    try:
        CLIENTS[client](packages)
    except MissingError as error:
        if len(peers) == 1:
            return dict.fromkeys(peers, str(error))
    else:
        return {}
    missing: dict[str, str] = {}
    for peer, wanted in peers.items():
        missing |= install_together(client, {peer: wanted})
    return missing


def install() -> dict[str, str]:
    """Returns the reason for every missing peer."""
    missing: dict[str, str] = {}
    for client in CLIENTS:
        peers = {
            peer: found[client] for peer, found in pins().items() if client in found
        }
        missing |= install_together(client, peers)
    return missing


def is_up_to_date(versions: str) -> bool:
    """Whether nothing has changed; what was missing is tried again."""
    if not INSTALLED.exists():
        return False
    state = json.loads(INSTALLED.read_text())
    return state["versions"] == versions and not state["missing"]


def main() -> int:
    versions = VERSIONS.read_text()
    if is_up_to_date(versions):
        return 0
    missing = install()
    state = {"versions": versions, "missing": missing}
    temporary = INSTALLED.with_suffix(".new")
    temporary.write_text(json.dumps(state, indent=1) + "\n")
    temporary.replace(INSTALLED)
    for peer, reason in missing.items():
        print(f"peers: left out {peer}: {reason}", file=sys.stderr)
    return 1 if missing and os.environ.get("CI") == "true" else 0


if __name__ == "__main__":
    sys.exit(main())
