"""Closed-form matting: the alpha that a trimap and the image's colour lines leave open."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dsnet import _C
from dsnet.labeling.arguments import require_pixels
from dsnet.labeling.constants import BACKGROUND, FOREGROUND, UNKNOWN
from dsnet.labeling.gpu import arrays
from dsnet.labeling.matting import solvers
from dsnet.labeling.matting.laplacian import check_image, check_window, matting_system

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

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
        What ran: "multigrid" or "jacobi" (both native), "amg", "banded", "direct", or "none"
        without a system to solve.
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


@dataclass(frozen=True, eq=False)
class MattingProblem:
    """What is to be solved, and how closely; `closed_form_matting` says what each means."""

    image: Any
    trimap: Any
    prior: Any = None
    prior_weight: float = 1.0
    constraint_weight: float | None = None
    epsilon: float = 1e-7
    window_radius: int = 1
    rtol: float | None = None
    max_iterations: int = 1000

    def rtol_or(self, default: float) -> float:
        """The residual to stop at."""
        return default if self.rtol is None else self.rtol


def closed_form_matting(
    image: Any,
    trimap: Any,
    *,
    solver: str = "auto",
    epsilon: float = 1e-7,
    window_radius: int = 1,
    rtol: float | None = None,
    max_iterations: int = 1000,
    constraint_weight: float | None = None,
    prior: Any = None,
    prior_weight: float = 1.0,
) -> tuple[Any, MattingInfo]:
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
    solver : {"auto", "native", "jacobi", "amg", "banded", "direct"}
        "native" is compiled, for one channel and windows of 3x3: conjugate gradients on an
        operator without a matrix, from the image rounded to float32; preconditioned by a
        multigrid cycle over aggregates of 2x2 pixels with near-nullspace [1, I], or by the
        diagonal where that is enough. "jacobi" is the same, always by the diagonal. The others
        are general and slower: "amg" is conjugate gradients preconditioned by a V-cycle of
        smoothed aggregation with near-nullspace [1, I], "banded" (Cholesky) and "direct"
        (sparse LU) are exact. "auto" takes "native" where it applies and converges, else
        "banded" where the band is cheap, as it is for crops and thin unknown regions, else
        "amg".
    epsilon, window_radius
        See `matting_laplacian`.
    rtol : float, optional
        Iterative solvers stop at ||b - A x|| <= rtol ||b||. By default `DEFAULT_RTOL` for the
        native ones, which ask for 1e-12 of their own where pixels may be all but untied (windows
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
        `gpu.batches.DeviceMattingInfo` for CUDA arrays.

    Notes
    -----
    Arrays in a CUDA device's memory (of torch, CuPy, numba, or with DLPack) are solved there, on
    their library's current stream and without a copy to the host; `alpha` is an array of the same
    library. They may be batches [N, H, W]; image and prior are float32, the solver is "auto",
    "native" or "jacobi" (always preconditioned by the diagonal), windows are 3x3, and there is no
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
    problem = MattingProblem(
        image=image,
        trimap=trimap,
        prior=prior,
        prior_weight=prior_weight,
        constraint_weight=constraint_weight,
        epsilon=epsilon,
        window_radius=window_radius,
        rtol=rtol,
        max_iterations=max_iterations,
    )
    if arrays.is_on_device(image) or arrays.is_on_device(trimap):
        return _solve_on_device(problem, solver)
    start = time.perf_counter()
    done = _solve_natively(problem, solver) if solver in ("auto", "native", "jacobi") else None
    if done is None:
        done = _solve_in_general(_checked(problem, solver), solver)
    alpha, name, iterations, residual, converged, unknowns = done
    seconds = time.perf_counter() - start
    return alpha, MattingInfo(name, iterations, residual, converged, seconds, unknowns)


def _solve_on_device(problem: MattingProblem, solver: str) -> tuple[Any, Any]:
    from dsnet.labeling.gpu.batches import matting_on_device

    rtol = problem.rtol_or(DEFAULT_RTOL)
    _check_options(problem, solver, rtol)
    if solver not in ("auto", "native", "jacobi"):
        raise ValueError(
            f"solver must be auto, native or jacobi for arrays on a GPU, got {solver!r}"
        )
    if problem.window_radius != 1 or problem.constraint_weight is not None:
        raise ValueError("arrays on a GPU need window_radius 1 and no constraint_weight")
    if not _LEAST_NATIVE_EPSILON <= problem.epsilon < np.inf:
        raise ValueError(
            f"epsilon must be finite and >= {_LEAST_NATIVE_EPSILON:g} for arrays on a GPU, got "
            f"{problem.epsilon!r}"
        )
    return matting_on_device(
        problem.image,
        problem.trimap,
        prior=problem.prior,
        prior_weight=problem.prior_weight,
        epsilon=problem.epsilon,
        rtol=rtol,
        max_iterations=problem.max_iterations,
    )


# Alpha, what ran, its iterations, residual, whether it converged, unknown pixels.
_Solution = tuple[np.ndarray, str, int, float, bool, int]


def _solve_natively(problem: MattingProblem, solver: str) -> _Solution | None:
    """Run the native solver; None where it does not apply or where an argument is unusable."""
    image, trimap = np.asarray(problem.image), np.asarray(problem.trimap)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    rtol = problem.rtol_or(DEFAULT_RTOL)
    applies = (
        image.ndim == 2
        and image.dtype.kind == "f"
        and min(image.shape) >= 3
        and trimap.dtype == np.uint8
        and trimap.shape == image.shape
        and problem.window_radius == 1
        and problem.constraint_weight is None
        and _LEAST_NATIVE_EPSILON <= problem.epsilon < np.inf
        and 0 < rtol < 1
        and problem.max_iterations == int(problem.max_iterations)
        and 0 <= problem.max_iterations < 2**31
    )
    if not applies:
        return None
    require_pixels(image.shape, "image")
    prior = _check_prior(problem.prior, problem.prior_weight, trimap.shape)
    with np.errstate(over="ignore"):
        image = np.ascontiguousarray(image, np.float32)
    done = _C.matting(
        image,
        np.ascontiguousarray(trimap),
        None if prior is None else prior.astype(np.float32),
        0.0 if prior is None else float(problem.prior_weight),
        solver="jacobi" if solver == "jacobi" else "auto",
        epsilon=float(problem.epsilon),
        rtol=float(rtol),
        max_iterations=int(problem.max_iterations),
    )
    # Rounding can stop it short of what all but untied pixels ask for; the exact ones go on.
    stuck = done is not None and not done[4] and done[2] < problem.max_iterations
    return None if stuck and solver == "auto" else done


def _solve_in_general(problem: MattingProblem, solver: str) -> _Solution:
    """Assemble the matrix, where anything is to be solved; the problem comes from `_checked`."""
    unknown = problem.trimap == UNKNOWN
    foreground = problem.trimap == FOREGROUND
    unknowns = int(np.count_nonzero(unknown))
    foregrounds = int(np.count_nonzero(foreground))

    alpha = foreground.astype(np.float32)
    if unknowns == unknown.size:
        alpha[:] = 0.5
    elif unknowns and foregrounds + unknowns == unknown.size:
        alpha[:] = 1.0
    elif unknowns and foregrounds:
        matrix, b, pixels = matting_system(
            problem.image,
            foreground.astype(np.float64),
            unknown,
            epsilon=problem.epsilon,
            window_radius=problem.window_radius,
            constraint_weight=problem.constraint_weight,
            prior=problem.prior,
            prior_weight=problem.prior_weight,
        )
        x, name, iterations, definite = _solve(problem, solver, matrix, b, pixels)
        residual, rounding = solvers.relative_residual(matrix, b, x)
        alpha.ravel()[pixels] = np.clip(x, 0.0, 1.0)
        converged = definite and residual <= max(problem.rtol_or(GENERAL_RTOL), rounding)
        return alpha, name, iterations, residual, converged, unknowns
    return alpha, "none", 0, 0.0, True, unknowns


def _solve(
    problem: MattingProblem, solver: str, matrix: csr_matrix, b: np.ndarray, pixels: np.ndarray
) -> tuple[np.ndarray, str, int, bool]:
    """Run a solver; returns x, what ran, its iterations and whether the matrix was definite."""
    if solver in ("auto", "banded"):
        band = solvers.Band.of(matrix)
        if solver == "banded" or band.is_cheap:
            x, definite = solvers.solve_banded(matrix, b, band)
            return x, "banded", 0, definite
    if solver == "direct":
        x, definite = solvers.solve_sparse(matrix, b)
        return x, "direct", 0, definite
    channels = problem.image.reshape(-1, problem.image.shape[2])[pixels]
    near_nullspace = solvers.orthonormal_basis([np.ones(len(pixels)), *channels.T])
    x, iterations = solvers.conjugate_gradients(
        matrix,
        b,
        solvers.smoothed_aggregation(matrix, near_nullspace),
        rtol=problem.rtol_or(GENERAL_RTOL),
        max_iterations=problem.max_iterations,
    )
    return x, "amg", iterations, True


def _checked(problem: MattingProblem, solver: str) -> MattingProblem:
    """The problem as the general solvers take it, or what is wrong with it."""
    image = check_image(problem.image)
    trimap = check_trimap(problem.trimap, image.shape[:2])
    check_window(image, problem.epsilon, problem.window_radius)
    _check_options(problem, solver, problem.rtol_or(GENERAL_RTOL))
    prior = _check_prior(problem.prior, problem.prior_weight, trimap.shape)
    if solver in ("native", "jacobi"):
        raise ValueError(
            f"solver {solver!r} needs one channel of at least 3x3 pixels within +-16, "
            f"window_radius 1, epsilon >= {_LEAST_NATIVE_EPSILON:g} and no constraint_weight"
        )
    return replace(problem, image=image, trimap=trimap, prior=prior)


def check_trimap(trimap: Any, shape: tuple[int, ...]) -> np.ndarray:
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


def _check_prior(prior: Any, prior_weight: float, shape: tuple[int, ...]) -> np.ndarray | None:
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


def _check_options(problem: MattingProblem, solver: str, rtol: float) -> None:
    most, weight = problem.max_iterations, problem.constraint_weight
    if solver not in SOLVERS:
        raise ValueError(f"solver must be one of {', '.join(SOLVERS)}, got {solver!r}")
    if not 0 < rtol < 1:
        raise ValueError(f"rtol must lie between 0 and 1, got {rtol!r}")
    if most != int(most) or most < 0:
        raise ValueError(f"max_iterations must be an integer >= 0, got {most!r}")
    if weight is not None and not 0 < weight < np.inf:
        raise ValueError(f"constraint_weight must be positive and finite, got {weight!r}")
