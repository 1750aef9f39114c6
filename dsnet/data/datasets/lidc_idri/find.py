"""LIDC-IDRI as it is published: what lies in its folders becomes slices of nodules.

    IMAGES/.../*.dcm      CT, one file a slice, in any folders
    XML/.../*.xml         what the readers outlined, one file a series, in any folders

Published by TCIA (Armato et al., "Data From LIDC-IDRI", doi 10.7937/K9/TCIA.2015.LO9QL9SX). A file
names its series and its slices by UID; where the two lie does not matter. `readings` says what the
XML holds, `outlines` what an outline encloses, `matching` which outlines are one nodule.

The paper ("Comparison on LIDC") takes nodules that all four readers outlined (`least_readers`), one
sample each (`largest`), and splits them 387 : 55 : 544, or into four folds, which
`dsnet.training.dataset` does, by whole patients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dsnet.data.crop_plan import LEAST_MARGIN, MARGIN_SHARE
from dsnet.data.ct_image import LUNG_WINDOW, check_window
from dsnet.data.datasets.keys import RowKeys, content_digest
from dsnet.data.datasets.lidc_idri.matching import Nodule, match_nodules
from dsnet.data.datasets.lidc_idri.outlines import bounds, diameter_mm, nodule_mask
from dsnet.data.datasets.lidc_idri.readings import (
    NON_NODULE,
    SMALL_NODULE,
    Outline,
    Reading,
    read_reading,
)
from dsnet.data.datasets.lidc_idri.slices import OutlinedSlice, Pixels, Slice
from dsnet.data.datasets.picture_files import find_picture_files, readable
from dsnet.data.patients import LIDC_KEY, SLICE, patients_by
from dsnet.data.picture_file import MAX_PIXELS

# The side of the crops that circulate as "LIDC-IDRI slices".
CROP = 128


@dataclass(frozen=True)
class Chosen:
    """Which nodules and slices become rows, and how they are cut.

    Attributes
    ----------
    least_readers : int
        Nodules that fewer outlined are left out.
    least_mm, most_mm : float or None
        Nodules of a smaller or larger diameter are left out: the mean of its readers' longest
        chords within a slice.
    largest : int or None
        Only so many slices of each nodule: those with the most pixels of the 50 % consensus.
    crop : int
        Pixels a side. A nodule that needs more, with a margin, gets more.
    window : (low, high)
        HU.
    neighbours : int
        Slices on either side that are read with each.

    Raises
    ------
    ValueError
        When one is out of range.
    """

    least_readers: int = 1
    least_mm: float | None = None
    most_mm: float | None = None
    largest: int | None = None
    crop: int = CROP
    window: tuple[float, float] = LUNG_WINDOW
    neighbours: int = 0

    def __post_init__(self) -> None:
        check_window(self.window)
        for name in ("least_readers", "largest", "crop"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        low, high = self.least_mm or 0.0, np.inf if self.most_mm is None else self.most_mm
        if not 0 <= low <= high:
            raise ValueError(f"least_mm must be 0 or more, up to most_mm, got {low:g} and {high:g}")


class FoundOutlines(list[OutlinedSlice]):
    """Slices of nodules, file by file in the order of their names.

    Attributes
    ----------
    left_out : dict of str to int
        Why other files, nodules and points are not among them, and how many.
    readings : list of Reading
        Of the files that have images: their points are there, too.
    """

    def __init__(self, slices=(), left_out: dict[str, int] | None = None, readings=()) -> None:
        super().__init__(slices)
        self.left_out = dict(left_out or {})
        self.readings: list[Reading] = list(readings)


def find_lidc(
    images: str | Path,
    xml: str | Path | None = None,
    chosen: Chosen | None = None,
    *,
    patients: str | None = None,
    max_pixels: int = MAX_PIXELS,
    workers: int = 1,
    progress: Callable[[int, int], object] | None = None,
) -> FoundOutlines:
    """As `find_outlined_slices`, with the slices of a folder of DICOM, a zip, a DICOMDIR or a
    DICOMweb server.

    Parameters
    ----------
    images : path
        What `dsnet.data.dicom.index.index_series` takes.
    xml : path, optional
        By default the XML files lie among the images, as they were published at first.
    chosen, patients
        As `find_outlined_slices` has them.
    max_pixels : int
        A slice of more is refused, by its header.
    workers : int
        Processes that read headers.
    progress : callable, optional
        See `dsnet.data.dicom.index.index_series`.

    Raises
    ------
    ValueError
        As `find_outlined_slices`, when there is no such place, or when `images` is a server and
        `xml` is not given.
    ImportError
        When pydicom is not installed.
    """
    from dsnet.data.dicom.index import index_series, read_slice
    from dsnet.data.dicom.web import is_web

    if xml is None and is_web(images):
        raise ValueError("xml must be the folder of the readers' XML files: a server has none")
    # Before the headers of a whole archive are read.
    if xml is not None and not Path(xml).exists():
        raise ValueError(f"xml must be a folder, there is none at {xml}")
    if patients:
        patients_by(patients)
    if not is_web(images) and not Path(images).exists():
        raise ValueError(f"images must be a folder, a zip or a DICOMDIR, there is none at {images}")
    index = index_series(images, workers=workers, progress=progress)
    read = partial(read_slice, max_pixels=max_pixels)
    found = find_outlined_slices(
        images if xml is None else xml, index.slice, read, chosen,
        beside=index.neighbours, patients=patients,
    )  # fmt: skip
    if index.problems:
        found.left_out["DICOM files with a fault"] = len(index.problems)
    return found


def find_outlined_slices(
    xml: str | Path,
    slice_of: Callable[[str], Slice | None],
    read_image: Callable[[Any], Pixels],
    chosen: Chosen | None = None,
    *,
    beside: Callable[[Any, int], Sequence[Slice | None]] | None = None,
    patients: str | None = None,
) -> FoundOutlines:
    """All nodules of 3 mm or more that the XML files below `xml` outline, on each of their slices.

    A file that cannot be read is a row that fails. Files whose series has no image at all are left
    out, and counted; of the others a slice without an image is a row that fails.

    Parameters
    ----------
    xml : path
        A folder, or one file.
    slice_of : callable
        From a SOP instance UID to where that slice lies; None where it is not at hand.
    read_image : callable
        From that to its pixels; raises ValueError. It is pickled with the rows.
    chosen : Chosen, optional
        All nodules on all their slices by default.
    beside : callable, optional
        From a slice and a count to its neighbours in the series: one below, one above, ...
    patients : str, optional
        A rule of `patients_by`, for the slice's file; by default the number of LIDC in the path of
        the slice or the XML file, else the hashed PatientID.

    Raises
    ------
    ValueError
        When `xml` holds no file of that format, no series of them has an image, or `patients` is
        no rule.
    """
    chosen = chosen or Chosen()
    if chosen.neighbours and beside is None:
        raise ValueError("neighbours must be 0 without beside, which finds them")
    rule = patients_by(patients) if patients else None
    finder = _Finder(slice_of, read_image, chosen, beside, rule)
    root = Path(xml)
    if root.is_file():
        files, others = [root], Counter()
    else:
        files, others = find_picture_files(root, [".xml"])
    for file in files:
        finder.take(file)
    found = finder.found
    if not finder.series and not found:
        raise ValueError(f"xml must hold LIDC's readings (LidcReadMessage), {root} has none")
    if not found.readings and not found:
        raise ValueError(
            f"images must have slices that {root} outlines, got none of its {len(finder.series)} "
            "series"
        )
    # What else lies beside the XML files are the images, where they share a folder.
    left_out = finder.left_out + Counter(
        {why: count for why, count in others.items() if not why.startswith("of ending")}
    )
    left_out.pop("without an ending", None)
    found.left_out = dict(+left_out)
    return found


@dataclass
class _Finder:
    """What the rows of a data set have in common, and what was found so far."""

    slice_of: Callable[[str], Slice | None]
    read_image: Callable[[Any], Pixels]
    chosen: Chosen
    beside: Callable[[Any, int], Sequence[Slice | None]] | None
    patient_by: Callable[[str], str] | None
    found: FoundOutlines = field(default_factory=FoundOutlines)
    left_out: Counter[str] = field(default_factory=Counter)
    series: set[str] = field(default_factory=set)
    keys: RowKeys = field(default_factory=RowKeys)
    faulty: set[str] = field(default_factory=set)

    def take(self, file: Path) -> None:
        """Add the rows of a file."""
        try:
            reading = read_reading(file)
        except ValueError as error:
            key = readable(file.name)
            while key in self.faulty:
                key += "#2"
            self.faulty.add(key)
            told = readable(str(error))
            self.found.append(OutlinedSlice(key, readable(file), fault=told))
            return
        if reading is None:
            self.left_out["XML files of another format"] += 1
            return
        if reading.series_uid in self.series:
            self.left_out["further XML files of a series"] += 1
            return
        self.series.add(reading.series_uid)
        uids = [o.instance_uid for n in reading.nodules for o in n.outlines]
        uids += [point.instance_uid for point in reading.points]
        images = {uid: self.slice_of(uid) for uid in dict.fromkeys(uids)}
        if not any(images.values()):
            self.left_out["XML files whose series has no image"] += 1
            return
        self.found.readings.append(reading)
        points = Counter(point.kind for point in reading.points)
        self.left_out["points of nodules under 3 mm"] += points[SMALL_NODULE]
        self.left_out["points of non-nodules"] += points[NON_NODULE]
        for nodule in match_nodules(reading):
            self.found += self._rows(reading, nodule, images)

    def _rows(
        self, reading: Reading, nodule: Nodule, images: dict[str, Slice | None]
    ) -> Iterator[OutlinedSlice]:
        if len(nodule.readers) < self.chosen.least_readers:
            self.left_out[f"nodules of fewer than {self.chosen.least_readers} readers"] += 1
            return
        there = [image for uid in nodule.slices if (image := images[uid])]
        spacing = next((image.spacing for image in there if image.spacing), None)
        size = spacing and _mean_diameter(nodule, spacing)
        low, high = self.chosen.least_mm, self.chosen.most_mm
        unknown = ""
        if (low, high) != (None, None):
            if size is None:
                unknown = "no slice of it tells its spacing, so its diameter is not known"
            elif not (low or 0) <= size <= (np.inf if high is None else high):
                self.left_out["nodules of another size"] += 1
                return
        offset, side = _window(nodule, self.chosen.crop)
        metadata = _metadata(reading, nodule, size)
        for uid, z in _slices(reading, nodule, offset, side, self.chosen.largest).items():
            image = images[uid]
            source = image.source if image else reading.source
            fault = unknown or ("" if image else f"no image of SOP instance UID {uid}")
            owner: dict[str, str] = {}
            try:
                owner = self._patient(reading, source)
            except ValueError as error:
                fault = fault or str(error)
            readers = _drawn_on(reading, nodule, uid)
            # Of what was drawn: nodules are numbered anew when a file has one more or one less.
            drawn = [[(bool(o.included), o.points.tolist()) for o in lines] for lines in readers]
            digest = content_digest([uid, *map(int, offset), int(side), drawn])
            key = self.keys.unique(f"{reading.series_uid}/z{z:+.2f}#{digest}")
            own = {
                "instance_uid": uid,
                "z": z,
                "raters": reading.readers,
                "drawn_by": [number for number, lines in enumerate(readers) if lines],
            }
            near = self.beside(image, self.chosen.neighbours) if image and self.beside else ()
            yield OutlinedSlice(
                key=readable(key),
                source=readable(source),
                image=image,
                readers=readers,
                offset=offset,
                side=side,
                read_image=self.read_image,
                beside=tuple(near),
                metadata={**metadata, **own, **owner},
                window=self.chosen.window,
                fault=readable(f"{reading.source}: {fault}") if fault else "",
            )

    def _patient(self, reading: Reading, source: str) -> dict[str, str]:
        """Whose it is, as far as files' names tell; else what a training keeps together."""
        if self.patient_by:
            return {"patient": readable(self.patient_by(source))}
        for name in (source, reading.source):
            if known := LIDC_KEY.search(name):
                return {"patient": known.group()}
        return {SLICE: reading.series_uid}


