"""Random crops with random marks: no crash, no NaN, and errors that are ValueErrors.

`pytest tests/fuzz --long -s` labels 100,000 of them and says how fast. A failure names the seed
and the row that make the same case again.
"""

import os
import time

import numpy as np
import pytest
from fuzz.random_crops import (
    at_odd_address,
    laid_out,
    random_image,
    random_mark,
    random_mask,
    random_number,
    random_shape,
    random_trimap,
)

from dsnet import _C
from dsnet.labeling import (
    BACKGROUND,
    FOREGROUND,
    UNKNOWN,
    RecistMark,
    SoftLabel,
    closed_form_matting,
    label_batch,
    label_mask,
    label_raters,
    label_recist,
)
from dsnet.labeling.edge_model import native_network
from emulation_module import emulation

ROWS = int(os.environ.get("DSNET_FUZZ_ROWS", 100_000))
CHUNK = 250
UNITS = _C.vector_units()


def check_alpha(alpha, trimap):
    assert alpha.shape == trimap.shape and alpha.dtype == np.float32
    assert trimap.dtype == np.uint8
    foreground, background = trimap == FOREGROUND, trimap == BACKGROUND
    assert (foreground | background | (trimap == UNKNOWN)).all()
    # False for NaN, too.
    assert ((alpha >= 0) & (alpha <= 1)).all()
    assert (alpha[foreground] == 1).all() and (alpha[background] == 0).all()


def check_label(label, shape):
    assert isinstance(label, SoftLabel)
    assert label.trimap.shape == shape
    check_alpha(label.alpha, label.trimap)
    assert label.binary.dtype == bool and np.array_equal(label.binary, label.alpha >= 0.5)
    assert all(0 <= value <= 1 for value in label.quality.values()), label.quality
    assert all(0 <= value < 60 for value in label.seconds.values()), label.seconds
    assert all(isinstance(note, str) for note in label.notes)


def is_usable(image, coordinates):
    """Whether a label must come of it."""
    try:
        mark = RecistMark.from_coordinates(coordinates)
    except ValueError:
        return False
    with np.errstate(over="ignore"):
        image = np.asarray(image, np.float32)
    if not (image >= -1e-3).all() or not (image <= np.float32(1 + 1e-3)).all():
        return False
    return min(image.shape) >= 3 and "mark lies outside the image" not in mark.problems(image.shape)


def rng_of(seed, row):
    return np.random.default_rng([seed, row])


