"""dsnet_emulation: parts of the core that the product reaches inside other work alone."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from types import ModuleType

BUILDER = Path(__file__).resolve().parents[2] / "tests" / "emulation" / "emulation_module.py"


@lru_cache(maxsize=1)
def emulation() -> ModuleType:
    """Return the module; it is built when first asked for, which takes a minute."""
    spec = importlib.util.spec_from_file_location("emulation_module", BUILDER)
    builder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(builder)
    return builder.load()
