"""The benches: that each can be imported, as what it measures goes on changing."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_bench_imports():
    paths = [path.relative_to(ROOT) for path in (ROOT / "bench").rglob("*.py")]
    names = sorted(".".join(path.with_suffix("").parts) for path in paths)
    assert len(names) > 20
    command = [
        sys.executable,
        "-c",
        "import importlib, sys\nfor n in sys.argv[1:]: importlib.import_module(n)",
    ]
    done = subprocess.run([*command, *names], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
