"""How people draw RECIST marks: `draw_mark` draws over a mask as they do.

A mark derived from a mask (`recist_from_mask`) is what nobody draws. Against 94 lesions of
DeepLesion that have both a person's mark and a manual mask, the long axis is 0.86 of the longest
chord, its direction 12 degrees off in the median and 76 in one of twenty, each end 0.6 px inside
the mask's edge (sd 0.8 px, for lesions of every size). What a mark is off by hangs together:
whoever turns an axis also ends it elsewhere. So whole marks are replayed, not numbers drawn one by
one: `mark_model.json` holds for each of the lesions how its mark lies against its mask, and a draw
takes one of a lesion that was about as large and as long, and lays it over the new mask so that
the axes keep their share of the mask's chords.

Two readers of one lesion agree better with each other than either with the mask: both look at the
same image. What they share follows from the mask itself, or from `lesion`.

`python -m bench.fits.mark_model` writes the table, and compares what is drawn with what people
drew.
"""

from __future__ import annotations

import json
import zlib
from functools import lru_cache
from importlib import resources

import numpy as np

from dsnet.labeling.derived_mark import recist_from_mask
from dsnet.labeling.points import dot
from dsnet.labeling.recist import RecistMark

# How a mark lies against its mask, in this order: logarithm of the mask's longest chord in pixels,
# and of its ratio to the chord perpendicular to it; degrees from the longest chord to the long
# axis; offset of the long axis' line from the mask's centroid, over the longest chord; degrees by
# which the short axis is off perpendicular; where it crosses, from the centroid along the long
# axis, over the longest chord; pixels by which the four ends lie outside the mask's edge on their
# line; chord through the centroid in the long axis' direction, over the longest such chord;
# lengths of both axes over the mask's two chords.
RESIDUALS = (
    "log_length", "log_elongation", "turn", "offset", "skew", "crossing",
    "long_start", "long_end", "short_start", "short_end",
    "chord", "long_ratio", "short_ratio",
)  # fmt: skip

# How alike a lesion must be to lend its mark: standard deviations of log_length, log_elongation and
# chord. Masks larger than the largest of the table count as `_LARGEST` pixels.
_LIKE = (0.5, 0.2, 0.03)
_LARGEST = 40.0
# A reader follows what all readers of a lesion share this often, else takes a mark of their own;
# and is off by so much besides: degrees, offset, crossing, pixels of an end.
_SHARED = 0.7
_UNSTEADY = (9.0, 0.015, 0.018, 0.6)
# A draw is kept by how well the axes keep their share of the mask's chords, or drawn again.
_RATIO_ERROR = 0.045
_TRIES = 16
_SHORTEST = 0.5
_DIRECTIONS = np.radians(np.arange(0, 180, 4))
_STEP = 0.1


def draw_mark(
    mask: np.ndarray, rng: np.random.Generator, *, lesion: int | None = None
) -> RecistMark:
    """A mark over a mask as a person would draw it.

    Parameters
    ----------
    mask : array [H, W]
        Non-zero is lesion.
    rng : numpy.random.Generator
        Of this reader.
    lesion : int, optional
        Seed of what all readers of the lesion share; by default it follows from the mask, so that
        two marks of one mask are off alike. Draws with many seeds show all that may happen to it.

    Returns
    -------
    RecistMark
        In the mask's pixels.

    Raises
    ------
    ValueError
        When the mask is empty or not two-dimensional.
    """
    return MarkedMask(mask).draw(rng, lesion=lesion)