def _metadata(reading: Reading, nodule: Nodule, size: float | None) -> dict[str, Any]:
    scores = sorted({name for part in nodule.parts for name in part.scores})
    return {
        "study_uid": reading.study_uid,
        "series_uid": reading.series_uid,
        "nodule": nodule.number,
        "outlined_by": list(nodule.readers),
        "pointed_at": [[point.reader, point.kind] for point in nodule.points],
        "diameter_mm": size,
        "reader_names": [[part.reader, part.name] for part in nodule.parts],
        "scores": {
            name: [[part.reader, part.scores[name]] for part in nodule.parts if name in part.scores]
            for name in scores
        },
    }


def _mean_diameter(nodule: Nodule, spacing: tuple[float, float]) -> float:
    return float(np.mean([diameter_mm(nodule.by_reader(r), spacing) for r in nodule.readers]))


def _drawn_on(reading: Reading, nodule: Nodule, uid: str) -> tuple[tuple[Outline, ...], ...]:
    """What each reader of the file drew of a nodule on a slice."""
    return tuple(
        tuple(outline for outline in nodule.by_reader(reader) if outline.instance_uid == uid)
        for reader in range(reading.readers)
    )


def _window(nodule: Nodule, crop: int) -> tuple[tuple[int, int], int]:
    """Where the crops of a nodule begin, the same on all slices, and their side."""
    x, y, far_x, far_y = bounds(o for part in nodule.parts for o in part.outlines)
    extent = max(far_x - x, far_y - y) + 1
    side = max(crop, int(np.ceil(extent + 2 * max(LEAST_MARGIN, MARGIN_SHARE * extent))))
    return ((x + far_x + 1 - side) // 2, (y + far_y + 1 - side) // 2), side


def _slices(
    reading: Reading, nodule: Nodule, offset: tuple[int, int], side: int, largest: int | None
) -> dict[str, float]:
    """The slices of a nodule, in their order; the largest ones alone where a number is given."""
    if largest is None:
        return nodule.slices
    areas = {}
    for uid in nodule.slices:
        drawn = _drawn_on(reading, nodule, uid)
        votes = sum(nodule_mask(lines, offset, (side, side)).astype(np.int64) for lines in drawn)
        areas[uid] = int(np.count_nonzero(2 * votes >= reading.readers))
    kept = sorted(nodule.slices, key=lambda uid: -areas[uid])[:largest]
    return {uid: z for uid, z in nodule.slices.items() if uid in kept}
