"""``module:app`` on the command line: find the App it names, or say why not."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from ..app import App
from ..errors import StartupError

__all__ = ["load_app"]


def load_app(target: str) -> App:
    """Import ``module:attribute`` (attribute ``app`` by default) and check it.

    The current folder is importable, as it is for ``python -m``. Raises StartupError;
    what the module itself raises passes through.
    """
    name, _, attribute = target.partition(":")
    attribute = attribute or "app"
    if name.endswith(".py") or "/" in name:
        module_name = ".".join(Path(name).with_suffix("").parts).lstrip(".")
        raise StartupError(
            f"{name!r} is a file: give its module, `fastws serve "
            f"{module_name}:{attribute}`"
        )
    if not name or not all(part.isidentifier() for part in name.split(".")):
        raise StartupError(
            f"{target!r} is not of the form module:app, such as myproject.chat:app"
        )
    found = _attribute(_module(name), attribute)
    if isinstance(found, App):
        return found
    if isinstance(found, type) and issubclass(found, App):
        raise StartupError(
            f"{target!r} is the class App: name an instance, `app = App()`"
        )
    raise StartupError(
        f"{target!r} is not a fastws App but {_describe(found)}{_instead(name)}"
    )


def _module(name: str) -> ModuleType:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # A module that is there but imports one that is not has its own traceback.
        if error.name is None or not (name + ".").startswith(error.name + "."):
            raise
        raise StartupError(
            f"there is no module {error.name!r} here: the current folder is "
            f"{str(Path.cwd())!r}; run fastws where your package or file lies, or "
            "install it"
        ) from error


def _attribute(module: ModuleType, path: str) -> Any:
    found: Any = module
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise StartupError(
                f"module {module.__name__!r} has no {path!r}{_instead(module.__name__)}"
            ) from error
    return found


def _instead(module_name: str) -> str:
    """Name the Apps that the module does have."""
    module = sys.modules[module_name]
    apps = [name for name, value in vars(module).items() if isinstance(value, App)]
    if not apps:
        return ""
    return ": did you mean " + " or ".join(f"{module_name}:{name}" for name in apps)


def _describe(value: object) -> str:
    if value is None:
        return "None"
    if isinstance(value, ModuleType):
        return f"the module {value.__name__!r}"
    if callable(value) and hasattr(value, "__qualname__"):
        return f"the {type(value).__name__} {value.__qualname__!r}"
    kind = type(value)
    return f"an object of {kind.__module__}.{kind.__qualname__}"
