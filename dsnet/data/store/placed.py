"""Rows of a store on the slices of DICOM series that they were labelled on.

What such a row tells in its metadata (study, series, instance, frame, label, tracking) is written
by `label dicom`. A row that tells no slice, or whose slice is not among the images, is refused
with its reason, and the others go on.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeGuard

import numpy as np

from dsnet.data.crop import Crop, paste_back
from dsnet.data.dicom.header import quiet
from dsnet.data.dicom.lesions import PlacedLesion
from dsnet.data.dicom.objects import content_uid
from dsnet.data.store.export import file_names
from dsnet.data.store.reader import LabelStore
from dsnet.data.store.record import LabelRecord
from dsnet.files import build_folder
from dsnet.labeling.quality import ranking
from dsnet.labeling.recist import RecistMark

if TYPE_CHECKING:
    from pydicom import Dataset

Refuse = Callable[[str, str], object]


class SliceEntry(Protocol):
    """What a source of images tells of one slice."""

    @property
    def instance_uid(self) -> str: ...
    @property
    def frame(self) -> int | None: ...
    @property
    def rows(self) -> int | None: ...
    @property
    def columns(self) -> int | None: ...
    @property
    def spacing(self) -> tuple[float, float] | None: ...
    @property
    def position(self) -> Sequence[float] | None: ...
    @property
    def orientation(self) -> Sequence[float] | None: ...


class SourceImages(Protocol):
    """Where the slices are found again, by their UIDs: `dsnet.data.dicom.index.SeriesIndex`."""

    def header(self, instance_uid: str) -> Dataset:
        """The tags of an instance, without pixels; KeyError where it is not there."""
        ...

    def series(self, series_uid: str) -> Sequence[Any]:
        """Its slices (`SliceEntry`) along the normal; empty where it is not there."""
        ...


class Exported(NamedTuple):
    """How many rows an export holds, and why each of the others is not in it."""

    written: int
    refused: dict[str, str]


class SeriesLesions(NamedTuple):
    """The lesions of one series, in the order of the store, and the series' slices.

    Attributes
    ----------
    name : str
        The series' UID, or where that is no file name, one that says the same.
    lesions : list of PlacedLesion
    headers : dict of str to Dataset
        Of the instances with lesions, by their UIDs.
    entries : sequence of SliceEntry
        All slices of the series.
    """

    name: str
    lesions: list[PlacedLesion]
    headers: dict[str, Dataset]
    entries: Sequence[Any]


def export_series(
    store: LabelStore,
    images: SourceImages,
    out: str | os.PathLike,
    write: Callable[[Path, SeriesLesions], object],
    *,
    min_quality: float | None = None,
    refuse: Refuse | None = None,
) -> Exported:
    """Let `write` put each series with its lesions below a folder that appears whole or not at all.

    Parameters
    ----------
    store : LabelStore
    images : SourceImages
    out : path
        New or empty folder.
    write : callable
        Takes the folder and a series. What it raises refuses the series' rows, but for an OSError.
    min_quality : float, optional
        Leaves out labels whose expected Dice (of masks: overall quality) is lower or absent.
    refuse : callable, optional
        Told the key of each row that cannot be written, and why, when that is found.

    Raises
    ------
    FileExistsError
        When `out` is not an empty folder.
    ValueError
        When no row could be written.
    """
    refused: dict[str, str] = {}

    def say(key: str, reason: str) -> None:
        refused[key] = reason
        if refuse is not None:
            refuse(key, reason)

    written = 0

    def fill(folder: Path) -> None:
        nonlocal written
        for series in _series(store, images, min_quality, say):
            try:
                write(folder, series)
            except OSError:  # the disk's, not the series'
                raise
            except Exception as error:  # pydicom and highdicom raise many kinds
                for lesion in series.lesions:
                    say(lesion.key, _reason(error))
            else:
                written += len(series.lesions)
        if not written:
            first = next(iter(refused.items()), None)
            why = "" if first is None else f": {len(refused)} refused, first {first[0]}: {first[1]}"
            limit = "" if min_quality is None else f" with a quality >= {min_quality}"
            if which := getattr(store, "which", ""):  # Of `reviewed.ReviewedStore`.
                limit += f" that --reviewed {which} lets through"
            raise ValueError(f"the store {store.path} has no label that can be written{limit}{why}")

    # A header's values are looked at when they are asked for, and pydicom's warnings quote them.
    with quiet():
        build_folder(out, fill)
    return Exported(written, refused)


def placed(record: LabelRecord, header_of: Callable[[str], Dataset]) -> PlacedLesion:
    """A labelled row on the grid of its slice, whose header `header_of` gives.

    Where the crop was resampled its soft mask is interpolated back; what hangs over the slice's
    border is cut off.

    Raises
    ------
    ValueError
        When the row tells no slice, `header_of` raises KeyError, its slice has another size, or no
        pixel of its mask on the slice reaches one half.
    """
    told = record.metadata
    series_uid, instance_uid = told.get("series_uid"), told.get("instance_uid")
    if not (isinstance(series_uid, str) and isinstance(instance_uid, str)):
        raise ValueError("its metadata tell no DICOM series and instance: it is of no DICOM slice")
    if record.offset is None or record.scale is None:
        raise ValueError("it does not tell where its crop lies on the slice")
    try:
        header = header_of(instance_uid)
    except KeyError:
        raise ValueError(f"instance {instance_uid} is not among the images") from None
    if header.get("SeriesInstanceUID") != series_uid:
        of = header.get("SeriesInstanceUID")
        raise ValueError(f"instance {instance_uid} must be of series {series_uid}, got {of}")
    shape = (int(header.get("Rows") or 0), int(header.get("Columns") or 0))
    labelled_on = told.get("slice") or {}
    was = (labelled_on.get("rows") or shape[0], labelled_on.get("columns") or shape[1])
    if was != shape or not all(shape):
        raise ValueError(
            f"instance {instance_uid} must be of {was[0]}x{was[1]} pixels as when it was labelled,"
            f" got {shape[0]}x{shape[1]}"
        )
    label = record.labelled()
    crop = Crop(image=label.image, offset=record.offset, scale=record.scale)
    alpha = paste_back(label.alpha, crop, shape)
    if not (alpha >= 0.5).any():
        raise ValueError("no pixel of its soft mask on the slice reaches one half")
    rows, columns = (np.flatnonzero(alpha.any(axis=axis)) for axis in (1, 0))
    window = alpha[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    mark = _on_slice(record)
    frame = told.get("frame")
    place = (instance_uid, frame, None if mark is None else mark.coordinates.tolist(), record.key)
    place_name = told.get("lesion_type")
    tracking_uid = told.get("tracking_uid")
    if not _is_uid(tracking_uid):
        tracking_uid = content_uid("tracking", *place)
    return PlacedLesion(
        key=record.key,
        study_uid=str(header.get("StudyInstanceUID") or told.get("study_uid") or ""),
        series_uid=series_uid,
        instance_uid=instance_uid,
        frame=None if frame is None else int(frame),
        shape=shape,
        corner=(int(rows[0]), int(columns[0])),
        alpha=window.copy(),
        mark=mark,
        label=str(told.get("label") or ""),
        place="" if place_name in (None, "unknown") else str(place_name),
        tracking_uid=tracking_uid,
        tracking_id=str(told.get("tracking_id") or tracking_uid),
        window=_window(told),
    )


class _Pending:
    """A series of which not all rows have come yet."""

    def __init__(self, images: SourceImages) -> None:
        self._images = images
        self.lesions: list[PlacedLesion] = []
        self.headers: dict[str, Dataset] = {}

    def header_of(self, uid: str) -> Dataset:
        if uid not in self.headers:
            self.headers[uid] = self._images.header(uid)
        return self.headers[uid]


def _series(
    store: LabelStore, images: SourceImages, min_quality: float | None, refuse: Refuse
) -> Iterator[SeriesLesions]:
    """Each series when its last row has come: in memory are those that have begun."""
    left = Counter(_series_of(record) for record in _chosen(store, min_quality))
    names = file_names(list(left))
    begun: dict[str, _Pending] = {}
    for record in _chosen(store, min_quality):
        series_uid = _series_of(record)
        series = begun.setdefault(series_uid, _Pending(images))
        try:
            series.lesions.append(placed(record, series.header_of))
        except OSError:
            raise
        except Exception as error:  # pydicom reads a value when it is asked for it
            refuse(record.key, _reason(error))
        left[series_uid] -= 1
        if left[series_uid]:
            continue
        del begun[series_uid]
        if series.lesions:
            yield SeriesLesions(
                names[series_uid], series.lesions, series.headers, images.series(series_uid)
            )


def _chosen(store: LabelStore, min_quality: float | None) -> Iterator[LabelRecord]:
    # By `records`: a label that readers rejected is not among them, a mended one is as mended.
    for record in store.records("ok"):
        score = ranking(record.quality)
        if min_quality is None or (score is not None and score >= min_quality):
            yield record


def _series_of(record: LabelRecord) -> str:
    return str(record.metadata.get("series_uid"))


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, ValueError) and text else f"{type(error).__name__}: {text}"


def _on_slice(record: LabelRecord) -> RecistMark | None:
    if record.mark is None or record.offset is None or record.scale is None:
        return None
    (x, y), (scale_x, scale_y) = record.offset, record.scale
    mark = RecistMark.from_coordinates(record.mark)
    return mark.scaled(1 / scale_x, 1 / scale_y).translated(x, y)


def _window(told: dict) -> tuple[float, float] | None:
    low, high = told.get("window_low"), told.get("window_high")
    if isinstance(low, int | float) and isinstance(high, int | float) and low < high:
        return float(low), float(high)
    return None


def _is_uid(text: object) -> TypeGuard[str]:
    """As PS3.5, 9.1 has them: a mark's own may be any text."""
    if not isinstance(text, str) or not 0 < len(text) <= 64:
        return False
    parts = text.split(".")
    return all(
        part.isascii() and part.isdigit() and (part == "0" or part[0] != "0") for part in parts
    )
