"""Solvers of the reduced matting system, symmetric and positive definite."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# What a residual becomes.
Preconditioner = Callable[[np.ndarray], np.ndarray]


def relative_residual(matrix: csr_matrix, b: np.ndarray, x: np.ndarray) -> tuple[float, float]:
    """||b - A x|| / ||b||, and the least value of it that rounding lets one ask for.

    Where known pixels are all but untied from the unknown ones, b is tiny beside A x.
    """
    scale = _norm(b) or 1.0
    rounding = 4 * np.finfo(float).eps * matrix.diagonal().max() * _norm(x)
    return float(_norm(b - matrix @ x) / scale), float(rounding / scale)


def _dot(x: np.ndarray, y: np.ndarray) -> float:
    # BLAS splits long products by its thread count, and then the bits follow that count.
    return np.sum(x * y)


def _norm(x: np.ndarray) -> float:
    return np.sqrt(_dot(x, x))


def conjugate_gradients(
    matrix: csr_matrix,
    b: np.ndarray,
    precondition: Preconditioner,
    *,
    rtol: float,
    max_iterations: int,
) -> tuple[np.ndarray, int]:
    """Preconditioned conjugate gradients from zero; returns x and the iterations made.

    Stops when ||b - A x|| <= rtol ||b||. The recurrence's residual drifts from the true
    one, so at its end the true one is computed and, while that helps, the method starts
    again from there. Each iterate minimises the energy error over its Krylov space, so
    the last one is the best and is what an early stop returns. Never raises.
    """
    x = np.zeros_like(b)
    residual = b.copy()
    true_norm = _norm(b)
    target = rtol * true_norm
    made = 0
    while true_norm > target and made < max_iterations:
        start, start_norm = x.copy(), true_norm
        direction = precondition(residual)
        energy = _dot(residual, direction)
        norm = true_norm
        while norm > target and made < max_iterations:
            image = matrix @ direction
            curvature = _dot(direction, image)
            if not (curvature > 0 and energy > 0):  # breakdown by rounding, or NaN
                break
            step = energy / curvature
            x += step * direction
            residual -= step * image
            made += 1
            norm = _norm(residual)
            if norm <= target:
                break
            z = precondition(residual)
            previous, energy = energy, _dot(residual, z)
            direction = z + (energy / previous) * direction
        residual = b - matrix @ x
        true_norm = _norm(residual)
        if not true_norm < 0.5 * start_norm:
            if not true_norm < start_norm:
                x = start
            break
    return x, made


def smoothed_aggregation(matrix: csr_matrix, near_nullspace: np.ndarray) -> Preconditioner:
    """One V-cycle of smoothed aggregation, near-nullspace float64 [n, k].

    Two settings differ from pyamg's for the sake of equal bits: local weighting, since the
    default estimates a spectral radius from numpy's global random state, and a coarsest
    level too small for BLAS to split over threads.
    """
    from pyamg import smoothed_aggregation_solver

    hierarchy = smoothed_aggregation_solver(
        matrix,
        B=near_nullspace,
        symmetry="symmetric",
        smooth=("jacobi", {"omega": 4.0 / 3.0, "weighting": "local"}),
        max_coarse=10,
    )
    cycle = hierarchy.aspreconditioner(cycle="V")
    return lambda residual: cycle.matvec(residual)


def orthonormal_basis(columns: Iterable[np.ndarray]) -> np.ndarray:
    """Orthonormal basis of the columns' span, by Gram-Schmidt; dependent columns are left out."""
    basis = []
    for column in columns:
        start = _norm(column)
        for _ in range(2):  # once more for what rounding left of the earlier ones
            for earlier in basis:
                column = column - _dot(earlier, column) * earlier
        size = _norm(column)
        if size > 1e-10 * start:
            basis.append(column / size)
    return np.column_stack(basis)


@dataclass(frozen=True)
class Band:
    """A matrix in reverse Cuthill-McKee order: the new row and column of each entry."""

    place: np.ndarray  # int32 [n], the new number of each equation
    row: np.ndarray  # int32 [nnz]
    column: np.ndarray  # int32 [nnz]
    width: int  # largest column - row

    @classmethod
    def of(cls, matrix: csr_matrix) -> Band:
        """Order a csr matrix."""
        from scipy.sparse.csgraph import reverse_cuthill_mckee

        order = reverse_cuthill_mckee(matrix, symmetric_mode=True)
        place = np.empty(len(order), np.int32)
        place[order] = np.arange(len(order), dtype=np.int32)
        row = np.repeat(place, np.diff(matrix.indptr))
        column = place[matrix.indices]
        return cls(place, row, column, int((column - row).max()))

    @property
    def is_cheap(self) -> bool:
        """Whether Cholesky beats multigrid (measured) and stays below 80 MB."""
        size = len(self.place)
        return size * self.width**2 <= 1.5e9 and size * self.width <= 1e7


def solve_banded(matrix: csr_matrix, b: np.ndarray, band: Band) -> tuple[np.ndarray, bool]:
    """Cholesky within the band; returns x and whether the matrix was definite."""
    from dsnet.labeling.matting import band_cholesky as cholesky

    size = len(b)
    right = np.empty_like(b)
    right[band.place] = b

    def solve(shift: float) -> np.ndarray | None:
        factor = cholesky.pack(band.row, band.column, matrix.data, size, band.width, shift)
        if not cholesky.factorise(factor):
            return None
        return cholesky.substitute(factor, right + 0.5 * shift)[band.place]

    return _shifted_until_definite(solve, matrix)


def solve_sparse(matrix: csr_matrix, b: np.ndarray) -> tuple[np.ndarray, bool]:
    """Sparse LU without pivoting; returns x and whether the matrix was definite."""
    from scipy.sparse import identity
    from scipy.sparse.linalg import splu

    def solve(shift: float) -> np.ndarray | None:
        shifted = (matrix + shift * identity(len(b))).tocsc()
        options = {"SymmetricMode": True}
        try:
            factors = splu(
                shifted, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options
            )
        except RuntimeError:  # exactly singular
            return None
        right = b + 0.5 * shift
        x = factors.solve(right)
        return x + factors.solve(right - shifted @ x)

    return _shifted_until_definite(solve, matrix)


def _shifted_until_definite(
    solve: Callable[[float], np.ndarray | None], matrix: csr_matrix
) -> tuple[np.ndarray, bool]:
    """Solve; where rounding made the matrix singular, draw x faintly towards 0.5.

    Returns x and whether the matrix was definite as it came.
    """
    shift = 0.0
    diagonal = matrix.diagonal()
    largest = diagonal.max()
    while shift < largest:
        x = solve(shift)
        if x is not None and np.isfinite(x).all():
            return x, shift == 0.0
        shift = 100.0 * shift or 1e-14 * largest
    return np.full(len(diagonal), 0.5), False
