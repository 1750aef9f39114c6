"""What is odd about a label, in words that are the same on every path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

# Of a label whose binary mask is empty; the archive's summary counts them.
EMPTY = "empty label: no pixel reaches one half"
ASSUMED = "short axis unknown: one is assumed"


def with_assumed(label: Any, coordinates: Sequence[float] | np.ndarray) -> Any:
    """The label, with a note where the last four of its mark's coordinates are NaN."""
    if coordinates[4] != coordinates[4]:
        label.notes = (*label.notes, ASSUMED)
    return label


def doubts(
    constant: bool, empty: bool, converged: bool, iterations: int, residual: float
) -> list[str]:
    """Notes on an image of one grey value, an empty mask and a solve that stopped early."""
    notes = []
    if constant:
        notes.append("all-constant image: no edge to find")
    if empty:
        notes.append(EMPTY)
    if not converged:
        notes.append(f"matting stopped after {iterations} iterations at {residual:.1e}")
    return notes
