"""What a reader changes about a label: its mark, its trimap by a brush, or its threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dsnet.data.store.decisions import MADE
from dsnet.data.store.record import LabelRecord
from dsnet.labeling import RecistMark, closed_form_matting, label_recist
from dsnet.labeling.constants import BACKGROUND
from dsnet.labeling.matting.closed_form import DEFAULT_RTOL
from dsnet.labeling.quality import score
from dsnet.labeling.recist import PROBLEMS
from dsnet.labeling.soft_mask import PRIOR_WEIGHT
from dsnet.reviewing.brush import Stroke, paint, read_strokes

# Nearer to 0 or 1 the soft mask has no shape left.
THRESHOLDS = (0.02, 0.98)
_OUTSIDE = PROBLEMS[4]


@dataclass(frozen=True, eq=False)
class Mending:
    """One change; exactly one of `mark`, `strokes` and `threshold` is there.

    Attributes
    ----------
    mark : RecistMark or None
        The label of this mark, by `label_recist`.
    strokes : list of Stroke or None
        Painted over the trimap of the version `base`.
    threshold : float or None
        From where on the soft mask of the version `base` is lesion.
    base : str
        The version that is changed.
    """

    mark: RecistMark | None = None
    strokes: list[Stroke] | None = None
    threshold: float | None = None
    base: str = MADE

    @property
    def by(self) -> str:
        """One of `decisions.MENDED_BY`."""
        if self.mark is not None:
            return "mark"
        return "brush" if self.strokes is not None else "threshold"

    def apply(self, record: LabelRecord) -> LabelRecord:
        """The record of the version `base` with what is changed about it.

        Raises
        ------
        ValueError
            When the record has no image, or no soft mask where one is wanted, or the mark lies
            outside of the image.
        """
        if record.image is None:
            raise ValueError("label has no image: nothing can be drawn on it")
        if self.mark is not None:
            return _by_mark(record, self.mark)
        if self.strokes is not None:
            return _by_brush(record, self.strokes)
        return _by_threshold(record, self.threshold or 0.5)


def read_mending(told: dict[str, Any]) -> Mending:
    """A change of the JSON that the page sends.

    `{"mark": [8 numbers, the last four may be null]}`, `{"strokes": [...], "base": version}` or
    `{"threshold": t, "base": version}`.

    Raises
    ------
    ValueError
        Naming what is not as it must be.
    """
    given = [name for name in ("mark", "strokes", "threshold") if told.get(name) is not None]
    if len(given) != 1:
        raise ValueError(f"exactly one of mark, strokes and threshold must be given, got {given}")
    base = told.get("base") or MADE
    if not isinstance(base, str):
        raise ValueError(f"base must be a version, got {base!r}")
    if given == ["strokes"]:
        return Mending(strokes=read_strokes(told["strokes"]), base=base)
    if given == ["mark"]:
        return Mending(mark=_mark(told["mark"]), base=base)
    threshold = told["threshold"]
    low, high = THRESHOLDS
    if (
        isinstance(threshold, bool)
        or not isinstance(threshold, (int, float))
        or not (low <= threshold <= high)
    ):
        raise ValueError(f"threshold must be a number in {low}..{high}, got {threshold!r}")
    return Mending(threshold=float(threshold), base=base)


def _mark(told: Any) -> RecistMark:
    ends = told if isinstance(told, list) else []
    numbers = [math.nan if end is None and i >= 4 else end for i, end in enumerate(ends)]
    if len(numbers) == 4:
        numbers += [math.nan] * 4
    if len(numbers) != 8 or any(
        isinstance(n, bool) or not isinstance(n, (int, float)) for n in numbers
    ):
        raise ValueError("mark must be 8 numbers (the last four null: the short axis is unknown)")
    return RecistMark.from_coordinates(numbers)


def _by_mark(record: LabelRecord, mark: RecistMark) -> LabelRecord:
    label = label_recist(record.image, mark)
    return replace(
        record,
        status="ok",
        error="",
        alpha=label.alpha,
        binary=label.binary,
        trimap=label.trimap,
        mark=mark.coordinates,
        quality=dict(label.quality),
        seconds=dict(label.seconds),
        notes=label.notes,
    )


def _by_brush(record: LabelRecord, strokes: list[Stroke]) -> LabelRecord:
    image = np.asarray(record.image)
    trimap, alpha = record.trimap, record.alpha
    if trimap is None or alpha is None:
        trimap = np.full(image.shape, BACKGROUND, np.uint8)
        alpha = np.zeros(image.shape, np.float32)
    painted = paint(trimap, strokes)
    # Where nobody painted matting is told what the label had; it knows nothing of a new border.
    prior = np.where(painted == trimap, alpha, np.float32(0.5)).astype(np.float32)
    solved, info = closed_form_matting(image, painted, prior=prior, prior_weight=PRIOR_WEIGHT)
    return _scored(record, solved, painted, info)


def _by_threshold(record: LabelRecord, threshold: float) -> LabelRecord:
    if record.alpha is None or record.trimap is None:
        raise ValueError("label has no soft mask: there is nothing to move a threshold of")
    return _scored(record, moved(record.alpha, threshold), record.trimap, None)


def moved(alpha: np.ndarray, threshold: float) -> np.ndarray:
    """A soft mask that is one half where it was `threshold`: bent there, 0 and 1 stay.

    Parameters
    ----------
    alpha : ndarray [H, W], float32
    threshold : float
        In (0, 1).

    Returns
    -------
    ndarray [H, W], float32
        At least one half exactly where `alpha` is at least the threshold.
    """
    level = np.float32(threshold)
    below = 0.5 * alpha.astype(np.float64) / float(level)
    above = 1.0 - 0.5 * (1.0 - alpha.astype(np.float64)) / (1.0 - float(level))
    inside = alpha >= level
    half, under = np.float32(0.5), np.nextafter(np.float32(0.5), np.float32(0))
    return np.where(
        inside,
        np.maximum(above.astype(np.float32), half),
        np.minimum(below.astype(np.float32), under),
    ).clip(0, 1)


def _scored(record: LabelRecord, alpha, trimap, info) -> LabelRecord:
    mark = None
    if record.mark is not None:
        mark = RecistMark.from_coordinates(record.mark)
        if _OUTSIDE in mark.problems(alpha.shape):
            mark = None
    solved = {}
    if info is not None:
        solved = {"converged": info.converged, "residual": info.residual, "rtol": DEFAULT_RTOL}
    quality = score(np.asarray(record.image), alpha, trimap, mark=mark, **solved)
    return replace(
        record,
        status="ok",
        error="",
        alpha=alpha,
        binary=alpha >= 0.5,
        trimap=trimap,
        quality={name: value for name, value in quality.items() if "expected" not in name},
        seconds={} if info is None else {"matting": info.seconds},
    )


def noted(made: LabelRecord, mended: LabelRecord, by: str, reader: str) -> LabelRecord:
    """A mended label that tells so: what its picture's reader noted, and who mended it."""
    kept = made.notes
    if by == "mark" and made.mark is not None and made.image is not None:
        # What was odd about the old mark is not about the new one.
        try:
            old = label_recist(made.image, RecistMark.from_coordinates(made.mark)).notes
        except (ValueError, TypeError):
            old = ()
        kept = tuple(note for note in made.notes if note not in old)
    odd = tuple(note for note in mended.notes if note not in kept) if by == "mark" else ()
    return replace(mended, notes=(*kept, *odd, f"mended by {by}: {reader}"))
