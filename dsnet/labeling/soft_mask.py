"""Soft masks from RECIST marks, binary masks or several raters: trimap, then matting."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dsnet import _C
from dsnet.devices import usable_cores
from dsnet.labeling.arguments import (
    as_float32,
    as_image,
    as_mask,
    as_rater_masks,
    as_value_error,
    require_touching,
)
from dsnet.labeling.cut import CutFallback
from dsnet.labeling.edge_model import native_network
from dsnet.labeling.gpu import engine
from dsnet.labeling.gpu.pipeline import MattingSettings
from dsnet.labeling.matting.closed_form import DEFAULT_RTOL, MattingInfo, closed_form_matting
from dsnet.labeling.notes import doubts, with_assumed
from dsnet.labeling.prior import MASK_PRIOR_WEIGHT, VOTES_PRIOR_WEIGHT, mask_prior, votes_prior
from dsnet.labeling.quality import recist_scores, score
from dsnet.labeling.recist import PROBLEMS, RecistMark, ordered_coordinates
from dsnet.labeling.trimap import consensus, trimap_from_mask, trimap_from_raters

# Weight of the cut's probabilities in strategy 3's matting: of 0, 1, 3 and 10 the one with the
# least difference from the mean of four readers' masks on half of LIDC's patients.
PRIOR_WEIGHT = 3.0
_UNKNOWN_AXIS = np.full((2, 2), np.nan)


@dataclass
class SoftLabel:
    """A soft mask and what it came from.

    Attributes
    ----------
    alpha : ndarray [H, W], float32
        Share of the pixel that is lesion, 0..1 (the paper's equation 1).
    binary : ndarray [H, W], bool
        `alpha >= 0.5`.
    trimap : ndarray [H, W], uint8
        `BACKGROUND`, `UNKNOWN`, `FOREGROUND`.
    quality : dict of str to float
        Scores in 0..1, 1 is good; `quality.QUALITY_SCORES` says what each means.
    seconds : dict of str to float
        Wall time of the stages `cut`, `trimap`, `matting`.
    notes : tuple of str
        What was odd, in words: a doubtful mark, an axis that was assumed, a fall-back, an empty
        mask, an early stop.
    """

    alpha: np.ndarray
    binary: np.ndarray
    trimap: np.ndarray
    quality: dict[str, float]
    seconds: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outlined:
    """An image and what was drawn on it, checked: strategies 1 and 2 before their trimaps.

    Attributes
    ----------
    image : ndarray [H, W], float32
    lesion : ndarray, bool
        [H, W] for strategy 1, [R, H, W] for strategy 2.
    reference : ndarray [H, W], bool
        What the label is compared with.
    notes : tuple of str
        What was odd.
    """

    image: np.ndarray
    lesion: np.ndarray
    reference: np.ndarray
    notes: tuple[str, ...]

    @classmethod
    def by_one(cls, image: np.ndarray, mask: np.ndarray) -> Outlined:
        """An image with a mask; ValueError or TypeError that names the argument."""
        image = as_image(image)
        lesion = _of_shape(as_mask(mask, "mask"), image, "mask")
        return cls(image, lesion, lesion, () if lesion.any() else ("empty mask",))

    @classmethod
    def by_raters(cls, image: np.ndarray, masks: np.ndarray) -> Outlined:
        """An image with several raters' masks; ValueError or TypeError that names the argument."""
        image = as_image(image)
        raters = as_rater_masks(masks)
        _of_shape(raters[0], image, "masks")
        spoke = raters[raters.any(axis=(1, 2))]
        notes = []
        if len(spoke) < len(raters):
            notes.append(f"{len(raters) - len(spoke)} of {len(raters)} raters marked nothing")
        if len(spoke) > 1 and not spoke.all(axis=0).any():
            notes.append("no pixel was marked by all raters: the most-voted ones are the lesion")
        reference = consensus(spoke) if len(spoke) else raters[0]
        return cls(image, raters, reference, tuple(notes))

    @property
    def spoken(self) -> np.ndarray:
        """Masks [R, H, W] of the raters who marked something, [H, W] of one alone, or all empty."""
        if self.lesion.ndim == 2:
            return self.lesion
        spoke = self.lesion[self.lesion.any(axis=(1, 2))]
        return spoke if len(spoke) > 1 else [*spoke, self.lesion[0]][0]

    def solve(self, **band) -> SoftLabel:
        """Trimap, prior and matting; `band` as `trimap_from_mask` takes it."""
        start, masks = time.perf_counter(), self.spoken
        if masks.ndim == 2:
            trimap = trimap_from_mask(masks, **band)
            prior, weight = mask_prior(masks, trimap, band["spacing"]), MASK_PRIOR_WEIGHT
        else:
            trimap = trimap_from_raters(masks, **band)
            prior, weight = votes_prior(masks), VOTES_PRIOR_WEIGHT
        seconds = time.perf_counter() - start
        alpha, info = closed_form_matting(self.image, trimap, prior=prior, prior_weight=weight)
        return self.label(trimap, alpha, info, seconds)

    def label(
        self, trimap: np.ndarray, alpha: np.ndarray, info: MattingInfo, trimap_seconds: float
    ) -> SoftLabel:
        """The label of a trimap and its matting."""
        constant = float(self.image.min()) == float(self.image.max())
        binary = alpha >= 0.5
        told = doubts(constant, not binary.any(), info.converged, info.iterations, info.residual)
        quality = score(
            self.image,
            alpha,
            trimap,
            reference=self.reference,
            raters=None if self.lesion.ndim == 2 else self.lesion,
            converged=info.converged,
            residual=info.residual,
            rtol=DEFAULT_RTOL,
        )
        seconds = {"cut": 0.0, "trimap": trimap_seconds, "matting": info.seconds}
        return SoftLabel(alpha, binary, trimap, quality, seconds, (*self.notes, *told))


def label_recist(image: np.ndarray, mark: RecistMark) -> SoftLabel:
    """Soft mask of a lesion from its RECIST mark (the paper's strategy 3).

    The mark seeds a cut of the image, the cut's border becomes a trimap, closed-form matting
    solves the unknown band. Matting sees grey values alone, while the cut also knows the mark:
    its probabilities are matting's prior, and each pixel keeps the cut's side of one half, so
    that the binary mask is the cut. A degenerate mark (a zero-length axis, axes that do not
    cross) still gives a label; `quality["mark_soundness"]` and `notes` tell.

    Parameters
    ----------
    image : ndarray [H, W], float
        Grey values in 0..1 after the HU window; at least 3x3.
    mark : RecistMark
        In the image's pixels; may reach beyond its border. Pixels are taken as square:
        `dsnet.data.crop.cut_crop` makes them so.

    Raises
    ------
    ValueError
        When the image holds NaN or values outside 0..1, is not [H, W] or below 3x3 pixels, or
        the mark lies wholly outside it.
    TypeError
        When the image is not floating point or `mark` is no RecistMark.
    """
    image = as_float32(image)
    if not isinstance(mark, RecistMark):
        raise TypeError(f"mark must be a RecistMark, got {type(mark).__name__}")
    (label,) = _label_natively(image[None], (coordinates := mark.coordinates)[None], 1)
    if label is None:
        raise _refusal(image, coordinates)
    return with_assumed(label, coordinates)


def label_mask(
    image: np.ndarray,
    mask: np.ndarray,
    *,
    spacing: tuple[float, float] | None = None,
    erosion: float | None = None,
    dilation: float | None = None,
) -> SoftLabel:
    """Soft mask of a binary mask (the paper's strategy 1).

    In a thin band along its edge the image decides; `labeling.prior` tells what else it is told.

    Parameters
    ----------
    image : ndarray [H, W], float
        Grey values in 0..1 after the HU window.
    mask : array [H, W]
        Non-zero is lesion.
    spacing, erosion, dilation
        As in `trimap_from_mask`.

    Raises
    ------
    ValueError, TypeError
        On an unusable image or mask; the message names the argument.
    """
    drawn = Outlined.by_one(image, mask)
    return drawn.solve(spacing=spacing, erosion=erosion, dilation=dilation)


def label_raters(
    image: np.ndarray,
    masks: np.ndarray,
    *,
    spacing: tuple[float, float] | None = None,
    erosion: float | None = None,
    dilation: float | None = None,
) -> SoftLabel:
    """Soft mask of several raters' masks (the paper's strategy 2).

    Between what all and what none marks, and in a thin band on either side, image and votes decide
    together (`dsnet.labeling.prior`).

    Parameters
    ----------
    image : ndarray [H, W], float
        Grey values in 0..1 after the HU window.
    masks : array [R, H, W]
        R >= 1 raters; non-zero is lesion. Raters who marked nothing are left out.
    spacing, erosion, dilation
        Of the thin band where the raters agree, as in `trimap_from_raters`.

    Raises
    ------
    ValueError, TypeError
        On an unusable image or masks; the message names the argument.
    """
    drawn = Outlined.by_raters(image, masks)
    return drawn.solve(spacing=spacing, erosion=erosion, dilation=dilation)


def label_batch(
    images: np.ndarray | Sequence[np.ndarray],
    marks: Sequence[RecistMark | Sequence[float]],
    threads: int = 0,
    device: str = "cpu",
) -> list[SoftLabel | ValueError]:
    """Soft masks of many crops.

    On the CPU they have the same bits as `label_recist` gives one at a time. On a GPU cuts and
    matting run there, while the CPU's threads check the next crops and score the last ones: alpha
    is within 1e-3 of the CPU's, the binary masks are the same; `seconds` are a label's share of the
    GPU's time, a trimap's being in its cut's. A crop of more than 2**26 pixels is labelled by the
    CPU.

    Parameters
    ----------
    images : ndarray [N, H, W] or sequence of ndarray [H, W]
        Grey values in 0..1; at least 3x3 pixels; sizes may differ in a sequence.
    marks : sequence of N RecistMark or of 8 coordinates
        The last four coordinates NaN where the short axis is unknown.
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
        When the lengths differ, `threads` is negative or `device` is another.
    RuntimeError
        When there is no such CUDA device, or dsnet was built without CUDA.
    MemoryError
        When the device has no room for one crop.
    """
    index = None if device == "cpu" else engine.device_index(device)
    if len(images) != len(marks):
        raise ValueError(f"marks must be as many as images ({len(images)}), got {len(marks)}")
    if threads < 0:
        raise ValueError(f"threads must be >= 0, got {threads}")

    labels: list[Any] = [None] * len(images)
    coordinates = np.full((len(images), 8), np.nan)
    if isinstance(marks, np.ndarray) and marks.shape == coordinates.shape:
        coordinates = ordered_coordinates(marks)
    else:
        drawn = [mark for mark in marks if isinstance(mark, RecistMark)]
        if 0 < len(drawn) == len(marks):
            axes = [axis for mark in drawn for axis in (mark.long_axis, mark.short_axis)]
            known = [_UNKNOWN_AXIS if axis is None else axis for axis in axes]
            coordinates = np.concatenate(known).reshape(-1, 8)
    for i in np.flatnonzero(np.isnan(coordinates[:, 0])).tolist():
        try:
            mark = marks[i]
            if not isinstance(mark, RecistMark):
                mark = RecistMark.from_coordinates(mark)
            coordinates[i] = mark.coordinates
        except Exception as error:
            labels[i] = as_value_error(error)
    arrays: np.ndarray | list[np.ndarray]
    if (
        isinstance(images, np.ndarray)
        and images.ndim == 3
        and images.dtype.kind == "f"
        and 0 < images.shape[1] * images.shape[2] <= _C.MOST_PIXELS
    ):
        arrays = np.ascontiguousarray(images, dtype=np.float32)
    else:
        arrays = list(images)
        for i, image in enumerate(arrays):
            try:
                arrays[i] = as_float32(image)
            except Exception as error:
                labels[i] = labels[i] or as_value_error(error)
    usable = [i for i, label in enumerate(labels) if label is None]
    if len(usable) < len(labels):
        # A list of rows shares the block's memory.
        arrays, coordinates = [arrays[i] for i in usable], coordinates[usable]
    threads = min(threads or usable_cores(), usable_cores())
    if index is None:
        found = _label_natively(arrays, coordinates, threads)
    else:
        found = _label_on_device(arrays, coordinates, threads, index)
    for i, image, row, label in zip(usable, arrays, coordinates, found, strict=True):
        labels[i] = _refusal(image, row) if label is None else with_assumed(label, row)
    return labels


def _label_natively(images, coordinates, threads) -> list[SoftLabel | None]:
    """Labels by the compiled pipeline; None for what it refuses, see `_refusal`."""
    if not len(images):
        return []
    alphas, binaries, trimaps, states, values, scores = _C.label_batch(
        images, coordinates, native_network(), PRIOR_WEIGHT, DEFAULT_RTOL, threads
    )
    told = (states.tolist(), values.tolist(), scores.tolist())
    return _as_labels(zip(alphas, binaries, trimaps, *told, strict=True))


def _label_on_device(images, coordinates, threads, index) -> list[SoftLabel | None]:
    """As `_label_natively`, with cuts and matting on a CUDA device."""
    if not len(images):
        return []
    if large := [i for i, image in enumerate(images) if image.size > _C.MOST_MATTING_PIXELS]:
        rest = sorted(set(range(len(images))) - set(large))
        found = _label_natively([images[i] for i in large], coordinates[large], threads)
        done = dict(zip(large, found, strict=True))
        found = _label_on_device([images[i] for i in rest], coordinates[rest], threads, index)
        done.update(zip(rest, found, strict=True))
        return [done[i] for i in range(len(images))]
    pipeline = engine.pipeline(index, MattingSettings(PRIOR_WEIGHT, DEFAULT_RTOL))
    return pipeline.run(images, coordinates, threads, make=_as_labels)


def _as_labels(rows) -> list[SoftLabel | None]:
    """Labels from what the compiled pipeline tells of each."""
    labels = []
    for alpha, binary, trimap, state, (fallback_value, residual, cut, split, matting), row in rows:
        error, problems, constant, fallback, iterations, converged, _ = state
        if error:
            labels.append(None)
            continue
        notes, empty = (), not binary.any()
        if problems or fallback or constant or empty or not converged:
            notes = [word for bit, word in enumerate(PROBLEMS) if problems >> bit & 1]
            if fallback:
                words = CutFallback(fallback).told(fallback_value)
                notes.append(f"cut fell back on the axes' ellipse: {words}")
            notes = tuple(notes + doubts(constant, empty, converged, iterations, residual))
        seconds = {"cut": cut, "trimap": split, "matting": matting}
        labels.append(SoftLabel(alpha, binary, trimap, recist_scores(*row), seconds, notes))
    return labels


def _refusal(image: np.ndarray, coordinates: np.ndarray) -> ValueError:
    """What kept the compiled pipeline from labelling an image, in words."""
    try:
        mark = RecistMark.from_coordinates(coordinates)
        require_touching(mark, as_image(image).shape)
    except ValueError as error:
        return error
    return ValueError(f"image must have at least 3x3 pixels, got {image.shape[0]}x{image.shape[1]}")


def _of_shape(mask: np.ndarray, image: np.ndarray, name: str) -> np.ndarray:
    if mask.shape != image.shape:
        raise ValueError(f"{name} must have the image's shape {image.shape}, got {mask.shape}")
    return mask
