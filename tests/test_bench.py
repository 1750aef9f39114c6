"""The benches: that each can be imported, as what it measures goes on changing."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_bench_imports():
    names = sorted(f"bench.{path.stem}" for path in (ROOT / "bench").glob("*.py"))
    assert len(names) > 20
    command = [
        sys.executable,
        "-c",
        "import importlib, sys\nfor n in sys.argv[1:]: importlib.import_module(n)",
    ]
    done = subprocess.run([*command, *names], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
