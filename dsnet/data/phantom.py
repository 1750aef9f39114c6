"""Synthetic CT of lung nodules with exactly known alpha and RECIST mark.

A nodule's outline is a closed curve r(theta); its interior, the lung around it, a wall and
vessels have HU values of their own, painted on cells finer than a pixel. Alpha is the share
of each pixel's area inside the curve, before any blur, whatever the nodule's density: a
ground-glass nodule has alpha 1 inside, too, and a wall is never lesion. The image is the
painted HU, averaged over each pixel, blurred by the scanner's point spread, with noise of a
scanner's texture. The mark's axes are chords of the same curve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dsnet.data.ct_image import LUNG_WINDOW, apply_window
from dsnet.labeling.recist import RecistMark

KINDS = (
    "solid",
    "part-solid",
    "ground-glass",
    "spiculated",
    "wall-attached",
    "vessel-attached",
)

_LUNG, _WALL, _VESSEL, _SOLID, _GROUND_GLASS = -860.0, 40.0, 30.0, 25.0, -580.0
_DIRECTIONS = 720


@dataclass(frozen=True, eq=False)
class Phantom:
    """A synthetic nodule.

    Attributes
    ----------
    image : ndarray [H, W], float32
        `hu` in the lung window -1350..150 HU, as 0..1.
    hu : ndarray [H, W], float32
    alpha : ndarray [H, W], float32
        Share of each pixel's area that the nodule covers: geometry alone, before the
        scanner's blur, whatever the nodule's density; within 0.01 of the exact area.
    mark : RecistMark
        Longest chord of the outline and the longest chord perpendicular to it.
    spacing : (row, column)
        Millimetres per pixel.
    kind : str
        One of `KINDS`.
    seed : int
    """

    image: np.ndarray
    hu: np.ndarray
    alpha: np.ndarray
    mark: RecistMark
    spacing: tuple[float, float]
    kind: str
    seed: int


def make_phantom(
    kind: str = "solid",
    size: int = 64,
    seed: int = 0,
    *,
    spacing_mm: float = 0.7,
    diameter_mm: float | None = None,
    noise_hu: float = 25.0,
    blur_mm: float = 0.6,
) -> Phantom:
    """One synthetic nodule near the middle of a square image; same arguments, same bits.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    size : int
        Pixels a side, at least 8.
    seed : int
        Everything random follows from it, `kind` and `size`.
    spacing_mm : float
        Millimetres per pixel.
    diameter_mm : float, optional
        About the long axis; by default random between 5 mm and 45 % of the image's width.
    noise_hu : float
        Standard deviation of the noise.
    blur_mm : float
        Standard deviation of the scanner's Gaussian point spread.

    Raises
    ------
    ValueError
        When the kind is unknown or a number is out of range.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if size < 8:
        raise ValueError(f"size must be at least 8 pixels, got {size}")
    if not spacing_mm > 0 or not noise_hu >= 0 or not blur_mm >= 0:
        raise ValueError(
            "spacing_mm must be > 0 and noise_hu, blur_mm >= 0, "
            f"got {spacing_mm}, {noise_hu}, {blur_mm}"
        )
    width_mm = size * spacing_mm
    rng = np.random.default_rng([seed, KINDS.index(kind), size])
    drawn = rng.uniform(min(5.0, 0.3 * width_mm), 0.45 * width_mm)
    diameter = drawn if diameter_mm is None else float(diameter_mm)
    if not 0 < diameter <= 0.9 * width_mm:
        raise ValueError(f"diameter_mm must be in (0, {0.9 * width_mm:g}], got {diameter_mm}")

    radius = diameter / 2 / spacing_mm
    center = (size - 1) / 2 + rng.uniform(-0.06, 0.06, 2) * size
    outline = _outline(kind, radius, rng)
    fine = _fine_steps(size)
    x, y = fine[None, :], fine[:, None]
    dx, dy = x - center[0], y - center[1]

    hu = _lung(x, y, size, radius, center, kind, rng)
    if kind == "wall-attached":
        turn, depth = rng.uniform(0, 2 * np.pi), rng.uniform(0.55, 0.8) * radius
        bend = 0.01 / max(radius, 1.0)
        outline = np.minimum(outline, _reach_of_wall(turn, depth, bend))
        across = dy * np.cos(turn) - dx * np.sin(turn)
        hu[dx * np.cos(turn) + dy * np.sin(turn) > depth - bend * across**2] = _WALL

    covered = np.zeros_like(hu)
    rows, columns = inside = _reached(dx, dy, outline, step := fine[1] - fine[0])
    distance, border, covered[inside] = _coverage(dx[:, columns], dy[rows], outline, step)
    hu[inside] += covered[inside] * (_interior(kind, distance, border, rng) - hu[inside])

    alpha = _pixel_mean(covered, size)
    sharp = _pixel_mean(hu, size)
    blurred = _blurred(sharp, blur_mm / spacing_mm, "nearest")
    noisy = blurred + noise_hu * _noise(size, rng)
    mark = _mark_of(outline, center)
    return Phantom(
        image=apply_window(noisy, *LUNG_WINDOW),
        hu=noisy.astype(np.float32),
        alpha=alpha.astype(np.float32),
        mark=mark,
        spacing=(float(spacing_mm), float(spacing_mm)),
        kind=kind,
        seed=seed,
    )


