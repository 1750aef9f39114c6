"""Connected parts of a mask, by SciPy."""

from __future__ import annotations

from typing import cast

import numpy as np
from scipy import ndimage


def connected_parts(mask: np.ndarray, structure=None) -> tuple[np.ndarray, int]:
    """`scipy.ndimage.label` into an array of its own: each pixel's part, 1 and up, and how many."""
    return cast("tuple[np.ndarray, int]", ndimage.label(mask, structure=structure))
