"""Jobs of marks on DICOM slices: read once each, every mark labelled, nobody named.

Public
------
``dicom_jobs(matched, index, ...) -> ReviewedJobs``: for `label_archive`
``found_tables(marks, matched, index)``: what was found, and what does not fit
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from dsnet.archive.jobs import CropJob, describe
from dsnet.archive.left import items_left
from dsnet.archive.naming import Naming
from dsnet.archive.review import ListedRow, ReviewedJobs, review_pictures
from dsnet.data.ct_image import choose_window
from dsnet.data.datasets.keys import RowKeys
from dsnet.data.dicom.person import person_of
from dsnet.data.neighbours import cut_shown
from dsnet.data.patients import SLICE
from dsnet.data.store.record import LabelRecord

if TYPE_CHECKING:
    from dsnet.data.crop import Crop
    from dsnet.data.dicom.entry import SliceEntry
    from dsnet.data.dicom.index import SeriesIndex
    from dsnet.data.marks.match import MatchedMark
    from dsnet.data.marks.record import FoundMarks

# What people write into a mark.
_TEXTS = ("label", "tracking_id", "reader")


@dataclass(frozen=True)
class DicomJob(CropJob):
    """The marks of one slice: decoded once, every mark labelled."""

    matched: tuple[MatchedMark, ...]
    keys: tuple[str, ...]
    naming: Naming
    beside: tuple[SliceEntry | None, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> list[tuple[str, str]]:
        """(key, source) of each mark."""
        return [
            (key, self.naming.source(each))
            for key, each in zip(self.keys, self.matched, strict=True)
        ]

    def read(self) -> list[Crop | LabelRecord]:
        """Read and crop; a row that fails is a record already."""
        named = self._named()
        try:
            picture = self._picture()
        except (ValueError, OSError) as error:
            picture = error
        return [
            self._row(key, each, picture, named)
            for key, each in zip(self.keys, self.matched, strict=True)
        ]

    def _named(self) -> dict[str, str] | None:
        """What the slice calls its patient; None where there is none, or it cannot be read."""
        from dsnet.data.dicom.index import read_entry_header

        entry = self.matched[0].entry
        if entry is None:
            # What an npz tells of a lesion is its number.
            return {} if self.matched[0].mark.format == "npz" else None
        try:
            return person_of(read_entry_header(entry))
        except (ValueError, OSError):
            return None

    def _picture(self) -> _Picture | None:
        """The slice; None where no mark can be labelled on it."""
        from dsnet.data.dicom.index import read_slice
        from dsnet.data.marks.npz import read_npz_slice

        first = self.matched[0]
        if all(each.error for each in self.matched):
            return None
        most = self.options["max_pixels"]
        if first.entry is None:
            if first.mark.frame is None:
                raise ValueError("the mark names no slice of its file")
            image, spacing = read_npz_slice(first.mark.source, first.mark.frame, most)
            return _Picture(image, spacing, shown=True)
        read = read_slice(first.entry, most)
        planes: list[np.ndarray | ValueError | None] = []
        for entry in self.beside:
            try:
                plane = None if entry is None else read_slice(entry, most).hu
                if plane is not None and plane.shape != read.hu.shape:
                    plane = ValueError("it has another size")
            except (ValueError, OSError) as error:
                there = entry.source if entry is not None else ""
                told = str(error).removeprefix(f"{there}: ")
                plane = ValueError(self.naming.error(told, there, "its file"))
            planes.append(plane)
        return _Picture(read.hu, read.spacing, read.patient, read.notes, planes)

    def _row(
        self,
        key: str,
        each: MatchedMark,
        picture: _Picture | Exception | None,
        named: dict[str, str] | None,
    ) -> Crop | LabelRecord:
        source, mark = self.naming.source(each), each.mark
        names = None if named is None else [*named.values(), *mark.person]
        metadata = self._metadata(each, names)
        notes = list(self.naming.notes(mark.notes, names))
        if said := [n for n in _TEXTS if getattr(mark, n) and not metadata[n]]:
            why = "whose it is is not known" if named is None else "it holds what names the patient"
            notes.append(f"the mark's text is left out ({', '.join(said)}): {why}")
        if self.naming.keep_identifiers:
            metadata.update(named or {})
        error: object = each.error or picture
        if isinstance(picture, _Picture) and not each.error:
            try:
                return self._crop(key, source, each, picture, metadata, notes)
            except ValueError as problem:
                error = problem
        told = error if isinstance(error, str) else describe(cast(Exception, error))
        there = each.entry.source if each.entry is not None else mark.source
        told = self.naming.error(told, there, source, names)
        failed = LabelRecord.from_error(key, source, told, metadata=metadata)
        failed.notes = tuple(notes)
        return failed

    def _crop(self, key, source, each, picture, metadata, notes) -> Crop:
        mark, window = each.mark.recist(), self.options["window"]
        if picture.shown:
            window = None
        elif window is None:
            window = choose_window(picture.image, mark, None)
        if window is not None:
            metadata.update(window_low=window[0], window_high=window[1])
        patient = self.naming.uid(picture.patient)
        if patient is not None:
            metadata["patient"] = patient
        else:  # Of whoever it is: the labels of one study, or of one file, stay together.
            together = (metadata.get("study_uid"), metadata["series_uid"], metadata["mark_source"])
            metadata[SLICE] = next(filter(None, together))
        crop = cut_shown(
            picture.image, mark, self.options["size"], picture.planes, window,
            spacing=picture.spacing, isotropic_mm=self.options["isotropic_mm"],
            key=key, source=source, metadata=metadata,
        )  # fmt: skip
        crop.notes = (*notes, *picture.notes, *crop.notes)
        return crop

    def _metadata(self, each: MatchedMark, names: list[str] | None) -> dict[str, Any]:
        mark, entry, uid = each.mark, each.entry, self.naming.uid
        texts = {n: self.naming.text(getattr(mark, n) or "", names) or None for n in _TEXTS}
        if self.naming.hash_key:
            texts["tracking_id"] = uid(mark.tracking_id)
        made: dict[str, Any] = {
            "mark_format": mark.format,
            "mark_source": self.naming.file(mark.source),
            "mark_index": mark.index,
            **texts,
            "label": texts["label"] or "",
            "tracking_uid": uid(mark.tracking_uid),
            "long_mm": mark.long_mm,
            "short_mm": mark.short_mm,
            "series_uid": uid(mark.series_uid),
            "instance_uid": uid(mark.instance_uid),
            "frame": mark.frame,
        }
        if entry is not None:
            made.update(
                study_uid=uid(entry.study_uid),
                series_uid=uid(entry.series_uid),
                instance_uid=uid(entry.instance_uid),
                frame=entry.frame,
                frame_of_reference_uid=uid(entry.frame_of_reference_uid),
                body_part=self.naming.text(entry.body_part, names),
                slice={
                    "position": entry.position, "orientation": entry.orientation,
                    "spacing": entry.spacing, "rows": entry.rows, "columns": entry.columns,
                },
            )  # fmt: skip
        return made


@dataclass(frozen=True)
class _Picture:
    """A slice as it was read: HU, or 0..1 where it is `shown` already."""

    image: np.ndarray
    spacing: tuple[float, float] | None
    patient: str | None = None
    notes: tuple[str, ...] = ()
    planes: Sequence[np.ndarray | ValueError | None] = ()
    shown: bool = False


def dicom_jobs(
    matched: Sequence[MatchedMark],
    index: SeriesIndex,
    *,
    size: int = 64,
    window: tuple[float, float] | None = None,
    isotropic_mm: float | None = None,
    neighbours: int = 0,
    max_pixels: int,
    naming: Naming | None = None,
) -> ReviewedJobs:
    """A job for each slice that has marks, for `label_archive`.

    Parameters
    ----------
    matched : sequence of MatchedMark
        Of `match_marks`; one without a slice becomes a failed row.
    index : SeriesIndex
        Where the neighbours are found.
    size, isotropic_mm
        See `dsnet.data.crop.cut_crop`.
    window : (low, high), optional
        HU; by default by what is around the mark, see `choose_window`. A header's window is that of
        all its series' slices, whatever was looked at.
    neighbours : int
        Slices on either side along the series' normal that are cut likewise.
    max_pixels : int
        A slice of more fails its rows, by its header.
    naming : Naming, optional
    """
    naming = naming or Naming()
    keys = keys_of(matched, naming)
    options = {
        "size": size, "window": window, "isotropic_mm": isotropic_mm, "max_pixels": max_pixels,
    }  # fmt: skip
    groups: dict[tuple, list[int]] = {}
    for number, each in enumerate(matched):
        groups.setdefault(_slice_of(each), []).append(number)

    def jobs(done: set[str]) -> Iterator[DicomJob]:
        new = set(items_left(range(len(keys)), keys.__getitem__, done))
        for group in groups.values():
            left = [number for number in group if number in new]
            if not left:
                continue
            entry = matched[left[0]].entry
            beside = index.neighbours(entry, neighbours) if entry is not None and neighbours else ()
            yield DicomJob(
                tuple(matched[n] for n in left),
                tuple(keys[n] for n in left),
                naming,
                tuple(beside),
                options,
            )

    listed = [ListedRow(k, naming.source(each)) for k, each in zip(keys, matched, strict=True)]
    return ReviewedJobs(jobs, lambda store: review_pictures(store, listed))


def keys_of(matched: Sequence[MatchedMark], naming: Naming) -> list[str]:
    """INSTANCE[.FRAME]#DIGEST of each mark; a mark keeps its key wherever its files lie."""
    used, found = RowKeys(), []
    for each in matched:
        mark, entry = each.mark, each.entry
        instance = entry.instance_uid if entry is not None else mark.instance_uid
        frame = entry.frame if entry is not None else mark.frame
        stem = naming.uid(instance) or f"{mark.format}-{naming.uid(mark.series_uid) or 'unplaced'}"
        if frame is not None:
            stem += f".{frame}"
        # In the patient where it was marked there: the same before and after its slice is found.
        ends = mark.world if mark.world is not None else [mark.long_axis, mark.short_axis]
        said = [float(v) for part in ends if part is not None for v in np.ravel(part)]
        found.append(used.key(stem, ",".join(repr(round(v, 4)) for v in said)))
    return found


