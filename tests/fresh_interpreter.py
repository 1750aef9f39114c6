"""Code in an interpreter of its own that finds the packages which this run tests."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import dsnet
import dsnet_kernels

# Where an installation put them, or the checkout.
PLACES = [str(Path(each.__file__).resolve().parents[1]) for each in (dsnet, dsnet_kernels)]


class Absent:
    """Stands first in `sys.meta_path`: the packages named are as if not installed."""

    def __init__(self, *names):
        self.names = names

    def find_spec(self, name, path=None, target=None):
        if name in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def run_fresh(
    code: str, *, without: Iterable[str] = (), arguments: Iterable[object] = ()
) -> subprocess.CompletedProcess[str]:
    """Neither the current folder nor PYTHONPATH has a say; the packages of `without` are absent."""
    code = (
        f"import sys; sys.path[:0] = {PLACES!r}\n"
        f"{inspect.getsource(Absent)}\nsys.meta_path.insert(0, Absent(*{list(without)!r}))\n{code}"
    )
    command = [sys.executable, "-I", "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def printed(code: str) -> str:
    """What code that must not fail prints."""
    done = run_fresh(code)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