def label_rows(seed, first, count):
    """Labels rows of a seed in one batch and checks them; returns how many labels came."""
    rows = range(first, first + count)
    images, marks = [], []
    for row in rows:
        rng = rng_of(seed, row)
        images.append(random_image(rng))
        marks.append(random_mark(rng, images[-1].shape))
    threads = 1 + first // CHUNK % 3
    _C.use_vector_unit(UNITS[first // CHUNK % len(UNITS)])
    try:
        with np.errstate(all="ignore"):
            labels = label_batch(images, marks, threads)
            usable = [is_usable(image, mark) for image, mark in zip(images, marks, strict=True)]
            # One at a time and on the widest unit they have the same bits.
            _C.use_vector_unit(UNITS[-1])
            again = {i: attempt(label_recist_of, images[i], marks[i]) for i in range(0, count, 5)}
    finally:
        _C.use_vector_unit(UNITS[-1])
    made = 0
    for i, row in enumerate(rows):
        label, where = labels[i], f"seed {seed}, row {row}"
        if not isinstance(label, ValueError):
            made += 1
            try:
                check_label(label, images[i].shape)
            except AssertionError as failure:
                raise AssertionError(f"{where}: {failure}") from failure
        assert isinstance(label, SoftLabel) == usable[i], f"{where}: {label!r}"
        if i in again and isinstance(label, SoftLabel):
            assert same_label(label, again[i]), f"{where}: alone it has another label"
    return made


def label_recist_of(image, coordinates):
    return label_recist(image, RecistMark.from_coordinates(coordinates))


def same_label(a, b):
    return (
        a.alpha.tobytes() == b.alpha.tobytes()
        and np.array_equal(a.trimap, b.trimap)
        and a.quality == b.quality
        and a.notes == b.notes
    )


def attempt(function, *arguments, refused=(ValueError,), **options):
    """What the function returns, or the error that it may raise."""
    try:
        return function(*arguments, **options)
    except refused as error:
        assert str(error)
        return error


def label_masks(rng):
    image = random_image(rng, random_shape(rng, 80))
    margins = {name: random_number(rng) for name in ("erosion", "dilation") if rng.random() < 0.3}
    if rng.random() < 0.3:
        margins["spacing"] = (random_number(rng), random_number(rng))
    masks = np.stack([random_mask(rng, image.shape) for _ in range(rng.integers(1, 5))])
    masks = masks.astype(rng.choice(["?", "u1", "i8", "f4"]))
    if masks.dtype.kind == "f" and rng.random() < 0.1:
        masks[0, 0, 0] = np.nan
    masks = laid_out(rng, masks)
    for function, mask in ((label_mask, masks[0]), (label_raters, masks)):
        label = attempt(function, image, mask, **margins)
        if not isinstance(label, ValueError):
            check_label(label, image.shape)


def solve_matting(rng):
    image = random_image(rng, random_shape(rng, 60), bad=0.05)
    trimap = random_trimap(rng, image.shape)
    options = {"solver": rng.choice(["auto", "native"]), "max_iterations": 300}
    if rng.random() < 0.3:
        options["epsilon"] = rng.choice([1e-9, 1e-7, 1e-3, 1.0, 1e30, 0.0, -1.0, np.nan, np.inf])
    if rng.random() < 0.3:
        options["rtol"] = rng.choice([1e-14, 1e-6, 0.5, 0.0, 1.0, np.nan])
    if rng.random() < 0.2:
        options["max_iterations"] = int(rng.choice([0, 1, 5, -1]))
    if rng.random() < 0.3:
        options["prior"] = random_image(rng, image.shape, bad=0.1).clip(0, 1)
        options["prior_weight"] = random_number(rng)
    found = attempt(closed_form_matting, image, laid_out(rng, trimap), **options)
    if not isinstance(found, ValueError):
        alpha, info = found
        if (trimap == FOREGROUND).any() and (trimap == BACKGROUND).any():
            check_alpha(alpha, trimap)
        assert ((alpha >= 0) & (alpha <= 1)).all()
        assert info.unknowns == (trimap == UNKNOWN).sum()
        assert info.residual >= 0 and info.iterations >= 0 and info.seconds >= 0


def call_compiled(rng):
    """Every function of the compiled module that takes pictures, with what they promise."""
    shape = random_shape(rng, 100)
    if rng.random() < 0.03:
        shape = (0, shape[1]) if rng.random() < 0.5 else (shape[0], 0)
    mask = laid_out(rng, random_mask(rng, shape) if min(shape) else np.zeros(shape, bool))
    radius, spacing = random_number(rng), (random_number(rng), random_number(rng))
    if rng.random() < 0.5:
        spacing = (1.0, 1.0)
    for form in ("disc", "opencv-ellipse"):
        eroded = attempt(_C.erode, mask, radius, *spacing, shape=form)
        dilated = attempt(_C.dilate, mask, radius, *spacing, shape=form)
        assert isinstance(eroded, ValueError) == isinstance(dilated, ValueError)
        if not isinstance(eroded, ValueError):
            assert not (eroded & ~mask).any() and not (mask & ~dilated).any()
    split = attempt(_C.split_trimap, mask, radius, random_number(rng), *spacing)
    if not isinstance(split, ValueError):
        assert not ((split == FOREGROUND) & ~mask).any()
        assert not ((split == BACKGROUND) & mask).any()
    trimap = attempt(_C.trimap_from_mask, mask, None, radius, *spacing)
    if not isinstance(trimap, ValueError):
        assert np.isin(trimap, [BACKGROUND, UNKNOWN, FOREGROUND]).all()
        assert not ((trimap == FOREGROUND) & ~mask).any()
    distance = attempt(_C.distance_squared, mask, *spacing)
    # The ratio of these spacings may be beyond float64.
    if not isinstance(distance, ValueError) and max(spacing) < 1e100 * min(spacing):
        assert (distance >= 0).all() and (distance[~mask] == 0).all()
    diameter = attempt(_C.inscribed_diameter, mask, *spacing)
    assert isinstance(diameter, ValueError) or diameter >= 0
    assert not (mask & ~emulation.fill_holes(mask)).any()
    seeds = random_mask(rng, shape) if min(shape) else np.zeros(shape, bool)
    part = emulation.keep_seeded_part(mask, seeds)
    assert not (part & ~mask).any() and part.any() == mask.any()
    cut_and_score(rng, shape, mask)


def cut_and_score(rng, shape, mask):
    mark = random_mark(rng, shape)
    rows, cols = shape
    drawn = attempt(emulation.rasterise_recist, mark, rows, cols, rng.uniform(0, 3))
    assert isinstance(drawn, ValueError) or drawn["ellipse"].shape == shape
    if not min(shape):
        return
    log_odds = rng.normal(0, rng.choice([0.1, 3, 300]), shape).clip(-1000, 1000).astype("f4")
    trimap = attempt(_C.trimap_from_cut, mask, log_odds, mark)
    if not isinstance(trimap, ValueError):
        assert not ((trimap == FOREGROUND) & ~mask).any()
        assert not ((trimap == BACKGROUND) & mask).any()
    image = random_image(rng, shape, bad=0).astype(np.float32)
    found = attempt(_C.cut_recist, image, mark, native_network())
    if not isinstance(found, ValueError):
        assert np.isfinite(found[1]).all() and found[2] in (0, 1, 2, 3) and 0 <= found[4] < 1
    alpha, trimap = random_image(rng, shape, bad=0).astype("f4"), random_trimap(rng, shape)
    scores = attempt(
        _C.quality, image, alpha, trimap, mark=mark, reference=mask, cut_worked=True,
        converged=bool(rng.integers(2)), residual=random_number(rng),
    )  # fmt: skip
    if not isinstance(scores, ValueError):
        assert all(0 <= score <= 1 for score in scores.values()), scores


OTHERS = {"masks": label_masks, "matting": solve_matting, "compiled": call_compiled}


def fuzz_other(name, seed, rows):
    modules = (_C, emulation) if name == "compiled" else (_C,)
    for row in rows:
        for module in modules:
            module.use_vector_unit(UNITS[row % len(UNITS)])
        try:
            with np.errstate(all="ignore"):
                OTHERS[name](rng_of(seed, row))
        except Exception as error:
            raise AssertionError(f"{name}: seed {seed}, row {row}: {error!r}") from error
        finally:
            for module in modules:
                module.use_vector_unit(UNITS[-1])


def test_labels_of_random_crops():
    assert 100 < label_rows(seed=0, first=0, count=CHUNK) < CHUNK
    label_rows(seed=0, first=CHUNK, count=CHUNK)
    label_rows(seed=0, first=2 * CHUNK, count=CHUNK)


def test_marks_whose_axes_would_overflow():
    image = np.linspace(0, 1, 100, dtype=np.float32).reshape(10, 10)
    for far in (1.7e308, 2e9):
        (label,) = label_batch([image], [[-far, 3.0, far, 3.0, 3.0, 0.0, 3.0, 9.0]])
        assert isinstance(label, ValueError) and "within +-1e+09 pixels" in str(label)


def test_images_at_odd_addresses():
    rng = rng_of(0, 0)
    for _ in range(50):
        image = random_image(rng, (31, 40), bad=0).astype(np.float32)
        mark = random_mark(rng, image.shape)
        with np.errstate(all="ignore"):
            labels = label_batch([image, at_odd_address(image)], [mark, mark])
            labels += label_batch(at_odd_address(image[None]), [mark])
        first, *others = labels
        for other in others:
            assert type(first) is type(other)
            assert isinstance(first, ValueError) or same_label(first, other)


@pytest.mark.parametrize("name", OTHERS)
def test_random_arguments(name):
    fuzz_other(name, seed=1, rows=range(150))


@pytest.mark.long
def test_a_hundred_thousand_random_crops():
    start, made = time.perf_counter(), 0
    for first in range(0, ROWS, CHUNK):
        made += label_rows(seed=2, first=first, count=min(CHUNK, ROWS - first))
        if first % (40 * CHUNK) == 0:
            print(f"row {first}, {time.perf_counter() - start:.0f} s", flush=True)
    seconds = time.perf_counter() - start
    print(f"{ROWS} rows, {made} labels, {ROWS / seconds:.0f} rows/s with making and checking them")
    assert made > 0.5 * ROWS


@pytest.mark.long
@pytest.mark.parametrize("name", OTHERS)
def test_many_random_arguments(name):
    start = time.perf_counter()
    rows = max(ROWS // 10, 1)
    fuzz_other(name, seed=3, rows=range(rows))
    print(f"{name}: {rows} rows, {rows / (time.perf_counter() - start):.0f} rows/s")
