"""Cholesky factorisation of a symmetric positive definite band matrix.

LAPACK's splits wide bands over threads, and its bits follow their number; this one is as
fast on one thread and always gives the same. Importing it loads numba.
"""

from __future__ import annotations

import numpy as np

from dsnet.labeling.matting.compiled import compiled

BLOCK = 4


@compiled
def pack(
    row: np.ndarray, column: np.ndarray, data: np.ndarray, size: int, width: int, shift: float
) -> np.ndarray:
    """Store the band's upper triangle by rows: entry [j, t] is A[j, j + t].

    Rows are padded with zeros by BLOCK - 1 and their number with unit rows to a multiple of
    BLOCK, so that no loop of `factorise` has a remainder. `shift` is added to the diagonal.
    """
    rows = (size + BLOCK - 1) // BLOCK * BLOCK
    band = np.zeros((rows, width + BLOCK))
    for k in range(len(data)):
        if column[k] >= row[k]:
            band[row[k], column[k] - row[k]] = data[k]
    band[:size, 0] += shift
    band[size:, 0] = 1.0
    return band


@compiled(fastmath={"contract"})
def factorise(band: np.ndarray) -> bool:
    """Overwrite a packed matrix by U with U^T U = A; False if it is not positive definite."""
    rows = band.shape[0]
    length = band.shape[1] - BLOCK + 1
    for j in range(0, rows, BLOCK):
        for q in range(BLOCK):
            row = band[j + q]
            for p in range(q):
                above = band[j + p]
                factor = above[q - p]
                for t in range(length):
                    row[t] -= factor * above[t + q - p]
            if not row[0] > 0.0:
                return False
            scale = 1.0 / np.sqrt(row[0])
            for t in range(length):
                row[t] *= scale
        # Four pivot rows at a time, so that each row below is read and written once for four.
        for i in range(BLOCK, min(length + BLOCK - 1, rows - j)):
            row = band[j + i]
            a, b, c, d = (
                band[j, i:],
                band[j + 1, i - 1 :],
                band[j + 2, i - 2 :],
                band[j + 3, i - 3 :],
            )
            a0, b0, c0, d0 = a[0], b[0], c[0], d[0]
            for t in range(length - i + BLOCK - 1):
                row[t] -= a0 * a[t] + b0 * b[t] + c0 * c[t] + d0 * d[t]
    return True


@compiled
def substitute(factor: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve U^T U x = right."""
    size = len(right)
    length = factor.shape[1] - BLOCK + 1
    x = right.copy()
    for j in range(size):
        row = factor[j]
        x[j] /= row[0]
        for t in range(1, min(length, size - j)):
            x[j + t] -= x[j] * row[t]
    for j in range(size - 1, -1, -1):
        row = factor[j]
        total = x[j]
        for t in range(1, min(length, size - j)):
            total -= row[t] * x[j + t]
        x[j] = total / row[0]
    return x
