"""The label bench's mixes of cases, and its rows for the vector units."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from dsnet import _C
from dsnet.labeling import RecistMark


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1]))
    yield importlib.import_module
    for name in [name for name in sys.modules if name.partition(".")[0] == "bench"]:
        del sys.modules[name]


def test_every_unit_has_a_row_and_the_unit_in_use_stays(bench):
    cases, units = bench("bench.common.cases"), bench("bench.speed.units")
    some = cases.phantoms(24, 3)
    outside = RecistMark.from_coordinates([100, 100, 110, 100, 105, 98, 105, 102])
    some.append(cases.Case("phantom", some[0].image, outside))
    _C.use_vector_unit("baseline")
    try:
        rows = units.measure_units(some, runs=2)
        assert _C.build_info()["vector_unit"] == "baseline"
    finally:
        _C.use_vector_unit(_C.vector_units()[-1])
    assert sorted(rows) == sorted(_C.vector_units())
    assert next(iter(rows)) == ("avx2" if "avx2" in rows else _C.vector_units()[0])
    for row in rows.values():
        assert row["cases"] == 3  # the mark outside raises
        medians = [row[part]["median_ms"] for part in units.PARTS]
        assert min(medians) > 0
        assert medians[0] >= max(medians[1:])


def test_filling_phantoms_are_half_as_long_as_the_crop(bench):
    for case in bench("bench.common.cases").filling_phantoms(128, 6):
        # Spicules and attached walls move a mark's ends.
        assert case.mark.long_diameter / 128 == pytest.approx(0.5, abs=0.13)


def test_filling_nodules_are_half_as_long_as_the_crop(bench):
    try:
        found = bench("bench.common.cases").filling_lidc(96, 4)
    except FileNotFoundError as error:
        pytest.skip(f"needs LIDC nodules: {error}")
    assert len(found) >= 4
    for case in found:
        assert case.image.shape == (96, 96)
        assert case.mark.long_diameter == pytest.approx(48, abs=1e-6)
        rows = np.flatnonzero(case.truth.any(1))
        columns = np.flatnonzero(case.truth.any(0))
        extent = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
        assert 48 / np.sqrt(2) - 3 <= extent <= 48 + 3
    assert bench("bench.common.cases").filling_lidc(512, 4) == []


def test_a_mix_that_is_not_at_hand_is_told(bench, monkeypatch):
    monkeypatch.setenv("DSNET_SHARED", "nowhere")
    told = []
    cases = bench("bench.common.cases").all_cases(32, 3, told.append, "filling")
    assert [case.source for case in cases] == ["phantom"] * 3
    assert len(told) == 1 and "no filling_lidc cases" in told[0]
