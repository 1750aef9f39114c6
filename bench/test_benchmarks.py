"""For regressions: `pytest bench --benchmark-only`; compare runs with pytest-benchmark's options.

Our own times only, on phantoms; `python -m bench.speed.label`, `python -m bench.speed.matting` and
`python -m bench.speed.train` set them beside others'. `pytest bench` without options checks that
the last one runs.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from dsnet import _C
from dsnet.data.phantom import make_phantom
from dsnet.labeling import (
    closed_form_matting,
    label_batch,
    label_mask,
    label_raters,
    label_recist,
    trimap_from_mask,
)
from dsnet.labeling.cut import cut_recist
from dsnet.labeling.matting.closed_form import TIGHT_RTOL
from dsnet.labeling.quality import score
from dsnet.labeling.trimap import trimap_from_cut

SIZES = (64, 128, 256, 512)
sizes = pytest.mark.parametrize("size", SIZES)


def phantom(size, kind="part-solid"):
    return make_phantom(kind, size=size, seed=5, diameter_mm=0.28 * size)


def band_problem(size):
    """Image and trimap; at 256 pixels the band has about 8600 unknowns."""
    p = phantom(size)
    margin = 12.2 * size / 256
    return p.image, trimap_from_mask(p.alpha >= 0.5, erosion=margin, dilation=margin)


@pytest.mark.benchmark(group="label")
@sizes
def test_label_recist(benchmark, size):
    p = phantom(size)
    label = benchmark(label_recist, p.image, p.mark)
    benchmark.extra_info["overall quality"] = label.quality["overall"]


@pytest.mark.benchmark(group="label")
@sizes
def test_label_mask(benchmark, size):
    p = phantom(size)
    benchmark(label_mask, p.image, p.alpha >= 0.5)


@pytest.mark.benchmark(group="label")
@sizes
def test_label_raters(benchmark, size):
    p = phantom(size)
    benchmark(label_raters, p.image, np.stack([p.alpha >= share for share in (0.1, 0.5, 0.9)]))


@pytest.mark.benchmark(group="batch of 256 at 64x64")
@pytest.mark.parametrize("threads", [1, 2])
def test_label_batch(benchmark, threads):
    p = phantom(64)
    images = np.repeat(p.image[None], 256, axis=0)
    benchmark(label_batch, images, [p.mark] * 256, threads)


@pytest.mark.benchmark(group="cut")
@sizes
def test_cut(benchmark, size):
    p = phantom(size)
    benchmark(cut_recist, p.image, p.mark)


@pytest.mark.benchmark(group="trimap")
@sizes
def test_trimap_of_a_cut(benchmark, size):
    p = phantom(size)
    benchmark(trimap_from_cut, cut_recist(p.image, p.mark), p.mark)


@pytest.mark.benchmark(group="trimap")
@sizes
def test_trimap_of_a_mask(benchmark, size):
    benchmark(trimap_from_mask, phantom(size).alpha >= 0.5)


@pytest.mark.benchmark(group="matting")
@pytest.mark.parametrize("solver", ["jacobi", "multigrid"])
@sizes
def test_matting(benchmark, size, solver):
    image, trimap = band_problem(size)
    _, ran, iterations, _, converged, unknowns = benchmark(_C.matting, image, trimap, solver=solver)
    assert converged and ran == solver
    benchmark.extra_info.update(unknowns=unknowns, iterations=iterations)


@pytest.mark.benchmark(group="matting")
def test_tight_matting(benchmark):
    image, trimap = band_problem(256)
    benchmark(closed_form_matting, image, trimap, rtol=TIGHT_RTOL)


@pytest.mark.benchmark(group="quality")
@sizes
def test_quality(benchmark, size):
    p = phantom(size)
    label = label_recist(p.image, p.mark)
    benchmark(score, p.image, label.alpha, label.trimap, mark=p.mark, cut_worked=True)


@pytest.fixture
def training_step():
    """A function that takes one adversarial step of a small network."""
    from bench.speed import train

    bench = train.Bench(train.parse(["--device", "cpu"]))
    row = train.ROWS["eager-ours"]
    step, supply = bench.step(row), bench.supply(row)
    return lambda: step.run([supply(0)], 1e-4)


@pytest.mark.benchmark(group="training")
def test_training_step(benchmark, training_step):
    losses = benchmark(training_step)
    assert losses.total.isfinite()


def test_the_bench_of_a_training_step_runs(tmp_path, capsys):
    from bench.speed import train

    rows = ["eager", "eager-ours"]
    tiny = ["--device", "cpu", "--width", "4", "--size", "16", "--out", str(tmp_path / "t.json")]
    train.main([*tiny, "--each", "0.1", "--rows", *rows])
    result = json.loads((tmp_path / "t.json").read_text())
    assert [row["row"] for row in result["rows"]] == rows
    assert all(row["parity"] and row["ms"] > 0 and row["ratio"] for row in result["rows"])
    assert {part["part"] for part in result["parts"]} >= {"teacher", "fusion", "backbone"}
    assert "not measured" in capsys.readouterr().out
