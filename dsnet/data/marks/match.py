"""Which slice each mark lies on.

Public
------
``match_marks(marks, index) -> list of MatchedMark``: one each, equal ones of several files once
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from dsnet.data.dicom.entry import SliceEntry
from dsnet.data.dicom.index import SeriesIndex
from dsnet.data.marks.geometry import checked, placed, to_pixels
from dsnet.data.marks.record import FoundMark

# mm that a mark may lie beside the only slice of a place, or beside the one that it names.
_BESIDE_MM = 1.0
# Of the gap between two slices; the rest is rounding.
_HALF_GAP = 0.505
# Two files that hold one mark agree to this, in pixels.
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
            mark, beside = _on_slice(mark, entry)
    except ValueError as error:
        return MatchedMark(mark, None, str(error))
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
        return _nearest(mark.world, _candidates(mark, index))
    raise ValueError("the mark names no instance, no file and no place in the patient")


def _by_file(mark: FoundMark, index: SeriesIndex) -> SliceEntry:
    found = index.files(mark.file or "")
    of_frame = [e for e in found if (e.frame or 1) == (mark.frame or e.frame or 1)]
    if len(of_frame) == 1:
        return of_frame[0]
    if not found:
        raise ValueError("no DICOM slice of the file that the mark names")
    raise ValueError(f"{len(found)} slices are of files of the name that the mark gives")


def _candidates(mark: FoundMark, index: SeriesIndex) -> list[SliceEntry]:
    if mark.series_uid:
        found = index.series(mark.series_uid)
        if not found:
            raise ValueError("no slice of the series that the mark names")
    elif mark.frame_of_reference_uid:
        found = index.in_frame_of_reference(mark.frame_of_reference_uid)
        series = {entry.series_uid for entry in found}
        if not found:
            raise ValueError("no slice of the frame of reference that the mark names")
        if len(series) > 1:
            raise ValueError(
                f"{len(series)} series share the frame of reference that the mark names: "
                "which is meant cannot be told"
            )
    else:
        raise ValueError("the mark lies in the patient, and names no series")
    usable = [entry for entry in found if None not in (entry.position, entry.orientation)]
    if not usable:
        raise ValueError("the slices that the mark may lie on tell no places")
    return usable


def _nearest(world: np.ndarray, entries: list[SliceEntry]) -> tuple[SliceEntry, float]:
    """The slice whose plane is nearest to the mark's middle."""
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
    gap = gaps[gaps > 1e-3].min() if (gaps > 1e-3).any() else 2 * _BESIDE_MM
    if far[best] > max(_HALF_GAP * gap, 1e-3):
        raise ValueError(f"the mark lies {far[best]:.1f} mm from the nearest slice")
    return entries[best], float(far[best])


def _on_slice(mark: FoundMark, entry: SliceEntry) -> tuple[FoundMark, float]:
    if entry.position is None or entry.orientation is None or entry.spacing is None:
        raise ValueError("the mark lies in the patient, and its slice does not tell where it is")
    return placed(mark, entry.position, entry.orientation, entry.spacing)


def _each_once(matched: list[MatchedMark]) -> list[MatchedMark]:
    first: dict[tuple, int] = {}
    more: dict[int, set[str]] = {}
    kept: list[MatchedMark] = []
    for each in matched:
        place = _place(each)
        at = first.get(place)
        if at is None or each.mark.source == kept[at].mark.source:
            first.setdefault(place, len(kept))
            kept.append(each)
        else:
            more.setdefault(at, set()).add(each.mark.source)
    for at, files in more.items():
        count = len(files)
        note = f"{count} other file{'s hold' if count > 1 else ' holds'} the same mark"
        mark = kept[at].mark
        kept[at] = replace(kept[at], mark=replace(mark, notes=(*mark.notes, note)))
    return kept


def _place(each: MatchedMark) -> tuple:
    """What two records of one mark have in common."""
    mark, entry = each.mark, each.entry
    ends = []
    for axis in (mark.long_axis, mark.short_axis):
        if axis is not None:
            # Whichever end was drawn first.
            ends.append(tuple(sorted(tuple(np.rint(axis / _SAME).astype(int)[i]) for i in (0, 1))))
    if mark.long_axis is None and mark.world is not None:
        ends.append(tuple(np.rint(mark.world.ravel() / _SAME).astype(int)))
    if entry is not None:
        picture: tuple = (entry.source, entry.frame)
    else:
        picture = (mark.instance_uid or mark.file or mark.series_uid, mark.frame)
    return (*picture, *ends)
