import numpy as np
import pytest

from dsnet.data import phantom
from dsnet.data.phantom import KINDS, make_phantom, make_phantoms


def _ellipse_coverage(size, center, half_axes, turn, split=40):
    steps = (np.arange(size * split) + 0.5) / split - 0.5
    x, y = np.meshgrid(steps - center[0], steps - center[1])
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    inside = (along / half_axes[0]) ** 2 + (across / half_axes[1]) ** 2 <= 1
    return inside.reshape(size, split, size, split).mean(axis=(1, 3))


@pytest.mark.parametrize("half_axes", [(7.3, 7.3), (9.0, 5.5), (2.2, 1.4), (12.0, 4.0)])
@pytest.mark.parametrize("turn", [0.0, 0.7, 2.0])
def test_alpha_and_mark_are_those_of_an_ellipse(monkeypatch, half_axes, turn):
    a, b = half_axes

    def ellipse(kind, radius, rng):
        theta = np.linspace(-np.pi, np.pi, phantom._DIRECTIONS, endpoint=False) - turn
        return a * b / np.hypot(b * np.cos(theta), a * np.sin(theta))

    monkeypatch.setattr(phantom, "_outline", ellipse)
    made = make_phantom("solid", 48, 3)
    center = made.mark.center
    truth = _ellipse_coverage(48, center, half_axes, turn)
    assert np.abs(made.alpha - truth).max() < 0.02
    assert made.alpha.sum() == pytest.approx(np.pi * a * b, rel=0.01)
    assert made.mark.long_diameter == pytest.approx(2 * a, rel=1e-3)
    assert made.mark.short_diameter == pytest.approx(2 * b, rel=1e-3)
    if a > b:
        direction = np.diff(made.mark.long_axis, axis=0)[0] / made.mark.long_diameter
        assert abs(direction @ [np.cos(turn), np.sin(turn)]) > 0.9999


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [16, 33, 64, 300])
def test_every_kind_and_size_is_sound(kind, size):
    made = make_phantom(kind, size, 5)
    assert made.image.shape == made.hu.shape == made.alpha.shape == (size, size)
    assert made.image.dtype == made.hu.dtype == made.alpha.dtype == np.float32
    assert 0 <= made.image.min() < made.image.max() <= 1
    assert made.alpha.min() == 0 and made.alpha.max() == 1
    assert made.mark.problems((size, size)) == []
    # The axes' ends are on the border: their ellipse has about the nodule's area.
    ellipse = np.pi / 4 * made.mark.long_diameter * made.mark.short_diameter
    assert 0.5 < made.alpha.sum() / ellipse < 1.3
    assert made.kind == kind and made.seed == 5


def test_same_arguments_same_bits_and_other_seeds_differ():
    first, again, other = (make_phantom("spiculated", 64, seed) for seed in (1, 1, 2))
    for name in ("image", "hu", "alpha"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))
    assert np.array_equal(first.mark.coordinates, again.mark.coordinates)


def test_densities_are_those_of_ct():
    def inside(kind):
        made = make_phantom(kind, 64, 0, noise_hu=0, blur_mm=0, diameter_mm=18)
        return float(np.median(made.hu[made.alpha == 1]))

    assert inside("solid") == pytest.approx(25, abs=60)
    assert inside("ground-glass") == pytest.approx(-580, abs=120)
    assert inside("ground-glass") <= inside("part-solid") + 120
    made = make_phantom("solid", 64, 0)
    assert np.median(made.hu[made.alpha == 0]) == pytest.approx(-860, abs=40)


def test_wall_is_not_lesion():
    made = make_phantom("wall-attached", 64, 2, noise_hu=0, blur_mm=0)
    wall = (made.hu > 30) & (made.alpha == 0)
    assert wall.sum() > 100


def test_noise_and_blur_have_the_asked_size():
    quiet = make_phantom("solid", 128, 4, noise_hu=0)
    noisy = make_phantom("solid", 128, 4, noise_hu=40)
    noise = noisy.hu - quiet.hu
    assert noise.std() == pytest.approx(40, rel=0.01)
    assert np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1] > 0.2
    sharp = make_phantom("solid", 128, 4, noise_hu=0, blur_mm=0)
    assert np.abs(np.diff(sharp.hu)).max() > np.abs(np.diff(quiet.hu)).max()
    assert np.array_equal(sharp.alpha, quiet.alpha)


def test_diameter_is_in_millimetres():
    small, large = (
        make_phantom("solid", 64, 1, spacing_mm=0.5, diameter_mm=d) for d in (6.0, 12.0)
    )
    assert large.mark.long_diameter == pytest.approx(2 * small.mark.long_diameter, rel=1e-6)
    assert small.mark.long_diameter * 0.5 == pytest.approx(6, rel=0.25)
    assert small.spacing == (0.5, 0.5)


def test_make_phantoms_takes_every_kind_in_turn():
    made = make_phantoms(8, 32, seed=3)
    assert [p.kind for p in made] == [*KINDS, *KINDS[:2]]
    assert np.array_equal(made[7].image, make_phantom(KINDS[1], 32, 10).image)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "cyst"}, "kind"),
        ({"size": 4}, "size"),
        ({"spacing_mm": 0.0}, "spacing_mm"),
        ({"noise_hu": -1.0}, "noise_hu"),
        ({"diameter_mm": 500.0}, "diameter_mm"),
        ({"blur_mm": float("nan")}, "blur_mm"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_phantom(**arguments)
