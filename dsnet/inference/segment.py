"""Whole-slice inference: RECIST marks or boxes in, a soft mask on the slice's grid out.

A network sees crops as `dsnet.data.crop.cut_crop` makes them, in training and here. Its answer
goes back by the inverse of that geometry: bit for bit where the crop was not resampled, else from
the network's finer output grid, each slice pixel the mean over its area (linear interpolation
where the slice is the finer one).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from dsnet.data.crop import Crop, cut_crop, paste_back
from dsnet.data.ct_image import choose_window
from dsnet.data.neighbours import cut_shown
from dsnet.inference.inputs import BOX_NOTE, network_inputs, sees
from dsnet.labeling.prompts import as_mark
from dsnet.labeling.recist import RecistMark
from dsnet.models import SRResNet, mean_over_views, threshold_of, to_input_grid, unwrap


@dataclass(eq=False)
class LesionMask:
    """One lesion on the slice's grid.

    Attributes
    ----------
    mark : RecistMark
        The prompt; of a box, its two middle lines.
    soft : ndarray [H, W], float32
        0 outside its crop.
    binary : ndarray [H, W], bool
        Where `soft` reaches the threshold.
    box : (x0, y0, x1, y1) of int, or None
        First and last column and row of `binary`; None where it is empty.
    crop_box : (x0, y0, x1, y1) of int
        First and last column and row of the slice that the network saw.
    window : (low, high) or None
        HU that were shown as 0..1.
    spacing : (row, column) or None
        Millimetres per slice pixel.
    notes : tuple of str
        What was odd, in words.
    """

    mark: RecistMark
    soft: np.ndarray
    binary: np.ndarray
    box: tuple[int, int, int, int] | None
    crop_box: tuple[int, int, int, int]
    window: tuple[float, float] | None = None
    spacing: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()

    @property
    def area_pixels(self) -> int:
        """Pixels of the binary mask."""
        return int(np.count_nonzero(self.binary))

    @property
    def area_mm2(self) -> float | None:
        """The binary mask's area; None without a spacing."""
        if self.spacing is None:
            return None
        return self.area_pixels * self.spacing[0] * self.spacing[1]

    @property
    def mean_alpha(self) -> float:
        """Mean of the soft mask over the binary mask; NaN where that is empty."""
        return float(self.soft[self.binary].mean()) if self.binary.any() else float("nan")


@dataclass(eq=False)
class SliceSegmentation:
    """All lesions of a slice.

    Attributes
    ----------
    soft : ndarray [H, W], float32
        The greatest of the lesions' soft masks; 0 outside every crop.
    binary : ndarray [H, W], bool
        Where `soft` reaches the threshold.
    lesions : list of N LesionMask or ValueError
        In the order of the prompts; a prompt that cannot be used holds its error.
    notes : tuple of str
        Which prompts failed, and which lesions' binary masks overlap.
    """

    soft: np.ndarray
    binary: np.ndarray
    lesions: list[LesionMask | ValueError]
    notes: tuple[str, ...] = ()


