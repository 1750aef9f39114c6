"""Compiled loops of the matting Laplacian.

Importing this module loads numba, so `laplacian.py` imports it inside functions.
"""

from __future__ import annotations

import numpy as np

from dsnet.labeling.matting.compiled import compiled


@compiled
def touched_windows(unknown: np.ndarray, window_rows: int, window_cols: int) -> np.ndarray:
    """Mark the windows, by their top left pixel, that hold an unknown pixel."""
    rows, cols = unknown.shape
    touched = np.zeros((rows - window_rows + 1, cols - window_cols + 1), np.bool_)
    for y in range(rows):
        for x in range(cols):
            if unknown[y, x]:
                for top in range(max(y - window_rows + 1, 0), min(y + 1, touched.shape[0])):
                    for left in range(max(x - window_cols + 1, 0), min(x + 1, touched.shape[1])):
                        touched[top, left] = True
    return touched


@compiled
def covered_pixels(touched: np.ndarray, window_rows: int, window_cols: int) -> np.ndarray:
    """Mark the pixels that lie in a touched window."""
    rows = touched.shape[0] + window_rows - 1
    cols = touched.shape[1] + window_cols - 1
    covered = np.zeros((rows, cols), np.bool_)
    for top in range(touched.shape[0]):
        for left in range(touched.shape[1]):
            if touched[top, left]:
                covered[top : top + window_rows, left : left + window_cols] = True
    return covered


@compiled
def window_stencils(
    image: np.ndarray,
    touched: np.ndarray,
    equation: np.ndarray,
    equations: int,
    epsilon: float,
) -> np.ndarray:
    """Sum the windows' matrices into one stencil for each equation.

    A window w with mean m and covariance S adds, for its pixels i and j,

        [i = j] - (1 + (I_i - m)^T (S + epsilon / |w|)^-1 (I_j - m)) / |w|.

    With the Cholesky factor G G^T = S + epsilon / |w| the bilinear form is y_i . y_j,
    y_i = G^-1 (I_i - m): symmetric to the last bit, and no inverse is formed.

    image float64 [H, W, C]; touched bool [H - h + 1, W - w + 1] for windows of h by w;
    equation int32 [H, W], -1 where a pixel has none. Returns float64
    [equations, 2h - 1, 2w - 1]; entry [h - 1, w - 1] is the pixel itself.
    """
    rows, cols, channels = image.shape
    window_rows = rows - touched.shape[0] + 1
    window_cols = cols - touched.shape[1] + 1
    size = window_rows * window_cols
    stencils = np.zeros((equations, 2 * window_rows - 1, 2 * window_cols - 1))
    y = np.empty((size, channels))
    factor = np.empty((channels, channels))
    for top in range(touched.shape[0]):
        for left in range(touched.shape[1]):
            if not touched[top, left]:
                continue
            for c in range(channels):
                # Relative to one pixel first: a large offset then costs no digits.
                corner = image[top, left, c]
                mean = 0.0
                for k in range(size):
                    value = image[top + k // window_cols, left + k % window_cols, c] - corner
                    y[k, c] = value
                    mean += value
                mean /= size
                for k in range(size):
                    y[k, c] -= mean

            for a in range(channels):
                for b in range(a + 1):
                    total = epsilon if a == b else 0.0
                    for k in range(size):
                        total += y[k, a] * y[k, b]
                    total /= size
                    for c in range(b):
                        total -= factor[a, c] * factor[b, c]
                    # Rounding can push a pivot below its exact lower bound epsilon / |w|.
                    if a == b:
                        factor[a, a] = np.sqrt(max(total, epsilon / size))
                    else:
                        factor[a, b] = total / factor[b, b]

            for k in range(size):
                for a in range(channels):
                    for b in range(a):
                        y[k, a] -= factor[a, b] * y[k, b]
                    y[k, a] /= factor[a, a]

            for i in range(size):
                row_i, col_i = i // window_cols, i % window_cols
                e = equation[top + row_i, left + col_i]
                if e < 0:
                    continue
                stencil = stencils[e, window_rows - 1 - row_i :, window_cols - 1 - col_i :]
                j = 0
                for row_j in range(window_rows):
                    for col_j in range(window_cols):
                        affinity = 1.0 + y[i, 0] * y[j, 0]
                        for c in range(1, channels):
                            affinity += y[i, c] * y[j, c]
                        stencil[row_j, col_j] -= affinity / size
                        j += 1
                stencil[row_i, col_i] += 1.0
    return stencils


@compiled
def stencils_to_csr(
    stencils: np.ndarray, equation: np.ndarray, pixels: np.ndarray, value: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Split the stencils: columns with an equation to CSR, the others to the right side.

    pixels int32 [equations] are flat pixel indices in ascending order; value float64
    [H, W] holds the known values. Returns data, indices, indptr with sorted columns and
    `right = -sum_j L_ij value_j` over the columns j without an equation.
    """
    rows, cols = equation.shape
    reach_rows, reach_cols = stencils.shape[1] // 2, stencils.shape[2] // 2
    data = np.empty(stencils.size)
    indices = np.empty(stencils.size, np.int32)
    indptr = np.zeros(len(pixels) + 1, np.int32)
    right = np.zeros(len(pixels))
    filled = 0
    for e in range(len(pixels)):
        y, x = pixels[e] // cols, pixels[e] % cols
        for dy in range(max(-reach_rows, -y), min(reach_rows, rows - 1 - y) + 1):
            for dx in range(max(-reach_cols, -x), min(reach_cols, cols - 1 - x) + 1):
                entry = stencils[e, dy + reach_rows, dx + reach_cols]
                column = equation[y + dy, x + dx]
                if column < 0:
                    right[e] -= entry * value[y + dy, x + dx]
                elif entry != 0.0 or column == e:
                    data[filled] = entry
                    indices[filled] = column
                    filled += 1
        indptr[e + 1] = filled
    return data[:filled].copy(), indices[:filled].copy(), indptr, right
