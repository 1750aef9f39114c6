"""The slices below and above a slice: where their files are, and crops of them.

Public
------
``neighbour_files(path, count) -> list of Path or None``
``read_neighbours(path, count, shape, read, foreign=()) -> list of ndarray or ValueError``
``foreign_steps(name, count, patient, owner) -> frozenset of int``: which are another patient's
``cut_shown(image, mark, size, planes, window, ...) -> Crop``: as `cut_crop`, all in one window
``stand_in(middle, planes) -> ndarray [2 * count, h, w]``
``missing_notes(planes) -> list of str``, ``missing_in(notes, count) -> int``

A stack that lies in a folder as numbered pictures has its neighbours beside it: `SERIES/109.png`
and `110.png`, `images/slice-9.png` and `slice-10.png`. Nothing else tells of pictures whether they
are neighbours, so nothing is looked for unless somebody asks, and what was not there is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np

from dsnet.data.crop import Crop, cut_crop, cut_planned
from dsnet.data.crop_plan import plan_crop
from dsnet.data.ct_image import DICOM_ENDINGS
from dsnet.data.picture_file import Picture
from dsnet.data.remote import RemoteFile, is_file, place_of
from dsnet.labeling.recist import RecistMark

# A slice as it was read: its pixels, or its file.
Plane = TypeVar("Plane", np.ndarray, Picture)
Place: TypeAlias = str | Path | RemoteFile

_STANDS_IN = "the slice itself stands for it"
_MISSING = re.compile(r"no slice (?:(\d+) )?(?:below|above)\b")


def neighbour_files(path: Place, count: int) -> list[Path | RemoteFile | None]:
    """Files whose names differ in their last number alone, by 1 to `count`.

    Parameters
    ----------
    path : path
        Of a slice, NAME109.png for example.
    count : int
        Slices on either side.

    Returns
    -------
    list of 2 * count Path or None
        One below, one above, two below, ...; None where there is no such file, or where there are
        two: `10.png` may follow `09.png` or `9.png`.
    """
    path = place_of(path)
    found: list[Path | RemoteFile | None] = []
    for step in _steps(count):
        there = [path.with_name(n) for n in _names(path.name, step)]
        there = [file for file in there if is_file(file)]
        found.append(there[0] if len(there) == 1 else None)
    return found


def foreign_steps(
    name: str, count: int, patient: object, owner: Callable[[str], object]
) -> frozenset[int]:
    """Which neighbours of a file are of another patient, in slices up from it.

    Parameters
    ----------
    name : str
        Of the file, as `owner` knows it; a path with / is one, too.
    count : int
        Slices on either side.
    patient : object
        Whose the file is; None: not known.
    owner : callable
        From a file's name to its patient, or None. Where one of the two is not known nothing is
        told of them.
    """
    return frozenset(
        step
        for step in _steps(count)
        if any(
            None not in (patient, found := owner(other)) and str(found) != str(patient)
            for other in _names(name, step)
        )
    )


def read_neighbours(
    path: Place,
    count: int,
    shape: tuple[int, int],
    read: Callable[[Any], Plane],
    foreign: Collection[int] = (),
) -> list[Plane | ValueError]:
    """The neighbours of a slice's file.

    Parameters
    ----------
    path : path
    count : int
        Slices on either side.
    shape : (H, W)
        Of the slice itself.
    read : callable
        Gives the array [H, W] of a file, or something else with a `shape`; raises ValueError.
    foreign : collection of int
        Which are another patient's, see `foreign_steps`: they are not read.

    Returns
    -------
    list of 2 * count of what `read` gives, or ValueError
        In the order of `neighbour_files`; an error says why there is none.
    """
    if not count:
        return []
    if place_of(path).suffix.lower() in DICOM_ENDINGS:
        # Names of DICOM files are in no order that the patient knows of.
        return [ValueError("not looked for beside a DICOM file")] * (2 * count)
    return [
        ValueError("the file of that number is another patient's")
        if step in foreign
        else _read(file, shape, read)
        for step, file in zip(_steps(count), neighbour_files(path, count), strict=True)
    ]


def missing_notes(planes: Sequence[object]) -> list[str]:
    """What is told of neighbours that are not to be had."""
    notes = []
    for i, plane in enumerate(planes):
        if plane is None or isinstance(plane, ValueError):
            far = "" if i < 2 else f"{i // 2 + 1} "
            where = f"{far}{'above' if i % 2 else 'below'}"
            why = "" if plane is None else f" ({plane})"
            notes.append(f"no slice {where}{why}: {_STANDS_IN}")
    return notes


def missing_in(notes: Iterable[str], count: int) -> int:
    """How many of the `count` nearest slices on either side a label's notes tell missing."""
    found = [_MISSING.match(note) for note in notes if note.endswith(_STANDS_IN)]
    return sum(int(one.group(1) or 1) <= count for one in found if one)


