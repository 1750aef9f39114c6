"""What lies around a crop, and the slices beside it, read anew from the file it was cut from."""

from __future__ import annotations

import math
import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dsnet.data.crop import cut_window
from dsnet.data.ct_image import DICOM_ENDINGS, apply_window, read_ct_png, read_picture
from dsnet.data.neighbours import neighbour_files
from dsnet.data.picture_file import PICTURE_ENDINGS
from dsnet.data.store.record import LabelRecord

MOST_MARGIN = 512  # crop pixels on either side
FARTHEST_SLICE = 8
_VOLUME_ENDINGS = (".mhd", ".mha")
_KEPT_FILES = 6
# What CT scanners tell, and usual windows lie in.
HU_RANGE = (-1024.0, 3071.0)
# Grey values of the same place in the file and in the store: 16 bits, and rounding of resampling.
_ALIKE = 1e-3


class NotAtHand(ValueError):
    """The source is not there, or not the one that the label was made from."""


class View(NamedTuple):
    """A picture, and where it lies: `image` float32 [H, W] in 0..1; `offset` (x, y), its first
    pixel in crop pixels; `name` of the file."""

    image: np.ndarray
    offset: tuple[int, int]
    name: str


class Surroundings:
    """Reads around crops; the last files stay in memory. Safe to share between threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def has_source(self, record: LabelRecord) -> bool:
        """Whether there is a file of the source's name that may be readable."""
        return (
            record.offset is not None
            and record.scale is not None
            and record.image is not None
            and "\0" not in record.source
            and record.source.lower().endswith((*PICTURE_ENDINGS, *DICOM_ENDINGS, *_VOLUME_ENDINGS))
            and os.path.isfile(record.source)
        )

    def slices(self, record: LabelRecord) -> dict[str, int]:
        """How many slices there are below and above, at most `FARTHEST_SLICE`."""
        if record.neighbours is not None:
            stored = len(record.neighbours) // 2
            return {"below": stored, "above": stored}
        if not self.has_source(record):
            return {"below": 0, "above": 0}
        steps = range(1, FARTHEST_SLICE + 1)
        reach = {}
        for name, sign in (("below", -1), ("above", 1)):
            there = [_beside(record, sign * step) is not None for step in steps]
            reach[name] = there.index(False) if False in there else FARTHEST_SLICE
        return reach

    def view(
        self, record: LabelRecord, margin: int = 0, step: int = 0, *, hu: bool = False
    ) -> View:
        """A crop's place with `margin` crop pixels around, in its own slice or one beside it.

        Parameters
        ----------
        record : LabelRecord
        margin : int
            Up to `MOST_MARGIN`. No farther than the picture goes.
        step : int
            Slices up, at most `FARTHEST_SLICE` either way. Slices that the store has are taken
            from there where `margin` is 0.
        hu : bool
            Of a slice in HU: 0 and 1 of what comes are those of `HU_RANGE`, not of the label's
            window. It is read from the source.

        Raises
        ------
        NotAtHand
            When there is none.
        ValueError
            When `margin` or `step` is out of range.
        """
        if not 0 <= margin <= MOST_MARGIN:
            raise ValueError(f"margin must be in 0..{MOST_MARGIN}, got {margin}")
        if abs(step) > FARTHEST_SLICE:
            raise ValueError(f"step must be within +-{FARTHEST_SLICE}, got {step}")
        if hu and hu_window(record) is None:
            raise NotAtHand("the source's values are not known in HU")
        if step and not margin and not hu and record.neighbours is not None:
            place = 2 * abs(step) - 2 + (step > 0)
            if place >= len(record.neighbours):
                raise NotAtHand(f"the store has no slice {step:+d}")
            return View(record.neighbours[place], (0, 0), "")
        if not self.has_source(record):
            raise NotAtHand("the source is not at hand")
        own = self._read(record, record.source, 0)
        self._require_same(record, own)
        levels = HU_RANGE if hu else _levels(record)
        if not step:
            return _window(record, own, margin, Path(record.source).name, levels)
        file = _beside(record, step)
        if file is None:
            raise NotAtHand(f"there is no slice {step:+d} beside the source")
        other = self._read(record, file, step)
        if other.shape != own.shape:
            raise NotAtHand(f"slice {step:+d} has another size")
        return _window(record, other, margin, Path(file).name, levels)

    def _require_same(self, record: LabelRecord, own: np.ndarray) -> None:
        crop = np.asarray(record.image)
        again = _window(record, own, 0, "", _levels(record)).image
        if again.shape != crop.shape or not np.abs(again - crop).max() <= _ALIKE:
            raise NotAtHand("the source's file is not the one that the label was made from")

    def _read(self, record: LabelRecord, file: str, step: int) -> np.ndarray:
        """The values [H, W] of a slice as its file has them: HU where there is a window."""
        number = _number(record, step)
        hu = _levels(record) is not None
        try:
            place = (file, os.stat(file).st_mtime_ns, hu, number)
            with self._lock:
                if place in self._kept:
                    self._kept.move_to_end(place)
                    return self._kept[place]
            image = _picture(file, hu) if number is None else _slice_of_volume(file, number)
        except (ValueError, TypeError, OSError, ImportError) as error:
            raise NotAtHand(f"the source cannot be read: {error}") from error
        with self._lock:
            self._kept[place] = image
            while len(self._kept) > _KEPT_FILES:
                self._kept.popitem(last=False)
        return image


