"""The jobs of `python -m dsnet.label`: what is read and labelled together, in one process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dsnet.archive.processes import describe
from dsnet.data.phantom import make_phantom
from dsnet.data.store.record import LabelRecord
from dsnet.labeling import SoftLabel, label_mask, label_raters, label_recist

if TYPE_CHECKING:
    from dsnet.data.crop import Crop
    from dsnet.data.datasets.pictures import OutlinedPicture


@dataclass(frozen=True)
class PhantomJob:
    """A synthetic nodule, labelled from its mark and compared with its known alpha."""

    kind: str
    size: int
    seed: int

    @property
    def rows(self) -> list[tuple[str, str]]:
        """(key, source)."""
        return [(f"{self.kind}-{self.seed}", "phantom")]

    def run(self) -> list[LabelRecord]:
        """Make and label it; the metadata tell how far alpha is from the truth."""
        phantom = make_phantom(self.kind, self.size, self.seed)
        label = label_recist(phantom.image, phantom.mark)
        truth = phantom.alpha >= 0.5
        overlap = 2 * (label.binary & truth).sum() / (label.binary.sum() + truth.sum())
        ((key, source),) = self.rows
        record = LabelRecord(
            key=key,
            source=source,
            image=phantom.image,
            alpha=label.alpha,
            binary=label.binary,
            trimap=label.trimap,
            mark=phantom.mark.coordinates,
            spacing=phantom.spacing,
            quality=label.quality,
            seconds=label.seconds,
            notes=label.notes,
            metadata={
                "kind": self.kind,
                "seed": self.seed,
                "dice": float(overlap),
                "mean_absolute_error": float(np.abs(label.alpha - phantom.alpha).mean()),
            },
        )
        return [record]


@dataclass(frozen=True)
class PictureJob:
    """A picture and the masks drawn over it."""

    picture: OutlinedPicture

    @property
    def rows(self) -> list[tuple[str, str]]:
        """(key, source)."""
        return [(self.picture.key, self.picture.source)]

    def run(self) -> list[LabelRecord]:
        """Read and label it; a picture that cannot be read raises."""
        return [label_crop(self.picture.read())]


@dataclass(frozen=True)
class SliceJob:
    """The annotations of one slice: decoded once, every mark labelled."""

    annotations: tuple
    images_dir: str
    options: dict = field(default_factory=dict)

    @property
    def rows(self) -> list[tuple[str, str]]:
        """(key, source) of each annotation."""
        return [(a.key, a.file_name) for a in self.annotations]

    def read(self) -> list[Crop | LabelRecord]:
        """Read and crop; a row that fails is a record already."""
        from dsnet.data.datasets.deeplesion import read_crops

        found: list[Crop | LabelRecord] = []
        for annotation, crop in read_crops(self.annotations, self.images_dir, **self.options):
            if isinstance(crop, ValueError):
                crop = LabelRecord.from_error(
                    annotation.key,
                    annotation.file_name,
                    describe(crop),
                    metadata=annotation.metadata,
                )
            found.append(crop)
        return found

    def run(self) -> list[LabelRecord]:
        """Read, crop and label."""
        return [part if isinstance(part, LabelRecord) else label_crop(part) for part in self.read()]


def label_crop(crop: Crop) -> LabelRecord:
    """Label a crop from its raters' masks, its mask or its mark; a failure is a record, too."""
    try:
        return LabelRecord.from_label(crop, _label(crop))
    except Exception as error:
        return LabelRecord.from_error(crop.key, crop.source, describe(error), crop=crop)


def _label(crop: Crop) -> SoftLabel:
    if crop.masks is None:
        return label_recist(crop.image, crop.mark)
    if len(crop.masks) == 1:
        return label_mask(crop.image, crop.masks[0], spacing=crop.spacing)
    return label_raters(crop.image, crop.masks, spacing=crop.spacing)