def stand_in(
    middle: np.ndarray, planes: Sequence[np.ndarray | ValueError | None]
) -> np.ndarray | None:
    """The planes [K, h, w], `middle` [h, w] where there is none; None of no planes."""
    there = [middle if p is None or isinstance(p, ValueError) else p for p in planes]
    return np.stack(there) if there else None


def cut_shown(
    image: np.ndarray,
    mark: RecistMark,
    size: int,
    planes: Sequence[np.ndarray | ValueError | None],
    window: tuple[float, float] | None,
    *,
    spacing: tuple[float, float] | None = None,
    isotropic_mm: float | None = None,
    **kept,
) -> Crop:
    """A crop around a mark, as `cut_crop` makes it, with the same of the neighbours.

    Parameters
    ----------
    image, mark, size, spacing, isotropic_mm, **kept
        As `cut_crop` has them; the image in HU where there is a window.
    planes : sequence of ndarray [H, W], ValueError or None
        The neighbours, as `read_neighbours` gives them.
    window : (low, high) or None
        HU that become 0..1.

    Raises
    ------
    ValueError
        As `cut_crop`.
    """
    plan = plan_crop(image.shape, mark, size, spacing=spacing, isotropic_mm=isotropic_mm)
    crop = cut_crop(image, mark, size, spacing=spacing, plan=plan, window=window, **kept)
    beside = [
        p if p is None or isinstance(p, ValueError) else cut_planned(p, plan, window)
        for p in planes
    ]
    add_neighbours(crop, beside)
    return crop


def add_neighbours(crop: Crop, planes: Sequence[np.ndarray | ValueError | None]) -> None:
    """Give a crop the same of the slices beside it, and the notes of those that are missing.

    Parameters
    ----------
    crop : Crop
    planes : sequence of ndarray [h, w], ValueError or None
        In the order of `cut_shown`, cut and shown already.
    """
    crop.neighbours = stand_in(crop.image, planes)
    crop.notes = (*crop.notes, *missing_notes(planes))


def _read(file: Path | RemoteFile | None, shape, read) -> Plane | ValueError:
    if file is None:
        return ValueError("there is no file of that number, or more than one")
    try:
        plane = read(file)
    except ValueError as error:
        return error
    except OSError as error:
        return ValueError(f"{file.name}: {error}")
    return plane if plane.shape == shape else ValueError(f"{file.name} has another size")


def _steps(count: int) -> list[int]:
    """Slices up from a slice: -1, 1, -2, 2, ..."""
    return [place for step in range(1, count + 1) for place in (-step, step)]


def _names(name: str, step: int) -> list[str]:
    """What a file may be called whose number is `step` more; none where a name has no number."""
    ending = Path(name).suffix
    stem = name[: len(name) - len(ending)]
    number = re.search(r"[0-9]+\Z", stem)
    if number is None or (wanted := int(number.group()) + step) < 0:
        return []
    digits = number.group()
    # Numbers of one width, or plain ones; where the first is 0 they are of one width.
    texts = [f"{wanted:0{len(digits)}d}"]
    if digits[0] != "0" and str(wanted) not in texts:
        texts.append(str(wanted))
    return [f"{stem[: -len(digits)]}{text}{ending}" for text in texts]