class MarkedMask:
    """A mask that is drawn over more than once; `draw_mark` for one draw.

    Parameters
    ----------
    mask : array [H, W]
        Non-zero is lesion.

    Raises
    ------
    ValueError
        When the mask is empty or not two-dimensional.
    """

    def __init__(self, mask: np.ndarray) -> None:
        mask = np.asarray(mask) != 0
        exact = recist_from_mask(mask)
        rows, columns = np.nonzero(mask)
        self._corner = np.array([columns.min() - 1, rows.min() - 1], np.float64)
        self._mask = np.pad(mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1], 1)
        self._lesion = zlib.crc32(np.packbits(self._mask).tobytes())
        self._centroid = np.array([columns.mean(), rows.mean()]) - self._corner
        self.long, self.short = exact.long_diameter, max(exact.short_diameter, 1.0)
        along = _direction(exact.long_axis)
        self._turned = float(np.arctan2(along[1], along[0]))
        chords = [np.ptp(self.chord(self._centroid, _unit(turn))) for turn in _DIRECTIONS]
        # A line through the centroid may miss a hollow mask.
        chords = np.nan_to_num(chords)
        self._chords = chords / max(chords.max(), _STEP)

    def chord(self, point: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Where a line enters and leaves the mask's pixels, from `point`; none: [nan, nan]."""
        reach = np.hypot(*self._mask.shape) + np.abs(point - self._centroid).max()
        at = np.arange(-reach, reach, _STEP)
        column = np.rint(point[0] + at * direction[0]).astype(np.int64)
        row = np.rint(point[1] + at * direction[1]).astype(np.int64)
        rows, columns = self._mask.shape
        column, row = np.clip(column, 0, columns - 1), np.clip(row, 0, rows - 1)
        inside = at[self._mask[row, column]]
        return inside[[0, -1]] if len(inside) else np.full(2, np.nan)

    def chord_ratio(self, degrees: np.ndarray) -> np.ndarray:
        """Chord through the centroid over the longest, so many degrees from the longest axis."""
        turn = np.degrees(self._turned) + np.asarray(degrees)
        return self._chords[np.rint(turn / 4).astype(np.int64) % len(self._chords)]

    def draw(
        self, rng: np.random.Generator, *, lesion: int | None = None, steady: bool = True
    ) -> RecistMark:
        """As `draw_mark`; not `steady`: whatever becomes of the axes' lengths, which makes them as
        short on masks that are less round than the table's as nobody draws them."""
        table = mark_table()
        likely = self._likelihood(table)
        shared = np.random.default_rng(self._lesion if lesion is None else lesion)
        common = table[shared.choice(len(table), p=likely)]
        best, best_miss = recist_from_mask(self._mask), np.inf
        follows = _SHARED
        for _ in range(_TRIES):
            taken = common if rng.random() < follows else table[rng.choice(len(table), p=likely)]
            follows *= 0.85
            drawn = self._lay(taken, rng)
            if drawn is None:
                continue
            mark, lengths = drawn
            ratios = lengths / np.array([self.long, self.short])
            miss = np.sum(((ratios - taken[11:13]) / np.array([1, 2]) / _RATIO_ERROR) ** 2) / 2
            kept = not steady or rng.random() < np.exp(-miss)
            if kept or miss < best_miss:
                best, best_miss = mark, miss
            if kept:
                break
        return best.translated(*self._corner)

    def _likelihood(self, table: np.ndarray) -> np.ndarray:
        length, elongation = np.log(self.long), np.log(self.long / self.short)
        length = np.clip(length, table[:, 0].min(), np.log(_LARGEST))
        elongation = np.clip(elongation, 0.0, table[:, 1].max())
        off = np.stack(
            [
                (table[:, 0] - length) / _LIKE[0],
                (table[:, 1] - elongation) / _LIKE[1],
                (table[:, 10] - self.chord_ratio(table[:, 2])) / _LIKE[2],
            ]
        )
        weight = np.exp(-0.5 * np.sum(off**2, axis=0)) + 1e-9
        return weight / weight.sum()

    def _lay(self, taken: np.ndarray, rng: np.random.Generator):
        """The mark that a row of the table is over this mask, and its axes' lengths."""
        spread = rng.normal(size=8)
        turn = self._turned + np.radians(taken[2] + _UNSTEADY[0] * spread[0])
        along = _unit(turn)
        across = _unit(turn + np.radians(90 + taken[4]))
        normal = np.array([-along[1], along[0]])
        offset = taken[3] + _UNSTEADY[1] * spread[1]
        crossing = taken[5] + _UNSTEADY[2] * spread[2]
        ends = taken[6:10] + _UNSTEADY[3] * spread[3:7]
        axes, lengths = [], []
        for start, direction, outward in (
            (self._centroid + offset * self.long * normal, along, ends[:2]),
            (self._centroid + crossing * self.long * along, across, ends[2:]),
        ):
            place = self.chord(start, direction) + outward * [-1, 1]
            if np.isnan(place).any():
                return None
            if place[1] - place[0] < _SHORTEST:
                place = place.mean() + np.array([-0.5, 0.5]) * _SHORTEST
            axes.append(start + place[:, None] * direction)
            lengths.append(place[1] - place[0])
        mark = RecistMark.from_coordinates(np.concatenate(axes).ravel())
        return mark, np.array(lengths)


def mark_residuals(mask: np.ndarray, mark: RecistMark) -> np.ndarray | None:
    """How a mark lies against a mask.

    Parameters
    ----------
    mask : array [H, W]
        Non-zero is lesion.
    mark : RecistMark
        With both axes.

    Returns
    -------
    ndarray [13], float64, or None
        In the order of `RESIDUALS`; None where an axis' line misses the mask.

    Raises
    ------
    ValueError
        When the mark has no short axis, or the mask is empty or not two-dimensional.
    """
    if mark.short_axis is None:
        raise ValueError("mark must have both axes, got a long axis alone")
    drawn = MarkedMask(mask)
    long_axis, short_axis = mark.translated(*-drawn._corner).axes
    exact = _unit(drawn._turned)
    along = _direction(long_axis)
    along = along if dot(along, exact) >= 0 else -along
    turn = np.degrees(np.arctan2(exact[0] * along[1] - exact[1] * along[0], dot(along, exact)))
    normal = np.array([-along[1], along[0]])
    across = _direction(short_axis)
    across = across if dot(across, normal) >= 0 else -across
    skew = np.degrees(np.arctan2(dot(across, normal), dot(across, along))) - 90
    offset = dot(long_axis.mean(0) - drawn._centroid, normal)
    # Where the short axis' line meets the one through the centroid along the long axis.
    gap = short_axis.mean(0) - drawn._centroid
    crossing = (gap[0] * across[1] - gap[1] * across[0]) / (
        along[0] * across[1] - along[1] * across[0]
    )
    ends = []
    for axis, start, direction in (
        (long_axis, drawn._centroid + offset * normal, along),
        (short_axis, drawn._centroid + crossing * along, across),
    ):
        chord = drawn.chord(start, direction)
        place = np.sort(dot(axis - start, direction))
        ends += [chord[0] - place[0], place[1] - chord[1]]
    found = [
        np.log(drawn.long), np.log(drawn.long / drawn.short), turn, offset / drawn.long, skew,
        crossing / drawn.long, *ends, float(drawn.chord_ratio(np.array(turn))),
        mark.long_diameter / drawn.long, mark.short_diameter / drawn.short,
    ]  # fmt: skip
    return None if np.isnan(found).any() else np.array(found)


@lru_cache(maxsize=1)
def mark_table() -> np.ndarray:
    """float64 [N, 13]: rows of `RESIDUALS`, and the same mirrored at either axis."""
    stored = json.loads(resources.files("dsnet.labeling").joinpath("mark_model.json").read_text())
    if tuple(stored["residuals"]) != RESIDUALS:
        raise RuntimeError("mark_model.json was written for other residuals")
    table = np.array(stored["table"], np.float64)
    across = table.copy()
    across[:, [2, 3, 4]] *= -1
    across[:, [8, 9]] = across[:, [9, 8]]
    table = np.concatenate([table, across])
    along = table.copy()
    along[:, [2, 4, 5]] *= -1
    along[:, [6, 7]] = along[:, [7, 6]]
    return np.concatenate([table, along])


def _unit(turn: float) -> np.ndarray:
    return np.array([np.cos(turn), np.sin(turn)])


def _direction(axis: np.ndarray) -> np.ndarray:
    return (axis[1] - axis[0]) / np.hypot(*(axis[1] - axis[0]))
