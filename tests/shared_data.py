"""Real data beside the checkout: found through `DSNET_SHARED` or at `../shared`."""

import os
from pathlib import Path

import pytest


def shared(*parts: str) -> Path:
    """Path of a file or folder of the real data; skips the calling test where it is absent."""
    root = os.environ.get("DSNET_SHARED") or Path(__file__).resolve().parents[1].parent / "shared"
    path = Path(root, "data", *parts)
    if not path.exists():
        pytest.skip(f"real data not at hand: {path} (set DSNET_SHARED)")
    return path
