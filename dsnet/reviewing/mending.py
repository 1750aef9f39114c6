"""What a reader changes about a label: its mark, its trimap by a brush, or its threshold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dsnet.data.store.decisions import MADE, MENDED_BY
from dsnet.data.store.record import LabelRecord
from dsnet.labeling import RecistMark, closed_form_matting, label_recist
from dsnet.labeling.constants import BACKGROUND
from dsnet.labeling.matting.closed_form import DEFAULT_RTOL
from dsnet.labeling.quality import score
from dsnet.labeling.recist import PROBLEMS
from dsnet.labeling.soft_mask import PRIOR_WEIGHT
from dsnet.reviewing.brush import Stroke, numbers, paint, read_strokes, share_of_old

# Nearer to 0 or 1 the soft mask has no shape left.
THRESHOLDS = (0.02, 0.98)
_OUTSIDE = PROBLEMS[4]


@dataclass(frozen=True, eq=False)
class Mending:
    """What a reader changes; at least one of `mark`, `strokes` and `threshold` is there.

    Attributes
    ----------
    mark : RecistMark or None
        First the label of this mark, by `label_recist`; without one that of the version `base`.
    strokes : list of Stroke or None
        Then painted over its trimap, which matting solves.
    threshold : float or None
        At last from where on that soft mask is lesion.
    base : str
        The version that is changed.
    """

    mark: RecistMark | None = None
    strokes: list[Stroke] | None = None
    threshold: float | None = None
    base: str = MADE

    @property
    def by(self) -> str:
        """Of `decisions.MENDED_BY`, joined by "+"."""
        given = (self.mark, self.strokes, self.threshold)
        return "+".join(n for n, v in zip(MENDED_BY, given, strict=True) if v is not None)

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
            record = _by_mark(record, self.mark)
        if self.strokes is not None:
            record = _by_brush(record, self.strokes)
        if self.threshold is not None:
            record = _by_threshold(record, self.threshold)
        return record


def read_mending(told: Any) -> Mending:
    """A change of the JSON that the page sends.

    `{"mark": [8 numbers, the last four may be null], "strokes": [...], "threshold": t, "base":
    version}`, at least one of the first three.

    Raises
    ------
    ValueError
        Naming what is not as it must be.
    """
    if not isinstance(told, dict):
        raise ValueError(f"mend must be a JSON object, got {type(told).__name__}")
    given = {name: told[name] for name in MENDED_FROM if told.get(name) is not None}
    if not given:
        raise ValueError("mark, strokes or threshold must be given, got none")
    base = told.get("base") or MADE
    if not isinstance(base, str):
        raise ValueError(f"base must be a version, got {base!r}")
    return Mending(**{name: MENDED_FROM[name](value) for name, value in given.items()}, base=base)


def _threshold(told: Any) -> float:
    low, high = THRESHOLDS
    is_number = isinstance(told, (int, float)) and not isinstance(told, bool)
    if not is_number or not low <= told <= high:
        raise ValueError(f"threshold must be a number in {low}..{high}, got {told!r}")
    return float(told)


def _mark(told: Any) -> RecistMark:
    ends = told if isinstance(told, list) else []
    known = ends[:4] if ends[4:] in ([], [None] * 4) else ends
    if len(known) not in (4, 8):
        raise ValueError("mark must be 8 numbers (the last four null: the short axis is unknown)")
    drawn = numbers(known, "mark")
    return RecistMark.from_coordinates(np.concatenate([drawn, np.full(8 - len(known), np.nan)]))


MENDED_FROM = {"mark": _mark, "strokes": read_strokes, "threshold": _threshold}


def _by_mark(record: LabelRecord, mark: RecistMark) -> LabelRecord:
    label = label_recist(np.asarray(record.image), mark)
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
    # What the label was made of is gone but for its alpha: far from the strokes that is better.
    old = share_of_old(strokes, image.shape)
    mixed = np.where(old == 1, alpha, (1 - old) * solved + old * alpha).astype(np.float32)
    return _scored(record, mixed.clip(0, 1), painted, info)


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
    drawn = "mark" in by.split("+")
    kept = made.notes
    if drawn and made.mark is not None and made.image is not None:
        # What was odd about the old mark is not about the new one.
        try:
            old = label_recist(made.image, RecistMark.from_coordinates(made.mark)).notes
        except (ValueError, TypeError):
            old = ()
        kept = tuple(note for note in made.notes if note not in old)
    odd = tuple(note for note in mended.notes if note not in kept) if drawn else ()
    return replace(mended, notes=(*kept, *odd, f"mended by {by}: {reader}"))
