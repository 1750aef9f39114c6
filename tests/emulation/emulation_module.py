"""dsnet_emulation, which only tests and benches call: built from the checkout when first asked for.

It is a target of the checkout's CMakeLists.txt and is built in setup.py's folder, where the core is
compiled already after `pip install .`; CMake decides what has to be built. `DSNET_EMULATION_DIR`
names a folder that holds the module as someone else has built it: nothing is built then.

In tests `from emulation_module import emulation` is the module, built (or else the test skipped)
when its first name is used.
"""

from __future__ import annotations

import fcntl
import importlib.machinery
import importlib.util
import os
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NAME = "dsnet_emulation"
BUILD = ROOT / "build" / f"cmake-{sys.implementation.cache_tag}"


class ToolsMissing(RuntimeError):
    """What the module is built with is not there."""


@lru_cache(maxsize=1)
def load() -> ModuleType:
    """Return the module.

    Raises
    ------
    ToolsMissing
        Without CMake, Ninja, pybind11 or a C++ compiler.
    RuntimeError
        When it does not compile, with the compiler's words.
    """
    given = os.environ.get("DSNET_EMULATION_DIR")
    folder = Path(given) if given else build()
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    path = folder / f"{NAME}{suffix}"
    spec = importlib.util.spec_from_file_location(NAME, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build() -> Path:
    """Build the module where that is needed; return its folder."""
    cmake, ninja = find("cmake"), find("ninja")
    if importlib.util.find_spec("pybind11") is None:
        raise ToolsMissing(f"{NAME} needs pybind11: pip install pybind11")
    if not any(find_or_none(name) for name in (os.environ.get("CXX"), "c++", "g++", "clang++")):
        raise ToolsMissing(f"{NAME} needs a C++ compiler, and there is none on PATH")
    import pybind11

    options = {
        "CMAKE_LIBRARY_OUTPUT_DIRECTORY": BUILD / "out",
        "CMAKE_MAKE_PROGRAM": ninja,
        "Python_EXECUTABLE": sys.executable,
        "pybind11_DIR": pybind11.get_cmake_dir(),
        "DSNET_EMULATION": "ON",
    }
    if not (BUILD / "CMakeCache.txt").exists():
        options["DSNET_CUDA"] = "OFF"  # the module has no part in it
    BUILD.mkdir(parents=True, exist_ok=True)
    with open(BUILD / "lock", "w") as lock:  # setup.py's, too
        fcntl.flock(lock, fcntl.LOCK_EX)
        definitions = [f"-D{name}={value}" for name, value in options.items()]
        run(cmake, "-S", ROOT, "-B", BUILD, "-G", "Ninja", *definitions)
        run(cmake, "--build", BUILD, "--target", NAME)
    return BUILD / "out"


def find(name: str) -> str:
    """Return a program's path: beside this Python, or on PATH."""
    path = find_or_none(name)
    if path is None:
        raise ToolsMissing(f"{NAME} needs {name}: pip install {name}")
    return path


def find_or_none(name: str | None) -> str | None:
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return shutil.which(name, path=places) if name else None


def run(*command: Any) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{NAME} was not built: {done.stdout[-3000:]}{done.stderr[-3000:]}")


class _Emulation:
    """The module's names; a test that asks for one is skipped where it cannot be built."""

    def __getattr__(self, name: str) -> Any:
        try:
            return getattr(load(), name)
        except ToolsMissing as error:
            if os.environ.get("CI"):
                raise
            import pytest

            pytest.skip(str(error))


emulation = _Emulation()


@lru_cache(maxsize=1)
def emulated_network() -> Any:
    """Return the edge model's weights as the module's own class."""
    from dsnet.labeling.edge_model import compiled, edge_network

    return compiled(edge_network(), emulation)
