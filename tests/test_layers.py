"""The arrows between modules: what may import or cimport what.

Each module belongs to one layer; a layer names the layers it may reach. Stubs are
left out: they describe types, and run nothing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastws

PACKAGE = Path(fastws.__file__).parent
ROOT = PACKAGE.parent

LEAVES = {"codes", "errors", "types", "config", "limits", "version"}
# A leaf imports nothing of fastws, but a setting has a type and can be wrong.
CONFIG_REACH = {"fastws.errors", "fastws.types"}
SERVICES = {"realtime", "http", "asgi", "auth", "brokers", "monitoring", "sockets"}
ABOVE_SERVICES = ("leaf", "engine", "service", "application")

# Layer of a module → layers its imports may lie in, besides the module's own folder.
REACH: dict[str, tuple[str, ...]] = {
    "engine": ("leaf",),
    "service": ("leaf", "engine"),
    "application": ABOVE_SERVICES,
    "workers": ABOVE_SERVICES,
    # A client of its own: it must not share the engine's errors.
    "load": ("leaf",),
    "cli": (*ABOVE_SERVICES, "workers", "load", "public"),
    "public": (*ABOVE_SERVICES, "workers", "cli"),
}

# Within the engine a module reaches only ranks below its own.
ENGINE_RANKS = (
    ("csrc", "am_send", "collector"),
    ("counters", "kernels", "payload", "head", "sent", "receipts"),
    ("deflate",),
    ("parser", "log", "outbox", "request", "inbox", "history", "batch"),
    ("keyed", "handshake"),
    ("lane",),
    ("detour", "writer", "forms"),
    ("channel",),
    ("plan", "roster"),
    ("visit",),
    ("flush",),
    ("cohort",),
    ("append",),
    ("publishing",),
    ("hub",),
    ("link", "sweep"),
    ("binding",),
    ("writing",),
    ("reading",),
    ("connection",),
    ("uvlink", "ownlink", "memory"),
    ("opening",),
    ("poller",),
)
ENGINE_RANK = {
    module: rank for rank, modules in enumerate(ENGINE_RANKS) for module in modules
}

CIMPORT = re.compile(r"^\s*from\s+([\w.]+)\s+c?import\s+(\(?[^#\n]*)", re.MULTILINE)
PLAIN_CIMPORT = re.compile(r"^\s*c?import\s+([\w.]+)", re.MULTILINE)


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module: str) -> str:
    parts = module.split(".")
    if len(parts) == 1 or parts[1] == "__main__":
        return "public"
    if parts[1] in LEAVES:
        return "leaf"
    if parts[1] in SERVICES:
        return "service"
    if parts[1] in ("engine", "workers", "load", "cli", "kits"):
        return parts[1]
    return "application"


def absolute(path: Path, level: int, module: str | None) -> str:
    """The dotted name that a possibly relative import in `path` means."""
    if level == 0:
        return module or ""
    package = path.relative_to(ROOT).parent.parts
    base = package[: len(package) - level + 1]
    return ".".join((*base, module) if module else base)


def submodules(package: str, names: list[str]) -> list[str]:
    """`from . import x` reaches the module x where there is one."""
    folder = ROOT.joinpath(*package.split("."))
    found = [
        f"{package}.{name}"
        for name in names
        if any(folder.glob(f"{name}.p*")) or (folder / name).is_dir()
    ]
    return found or [package]


def python_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = absolute(path, node.level, node.module)
            yield from submodules(module, [alias.name for alias in node.names])


def cython_imports(path: Path) -> Iterator[str]:
    text = path.read_text()
    for source, names in CIMPORT.findall(text):
        level = len(source) - len(source.lstrip("."))
        module = absolute(path, level, source.lstrip(".") or None)
        yield from submodules(module, re.findall(r"\w+", names))
    yield from PLAIN_CIMPORT.findall(text)


def arrows(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*.py*")):
        if path.suffix == ".py":
            found = python_imports(path)
        elif path.suffix in (".pyx", ".pxd"):
            found = cython_imports(path)
        else:
            continue
        source = name_of(path)
        for target in found:
            if target.partition(".")[0] == "fastws" and target != source:
                yield source, target


def folder_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


def is_allowed(source: str, target: str) -> bool:
    if layer_of(source) == "engine" and layer_of(target) == "engine":
        return rank_of(target) < rank_of(source)
    if layer_of(source) == "leaf":
        return source == "fastws.config" and target in CONFIG_REACH
    if folder_of(source) == folder_of(target):
        return True
    return layer_of(target) in REACH[layer_of(source)]


def rank_of(module: str) -> int:
    """The package itself stands above its modules: it may gather them."""
    parts = module.split(".")
    return ENGINE_RANK[parts[2]] if len(parts) > 2 else len(ENGINE_RANKS)


def test_arrows_point_downward() -> None:
    wrong = {
        f"{source} -> {target}"
        for source, target in arrows(PACKAGE)
        if not is_allowed(source, target)
    }
    assert not wrong


def test_every_engine_module_has_a_rank() -> None:
    modules = {path.stem for path in (PACKAGE / "engine").glob("*.pyx")}
    assert modules <= set(ENGINE_RANK)


@pytest.mark.parametrize("folder", ["examples", "kits"])
def test_programs_use_only_public_names(folder: str) -> None:
    allowed = {"fastws", "fastws.testing"}
    base = PACKAGE if folder == "kits" else ROOT
    wrong = {
        f"{source} -> {target}"
        for source, target in arrows(base / folder)
        if target not in allowed and not target.startswith(f"fastws.{folder}")
    }
    assert not wrong


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("fastws.codes", "fastws.errors"),
        ("fastws.engine.hub", "fastws.app"),
        ("fastws.engine.hub", "fastws.engine.connection"),
        ("fastws.engine.lane", "fastws.engine.hub"),
        ("fastws.http.peer", "fastws.server"),
        ("fastws.http.peer", "fastws.asgi.protocol"),
        ("fastws.app", "fastws.cli.serve"),
        ("fastws.load.runner", "fastws.engine.handshake"),
    ],
)
def test_an_upward_arrow_is_seen(source: str, target: str) -> None:
    assert not is_allowed(source, target)