def make_phantoms(count: int, size: int = 64, seed: int = 0, **options) -> list[Phantom]:
    """`count` phantoms, every kind in turn; `options` as in `make_phantom`."""
    return [make_phantom(KINDS[i % len(KINDS)], size, seed + i, **options) for i in range(count)]


def _outline(kind: str, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Radii in pixels at `_DIRECTIONS` even angles from -pi."""
    theta = np.linspace(-np.pi, np.pi, _DIRECTIONS, endpoint=False)
    shape = rng.uniform(0.65, 0.95)
    turned = theta - rng.uniform(0, np.pi)
    # An ellipse of half axes 1 and `shape`, its border wavy in a few low harmonics.
    outline = shape / np.sqrt((shape * np.cos(turned)) ** 2 + np.sin(turned) ** 2)
    for harmonic in range(2, 7):
        size = rng.normal(0, 0.05 / (harmonic - 1))
        outline = outline * (1 + size * np.cos(harmonic * theta + rng.uniform(0, 2 * np.pi)))
    if kind == "spiculated":
        for _ in range(rng.integers(7, 13)):
            offset = np.angle(np.exp(1j * (theta - rng.uniform(-np.pi, np.pi))))
            outline = outline + rng.uniform(0.15, 0.5) * np.exp(-np.abs(offset) / 0.1)
        outline = outline / 1.15
    return radius * outline


def _reach_of_wall(turn: float, depth: float, bend: float) -> np.ndarray:
    """Distance from the nodule's centre to the wall in every direction of `_outline`."""
    theta = np.linspace(-np.pi, np.pi, _DIRECTIONS, endpoint=False) - turn
    # t solves t cos = depth - bend (t sin)^2; this form of the root has no cancellation.
    root = np.sqrt(np.cos(theta) ** 2 + 4 * bend * depth * np.sin(theta) ** 2)
    return 2 * depth / np.maximum(np.cos(theta) + root, 1e-9)


def _reached(dx, dy, outline, step) -> tuple[slice, slice]:
    """The window [rows, columns] of all cells that an outline may cover."""
    _, radii, tilt = _polar(outline)
    reach = radii.max() + step / tilt.min()
    rows, columns = (slice(*np.searchsorted(d.ravel(), (-reach, reach))) for d in (dy, dx))
    return rows, columns


def _coverage(dx, dy, outline, step) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance from the centre, outline's radius in that direction, covered share of a cell."""
    theta, radii, tilt = _polar(outline)
    distance, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
    border = np.interp(angle, theta, radii)
    inward = (border - distance) * np.interp(angle, theta, tilt)
    return distance, border, np.clip(0.5 + inward / step, 0.0, 1.0)


def _polar(outline) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Directions, the outline's radii, and by which factor the distance to the border along its
    normal is shorter than along the ray."""
    theta = np.linspace(-np.pi, np.pi, _DIRECTIONS + 1)
    radii = np.append(outline, outline[0])
    slope = np.gradient(np.concatenate([outline[-1:], radii, outline[1:2]]), theta[1] - theta[0])
    return theta, radii, 1 / np.hypot(1, slope[1:-1] / radii)


def _fine_steps(size: int) -> np.ndarray:
    """Centres of the cells that split every pixel, along one axis."""
    # Large images have large nodules, whose border needs no finer cells.
    split = 6 if size <= 128 else 4 if size <= 256 else 2
    return (np.arange(size * split) + 0.5) / split - 0.5


def _blurred(image: np.ndarray, pixels: float, mode: str) -> np.ndarray:
    # A run that labels no phantom need not wait a fifth of a second for it.
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(image, pixels, mode=mode)


def _pixel_mean(fine: np.ndarray, size: int) -> np.ndarray:
    split = len(fine) // size
    return fine.reshape(size, split, size, split).mean(axis=(1, 3))


def _lung(x, y, size, radius, center, kind, rng) -> np.ndarray:
    coarse = _blurred(rng.normal(0, 1, (size, size)), 2.5, "wrap")
    coarse *= 25.0 / max(coarse.std(), 1e-9)
    split = x.size // size
    hu = _LUNG + coarse.repeat(split, axis=0).repeat(split, axis=1)
    vessels = rng.integers(2, 5) + (kind == "vessel-attached")
    for vessel in range(vessels):
        attached = kind == "vessel-attached" and vessel == 0
        turn = rng.uniform(0, np.pi)
        # Free vessels pass outside the nodule, the attached one through its border.
        offset = rng.uniform(0.3, 0.6) * radius if attached else rng.uniform(1.7, 2.6) * radius
        offset *= rng.choice([-1, 1])
        bend = rng.uniform(-0.006, 0.006)
        along = (x - center[0]) * np.cos(turn) + (y - center[1]) * np.sin(turn)
        across = (y - center[1]) * np.cos(turn) - (x - center[0]) * np.sin(turn)
        thickness = rng.uniform(0.12, 0.2) * radius if attached else rng.uniform(0.6, 1.4)
        # In place: these are large for what is done to them.
        np.multiply(np.square(along, out=along), bend, out=along)
        across -= offset
        across -= along
        hu[np.abs(across, out=across) <= thickness] = _VESSEL
    return hu


def _interior(kind, distance, border, rng) -> np.ndarray:
    if kind == "ground-glass":
        return np.full(distance.shape, _GROUND_GLASS + rng.normal(0, 30))
    if kind == "part-solid":
        core = distance <= rng.uniform(0.4, 0.6) * border
        return np.where(core, _SOLID, _GROUND_GLASS)
    return np.full(distance.shape, _SOLID + rng.normal(0, 15))


def _noise(size: int, rng: np.random.Generator) -> np.ndarray:
    """Unit standard deviation, correlated over about a pixel as reconstruction leaves it."""
    noise = _blurred(rng.normal(0, 1, (size, size)), 0.6, "wrap")
    return noise / noise.std()


def _mark_of(outline: np.ndarray, center: np.ndarray) -> RecistMark:
    theta = np.linspace(-np.pi, np.pi, _DIRECTIONS, endpoint=False)
    points = center + outline[:, None] * np.stack([np.cos(theta), np.sin(theta)], 1)
    turns = theta[_DIRECTIONS // 2 :]
    extent = points @ np.stack([np.cos(turns), np.sin(turns)])
    best = np.argmax(extent.max(0) - extent.min(0))
    long_axis = points[[np.argmin(extent[:, best]), np.argmax(extent[:, best])]]
    along = (long_axis[1] - long_axis[0]) / np.hypot(*(long_axis[1] - long_axis[0]))
    across = np.array([-along[1], along[0]])
    # Where the outline crosses lines perpendicular to the long axis: the widest pair of
    # crossings is the short axis.
    place, height = points @ along, points @ across
    next_place, next_height = np.roll(place, -1), np.roll(height, -1)
    station = np.linspace(place.min(), place.max(), 258)[1:-1]
    below = place <= station[:, None]
    line, edge = np.nonzero(below != np.roll(below, -1, axis=1))
    share = (station[line] - place[edge]) / (next_place[edge] - place[edge])
    crossing = height[edge] + share * (next_height[edge] - height[edge])
    top, bottom = np.full(len(station), -np.inf), np.full(len(station), np.inf)
    np.maximum.at(top, line, crossing)
    np.minimum.at(bottom, line, crossing)
    widest = int(np.argmax(top - bottom))
    short_axis = [along * station[widest] + across * end[widest] for end in (bottom, top)]
    return RecistMark.from_coordinates(np.concatenate([long_axis.ravel(), *short_axis]))
