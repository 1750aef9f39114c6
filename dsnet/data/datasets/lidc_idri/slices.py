"""A nodule on a slice: what its readers drew there, and the crop with their masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from dsnet.data.crop import Crop, cut_square
from dsnet.data.ct_image import LUNG_WINDOW, apply_window
from dsnet.data.datasets.lidc_idri.outlines import bounds, nodule_mask
from dsnet.data.datasets.lidc_idri.readings import Outline
from dsnet.data.neighbours import missing_notes, stand_in
from dsnet.data.patients import SLICE

# LIDC-IDRI-0001 to LIDC-IDRI-1012.
PATIENTS = 1012


class Slice(Protocol):
    """Where a CT slice lies, and what its tags tell."""

    @property
    def source(self) -> str:
        """File, member of a zip, or address."""
        ...

    @property
    def spacing(self) -> tuple[float, float] | None:
        """Millimetres per pixel, (row, column)."""
        ...


class Pixels(Protocol):
    """What a CT slice holds.

    `hu` [H, W] float32; `spacing` (row, column) in mm or None; `patient` a pseudonym or None. It
    may have `notes`, too.
    """

    @property
    def hu(self) -> np.ndarray: ...

    @property
    def spacing(self) -> tuple[float, float] | None: ...

    @property
    def patient(self) -> str | None: ...


@dataclass(frozen=True, eq=False)
class OutlinedSlice:
    """A nodule on a slice, found but not read yet.

    Attributes
    ----------
    key : str
        SERIES/zZ#DIGEST, of what its readers drew: unique in its data set, the same wherever the
        files lie and whatever other nodules they have.
    source : str
        The slice's file; the XML file where there is none.
    image : Slice or None
    readers : tuple of tuple of Outline
        What each reader drew of the nodule on this slice; () of one who drew nothing.
    offset : (x, y)
        Where the crop begins, in pixels of the slice.
    side : int
        Of the crop.
    read_image : callable or None
        Reads `image`.
    beside : tuple of Slice or None
        One below, one above, two below, ...
    metadata : dict
    window : (low, high)
        HU.
    fault : str
        Why it cannot be used; empty where nothing is known.
    """

    key: str
    source: str
    image: Slice | None = None
    readers: tuple[tuple[Outline, ...], ...] = ()
    offset: tuple[int, int] = (0, 0)
    side: int = 1
    read_image: Callable[[Any], Pixels] | None = None
    beside: tuple[Slice | None, ...] = ()
    metadata: dict = field(default_factory=dict)
    window: tuple[float, float] = LUNG_WINDOW
    fault: str = ""

    def read(self) -> Crop:
        """The crop with a mask of each reader.

        Raises
        ------
        ValueError
            When there is no slice, it cannot be used, or an outline leaves it; the message names
            the file.
        """
        if self.fault or self.image is None or self.read_image is None:
            raise ValueError(self.fault or f"{self.source}: no image of this slice")
        found = self.read_image(self.image)
        height, width = shape = found.hu.shape
        far_x, far_y = bounds(outline for lines in self.readers for outline in lines)[2:]
        if far_x >= width or far_y >= height:
            raise ValueError(
                f"{self.source}: an outline must lie within the slice of {width}x{height} pixels, "
                f"got one up to {far_x}, {far_y}"
            )
        image = self._shown(found.hu)
        planes = [self._read_beside(beside, shape) for beside in self.beside]
        masks = [nodule_mask(lines, self.offset, image.shape) for lines in self.readers]
        metadata = dict(self.metadata)
        if found.patient and "patient" not in metadata:
            # By the one name, be it in a path or not: two scans of a patient are of one patient.
            metadata["patient"] = _public_names().get(found.patient, found.patient)
            metadata.pop(SLICE, None)
        metadata.update(window_low=self.window[0], window_high=self.window[1])
        told = tuple(getattr(found, "notes", ()))
        return Crop(
            image=image,
            masks=np.stack(masks),
            spacing=found.spacing,
            key=self.key,
            source=self.source,
            offset=(float(self.offset[0]), float(self.offset[1])),
            metadata=metadata,
            notes=(*told, *_point_notes(metadata), *missing_notes(planes)),
            neighbours=stand_in(image, planes),
        )

    def _shown(self, hu: np.ndarray) -> np.ndarray:
        return apply_window(cut_square(hu, self.offset, self.side), *self.window)

    def _read_beside(self, beside: Slice | None, shape: tuple) -> np.ndarray | ValueError:
        if beside is None or self.read_image is None:
            return ValueError("the series has none there")
        try:
            hu = self.read_image(beside).hu
        except ValueError as error:
            return error
        return self._shown(hu) if hu.shape == shape else ValueError("it has another size")


def _point_notes(metadata: dict[str, Any]) -> list[str]:
    """What is told of readers who took the nodule for something else."""
    return [
        f"reader {reader + 1} marked it as a {kind}, by a point: counts as having outlined nothing"
        for reader, kind in metadata.get("pointed_at", ())
        if reader not in metadata.get("outlined_by", ())
    ]


@lru_cache(maxsize=1)
def _public_names() -> dict[str, str]:
    """What LIDC-IDRI calls its patients, by the pseudonyms of these PatientIDs."""
    from dsnet.data.dicom.slices import hashed_patient

    names = [f"LIDC-IDRI-{number:04d}" for number in range(1, PATIENTS + 1)]
    return {hashed_patient(name) or "": name for name in names}
