"""Values in 0..1 as the whole numbers that a store keeps."""

from __future__ import annotations

import numpy as np


def quantise(values: np.ndarray, bits: int) -> np.ndarray:
    """Round values in 0..1 to `bits`-bit integers without crossing one half.

    `2**bits - 1` is odd, so one half lies midway between two codes and rounding half up in
    float64 keeps `decoded >= 0.5` exactly where `values >= 0.5`. The error is at most half a
    code, and float32's rounding when read back.

    Parameters
    ----------
    values : ndarray, float32
        In 0..1.
    bits : {8, 16}

    Returns
    -------
    ndarray of the same shape, little-endian uint8 or uint16
    """
    top = 2**bits - 1
    scaled = np.multiply(values, top, dtype=np.float64)
    scaled += 0.5
    # Nothing is below 0, so that cutting off is rounding down.
    return scaled.astype(f"<u{bits // 8}")


def dequantise(codes: np.ndarray, bits: int) -> np.ndarray:
    """Float32 values in 0..1 of `bits`-bit codes."""
    return (codes.astype(np.float64) / (2**bits - 1)).astype(np.float32)
