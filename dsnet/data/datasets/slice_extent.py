"""How much of a slice the crops around its marks need."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from dsnet.data.crop_plan import plan_crop
from dsnet.data.ct_image import for_tissue, ring_boxes

if TYPE_CHECKING:
    from dsnet.data.datasets.deeplesion import DeepLesionAnnotation


def slice_extent(
    annotations: Iterable[DeepLesionAnnotation],
    shape: tuple[int, int],
    *,
    size: int,
    window: str | tuple[float, float],
    isotropic_mm: float | None,
) -> tuple[int, int]:
    """Rows and columns, from the upper left corner, that the crops of a slice are made of.

    Parameters
    ----------
    annotations : iterable of DeepLesionAnnotation
        Those of the slice.
    shape : (H, W)
        Of the slice.
    size, window, isotropic_mm
        As `read_crops` takes them; what the choice of a window looks at is needed, too.

    Returns
    -------
    rows, cols : int
        All of them where there is no mark that a crop can be cut around.
    """
    boxes = []
    for annotation in annotations:
        mark = annotation.mark
        if mark is None:
            continue
        try:
            plan = plan_crop(
                shape, mark, size, spacing=annotation.spacing, isotropic_mm=isotropic_mm
            )
        except ValueError:  # It is told when the crop is cut.
            continue
        boxes.append(plan.box)
        if window == "auto" and not for_tissue(annotation.window):
            boxes.append(ring_boxes(mark)[0])
    if not boxes:
        return shape
    rows, cols = (max(box[axis].stop for box in boxes) for axis in (0, 1))
    return min(rows, shape[0]), min(cols, shape[1])
