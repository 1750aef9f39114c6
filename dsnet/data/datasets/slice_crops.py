"""The crops around a slice's marks, of as much of its files as they need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from dsnet import _C
from dsnet.data.crop import Crop, scaled_spacing
from dsnet.data.crop_plan import CropPlan, plan_crops
from dsnet.data.ct_image import (
    HU_OFFSET,
    RING_RULE,
    apply_window,
    choose_window,
    codes_of,
    for_tissue,
    hu_of_codes,
    windowed,
)
from dsnet.data.datasets.image_size import require_size
from dsnet.data.neighbours import add_neighbours
from dsnet.data.picture_file import Picture
from dsnet.labeling.recist import RecistMark

if TYPE_CHECKING:
    from dsnet.data.datasets.deeplesion import DeepLesionAnnotation

Plan: TypeAlias = "_C.PlannedCrop | CropPlan | ValueError | None"


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
) -> list[tuple[DeepLesionAnnotation, Crop | ValueError]]:
    """Each annotation of a slice with its crop, or with the error that it met.

    Each file is decoded once, as far as the crops need it; what `read_crops` says of the parameters
    holds.
    """
    if isinstance(files, ValueError):
        return [(a, ValueError(a.error) if a.error else files) for a in annotations]
    picture, others = files
    shape, pictures = picture.shape, window == "none"
    plans, extent, windows = plan_slice(
        annotations, shape, size=size, window=window, isotropic_mm=isotropic_mm
    )
    middle = _decoded(picture, extent, pictures)
    beside = []
    if others and not isinstance(middle, ValueError):
        beside = [_decoded(other, extent, pictures) for other in others]
    found: list[tuple[DeepLesionAnnotation, Crop | ValueError]] = []
    for annotation, plan, levels in zip(annotations, plans, windows, strict=True):
        if annotation.error:
            found.append((annotation, ValueError(annotation.error)))
        elif isinstance(middle, ValueError):
            found.append((annotation, middle))
        else:
            # The compiled plans are of codes.
            if pictures and isinstance(plan, _C.PlannedCrop):
                plan = CropPlan.of(plan, shape, size)
            crop = _crop(picture, middle, beside, annotation, plan, levels, window)
            found.append((annotation, crop))
    return found


def plan_slice(
    annotations: Sequence[DeepLesionAnnotation],
    shape: tuple[int, int],
    *,
    size: int,
    window: str | tuple[float, float],
    isotropic_mm: float | None,
) -> tuple[list[Plan], tuple[int, int], list[tuple[float, float] | None]]:
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
    plans : list of PlannedCrop, CropPlan, ValueError or None
        As `plan_crops` gives them.
    extent : (rows, columns)
        From the upper left corner. What the choice of a window looks at is among them. All of the
        slice where there is no mark that a crop can be cut around.
    windows : list of (low, high) or None
        Of each annotation's crop, as far as it is known without the slice.
    """
    given = None if isinstance(window, str) else (window[0], window[1])
    auto = window == "auto"
    marks, spacings, looks, windows = [], [], [], []
    for annotation in annotations:
        levels = given
        if auto and for_tissue(annotation.window):
            levels = annotation.window
        marks.append(annotation.mark)
        spacings.append(annotation.spacing)
        windows.append(levels)
        looks.append(auto and levels is None)
    plans, rows, cols = plan_crops(shape, marks, size, looks, spacings, isotropic_mm)
    return plans, (rows, cols) if rows else shape, windows


def _decoded(
    picture: Picture | ValueError, extent: tuple[int, int], pictures: bool
) -> np.ndarray | ValueError:
    """A slice as it is stored, decoded as far as it is needed."""
    if isinstance(picture, ValueError):
        return picture
    try:
        return picture.pixels(*extent) if pictures else codes_of(picture, *extent)
    except ValueError as error:
        return error


def _crop(
    picture: Picture,
    pixels: np.ndarray,
    beside: list[np.ndarray | ValueError],
    annotation: DeepLesionAnnotation,
    plan: Plan,
    levels: tuple[float, float] | None,
    window: str | tuple[float, float],
) -> Crop | ValueError:
    metadata, stated = annotation.metadata, annotation.image_size
    try:
        if stated != picture.shape:  # (512.0, 512.0) is (512, 512)
            require_size(stated, picture.shape)
        if isinstance(plan, ValueError):
            return plan
        assert plan is not None
        if isinstance(plan, CropPlan):
            if window == "auto":
                assert annotation.mark is not None
                levels = choose_window(hu_of_codes(pixels), annotation.mark, levels, plan.rings)
            image = _cut(pixels, plan, levels)
            offset, scale, mark = plan.offset, plan.scale, plan.mark
        else:
            image, levels, offset, scale, mark = plan.crop(pixels, HU_OFFSET, levels, RING_RULE)
            mark = RecistMark.of_numbers(mark)
        if levels is not None:
            metadata["window_low"], metadata["window_high"] = levels
        spacing, source = annotation.spacing, str(picture.path)
        if scale != (1.0, 1.0):
            spacing = scaled_spacing(spacing, scale)
        crop = Crop(image, mark, spacing, None, annotation.key, source, offset, scale, metadata)
        if beside:
            planes = [p if isinstance(p, ValueError) else _cut(p, plan, levels) for p in beside]
            add_neighbours(crop, planes)
        return crop
    except ValueError as error:
        return error


def _cut(
    pixels: np.ndarray, plan: _C.PlannedCrop | CropPlan, levels: tuple[float, float] | None
) -> np.ndarray:
    if not isinstance(plan, CropPlan):
        return plan.shown(pixels, HU_OFFSET, levels)
    piece = pixels[plan.box]
    if levels is None:
        return plan.cut_box(windowed(piece))
    return apply_window(plan.cut_box(hu_of_codes(piece)), *levels)
