"""The benches: that each can be imported, as what it measures goes on changing."""

import importlib
import sys
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def import_all(names):
    peer = "pymatting" in sys.modules
    for name in names:
        importlib.import_module(name)
    # It would compile itself for a minute, for whoever imports a bench.
    assert peer or "pymatting" not in sys.modules


def test_every_bench_imports():
    """In a process of their own, which has what this one has imported."""
    paths = [path.relative_to(ROOT) for path in (ROOT / "bench").rglob("*.py")]
    names = sorted(".".join(path.with_suffix("").parts) for path in paths)
    assert len(names) > 20
    process = get_context("fork").Process(target=import_all, args=(names,))
    process.start()
    process.join()
    assert process.exitcode == 0
