"""What the general solvers of matting are made of: bands, sparse systems, compiled loops."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from dsnet.labeling.matting import band_cholesky, compiled, solvers


@given(st.integers(1, 40), st.integers(0, 45), st.integers(0, 2**32 - 1))
def test_band_cholesky(size, width, seed):
    width = min(width, size - 1)
    rng = np.random.default_rng(seed)
    lower = np.tril(np.triu(rng.standard_normal((size, size)), -width))
    matrix = lower @ lower.T + 0.1 * np.eye(size)
    row, column = (index.astype(np.int32) for index in np.nonzero(matrix))
    right = rng.standard_normal(size)
    factor = band_cholesky.pack(row, column, matrix[row, column], size, width, 0.5)
    assert band_cholesky.factorise(factor)
    x = band_cholesky.substitute(factor, right)
    exact = np.linalg.solve(matrix + 0.5 * np.eye(size), right)
    np.testing.assert_allclose(x, exact, rtol=1e-9, atol=1e-9 * abs(exact).max())
    indefinite = band_cholesky.pack(row, column, -matrix[row, column], size, width, 0.0)
    assert not band_cholesky.factorise(indefinite)


def test_compiles_without_a_folder_for_the_cache(monkeypatch):
    def njit(cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return numba_njit(**options)

    numba_njit = compiled.njit
    monkeypatch.setattr(compiled, "njit", njit)
    double = compiled.compiled(lambda x: 2 * x)
    assert double(4) == 8 and double.nopython_signatures


def test_singular_to_rounding_is_drawn_to_one_half():
    # Two equations that only fix the difference, as on a numerically untied island.
    matrix = csr_matrix(np.array([[1.0, -1.0], [-1.0, 1.0]]))
    b = np.zeros(2)
    for x, definite in (
        solvers.solve_sparse(matrix, b),
        solvers.solve_banded(matrix, b, solvers.Band.of(matrix)),
    ):
        np.testing.assert_allclose(x, 0.5, atol=0.01)
        assert not definite
