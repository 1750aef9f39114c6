"""The cut of strategy 3: which pixels around a RECIST mark are lesion.

The evidence is `edge_model`'s, in place of GrabCut's two colour mixtures: on CT a mixture leaks
into vessels and the chest wall, has no notion of where the mark ends, and breaks down on flat
patches. Of all thresholds on it the one with the greatest expected Dice is taken, so that the mask
is no smaller where the evidence is less sure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from dsnet import _C
from dsnet.labeling.arguments import require_pixels, require_touching
from dsnet.labeling.edge_model import LEAST_CONTRAST, native_network
from dsnet.labeling.recist import RecistMark

# Log-odds are cut off here: certain, and yet a number.
CERTAIN = 8.0


class CutFallback(IntEnum):
    """Why a cut is the axes' ellipse: the compiled code's numbers, and how each is told."""

    def __new__(cls, code: int, words: str) -> CutFallback:
        member = int.__new__(cls, code)
        member._value_ = code
        member.words = words
        return member

    words: str

    NONE = 0, ""
    CONTRAST = 1, f"contrast {{value:.3f}} below {LEAST_CONTRAST}"
    NO_SEEDS = 2, "the mark's middle lies outside the image"
    AREA = 3, "the cut's area is {value:.2f} of the axes' ellipse"

    def told(self, value: float) -> str:
        """In words, with the contrast or share of the area that it goes by; empty for `NONE`."""
        return self.words.format(value=value)


@dataclass(frozen=True, eq=False)
class RecistCut:
    """A lesion cut out of an image.

    Attributes
    ----------
    mask : ndarray [H, W], bool
    log_odds : ndarray [H, W], float32
        The evidence, within +-`CERTAIN`; far from the mark it is certain background.
    fallback : str
        Empty where the cut worked, else why `mask` is the axes' ellipse.
    """

    mask: np.ndarray
    log_odds: np.ndarray
    fallback: str


def cut_recist(image: np.ndarray, mark: RecistMark) -> RecistCut:
    """Cut the lesion under a RECIST mark out of an image; deterministic.

    Sure lesion: the axes' inner part. Sure background: outside of the mark's frame, which is 0.8 of
    the longer axis and 3 pixels to either side of its centre. Of the cut, the part that holds the
    mark is kept and its holes are filled.

    Parameters
    ----------
    image : ndarray [H, W], float
        Grey values in 0..1; read as float32.
    mark : RecistMark
        Touching the image.

    Returns
    -------
    RecistCut
        Where the cut cannot work (no contrast, nothing left, far from the mark's size) its
        mask is the axes' ellipse and `fallback` says why.

    Raises
    ------
    ValueError
        When the image is not [H, W] or not finite, or the mark lies wholly outside it.
    TypeError
        When the image is not floating point or `mark` is no RecistMark.
    """
    image = check_image_and_mark(image, mark)
    mask, log_odds, code, value, _ = _C.cut_recist(image, mark.coordinates, native_network())
    return RecistCut(mask, log_odds, CutFallback(code).told(value))


def check_image_and_mark(image: np.ndarray, mark: RecistMark) -> np.ndarray:
    """Return the image as contiguous float32 [H, W]; raises as `cut_recist` does."""
    if not isinstance(mark, RecistMark):
        raise TypeError(f"mark must be a RecistMark, got {type(mark).__name__}")
    image = np.asarray(image)
    if image.ndim != 2 or 0 in image.shape:
        raise ValueError(f"image must be [H, W] with H, W >= 1, got shape {image.shape}")
    require_pixels(image.shape, "image")
    if image.dtype.kind != "f":
        raise TypeError(f"image must be floating point, got dtype {image.dtype}")
    image = np.ascontiguousarray(image, dtype=np.float32)
    if not np.isfinite(image).all():
        raise ValueError("image must be finite, got NaN or infinite values")
    require_touching(mark, image.shape)
    return image
