"""Order statistics of chosen pixels, which the contrast of a mark's surroundings is made of."""

import numpy as np
import pytest

from emulation_module import emulation


@pytest.fixture(params=["baseline", "avx2", "avx512"])
def unit(request):
    units = emulation.vector_units()
    if request.param not in units:
        pytest.skip(f"this machine has no {request.param}")
    emulation.use_vector_unit(request.param)
    yield request.param
    emulation.use_vector_unit(units[-1])


def check(values, measured, above, highest):
    chosen = np.sort(values[(measured > above) & (measured <= highest)])
    count = len(chosen)
    for rank in sorted({0, 1, count // 3, count // 2, count - 2, count - 1} & set(range(count))):
        after = chosen[min(rank + 1, count - 1)]
        found = emulation.order_statistic(values, measured, above, highest, rank)
        assert found == (count, chosen[rank], after), rank
    assert emulation.order_statistic(values, measured, above, highest, count) == (
        count,
        None,
        None,
    )


KINDS = {
    "uniform": lambda rng, shape: rng.random(shape),
    "signed": lambda rng, shape: rng.normal(0, 1, shape),
    "few values": lambda rng, shape: rng.choice([-0.5, 0.25, 0.25, 0.75], shape),
    "one value": lambda rng, shape: np.full(shape, 0.3),
    "an outlier": lambda rng, shape: np.where(rng.random(shape) < 0.01, 3e38, rng.random(shape)),
    "many sizes": lambda rng, shape: rng.choice([-1, 1], shape) * np.exp(rng.normal(0, 20, shape)),
    "two far apart": lambda rng, shape: rng.choice([-1e30, 1e-30], shape),
}


@pytest.mark.parametrize("kind", KINDS)
def test_as_sorting_gives_them_on_every_vector_unit(unit, kind):
    rng = np.random.default_rng(list(KINDS).index(kind))
    for shape in [(1, 1), (1, 17), (5, 3), (16, 16), (31, 33), (7, 64), (70, 129)]:
        values = KINDS[kind](rng, shape).astype(np.float32)
        check(values, rng.random(shape, np.float32), 0.2, 0.7)


def test_whole_vectors_that_are_chosen_or_not(unit):
    rng = np.random.default_rng(9)
    values = rng.random((9, 80), np.float32)
    measured = np.zeros_like(values)
    measured[2:5, 16:64] = 1
    measured[6, 3:70] = 1
    check(values, measured, 0.5, 1.0)
    check(values, measured, -1.0, 1.0)
    check(values, measured, 2.0, 3.0)
