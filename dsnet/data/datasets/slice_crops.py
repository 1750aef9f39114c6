"""The crops around a slice's marks, of as much of its files as they need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from dsnet.data.crop import Crop
from dsnet.data.crop_plan import CropPlan, plan_crop
from dsnet.data.ct_image import choose_window, for_tissue, ring_outside
from dsnet.data.datasets.image_size import require_size
from dsnet.data.neighbours import cut_shown
from dsnet.data.picture_file import Picture
from dsnet.data.slice_part import SlicePart

if TYPE_CHECKING:
    from dsnet.data.datasets.deeplesion import DeepLesionAnnotation


class SliceFiles(NamedTuple):
    """The files of a slice, read and checked, not decoded.

    Attributes
    ----------
    picture : Picture
        The slice.
    beside : list of Picture or ValueError
        Its neighbours, as `read_neighbours` has them.
    """

    picture: Picture
    beside: list[Picture | ValueError]


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
        self.size, self.window, self.isotropic_mm = size, window, isotropic_mm
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
            if self.window == "auto" and not for_tissue(annotation.window):
                boxes.append(ring_outside(annotation.mark))
        if not boxes:
            return shape
        rows, cols = (max(box[axis].stop for box in boxes) for axis in (0, 1))
        return min(rows, shape[0]), min(cols, shape[1])

    def plan_of(self, annotation: DeepLesionAnnotation, shape: tuple[int, int]) -> CropPlan | None:
        """Where its crop lies in a slice of this shape; None where none can be cut."""
        if shape != self._shape:
            self._shape, self._plans = shape, {}
            for each in self._annotations:
                how = {"spacing": each.spacing, "isotropic_mm": self.isotropic_mm}
                try:
                    if each.mark is not None:
                        self._plans[each.key] = plan_crop(shape, each.mark, self.size, **how)
                except ValueError:  # It is told when the crop is cut.
                    continue
        return self._plans.get(annotation.key)


def cut_slice(
    annotations: Sequence[DeepLesionAnnotation],
    files: SliceFiles | ValueError,
    *,
    size: int,
    window: str | tuple[float, float],
    isotropic_mm: float | None,
) -> Iterator[tuple[DeepLesionAnnotation, Crop | ValueError]]:
    """Each annotation of a slice with its crop, or with the error that it met.

    Each file is decoded once, as far as the crops need it; what `read_crops` says of the parameters
    holds.
    """
    plan = SlicePlan(annotations, size, window, isotropic_mm)
    failed = isinstance(files, ValueError)
    planes = files if failed else _planes(files, plan, pictures=window == "none")
    for annotation in annotations:
        if annotation.error:
            yield annotation, ValueError(annotation.error)
        elif isinstance(planes, ValueError):
            yield annotation, planes
        else:
            yield annotation, _crop(*planes, annotation, plan)


def _planes(
    files: SliceFiles, plan: SlicePlan, pictures: bool
) -> tuple[SlicePart, list[SlicePart | ValueError]] | ValueError:
    """The slice and its neighbours, decoded as far as they are needed."""

    def decoded(picture: Picture | ValueError) -> SlicePart | ValueError:
        if isinstance(picture, ValueError):
            return picture
        part = SlicePart(picture, pictures)
        try:
            part.decode(*plan.extent(part.shape))
        except ValueError as error:
            return error
        return part

    middle = decoded(files.picture)
    if isinstance(middle, ValueError):
        return middle
    return middle, [decoded(picture) for picture in files.beside]


def _crop(
    middle: SlicePart,
    beside: list[SlicePart | ValueError],
    annotation: DeepLesionAnnotation,
    plan: SlicePlan,
) -> Crop | ValueError:
    mark, window = annotation.mark, plan.window
    assert mark is not None
    try:
        require_size(annotation.image_size, middle.shape)
        if isinstance(window, str):
            chosen = choose_window(middle, mark, annotation.window) if window == "auto" else None
        else:
            chosen = (window[0], window[1])
        levels = {} if chosen is None else {"window_low": chosen[0], "window_high": chosen[1]}
        return cut_shown(
            middle,
            mark,
            plan.size,
            beside,
            chosen,
            spacing=annotation.spacing,
            isotropic_mm=plan.isotropic_mm,
            plan=plan.plan_of(annotation, middle.shape),
            key=annotation.key,
            source=str(middle.path),
            metadata={**annotation.metadata, **levels},
        )
    except ValueError as error:
        return error
