"""Pictures with masks that somebody has outlined already: what folder readers hand out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from dsnet.data.crop import Crop
from dsnet.data.ct_image import (
    DICOM_ENDINGS,
    apply_window,
    looks_like_hu,
    read_ct_png,
    read_mask,
    require_hu,
    windowed,
)
from dsnet.data.neighbours import missing_notes, read_neighbours, stand_in
from dsnet.data.picture_file import MAX_PIXELS, read_pixels

# How the note begins of a picture that may have been read wrongly.
LIKE_HU = "the picture looks like HU + 32768 and was taken as windowed"


@dataclass(frozen=True)
class OutlinedPicture:
    """A picture and its masks, found but not read yet: cheap to list by the thousand.

    Attributes
    ----------
    key : str
        Unique in its data set.
    image : Path
    masks : tuple of Path
        One a rater.
    spacing : (row, column) or None
        Millimetres per pixel.
    metadata : dict
    blank : int
        Raters beside those of `masks` who have no file for this picture: they marked nothing.
    window : (low, high) or None
        HU; None for pictures that were windowed already.
    max_pixels : int
        A picture or mask of more is refused, by its header.
    folder : str
        The patient, where neither the metadata nor the file name one; empty where unknown.
    fault : str
        Why it cannot be used; empty where nothing is known.
    neighbours : int
        Slices on either side that are read from the files beside, see `read_neighbours`.
    """

    key: str
    image: Path
    masks: tuple[Path, ...]
    spacing: tuple[float, float] | None = None
    metadata: dict = field(default_factory=dict)
    blank: int = 0
    window: tuple[float, float] | None = None
    max_pixels: int = MAX_PIXELS
    folder: str = ""
    fault: str = ""
    neighbours: int = 0

    @property
    def source(self) -> str:
        """The picture's file."""
        return str(self.image)

    def read(self) -> Crop:
        """The whole picture with its masks.

        Raises
        ------
        ValueError
            When there is no mask, a file cannot be used, or the sizes differ; the message
            names the file.
        """
        if self.fault:
            raise ValueError(self.fault)
        if not self.masks:
            where = f" in any of its {self.blank} readers' folders" if self.blank else ""
            raise ValueError(f"{self.image}: no mask of that name{where}")
        image, spacing, patient, notes = self._read_image()
        read = lambda file: replace(self, image=file)._read_image()[0]  # noqa: E731
        beside = read_neighbours(self.image, self.neighbours, image.shape, read)
        notes += missing_notes(beside)
        masks = []
        for path in self.masks:
            mask, note = read_mask(path, self.max_pixels)
            if mask.shape != image.shape:
                raise ValueError(
                    f"{path}: mask must be like its picture {image.shape}, got {mask.shape}"
                )
            masks.append(mask)
            if note:
                notes.append(note if len(self.masks) == 1 else f"{path.parent.name}: {note}")
        if self.blank:
            masks += [np.zeros(image.shape, dtype=bool)] * self.blank
            notes.append(
                f"{self.blank} of {len(masks)} readers have no mask of this slice: they count as "
                "having marked nothing"
            )
        metadata = dict(self.metadata)
        if patient and not metadata.get("patient"):
            metadata["patient"] = patient
        if self.window is not None:
            metadata.update(window_low=self.window[0], window_high=self.window[1])
        return Crop(
            image=image,
            masks=np.stack(masks),
            spacing=spacing,
            key=self.key,
            source=self.source,
            metadata=metadata,
            notes=tuple(notes),
            neighbours=stand_in(image, beside),
        )

    def _read_image(self) -> tuple[np.ndarray, tuple[float, float] | None, str, list[str]]:
        """Image in 0..1, spacing, patient, notes."""
        if self.image.suffix.lower() in DICOM_ENDINGS:
            from dsnet.data.dicom.slices import read_dicom

            if self.window is None:
                raise ValueError(f"{self.image}: a DICOM file needs a window in HU (--window)")
            found = read_dicom(self.image, self.max_pixels)
            image = apply_window(found.hu, *self.window)
            spacing, patient = self.spacing or found.spacing, found.patient or self.folder
            return image, spacing, patient, list(found.notes)
        if self.window is not None:
            hu = read_ct_png(self.image, self.max_pixels)
            require_hu(hu)
            image = apply_window(hu, *self.window)
            return image, self.spacing, self.folder, []
        pixels = read_pixels(self.image, self.max_pixels)
        notes = [f"{LIKE_HU}: --window LOW HIGH reads HU"] if looks_like_hu(pixels) else []
        return windowed(pixels), self.spacing, self.folder, notes


class FoundPictures(list[OutlinedPicture]):
    """The pictures of a data set, in the order of their names.

    Attributes
    ----------
    left_out : dict of str to int
        Why other files are not among them, and how many.
    """

    def __init__(self, pictures=(), left_out: dict[str, int] | None = None) -> None:
        super().__init__(pictures)
        self.left_out = dict(left_out or {})
