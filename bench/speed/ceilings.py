"""What a GPU does at best: `ceilings.cu`, compiled where it is asked for."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".cu")


def device_ceilings(device: int) -> dict[str, float] | None:
    """Measure a CUDA device.

    Returns
    -------
    dict or None
        `shared_bytes_per_second` that it reads from shared memory and `multiply_adds_per_second`
        in float64; None where there is no nvcc to compile with.

    Raises
    ------
    RuntimeError
        Where the device cannot be measured, in CUDA's words.
    """
    if shutil.which("nvcc") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        program = compiled(Path(folder), "native")
        done = subprocess.run([program, str(device)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"cuda:{device} could not be measured: {done.stderr.strip()}")
    return json.loads(done.stdout)


def compiled(folder: Path, arch: str) -> Path:
    """Compile for an architecture ("sm_90", "native": that of the device); return the program."""
    program = folder / "ceilings"
    command = ["nvcc", "-std=c++17", "-O3", f"-arch={arch}", "-o", str(program), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"nvcc failed on {SOURCE}: {done.stderr.strip()}")
    return program
