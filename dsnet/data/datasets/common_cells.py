"""Cells of which many rows of a table have the same: what they say is read once."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

from dsnet.data.datasets.cells import KEPT, numbers_in, said, whole_number
from dsnet.data.datasets.image_size import stated_size

LESION_TYPES = {
    -1: "unknown",
    1: "bone",
    2: "abdomen",
    3: "mediastinum",
    4: "liver",
    5: "lung",
    6: "kidney",
    7: "soft tissue",
    8: "pelvis",
}
SPLITS = {1: "train", 2: "val", 3: "test"}

COMMON_COLUMNS = (
    "Spacing_mm_px_", "DICOM_windows", "Image_size", "Coarse_lesion_type", "Possibly_noisy",
    "Train_Val_Test",
)  # fmt: skip


class CommonCells(NamedTuple):
    """What the cells of `COMMON_COLUMNS` say, by the names of `DeepLesionAnnotation`.

    Attributes
    ----------
    begin, end : str
        What a row's content says of them, see `keys.CONTENT`.
    """

    spacing: tuple[float, float] | None
    slice_spacing: float | None
    window: tuple[float, float] | None
    image_size: tuple[float, ...] | None
    lesion_type: str
    possibly_noisy: bool
    split: str
    begin: str
    end: str

    @property
    def fields(self) -> dict[str, object]:
        """All but what a content says of them."""
        fields = self._asdict()
        del fields["begin"], fields["end"]
        return fields


@lru_cache(KEPT)
def common_cells(
    spacing: str | None,
    window: str | None,
    image_size: str | None,
    lesion_type: str | None,
    possibly_noisy: str | None,
    split: str | None,
) -> CommonCells:
    """What such cells say, in the order of `COMMON_COLUMNS`; None of a column that is not there."""
    voxel = numbers_in(spacing, 3)
    if voxel is not None and not (all(map(math.isfinite, voxel)) and min(voxel) > 0):
        voxel = None
    levels = numbers_in(window, 2)
    begins = (
        None if voxel is None else (voxel[1], voxel[0]),
        None if voxel is None else voxel[2],
        None if levels is None else (levels[0], levels[1]),
        stated_size(image_size),
    )
    ends = (
        LESION_TYPES.get(whole_number(lesion_type) or 0, "unknown"),
        whole_number(possibly_noisy) == 1 or (possibly_noisy or "").strip().lower() == "true",
        SPLITS.get(whole_number(split) or 0, "unknown"),
    )
    return CommonCells(*begins, *ends, said(begins), said(ends))
