"""What the GPU's matting moves and computes, counted for comparison with ceilings."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from dsnet.labeling import UNKNOWN

STRIP = 4  # pixels below each other, which a thread works on
# Of an iteration: bytes of shared memory by strips of windows and of unknown pixels, and float64
# instructions of both, from the machine code; bench/results/label_gpu.md says which is what.
WINDOW_BYTES, PIXEL_BYTES = 280, 336 + 96 + 64
INSTRUCTIONS = 174


def work_of(trimaps: np.ndarray, iterations: np.ndarray) -> tuple[float, float]:
    """Mean bytes of shared memory and float64 instructions of a crop's matting.

    Parameters
    ----------
    trimaps : uint8 [N, H, W]
    iterations : int [N]
        Of each crop's conjugate gradients.
    """
    moved, computed = [], []
    for trimap, count in zip(trimaps, iterations, strict=True):
        windows, pixels = strips_of(trimap == UNKNOWN)
        moved.append(count * (windows * WINDOW_BYTES + pixels * PIXEL_BYTES))
        computed.append(count * max(windows, pixels) * INSTRUCTIONS)
    return float(np.mean(moved)), float(np.mean(computed))


def strips_of(unknown: np.ndarray) -> tuple[int, int]:
    """Strips that hold windows around unknown pixels, and those that hold such pixels."""
    rows = np.flatnonzero(unknown.any(axis=1))
    if not len(rows):
        return 0, 0
    windows = ndimage.binary_dilation(unknown, np.ones((3, 3)))
    windows[[0, -1]] = windows[:, [0, -1]] = False  # a window lies in the image
    top = max(rows[0] - 2, 0)  # of the region that is solved
    return count_strips(windows[top:]), count_strips(unknown[top:])


def count_strips(plane: np.ndarray) -> int:
    padded = np.pad(plane, ((0, -len(plane) % STRIP), (0, 0)))
    return int(padded.reshape(-1, STRIP, padded.shape[1]).any(axis=1).sum())
