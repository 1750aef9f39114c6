"""Soft masks of many masks or many raters' masks: `label_mask` and `label_raters`, all at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from dsnet import _C
from dsnet.devices import usable_cores
from dsnet.labeling.arguments import as_radius, as_spacing, as_value_error
from dsnet.labeling.gpu import engine
from dsnet.labeling.gpu.pipeline import MattingSettings
from dsnet.labeling.matting.closed_form import DEFAULT_RTOL
from dsnet.labeling.soft_mask import Outlined, SoftLabel

Spacing = tuple[float, float] | None


def label_mask_batch(
    images: np.ndarray | Sequence[np.ndarray],
    masks: np.ndarray | Sequence[np.ndarray],
    *,
    spacing: Spacing | Sequence[Spacing] | np.ndarray = None,
    erosion: float | None = None,
    dilation: float | None = None,
    threads: int = 0,
    device: str = "cpu",
) -> list[SoftLabel | ValueError]:
    """Soft masks of many images with a mask each (the paper's strategy 1).

    On the CPU they have the same bits as `label_mask` gives one at a time. On a GPU trimaps and
    matting run there, while the CPU's threads score the last ones: the trimaps are the same, alpha
    is within 1e-3 of the CPU's; `seconds` are a label's share of the GPU's time. A crop whose
    matting does not converge there, one below 3x3 pixels and one of more than 2**26 pixels is
    labelled by the CPU.

    Parameters
    ----------
    images : ndarray [N, H, W] or sequence of ndarray [H, W]
        Grey values in 0..1; sizes may differ in a sequence.
    masks : array [N, H, W] or sequence of array [H, W]
        Non-zero is lesion.
    spacing : (row, column), optional
        Millimetres per pixel, of all or in a sequence of N of each, as in `trimap_from_mask`.
    erosion, dilation : float, optional
        Of all, as in `trimap_from_mask`.
    threads : int
        Of the CPU, no more than the cores that this process may use; 0 takes all of them.
    device : str
        "cpu", or a CUDA device: "cuda" (the first) or "cuda:1" (the second). A batch that does not
        fit into its memory goes there in smaller parts.

    Returns
    -------
    list of N SoftLabel or ValueError
        A row that could not be labelled holds its error in place of a label, and costs no
        other row.

    Raises
    ------
    ValueError
        When the lengths differ, or `erosion`, `dilation`, a spacing of all, `threads` or `device`
        is not one of those above.
    RuntimeError
        When there is no such CUDA device, or dsnet was built without CUDA.
    MemoryError
        When the device has no room for one crop.
    """
    return _label_all(Outlined.by_one, images, masks, spacing, (erosion, dilation), threads, device)


def label_raters_batch(
    images: np.ndarray | Sequence[np.ndarray],
    masks: np.ndarray | Sequence[np.ndarray],
    *,
    spacing: Spacing | Sequence[Spacing] | np.ndarray = None,
    erosion: float | None = None,
    dilation: float | None = None,
    threads: int = 0,
    device: str = "cpu",
) -> list[SoftLabel | ValueError]:
    """Soft masks of many images that several raters have outlined (the paper's strategy 2).

    Parameters
    ----------
    images : ndarray [N, H, W] or sequence of ndarray [H, W]
        Grey values in 0..1; sizes may differ in a sequence.
    masks : array [N, R, H, W] or sequence of array [R, H, W]
        R >= 1 raters, as many as there are of each image; non-zero is lesion.
    spacing, erosion, dilation
        As in `label_mask_batch`, of the thin band where the raters agree.
    threads, device
        As in `label_mask_batch`.

    Returns
    -------
    list of N SoftLabel or ValueError
        As `label_mask_batch`, from `label_raters`.

    Raises
    ------
    ValueError, RuntimeError, MemoryError
        As `label_mask_batch`.
    """
    return _label_all(
        Outlined.by_raters, images, masks, spacing, (erosion, dilation), threads, device
    )


def _label_all(
    outline: Callable[[Any, Any], Outlined],
    images: Any,
    masks: Any,
    spacing: Any,
    band: tuple[float | None, float | None],
    threads: int,
    device: str,
) -> list[SoftLabel | ValueError]:
    index = None if device == "cpu" else engine.device_index(device)
    if len(images) != len(masks):
        raise ValueError(f"masks must be as many as images ({len(images)}), got {len(masks)}")
    if threads < 0:
        raise ValueError(f"threads must be >= 0, got {threads}")
    erosion, dilation = (
        None if radius is None else as_radius(radius, name)
        for radius, name in zip(band, ("erosion", "dilation"), strict=True)
    )
    spacings = _spacings(spacing, len(images))
    threads = min(threads or usable_cores(), usable_cores())

    def drawn(row: int) -> Outlined | ValueError:
        try:
            spacings[row] = as_spacing(spacings[row])
            return outline(images[row], masks[row])
        except Exception as error:
            return as_value_error(error)

    def solved(row: int, what: Outlined | ValueError) -> SoftLabel | ValueError:
        if isinstance(what, ValueError):
            return what
        return what.solve(spacing=spacings[row], erosion=erosion, dilation=dilation)

    if index is None:
        return _on_threads(lambda row: solved(row, drawn(row)), range(len(images)), threads)
    rows = _on_threads(drawn, range(len(images)), threads)
    # Smaller ones have no windows of 3x3 pixels; the pixels of larger ones cannot be numbered.
    there = [
        row
        for row, what in enumerate(rows)
        if isinstance(what, Outlined)
        and min(what.image.shape) >= 3
        and what.image.size <= _C.MOST_MATTING_PIXELS
    ]
    labels = _on_device(
        index,
        [rows[row] for row in there],
        [spacings[row] for row in there],
        (erosion, dilation),
        threads,
    )
    done = dict(zip(there, labels, strict=True))
    return [done[row] if row in done else solved(row, what) for row, what in enumerate(rows)]


def _on_device(index, drawn, spacings, band, threads) -> list[SoftLabel]:
    from dsnet.labeling.gpu.masks import DrawnBatch, mask_pipeline

    erosion, dilation = band

    def finish(row, trimap, alpha, info, seconds) -> SoftLabel:
        if not info.converged:
            return drawn[row].solve(spacing=spacings[row], erosion=erosion, dilation=dilation)
        return drawn[row].label(trimap, alpha, info, seconds)

    batch = DrawnBatch(
        images=[what.image for what in drawn],
        masks=[what.spoken for what in drawn],
        spacings=spacings,
        erosion=np.nan if erosion is None else erosion,
        dilation=np.nan if dilation is None else dilation,
    )
    pipeline = mask_pipeline(index, MattingSettings(0.0, DEFAULT_RTOL))
    return pipeline.run(batch, threads, finish)


def _on_threads(call: Callable[[int], Any], rows: range, threads: int) -> list:
    if threads == 1 or len(rows) < 2:
        return [call(row) for row in rows]
    with ThreadPoolExecutor(min(threads, len(rows)), "dsnet-label-masks") as pool:
        return list(pool.map(call, rows))


def _spacings(spacing: Any, count: int) -> list:
    """The spacing of each row, unchecked where each has its own."""
    of_each = hasattr(spacing, "__len__") and not any(np.isscalar(step) for step in spacing)
    if not of_each:
        return [as_spacing(spacing)] * count
    if len(spacing) != count:
        raise ValueError(
            f"spacing must be (row, column), or one for each image ({count}), got {len(spacing)}"
        )
    return list(spacing)
