"""Pictures with masks that somebody has outlined already: what folder readers hand out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dsnet.data.crop import Crop
from dsnet.data.ct_image import read_mask, read_picture


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
    """

    key: str
    image: Path
    masks: tuple[Path, ...]
    spacing: tuple[float, float] | None = None
    metadata: dict = field(default_factory=dict)

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
        if not self.masks:
            raise ValueError(f"{self.image}: no mask of that name")
        image = read_picture(self.image)
        masks = []
        for path in self.masks:
            mask = read_mask(path)
            if mask.shape != image.shape:
                raise ValueError(
                    f"{path}: mask must be like its picture {image.shape}, got {mask.shape}"
                )
            masks.append(mask)
        return Crop(
            image=image,
            masks=np.stack(masks),
            spacing=self.spacing,
            key=self.key,
            source=self.source,
            metadata=dict(self.metadata),
        )