def _slice_of(each: MatchedMark) -> tuple:
    entry, mark = each.entry, each.mark
    if entry is not None:
        return entry.source, entry.frame
    # Of npz files a slice; marks without a slice are told one by one.
    return mark.source, mark.frame, None if mark.format == "npz" else mark.index


def found_tables(
    found: FoundMarks,
    matched: Sequence[MatchedMark],
    index: SeriesIndex,
    naming: Naming,
) -> Iterator[tuple[str, list[str], list[tuple[str, ...]]]]:
    """What was found, as tables: title, heads, rows.

    Series with their marks, marks by format, what does not match and why, files that cannot be
    read. A path is told only where identifiers are kept.
    """
    on = Counter(each.entry.series_uid for each in matched if each.entry is not None)
    rows = [
        (
            naming.uid(row["series"]) or "", row["modality"], str(row["slices"]), row["size"],
            str(on[row["series"]]), row["notes"],
        )
        for row in index.summary()
    ]  # fmt: skip
    heads = ["series", "modality", "slices", "size", "marks", "notes"]
    yield f"{len(rows)} series", heads, rows
    formats = Counter(each.mark.format for each in matched)
    placed = Counter(each.mark.format for each in matched if not each.error)
    alone = Counter(each.mark.format for each in matched if each.mark.short_axis is None)
    yield (
        f"{len(found.marks)} marks, {len(matched)} of them different",
        ["format", "read", "different", "on a slice", "long axis alone"],
        [
            (name, *(str(n) for n in (count, formats[name], placed[name], alone[name])))
            for name, count in found.counts.items()
        ],
    )  # fmt: skip
    for title, reasons in (
        ("marks that do not match", [each.error for each in matched if each.error]),
        ("files of marks that cannot be read", _told(found.refused, naming)),
        ("files of marks without a mark", _told(found.empty, naming)),
        ("files beside that may be marks", _told(found.other, naming)),
        ("pictures that cannot be used", _told(index.problems, naming)),
    ):
        counts = Counter(reasons).most_common()
        if counts:
            yield title, ["count", "why"], [(str(n), reason) for reason, n in counts]


def _told(pairs: Sequence[tuple[str, str]], naming: Naming) -> list[str]:
    return [naming.told(source, why) for source, why in pairs]
