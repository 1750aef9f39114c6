"""The crops around a slice's marks, of as much of its files as they need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from dsnet.data.crop import Crop, cut_planned, planned_crop
from dsnet.data.crop_plan import CropPlan, plan_crop
from dsnet.data.ct_image import choose_window, for_tissue
from dsnet.data.datasets.image_size import require_size
from dsnet.data.neighbours import add_neighbours
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
    if isinstance(files, ValueError):
        for annotation in annotations:
            yield annotation, ValueError(annotation.error) if annotation.error else files
        return
    plans, extent = plan_slice(
        annotations, files.picture.shape, size=size, window=window, isotropic_mm=isotropic_mm
    )
    pictures = window == "none"
    middle, beside = _decoded(files.picture, extent, pictures), []
    if files.beside and not isinstance(middle, ValueError):
        beside = [_decoded(picture, extent, pictures) for picture in files.beside]
    for annotation, plan in zip(annotations, plans, strict=True):
        if annotation.error:
            yield annotation, ValueError(annotation.error)
        elif isinstance(middle, ValueError):
            yield annotation, middle
        else:
            yield annotation, _crop(middle, beside, annotation, plan, window)


def plan_slice(
    annotations: Sequence[DeepLesionAnnotation],
    shape: tuple[int, int],
    *,
    size: int,
    window: str | tuple[float, float],
    isotropic_mm: float | None,
) -> tuple[list[CropPlan | ValueError | None], tuple[int, int]]:
    """Where the crops of one slice lie, and how much of it they are made of.

    Parameters
    ----------
    annotations : sequence of DeepLesionAnnotation
        Those of the slice.
    shape : (H, W)
        Of the slice, and of those beside it.
    size, window, isotropic_mm
        As `read_crops` takes them.

    Returns
    -------
    plans : list of CropPlan, ValueError or None
        Of each annotation, or why no crop can be cut; None where there is no mark.
    extent : (rows, columns)
        From the upper left corner. What the choice of a window looks at is among them. All of the
        slice where there is no mark that a crop can be cut around.
    """
    plans: list[CropPlan | ValueError | None] = []
    bottom = right = 0
    for annotation in annotations:
        mark = annotation.mark
        if mark is None:
            plans.append(None)
            continue
        try:
            plan = plan_crop(
                shape, mark, size, spacing=annotation.spacing, isotropic_mm=isotropic_mm
            )
        except ValueError as error:
            plans.append(error)
            continue
        plans.append(plan)
        rows, cols = plan.box
        bottom, right = max(bottom, rows.stop), max(right, cols.stop)
        if window == "auto" and not for_tissue(annotation.window):
            rows, cols = plan.rings[0]
            bottom, right = max(bottom, rows.stop), max(right, cols.stop)
    if bottom == 0:
        return plans, shape
    return plans, (min(bottom, shape[0]), min(right, shape[1]))


def _decoded(
    picture: Picture | ValueError, extent: tuple[int, int], pictures: bool
) -> SlicePart | ValueError:
    """A slice, decoded as far as it is needed."""
    if isinstance(picture, ValueError):
        return picture
    part = SlicePart(picture, pictures)
    try:
        part.decode(*extent)
    except ValueError as error:
        return error
    return part


def _crop(
    middle: SlicePart,
    beside: list[SlicePart | ValueError],
    annotation: DeepLesionAnnotation,
    plan: CropPlan | ValueError | None,
    window: str | tuple[float, float],
) -> Crop | ValueError:
    mark, metadata, stated = annotation.mark, annotation.metadata, annotation.image_size
    try:
        if stated != middle.shape:  # (512.0, 512.0) is (512, 512)
            require_size(stated, middle.shape)
        if isinstance(plan, ValueError):
            return plan
        assert mark is not None and plan is not None
        if isinstance(window, str):
            auto = window == "auto"
            levels = choose_window(middle, mark, annotation.window, plan.rings) if auto else None
        else:
            levels = (window[0], window[1])
        if levels is not None:
            metadata["window_low"], metadata["window_high"] = levels
        crop = planned_crop(
            cut_planned(middle, plan, levels),
            plan,
            spacing=annotation.spacing,
            key=annotation.key,
            source=str(middle.path),
            metadata=metadata,
        )
        if beside:
            add_neighbours(crop, beside, plan, levels)
        return crop
    except ValueError as error:
        return error
