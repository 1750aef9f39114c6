"""Which slice each mark lies on.

Public
------
``match_marks(marks, index) -> list of MatchedMark``: one each, equal ones of several files once
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from dsnet.data.dicom.attempts import LOST
from dsnet.data.dicom.entry import SliceEntry
from dsnet.data.dicom.index import SeriesIndex
from dsnet.data.marks.geometry import checked, placed, sides_swapped, to_pixels
from dsnet.data.marks.record import FoundMark, joined

# mm that a mark may lie beside the only slice of a place, or beside the one that it names.
_BESIDE_MM = 1.0
# Of the gap between two slices; the rest is rounding.
_HALF_GAP = 0.505
# Half of the gap between the thickest slices, where the real one is not known.
_FAR_MM = 5.0
# Slices nearer than this lie at one place.
_ONE_PLACE_MM = 0.02
# Two files that hold one mark agree to this, in pixels or mm.
_SAME = 0.01


@dataclass(frozen=True, eq=False)
class MatchedMark:
    """A mark and the slice that it lies on.

    Attributes
    ----------
    mark : FoundMark
        With its ends in the slice's pixels, where there is one.
    entry : SliceEntry or None
        None where there is no such slice, and of marks whose file has its own picture (npz).
    error : str
        Why it cannot be labelled; empty where nothing is known against it.
    """

    mark: FoundMark
    entry: SliceEntry | None
    error: str = ""


def match_marks(marks: Iterable[FoundMark], index: SeriesIndex) -> list[MatchedMark]:
    """The slice of each mark, by its instance, its file, or its place in the patient.

    A mark that several files hold, the same ends on the same slice to 0.01 px, is there once, with
    a note.

    Parameters
    ----------
    marks : iterable of FoundMark
    index : SeriesIndex

    Returns
    -------
    list of MatchedMark
        In the order of the marks.
    """
    return _each_once([_matched(mark, index) for mark in marks])


def _matched(mark: FoundMark, index: SeriesIndex) -> MatchedMark:
    if mark.format == "npz":
        return MatchedMark(mark, None)
    try:
        entry, beside = _entry(mark, index)
        if mark.long_axis is None:
            mark, beside = _on_slice(mark, entry, index)
    except ValueError as error:
        lacks = any(LOST in reason for _, reason in index.problems)
        more = " (not all images are known of: their server was lost)" if lacks else ""
        return MatchedMark(mark, None, f"{error}{more}")
    if sides_swapped(mark, entry.spacing):
        row, column = entry.spacing or (0.0, 0.0)
        told = (
            "the mark's ends fit its lengths only where the sides of a pixel are swapped "
            f"({row:g} x {column:g} mm): OHIF writes such reports, its CSV and JSON are right"
        )
        return MatchedMark(mark, entry, told)
    notes = list(checked(mark, entry.spacing))
    if beside > _BESIDE_MM:
        notes.append(f"the mark lies {beside:.1f} mm beside its slice")
    mark = replace(mark, notes=(*mark.notes, *notes))
    return MatchedMark(mark, entry)


def _entry(mark: FoundMark, index: SeriesIndex) -> tuple[SliceEntry, float]:
    """The slice, and how many mm the mark lies beside it."""
    if mark.instance_uid:
        entry = index.slice(mark.instance_uid, mark.frame)
        if entry is not None:
            return entry, 0.0
        first = index.slice(mark.instance_uid, 1)
        if first is not None:
            named = "none" if mark.frame is None else str(mark.frame)
            raise ValueError(
                f"the mark's instance has {first.frames} frames, the mark names {named} of them"
            )
        raise ValueError("no slice of the instance that the mark names")
    if mark.file:
        return _by_file(mark, index), 0.0
    if mark.world is not None:
        return _by_place(mark, mark.world, index)
    raise ValueError("the mark names no instance, no file and no place in the patient")


def _by_file(mark: FoundMark, index: SeriesIndex) -> SliceEntry:
    found = index.files(mark.file or "")
    of_frame = [e for e in found if (e.frame or 1) == (mark.frame or e.frame or 1)]
    if len(of_frame) == 1:
        return of_frame[0]
    if not found:
        raise ValueError("no DICOM slice of the file that the mark names")
    raise ValueError(f"{len(found)} slices are of files of the name that the mark gives")


def _by_place(mark: FoundMark, world: np.ndarray, index: SeriesIndex) -> tuple[SliceEntry, float]:
    """The slice that a mark lies on: of its series, or of the only one that has such a slice."""
    if mark.series_uid:
        found = index.series(mark.series_uid)
        if not found:
            raise ValueError("no slice of the series that the mark names")
    elif mark.frame_of_reference_uid:
        found = index.in_frame_of_reference(mark.frame_of_reference_uid)
        if not found:
            raise ValueError("no slice of the frame of reference that the mark names")
    else:
        raise ValueError("the mark lies in the patient, and names no series")
    by_series: dict[str, list[SliceEntry]] = {}
    for entry in found:
        if None not in (entry.position, entry.orientation):
            by_series.setdefault(entry.series_uid, []).append(entry)
    if not by_series:
        raise ValueError("the slices that the mark may lie on tell no places")
    near, errors = [], []
    for entries in by_series.values():
        # A localizer has the frame of reference of its series, and lies across the mark.
        try:
            near.append(_nearest(world, entries))
        except ValueError as error:
            errors.append(error)
    if len(near) > 1:
        raise ValueError(
            f"{len(near)} series share the frame of reference that the mark names: "
            "which is meant cannot be told"
        )
    if near:
        return near[0]
    if len(errors) == 1:
        raise errors[0]
    raise ValueError(f"the mark lies on no slice of the {len(errors)} series of its place")


def _nearest(world: np.ndarray, entries: list[SliceEntry]) -> tuple[SliceEntry, float]:
    """The slice whose plane is nearest to the mark's middle, and to all of its ends."""
    middle = world.mean(0)[None]
    signed = []
    for entry in entries:
        assert entry.position is not None and entry.orientation is not None
        _, far = to_pixels(middle, entry.position, entry.orientation, entry.spacing or (1.0, 1.0))
        signed.append(float(far[0]))
    far = np.abs(signed)
    best = int(np.argmin(far))
    # On the other side of the mark, or the slice that is next to it.
    gaps = np.abs(np.array(signed) - signed[best])
    there = int((gaps <= _ONE_PLACE_MM).sum())
    if there > 1:
        raise ValueError(
            f"{there} slices of the series lie where the mark does: which is meant cannot be told"
        )
    gap = gaps.min(where=gaps > _ONE_PLACE_MM, initial=np.inf)
    half = _HALF_GAP * gap if np.isfinite(gap) else _HALF_GAP * 2 * _BESIDE_MM
    if far[best] > half:
        raise ValueError(f"the mark lies {far[best]:.1f} mm from the nearest slice")
    _require_near(world, entries[best], half)
    return entries[best], float(far[best])


