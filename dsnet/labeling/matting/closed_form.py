"""Closed-form matting: the alpha that a trimap and the image's colour lines leave open."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from dsnet import _C
from dsnet.labeling.constants import BACKGROUND, FOREGROUND, UNKNOWN
from dsnet.labeling.gpu import arrays
from dsnet.labeling.matting import solvers
from dsnet.labeling.matting.laplacian import check_image, check_window, matting_system

SOLVERS = ("auto", "native", "amg", "jacobi", "banded", "direct")
# Relative residuals. The native solver's default leaves alpha within 1e-3 of the exact solve
# everywhere and 1e-4 on average; TIGHT_RTOL brings it to 1e-6.
DEFAULT_RTOL = 3e-6
TIGHT_RTOL = 1e-10
GENERAL_RTOL = 1e-13
# Below it the native solver's one-pass variances lose digits that matter.
_LEAST_NATIVE_EPSILON = 1e-9


@dataclass(frozen=True)
class MattingInfo:
    """What a matting solve did.

    Attributes
    ----------
    solver : str
        What ran: "multigrid" or "jacobi" (native or general), "amg", "banded", "direct", or
        "none" without a system to solve.
    iterations : int
        Conjugate gradient iterations; 0 for the direct solvers.
    residual : float
        True relative residual ||b - A x|| / ||b|| of the solution before clipping.
    converged : bool
        The residual is at most rtol, or at the level of rounding. False also where rounding
        left the matrix singular and a direct solver drew the open part of alpha to 0.5.
    seconds : float
        Wall time of the whole call.
    unknowns : int
        Unknown pixels of the trimap.
    """

    solver: str
    iterations: int
    residual: float
    converged: bool
    seconds: float
    unknowns: int


def closed_form_matting(
    image,
    trimap,
    *,
    solver="auto",
    epsilon=1e-7,
    window_radius=1,
    rtol=None,
    max_iterations=1000,
    constraint_weight=None,
    prior=None,
    prior_weight=1.0,
):
    """Estimate alpha from an image and a trimap by closed-form matting.

    Alpha minimises x^T L x, L the matting Laplacian, with the trimap's known pixels held.
    Without foreground alpha is 0 everywhere, without background 1; a trimap of nothing
    but unknown pixels leaves alpha open and gives 0.5.

    Parameters
    ----------
    image : float array [H, W] or [H, W, C]
        Intensities, about 0..1.
    trimap : uint8 array [H, W]
        0 background, 128 unknown, 255 foreground.
    solver : {"auto", "native", "amg", "jacobi", "banded", "direct"}
        "native" is compiled, for one channel and windows of 3x3: conjugate gradients on an
        operator without a matrix, from the image rounded to float32; preconditioned by a
        multigrid cycle over aggregates of 2x2 pixels with near-nullspace [1, I], or by the
        diagonal where that is enough. The others are general and slower. "amg" and "jacobi"
        are conjugate gradients, preconditioned by a V-cycle of smoothed aggregation with
        near-nullspace [1, I] or by the diagonal. "banded" (Cholesky) and "direct" (sparse LU)
        are exact. "auto" takes "native" where it applies and converges, else "banded" where
        the band is cheap, as it is for crops and thin unknown regions, else "amg".
    epsilon, window_radius
        See `matting_laplacian`.
    rtol : float, optional
        Iterative solvers stop at ||b - A x|| <= rtol ||b||. By default `DEFAULT_RTOL` for
        "native", which asks for 1e-12 of its own where pixels may be all but untied (windows
        of two grey values, hardly any known pixel), and `GENERAL_RTOL` for the others.
    max_iterations : int
        Past these the last iterate, the best in energy, is returned with
        `info.converged` False.
    constraint_weight : float, optional
        Hold known pixels by weight, (L + w D) x = w D b, as the authors do with w = 100.
        Known pixels within a window of an unknown one may then move a little. By default
        they are eliminated, and keep their value exactly.
    prior : float array [H, W], optional
        Alpha in 0..1 as something else than the grey values sees it. Where pixels are unknown,
        v (x - prior)^2 joins the quadratic form, v the `prior_weight`: a data term as in Wang
        and Cohen, "Optimized color sampling for robust matting", CVPR 2007.
    prior_weight : float
        Above 0; the Laplacian's diagonal is about 8 for 3x3 windows.

    Returns
    -------
    alpha : float32 array [H, W]
        Opacity in 0..1.
    info : MattingInfo
        `_device_labeling.DeviceMattingInfo` for CUDA arrays.

    Notes
    -----
    Arrays in a CUDA device's memory (of torch, CuPy, numba, or with DLPack) are solved there, on
    their library's current stream and without a copy to the host; `alpha` is an array of the same
    library. They may be batches [N, H, W]; image and prior are float32, the solver is "auto" or
    "native" (here always preconditioned by the diagonal), windows are 3x3, and there is no
    `constraint_weight`. Values are not looked at beforehand: where the image is not finite or the
    trimap or prior has other values than it may, alpha is NaN and `info.valid` False.

    Raises
    ------
    ValueError, TypeError
        For an image, trimap or parameter outside the above. Never for slow convergence.

    References
    ----------
    Levin, Lischinski, Weiss, "A closed-form solution to natural image matting",
    IEEE TPAMI 30(2), 2008, equations 12 and 13. Elimination of the known pixels: Grady et
    al., "Random walks for interactive alpha-matting", VIIP 2005.
    """
    if arrays.is_on_device(image) or arrays.is_on_device(trimap):
        return _solve_on_device(
            image, trimap, solver, epsilon, window_radius, rtol, max_iterations,
            constraint_weight, prior, prior_weight,
        )  # fmt: skip
    start = time.perf_counter()
    if solver in ("auto", "native"):
        done = _solve_natively(
            image, trimap, epsilon, window_radius, rtol, max_iterations, constraint_weight,
            prior, prior_weight,
        )  # fmt: skip
        # Rounding can stop it short of what all but untied pixels ask for; the exact ones go on.
        stuck = done is not None and not done[4] and done[2] < max_iterations
        if done is not None and not (stuck and solver == "auto"):
            alpha, name, iterations, residual, converged, unknowns = done
            seconds = time.perf_counter() - start
            return alpha, MattingInfo(name, iterations, residual, converged, seconds, unknowns)
    if rtol is None:
        rtol = GENERAL_RTOL
    image = check_image(image)
    trimap = check_trimap(trimap, image.shape[:2])
    check_window(image, epsilon, window_radius)
    _check_options(solver, rtol, max_iterations, constraint_weight)
    prior = _check_prior(prior, prior_weight, trimap.shape)
    if solver == "native":
        raise ValueError(
            "solver 'native' needs one channel of at least 3x3 pixels within +-16, window_radius "
            f"1, epsilon >= {_LEAST_NATIVE_EPSILON:g} and no constraint_weight"
        )
    unknown = trimap == UNKNOWN
    foreground = trimap == FOREGROUND
    unknowns = int(np.count_nonzero(unknown))
    foregrounds = int(np.count_nonzero(foreground))

    alpha = foreground.astype(np.float32)
    name, iterations, residual, converged = "none", 0, 0.0, True
    if unknowns == trimap.size:
        alpha[:] = 0.5
    elif unknowns and foregrounds + unknowns == trimap.size:
        alpha[:] = 1.0
    elif unknowns and foregrounds:
        matrix, b, pixels = matting_system(
            image,
            foreground.astype(np.float64),
            unknown,
            epsilon=epsilon,
            window_radius=window_radius,
            constraint_weight=constraint_weight,
            prior=prior,
            prior_weight=prior_weight,
        )
        x, name, iterations, definite = _solve(
            solver, matrix, b, image, pixels, rtol, max_iterations
        )
        residual, rounding = solvers.relative_residual(matrix, b, x)
        converged = definite and residual <= max(rtol, rounding)
        alpha.ravel()[pixels] = np.clip(x, 0.0, 1.0)
    seconds = time.perf_counter() - start
    return alpha, MattingInfo(name, iterations, residual, converged, seconds, unknowns)


def _solve_on_device(
    image, trimap, solver, epsilon, window_radius, rtol, max_iterations, constraint_weight, prior,
    prior_weight,
):  # fmt: skip
    from dsnet.labeling.gpu.batches import matting_on_device

    rtol = DEFAULT_RTOL if rtol is None else rtol
    _check_options(solver, rtol, max_iterations, constraint_weight)
    if solver not in ("auto", "native"):
        raise ValueError(f"solver must be auto or native for arrays on a GPU, got {solver!r}")
    if window_radius != 1 or constraint_weight is not None:
        raise ValueError("arrays on a GPU need window_radius 1 and no constraint_weight")
    if not _LEAST_NATIVE_EPSILON <= epsilon < np.inf:
        raise ValueError(
            f"epsilon must be finite and >= {_LEAST_NATIVE_EPSILON:g} for arrays on a GPU, got "
            f"{epsilon!r}"
        )
    return matting_on_device(
        image,
        trimap,
        prior=prior,
        prior_weight=prior_weight,
        epsilon=epsilon,
        rtol=rtol,
        max_iterations=max_iterations,
    )


def _solve_natively(
    image, trimap, epsilon, window_radius, rtol, max_iterations, constraint_weight, prior,
    prior_weight,
):  # fmt: skip
    """Run the native solver; None where it does not apply or where an argument is unusable."""
    image, trimap = np.asarray(image), np.asarray(trimap)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    applies = (
        image.ndim == 2
        and image.dtype.kind == "f"
        and min(image.shape) >= 3
        and trimap.dtype == np.uint8
        and trimap.shape == image.shape
        and window_radius == 1
        and constraint_weight is None
        and _LEAST_NATIVE_EPSILON <= epsilon < np.inf
        and (rtol is None or 0 < rtol < 1)
        and max_iterations == int(max_iterations)
        and 0 <= max_iterations < 2**31
    )
    if not applies:
        return None
    if prior is not None:
        prior = _check_prior(prior, prior_weight, trimap.shape).astype(np.float32)
    with np.errstate(over="ignore"):
        image = np.ascontiguousarray(image, np.float32)
    return _C.matting(
        image,
        np.ascontiguousarray(trimap),
        prior,
        float(prior_weight) if prior is not None else 0.0,
        epsilon=float(epsilon),
        rtol=DEFAULT_RTOL if rtol is None else float(rtol),
        max_iterations=int(max_iterations),
    )


def _solve(solver, matrix, b, image, pixels, rtol, max_iterations):
    """Run a solver; returns x, what ran, its iterations and whether the matrix was definite."""
    if solver in ("auto", "banded"):
        band = solvers.Band.of(matrix)
        if solver == "banded" or band.is_cheap:
            x, definite = solvers.solve_banded(matrix, b, band)
            return x, "banded", 0, definite
        solver = "amg"
    if solver == "direct":
        x, definite = solvers.solve_sparse(matrix, b)
        return x, "direct", 0, definite
    if solver == "amg":
        channels = image.reshape(-1, image.shape[2])[pixels]
        near_nullspace = solvers.orthonormal_basis([np.ones(len(pixels)), *channels.T])
        precondition = solvers.smoothed_aggregation(matrix, near_nullspace)
    else:
        precondition = solvers.jacobi(matrix)
    x, iterations = solvers.conjugate_gradients(
        matrix, b, precondition, rtol=rtol, max_iterations=max_iterations
    )
    return x, solver, iterations, True


def check_trimap(trimap, shape):
    """Return the trimap as a contiguous array, or say what is wrong with it."""
    trimap = np.ascontiguousarray(trimap)
    if trimap.dtype != np.uint8:
        raise TypeError(f"trimap must be uint8 (0, 128, 255), got {trimap.dtype}")
    if trimap.shape != shape:
        raise ValueError(f"trimap must have the image's shape {shape}, got {trimap.shape}")
    allowed = (trimap == BACKGROUND) | (trimap == UNKNOWN) | (trimap == FOREGROUND)
    if not allowed.all():
        values = np.unique(trimap[~allowed]).tolist()
        raise ValueError(f"trimap must hold 0, 128 and 255 alone, got {values}")
    return trimap


def _check_prior(prior, prior_weight, shape):
    if prior is None:
        return None
    prior = np.asarray(prior, dtype=np.float64)
    if prior.shape != shape:
        raise ValueError(f"prior must have the image's shape {shape}, got {prior.shape}")
    if not (prior >= 0).all() or not (prior <= 1).all():
        raise ValueError("prior must be in 0..1, got values outside or NaN")
    if not 0 < prior_weight < np.inf:
        raise ValueError(f"prior_weight must be finite and > 0, got {prior_weight!r}")
    return prior


def _check_options(solver, rtol, max_iterations, constraint_weight):
    if solver not in SOLVERS:
        raise ValueError(f"solver must be one of {', '.join(SOLVERS)}, got {solver!r}")
    if not 0 < rtol < 1:
        raise ValueError(f"rtol must lie between 0 and 1, got {rtol!r}")
    if max_iterations != int(max_iterations) or max_iterations < 0:
        raise ValueError(f"max_iterations must be an integer >= 0, got {max_iterations!r}")
    if constraint_weight is not None and not 0 < constraint_weight < np.inf:
        raise ValueError(
            f"constraint_weight must be positive and finite, got {constraint_weight!r}"
        )