def hu_window(record: LabelRecord) -> tuple[float, float] | None:
    """What 0 and 1 of the image are in HU; None where that is not known."""
    return _pair(record, "window_low", "window_high")


def _levels(record: LabelRecord) -> tuple[float, float] | None:
    """What became 0 and 1 of the source's values; None where these were 0..1 already."""
    return hu_window(record) or _pair(record, "grey_low", "grey_high")


def _pair(record: LabelRecord, *names: str) -> tuple[float, float] | None:
    """Two numbers of the metadata, the second above the first."""
    low, high = (
        float(value) if isinstance(value := record.metadata.get(name), (int, float)) else math.nan
        for name in names
    )
    return (low, high) if math.isfinite(high - low) and low < high else None


def _number(record: LabelRecord, step: int) -> int | None:
    """Of a slice of a volume; None where the source is a picture."""
    if not record.source.lower().endswith(_VOLUME_ENDINGS):
        return None
    number = record.metadata.get("slice")
    return number + step if isinstance(number, int) else -1


def _beside(record: LabelRecord, step: int) -> str | None:
    """The file of a slice beside; of a volume the same one, where it has that slice."""
    if record.source.lower().endswith(_VOLUME_ENDINGS):
        number, count = _number(record, step), record.metadata.get("slices")
        there = number is not None and isinstance(count, int) and 0 <= number < count
        return record.source if there else None
    if record.source.lower().endswith(DICOM_ENDINGS):
        return None  # Their names are in no order that the patient knows of.
    found = neighbour_files(record.source, abs(step))[2 * abs(step) - 2 + (step > 0)]
    return None if found is None else str(found)


def _picture(file: str, hu: bool) -> np.ndarray:
    if file.lower().endswith(DICOM_ENDINGS):
        from dsnet.data.dicom.slices import read_dicom

        return read_dicom(file).hu
    return read_ct_png(file) if hu else read_picture(file)


def _slice_of_volume(file: str, number: int) -> np.ndarray:
    from dsnet.data.meta_image import read_meta_header, read_meta_volume

    volume = read_meta_volume(read_meta_header(file))
    if not 0 <= number < len(volume):
        raise ValueError(f"it has no slice {number}")
    return np.array(volume[number], dtype=np.float32)


def _window(record: LabelRecord, image: np.ndarray, margin: int, name: str, levels) -> View:
    """A crop's place in a slice, and around it as far as the slice goes.

    `levels` become 0 and 1; None: values are 0..1.
    """
    assert record.image is not None and record.offset is not None and record.scale is not None
    sides: list[tuple[int, int]] = []
    begins: list[float] = []
    for offset, scale, side, length in zip(
        record.offset, record.scale, record.image.shape[::-1], image.shape[::-1], strict=True
    ):
        # Whole crop pixels, the crop itself in any case.
        first = min(0, max(-margin, math.ceil(-offset * scale - 1e-6)))
        last = max(side, min(side + margin, math.floor((length - offset) * scale + 1e-6)))
        sides.append((first, last))
        begins.append(offset + first / scale)
    (x0, x1), (y0, y1) = sides
    shown = cut_window(image, (begins[0], begins[1]), (x1 - x0, y1 - y0), record.scale)
    if levels is not None:
        shown = apply_window(shown, *levels)  # After resampling, as the crop was made.
    return View(np.nan_to_num(shown).clip(0, 1), (x0, y0), name)
