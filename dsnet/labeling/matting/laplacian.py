"""The matting Laplacian of Levin, Lischinski and Weiss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dsnet.labeling.arguments import require_pixels

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


def matting_laplacian(
    image: Any, unknown: Any = None, *, epsilon: float = 1e-7, window_radius: int = 1
) -> csr_matrix:
    r"""Assemble the matting Laplacian as a sparse matrix over all pixels.

    .. math::
        L_{ij} = \sum_{w \ni i, j} \delta_{ij} - \frac{1}{|w|} \Big(1 +
        (I_i - \mu_w)^T \big(\Sigma_w + \tfrac{\epsilon}{|w|} \mathbf 1\big)^{-1}
        (I_j - \mu_w)\Big)

    L is symmetric and positive semi-definite, its rows sum to zero, and as epsilon goes
    to zero it also annuls every channel of the image.

    Parameters
    ----------
    image : float array [H, W] or [H, W, C]
        Intensities, about 0..1: epsilon is absolute, so it is small beside their variance.
    unknown : bool array [H, W], optional
        Sum only the windows that hold such a pixel. Rows of unknown pixels are those of
        the full Laplacian. By default every window counts.
    epsilon : float
        Regularisation, positive. Divided by the window's size, as in the authors' code.
        A grey image stacked C times needs epsilon * C to match the image alone.
    window_radius : int
        Windows are 2 r + 1 pixels wide, cut to the image where that is smaller, and lie
        inside the image.

    Returns
    -------
    scipy.sparse.csr_matrix [H * W, H * W]
        float64 data, int32 indices in ascending order.

    Raises
    ------
    ValueError, TypeError
        For an image that is not finite, not floating or of another shape, an `unknown`
        of another shape or type, a non-positive epsilon or radius.

    References
    ----------
    Levin, Lischinski, Weiss, "A closed-form solution to natural image matting",
    IEEE TPAMI 30(2), 2008, equation 12.
    """
    from scipy.sparse import csr_matrix

    from dsnet.labeling.matting import laplacian_compiled as compiled

    image = check_image(image)
    window = check_window(image, epsilon, window_radius)
    shape = image.shape[:2]
    if unknown is None:
        unknown = np.ones(shape, bool)
    unknown = np.ascontiguousarray(unknown)
    if unknown.dtype != bool:
        raise TypeError(f"unknown must be a bool array, got {unknown.dtype}")
    if unknown.shape != shape:
        raise ValueError(f"unknown must have the image's shape {shape}, got {unknown.shape}")

    touched = compiled.touched_windows(unknown, *window)
    covered = compiled.covered_pixels(touched, *window)
    equation, pixels = _number(covered)
    stencils = compiled.window_stencils(image, touched, equation, len(pixels), float(epsilon))
    data, indices, indptr, _ = compiled.stencils_to_csr(stencils, equation, pixels, np.zeros(shape))
    entries = np.zeros(covered.size + 1, np.int32)
    entries[pixels + 1] = np.diff(indptr)
    all_rows = np.cumsum(entries, dtype=np.int32)
    return csr_matrix((data, pixels[indices], all_rows), (covered.size, covered.size))


def matting_system(
    image: np.ndarray,
    known_value: np.ndarray,
    unknown: np.ndarray,
    *,
    epsilon: float,
    window_radius: int,
    constraint_weight: float | None,
    prior: np.ndarray | None = None,
    prior_weight: float = 0.0,
) -> tuple[csr_matrix, np.ndarray, np.ndarray]:
    """Assemble the linear system A x = b of closed-form matting.

    Without a constraint weight the known pixels are eliminated, L_uu x = -L_uk x_k, one
    equation for each unknown pixel. With a weight w it is (L + w D) x = w D x_k, D the
    indicator of known pixels, over the pixels that share a window with an unknown one;
    elsewhere it says x = x_k. A prior p adds its weight v to the unknown pixels' diagonal and
    v p to their right hand side.

    image comes from `check_image`; known_value float64 [H, W] (0 where unknown); unknown
    bool [H, W]. Returns A (csr), b and the pixels' flat indices, int32 ascending.
    """
    from scipy.sparse import csr_matrix

    from dsnet.labeling.matting import laplacian_compiled as compiled

    window = check_window(image, epsilon, window_radius)
    touched = compiled.touched_windows(unknown, *window)
    weighted = constraint_weight is not None
    equation, pixels = _number(compiled.covered_pixels(touched, *window) if weighted else unknown)
    stencils = compiled.window_stencils(image, touched, equation, len(pixels), float(epsilon))
    centre = stencils[:, window[0] - 1, window[1] - 1]
    free = unknown.ravel()[pixels]
    weight = None if constraint_weight is None else constraint_weight * ~free
    if weight is not None:
        centre += weight
    if prior is not None:
        centre += prior_weight * free
    data, indices, indptr, b = compiled.stencils_to_csr(stencils, equation, pixels, known_value)
    if weight is not None:
        b = weight * known_value.ravel()[pixels]
    if prior is not None:
        b = b + prior_weight * free * prior.ravel()[pixels]
    return csr_matrix((data, indices, indptr), (len(pixels), len(pixels))), b, pixels


def check_image(image: Any) -> np.ndarray:
    """Return the image as contiguous float64 [H, W, C], or say what is wrong with it."""
    image = np.asarray(image)
    if not np.issubdtype(image.dtype, np.floating):
        raise TypeError(f"image must be floating, intensities about 0..1, got {image.dtype}")
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(f"image must be a non-empty [H, W] or [H, W, C], got {image.shape}")
    require_pixels(image.shape, "image")
    if not np.isfinite(image).all():
        bad = image.size - np.count_nonzero(np.isfinite(image))
        raise ValueError(f"image must be finite, got {bad} NaN or infinite values")
    image = np.ascontiguousarray(image.reshape(*image.shape[:2], -1), np.float64)
    if np.abs(image).max() > 1e100:
        raise ValueError(f"image must stay below 1e100, got {np.abs(image).max():g}")
    return image


def check_window(image: np.ndarray, epsilon: float, window_radius: int) -> tuple[int, int]:
    """Return the window's rows and columns after checking the parameters."""
    if not np.isfinite(epsilon) or epsilon <= 0:
        raise ValueError(f"epsilon must be positive and finite, got {epsilon!r}")
    if window_radius != int(window_radius) or window_radius < 1:
        raise ValueError(f"window_radius must be an integer >= 1, got {window_radius!r}")
    rows, cols = image.shape[:2]
    width = 2 * int(window_radius) + 1
    # int32 indices: the stencils of all pixels must be countable.
    entries = rows * cols * (2 * min(width, rows) - 1) * (2 * min(width, cols) - 1)
    if entries > np.iinfo(np.int32).max:
        raise ValueError(f"image {rows} x {cols} is too large for window_radius {window_radius}")
    return min(width, rows), min(width, cols)


def _number(chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the chosen pixels in raster order; -1 elsewhere."""
    pixels = np.flatnonzero(chosen).astype(np.int32)
    equation = np.full(chosen.shape, -1, np.int32)
    equation.ravel()[pixels] = np.arange(len(pixels), dtype=np.int32)
    return equation, pixels