def segment_slice(
    model: nn.Module,
    image: np.ndarray,
    prompts: Sequence,
    *,
    size: int = 64,
    network_size: int | None = None,
    window: str | Sequence | None = None,
    spacing: tuple[float, float] | None = None,
    isotropic_mm: float | None = None,
    threshold: float | None = None,
    batch: int = 16,
    flips: bool = False,
    neighbours: Sequence[np.ndarray | ValueError | None] = (),
) -> SliceSegmentation:
    """Segment the marked lesions of a slice.

    Parameters
    ----------
    model : DSNet or module
        From [N, 1, h, w], or what its config says, to a soft mask [N, 1, k h, k w] for a whole k,
        on any device; compiled or wrapped ones, too. It is run in evaluation mode and left in the
        mode it was in.
    image : ndarray [H, W]
        HU with a `window`; without one, grey values in 0..1.
    prompts : sequence of N
        Each a `RecistMark`, its 8 coordinates, or a box (x0, y0, x1, y1) around the lesion: the
        pixel centres of its first and last column and row. They may reach beyond the border. A
        network that learnt from marks sees a box's middle lines as one, which a note tells.
    size, isotropic_mm
        As in `cut_crop`, and as the network was trained.
    network_size : int, optional
        Side to which crops are brought after the cut, as `dsnet.train --size` does.
    window : (low, high), N of them, "auto" or None
        In HU. "auto": by what surrounds each lesion (`choose_window`).
    spacing : (row, column), optional
        Millimetres per pixel of the slice.
    threshold : float, optional
        Of the binary masks; by default what was chosen for the model on validation cases, and one
        half for a model that says none.
    batch : int
        Crops at once.
    flips : bool
        Give the mean over each crop's eight mirror images, which takes eight times as long.
    neighbours : sequence of ndarray [H, W], ValueError or None
        For a network that learnt from them: the slices one below, one above, two below, ..., in the
        image's units. Where there is none, the error saying why, or nothing is given, the slice
        itself stands in, which a note of each lesion tells.

    Raises
    ------
    ValueError, TypeError
        For a model, an image or an option that cannot be used. A prompt that cannot be used (NaN,
        outside the image, no area, an image that is not finite there) costs itself alone.
    """
    network = unwrap(model) if isinstance(model, nn.Module) else model
    if not isinstance(network, nn.Module) or isinstance(network, SRResNet):
        raise TypeError(f"model must be a segmenting network, got {type(network).__name__}")
    image = _as_slice(image, window)
    if isinstance(prompts, RecistMark) or any(np.isscalar(prompt) for prompt in prompts):
        raise TypeError("prompts must be a sequence of marks or boxes: put a single one in a list")
    threshold = threshold_of(network) if threshold is None else threshold
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be in 0..1 and more than 0, got {threshold}")
    for name, value in (("batch", batch), ("network_size", network_size)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if spacing is not None and not (len(spacing) == 2 and 0 < min(spacing) < np.inf):
        raise ValueError(f"spacing must be (row, column) in mm, both > 0, got {spacing}")
    cut_crop(np.zeros((1, 1)), as_mark([0, 0, 1, 1]), size, spacing=spacing,
             isotropic_mm=isotropic_mm)  # fmt: skip
    count, marks = sees(network)
    beside = _neighbours(neighbours, count, image.shape, window)
    windows = _windows(window, len(prompts))

    lesions: list = [None] * len(prompts)
    cut: list[tuple[int, RecistMark, Crop, tuple[float, float] | None]] = []
    for i, prompt in enumerate(prompts):
        try:
            mark = as_mark(prompt)
            shown = choose_window(image, mark, None) if window == "auto" else windows[i]
            crop = cut_shown(
                image, mark, size, beside, shown, spacing=spacing, isotropic_mm=isotropic_mm
            )
            if marks and not isinstance(prompt, RecistMark) and np.size(prompt) == 4:
                crop.notes = (*crop.notes, BOX_NOTE)
            wanted = 1.0
            if isotropic_mm is not None and spacing is not None:
                wanted = spacing[1] / isotropic_mm
            crop.metadata["shrink"] = crop.scale[0] / wanted
            cut.append((i, mark, crop, shown))
        except ValueError as error:
            lesions[i] = error
        except TypeError as error:
            lesions[i] = ValueError(str(error))
    side = network_size or size
    for begin in range(0, len(cut), batch):
        part = cut[begin : begin + batch]
        inputs = network_inputs([crop for _, _, crop, _ in part], side, marks)
        answers = _answers(model, inputs, flips)
        for (i, mark, crop, shown), soft in zip(part, answers, strict=True):
            if np.isfinite(soft).all():
                lesions[i] = _lesion(soft, crop, mark, image.shape, shown, spacing, threshold)
            else:
                lesions[i] = ValueError("the network's answer is not finite")
    return _merged(lesions, image.shape, threshold)


def _as_slice(image, window) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim != 2 or 0 in image.shape:
        raise ValueError(f"image must be [H, W] with H, W >= 1, got shape {image.shape}")
    if image.dtype.kind not in "fiu":
        raise TypeError(f"image must hold real numbers, got dtype {image.dtype}")
    if window is None:
        finite = image[np.isfinite(image)]
        if finite.size and not (finite.min() >= -1e-3 and finite.max() <= 1 + 1e-3):
            raise ValueError(
                "image must lie in 0..1, or be HU with a window, got values in "
                f"{finite.min():g}..{finite.max():g}"
            )
    return image


def _neighbours(neighbours, count: int, shape, window) -> list:
    if not len(neighbours):
        return [None] * (2 * count)
    if len(neighbours) != 2 * count:
        raise ValueError(
            f"neighbours must be {2 * count} slices, as the network sees {count} on either side, "
            f"got {len(neighbours)}"
        )
    planes = []
    for plane in neighbours:
        if plane is not None and not isinstance(plane, ValueError):
            plane = _as_slice(plane, window)
            if plane.shape != shape:
                raise ValueError(f"neighbours must be of the image's {shape}, got {plane.shape}")
        planes.append(plane)
    return planes


def _windows(window, count: int) -> list:
    if window is None or (isinstance(window, str) and window == "auto"):
        return [None] * count
    if not isinstance(window, str):
        if np.shape(window) == (2,):
            window = [window] * count
        if np.shape(window) == (count, 2):
            return [(float(low), float(high)) for low, high in window]
    raise ValueError(
        f'window must be "auto", None, (low, high) in HU or {count} of these, got {window!r}'
    )


@torch.no_grad()
def _answers(model: nn.Module, planes: torch.Tensor, flips: bool) -> list[np.ndarray]:
    """The network's soft masks of inputs [N, C, side, side], on its own grid, float32."""
    count, side = len(planes), planes.shape[-1]
    known = next(model.parameters(), planes)
    was_training = model.training
    model.eval()
    try:
        planes = planes.to(known.device, known.dtype)
        soft = mean_over_views(model, planes) if flips else model(planes)
    finally:
        model.train(was_training)
    scale = soft.shape[-1] // side
    if soft.shape != (count, 1, side * scale, side * scale) or scale < 1:
        raise ValueError(
            "model must give a soft mask on a grid a whole number of times finer, got "
            f"{list(soft.shape)} for {list(planes.shape)}"
        )
    return list(soft[:, 0].float().cpu().numpy())


def _lesion(soft, crop: Crop, mark, shape, window, spacing, threshold) -> LesionMask:
    side = crop.image.shape[0]
    grow = soft.shape[0] / side  # Pixels of the answer per crop pixel.
    begin = np.floor(crop.offset).astype(int)
    end = np.ceil(np.add(crop.offset, side / np.array(crop.scale))).astype(int)
    (x0, y0), (x1, y1) = np.maximum(begin, 0), np.minimum(end, shape[::-1])
    native = crop.scale == (1.0, 1.0) and grow == int(grow)
    if native:
        soft = to_input_grid(torch.from_numpy(soft)[None, None], int(grow))[0, 0].numpy()
        grow = 1.0
    scale = (crop.scale[0] * grow, crop.scale[1] * grow)
    piece = Crop(soft, offset=(crop.offset[0] - x0, crop.offset[1] - y0), scale=scale)
    whole = np.zeros(shape, dtype=np.float32)
    whole[y0:y1, x0:x1] = paste_back(soft, piece, (y1 - y0, x1 - x0))
    binary = whole >= threshold
    notes = [*mark.problems(shape), *crop.notes]
    if crop.metadata["shrink"] < 1.0:
        notes.append(f"larger than the crop: shrunk to {crop.metadata['shrink']:.2f} of its size")
    rows, columns = np.flatnonzero(binary.any(1)), np.flatnonzero(binary.any(0))
    box = None
    if rows.size:
        box = (int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1]))
        # At the slice's own border a lesion may well end.
        cut_off = (box[0] == x0 > 0, box[1] == y0 > 0)
        cut_off += (box[2] + 1 == x1 < shape[1], box[3] + 1 == y1 < shape[0])
        if any(cut_off):
            notes.append("the mask reaches the crop's border")
    else:
        notes.append(f"no pixel reaches {threshold:g}")
    seen = (int(x0), int(y0), int(x1) - 1, int(y1) - 1)
    return LesionMask(mark, whole, binary, box, seen, window, spacing, tuple(notes))


def _merged(lesions, shape, threshold) -> SliceSegmentation:
    soft = np.zeros(shape, dtype=np.float32)
    count = np.zeros(shape, dtype=np.int32)
    notes = []
    for i, lesion in enumerate(lesions):
        if isinstance(lesion, ValueError):
            notes.append(f"prompt {i}: {lesion}")
        else:
            np.maximum(soft, lesion.soft, out=soft)
            count += lesion.binary
    if (shared := int((count > 1).sum())) > 0:
        notes.append(f"lesions overlap in {shared} pixels")
    return SliceSegmentation(soft, soft >= threshold, lesions, tuple(notes))