def _require_near(world: np.ndarray, entry: SliceEntry, half: float) -> None:
    """Refuse a mark that was drawn across slices: on its slice it would be shorter."""
    assert entry.position is not None and entry.orientation is not None
    _, far = to_pixels(world, entry.position, entry.orientation, entry.spacing or (1.0, 1.0))
    if (most := float(np.abs(far).max())) > max(half, _BESIDE_MM):
        raise ValueError(f"an end of the mark lies {most:.1f} mm from its slice")


def _on_slice(mark: FoundMark, entry: SliceEntry, index: SeriesIndex) -> tuple[FoundMark, float]:
    if entry.position is None or entry.orientation is None or entry.spacing is None:
        raise ValueError("the mark lies in the patient, and its slice does not tell where it is")
    if mark.world is not None and mark.instance_uid:
        step = index.order(entry.series_uid).step if entry.series_uid else None
        _require_near(mark.world, entry, _FAR_MM if step is None else _HALF_GAP * step)
    return placed(mark, entry.position, entry.orientation, entry.spacing)


def _each_once(matched: list[MatchedMark]) -> list[MatchedMark]:
    cells: dict[tuple, list[int]] = {}
    more: dict[int, list[FoundMark]] = {}
    kept: list[MatchedMark] = []
    for each in matched:
        picture, ends = _picture(each), _ends(each.mark)
        at = None
        if ends:
            # Ends that agree have middles that do, and those lie in one cell or in the next.
            cell = np.floor(ends[0].mean(0) / (2 * _SAME)).astype(int)
            beside = (
                number
                for step in itertools.product((-1, 0, 1), repeat=len(cell))
                for number in cells.get((*picture, *(cell + step).tolist()), ())
            )
            at = min((n for n in beside if _is_same(ends, _ends(kept[n].mark))), default=None)
            if at is None:
                cells.setdefault((*picture, *cell.tolist()), []).append(len(kept))
        if at is None or each.mark.source == kept[at].mark.source:
            kept.append(each)
        else:
            more.setdefault(at, []).append(each.mark)
    for at, others in more.items():
        kept[at] = replace(kept[at], mark=_with(kept[at].mark, others))
    return kept


def _with(mark: FoundMark, others: list[FoundMark]) -> FoundMark:
    """A mark, with what other files tell of it besides: its readers, and what it lacks."""
    count = len({other.source for other in others})
    note = f"{count} other file{'s hold' if count > 1 else ' holds'} the same mark"
    told = {
        name: next(filter(None, (getattr(each, name) for each in (mark, *others))), None)
        for name in ("tracking_id", "tracking_uid", "long_mm", "short_mm")
    }
    return replace(
        mark,
        **told,
        label=next(filter(None, (each.label for each in (mark, *others))), ""),
        reader=joined(each.reader for each in (mark, *others)) or None,
        person=tuple(dict.fromkeys(name for each in (mark, *others) for name in each.person)),
        notes=(*mark.notes, note),
    )


def _picture(each: MatchedMark) -> tuple:
    """The picture of a mark, and of how many axes and dimensions it is."""
    mark, entry = each.mark, each.entry
    kind = [ends.shape for ends in _ends(mark)]
    if entry is not None:
        return entry.source, entry.frame, *kind
    return mark.instance_uid or mark.file or mark.series_uid, mark.frame, *kind


def _ends(mark: FoundMark) -> list[np.ndarray]:
    """Both axes, or the long one; of a mark without a slice those in the patient."""
    if mark.long_axis is None:
        return [] if mark.world is None else [mark.world[at : at + 2] for at in (0, 2)][
            : len(mark.world) // 2
        ]  # fmt: skip
    return [axis for axis in (mark.long_axis, mark.short_axis) if axis is not None]


def _is_same(ends: list[np.ndarray], others: list[np.ndarray]) -> bool:
    """Whether two marks agree, whichever end was drawn first."""
    return all(
        min(np.abs(one - other).max(), np.abs(one - other[::-1]).max()) <= _SAME
        for one, other in zip(ends, others, strict=True)
    )
