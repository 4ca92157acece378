"""The compiled half of the build; everything static stands in pyproject.toml.

Environment, each one "1" or absent:
FASTWS_DEBUG     assertions, allocation counters and Cython's run-time checks
FASTWS_SANITIZE  AddressSanitizer and UndefinedBehaviorSanitizer
FASTWS_COVERAGE  line tracing inside the compiled modules
FASTWS_ANNOTATE  Cython's annotated HTML beside the generated C
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

from Cython.Build import cythonize
from Cython.Compiler.Errors import CompileError
from setuptools import Extension, setup
from setuptools.command.build_clib import build_clib
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
ENGINE = "fastws/engine"
CSRC = "fastws/csrc"
LOAD = "fastws/load"

# One extension per engine/NAME.pyx, joined at run time by cimport.
EXTENSIONS = (
    "kernels",
    "counters",
    "head",
    "request",
    "handshake",
    "deflate",
    "parser",
    "payload",
    "log",
    "history",
    "keyed",
    "outbox",
    "inbox",
    "sent",
    "lane",
    "detour",
    "writer",
    "plan",
    "visit",
    "flush",
    "cohort",
    "append",
    "forms",
    "channel",
    "batch",
    "receipts",
    "roster",
    "publishing",
    "hub",
    "sweep",
    "link",
    "binding",
    "writing",
    "reading",
    "connection",
    "uvlink",
    "ownlink",
    "opening",
    "poller",
    "memory",
)

# One static library per flag set. The linker reads them in this order, so the
# table that chooses stands before the instruction sets it chooses from.
X86_64 = ("x86_64", "amd64")
AARCH64 = ("aarch64", "arm64")
ANYWHERE = X86_64 + AARCH64 + (platform.machine().lower(),)
LIBRARIES = (
    (
        "fastws_base",
        ("mask.c", "utf8.c", "cpu.c", "zlib_library.c", "deflate.c"),
        ANYWHERE,
        (),
    ),
    ("fastws_sse2", ("mask_sse2.c",), X86_64, ("-msse2",)),
    ("fastws_avx2", ("mask_avx2.c",), X86_64, ("-mavx2",)),
    ("fastws_neon", ("mask_neon.c",), AARCH64, ()),
)

DIRECTIVES: dict[str, Any] = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    # Plain method descriptors: CPython specialises calls to them, and a signature
    # in the clinic format keeps inspect and stubtest able to read them.
    "binding": False,
    "embedsignature": True,
    "embedsignature.format": "clinic",
}
CHECKED: dict[str, Any] = {
    "boundscheck": True,
    "initializedcheck": True,
    "nonecheck": True,
}

WARNINGS = ("-Wall", "-Wextra")
STRICT = (*WARNINGS, "-Wconversion")


def asked(name: str) -> bool:
    return os.environ.get(name, "") not in ("", "0")


DEBUG = asked("FASTWS_DEBUG")
SANITIZE = asked("FASTWS_SANITIZE")
COVERAGE = asked("FASTWS_COVERAGE")
ANNOTATE = asked("FASTWS_ANNOTATE")
# Objects of different flag sets must never meet: each mode has its own folder.
MODE = (
    "-".join(
        name
        for name, wanted in (
            ("debug", DEBUG),
            ("sanitize", SANITIZE),
            ("coverage", COVERAGE),
        )
        if wanted
    )
    or "release"
)
BUILD = f"build/{MODE}"


def compile_flags() -> list[str]:
    flags = ["-fvisibility=hidden", "-fstack-protector-strong"]
    if SANITIZE:
        flags += ["-O1", "-g", "-fno-omit-frame-pointer"]
        flags += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    elif DEBUG or COVERAGE:
        flags += ["-O1", "-g"]
    else:
        flags += ["-O3", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"]
    if DEBUG or SANITIZE:
        flags += ["-UNDEBUG"]
    return flags


def link_flags() -> list[str]:
    flags = ["-fsanitize=address,undefined"] if SANITIZE else []
    if sys.platform.startswith("linux"):
        flags += ["-Wl,-z,relro", "-Wl,-z,now", "-Wl,--exclude-libs,ALL"]
    return flags


def macros() -> list[tuple[str, str | None]]:
    defined: list[tuple[str, str | None]] = []
    if DEBUG:
        defined.append(("FASTWS_DEBUG", "1"))
    if COVERAGE:
        defined += [("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1")]
    return defined


def c_libraries() -> list[tuple[str, dict[str, Any]]]:
    machine = platform.machine().lower()
    headers = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(f"{CSRC}/*.h"))
    found = []
    for name, files, machines, flags in LIBRARIES:
        if machine not in machines:
            continue
        options = {
            "sources": [f"{CSRC}/{file}" for file in files],
            "obj_deps": {"": [*headers, "setup.py"]},
            "include_dirs": [CSRC],
            "macros": macros(),
            "cflags": ["-std=c11", "-fPIC", *STRICT, *compile_flags(), *flags],
        }
        found.append((name, options))
    return found


def beneath(folder: str, pattern: str) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob(folder + pattern))]


def extension(name: str, folder: str, native: list[str], **more: Any) -> Extension:
    return Extension(
        f"{folder.replace('/', '.')}.{name}",
        [f"{folder}/{name}.pyx"],
        depends=[*native, "setup.py"],
        define_macros=macros(),
        extra_compile_args=[*WARNINGS, *compile_flags()],
        extra_link_args=link_flags(),
        **more,
    )


def extensions() -> list[Extension]:
    native = beneath(CSRC, "/*")
    found = [
        extension(name, ENGINE, native, include_dirs=[CSRC]) for name in EXTENSIONS
    ]
    if sys.platform.startswith("linux"):
        # Its connections wait in an epoll; elsewhere the command says so.
        found.append(load_generator())
    return found


def load_generator() -> Extension:
    """One extension with its C inside: nothing else uses that."""
    native = beneath(LOAD, "/*.[ch]")
    generated = f"{LOAD}/generator.c"  # where lines are traced
    sources = [name for name in native if name.endswith(".c") and name != generated]
    made = extension("generator", LOAD, native, include_dirs=[LOAD], libraries=["dl"])
    made.sources += sources
    return made


class BuildLibraries(build_clib):
    """Static libraries, in the folder of the mode."""

    def finalize_options(self) -> None:
        self.build_clib = f"{BUILD}/lib-{platform.machine()}"
        self.build_temp = f"{BUILD}/csrc-{platform.machine()}"
        super().finalize_options()


class BuildExtensions(build_ext):
    """Cython, then C, in the folder of the mode, on two cores."""

    def finalize_options(self) -> None:
        # An editable install would build in a temporary folder, from nothing.
        if self.inplace or self.editable_mode:
            tag = f"{platform.machine()}-{sys.implementation.cache_tag}"
            self.build_temp = f"{BUILD}/objects-{tag}"
            self.build_lib = f"{BUILD}/modules-{tag}"
        super().finalize_options()
        self.parallel = self.parallel or 2

    def run(self) -> None:
        self.run_command("build_clib")
        try:
            compiled = self.generate()
        except CompileError as error:
            sys.exit(f"cython: {error}")
        for extension in self.extensions:
            extension.sources = compiled[extension.name]
        super().run()

    def generate(self) -> dict[str, list[str]]:
        """The C sources of each extension, generated where they are stale."""
        compiled = cythonize(
            self.extensions,
            nthreads=2,
            force=self.force,
            annotate=ANNOTATE,
            # Line tracing finds a module's source beside its generated C.
            build_dir=None if COVERAGE else f"{BUILD}/cython",
            compiler_directives={
                **DIRECTIVES,
                **(CHECKED if DEBUG or SANITIZE else {}),
                "linetrace": COVERAGE,
            },
        )
        return {extension.name: extension.sources for extension in compiled}


if __name__ == "__main__":
    setup(
        libraries=c_libraries(),
        ext_modules=extensions(),
        cmdclass={"build_clib": BuildLibraries, "build_ext": BuildExtensions},
    )
