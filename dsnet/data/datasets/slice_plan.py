"""Where the crops around a slice's marks lie, and how much of the slice they need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dsnet.data.crop_plan import CropPlan, plan_crop
from dsnet.data.ct_image import for_tissue, ring_boxes

if TYPE_CHECKING:
    from dsnet.data.datasets.deeplesion import DeepLesionAnnotation


class SlicePlan:
    """The crops of one slice.

    Parameters
    ----------
    annotations : sequence of DeepLesionAnnotation
        Those of the slice.
    size, window, isotropic_mm
        As `read_crops` takes them.
    """

    def __init__(
        self,
        annotations: Sequence[DeepLesionAnnotation],
        size: int,
        window: str | tuple[float, float],
        isotropic_mm: float | None,
    ) -> None:
        self._annotations = annotations
        self._size, self._window, self._isotropic_mm = size, window, isotropic_mm
        self._shape: tuple[int, int] | None = None
        self._plans: dict[str, CropPlan] = {}

    def extent(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns, from the upper left corner, that the crops are made of.

        What the choice of a window looks at is among them. All of the slice where there is no mark
        that a crop can be cut around.

        Parameters
        ----------
        shape : (H, W)
            Of the slice, or of one beside it.
        """
        boxes = []
        for annotation in self._annotations:
            plan = self.plan_of(annotation, shape)
            if plan is None or annotation.mark is None:
                continue
            boxes.append(plan.box)
            if self._window == "auto" and not for_tissue(annotation.window):
                boxes.append(ring_boxes(annotation.mark)[0])
        if not boxes:
            return shape
        rows, cols = (max(box[axis].stop for box in boxes) for axis in (0, 1))
        return min(rows, shape[0]), min(cols, shape[1])

    def plan_of(self, annotation: DeepLesionAnnotation, shape: tuple[int, int]) -> CropPlan | None:
        """Where its crop lies in a slice of this shape; None where none can be cut."""
        if shape != self._shape:
            self._shape, self._plans = shape, {}
            for each in self._annotations:
                how = {"spacing": each.spacing, "isotropic_mm": self._isotropic_mm}
                try:
                    if each.mark is not None:
                        self._plans[each.key] = plan_crop(shape, each.mark, self._size, **how)
                except ValueError:  # It is told when the crop is cut.
                    continue
        return self._plans.get(annotation.key)
