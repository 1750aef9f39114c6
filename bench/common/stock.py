"""The stock pipeline that the benches compare with: OpenCV, then PyMatting."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage

from dsnet.labeling import BACKGROUND, FOREGROUND, UNKNOWN, RecistMark


def stock_cut(image: np.ndarray, mark: RecistMark) -> np.ndarray:
    """OpenCV's grabCut seeded by a mark: bool [H, W]."""
    shape = image.shape
    margin = max(3.0, 0.25 * mark.long_diameter)
    x_min, y_min, x_max, y_max = mark.bounds()
    seeds = np.full(shape, cv2.GC_BGD, np.uint8)
    top, left = max(int(y_min - margin), 0), max(int(x_min - margin), 0)
    seeds[top : int(y_max + margin) + 2, left : int(x_max + margin) + 2] = cv2.GC_PR_BGD
    seeds[mark.quadrilateral_mask(shape)] = cv2.GC_PR_FGD
    seeds[mark.axes_mask(shape)] = cv2.GC_FGD
    grey = (255 * image).astype(np.uint8)
    cv2.setRNGSeed(0)
    cv2.grabCut(
        cv2.merge([grey] * 3), seeds, None, np.zeros((1, 65)), np.zeros((1, 65)), 5,
        cv2.GC_INIT_WITH_MASK,
    )  # fmt: skip
    return (seeds == cv2.GC_FGD) | (seeds == cv2.GC_PR_FGD)


def stock_trimap(mask: np.ndarray, radius: float) -> np.ndarray:
    """OpenCV's erosion and dilation by its ellipse element of 2 * int(radius) + 1 pixels."""
    side = 2 * int(radius) + 1
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    mask = mask.astype(np.uint8)
    trimap = np.full(mask.shape, UNKNOWN, np.uint8)
    trimap[cv2.erode(mask, element) > 0] = FOREGROUND
    trimap[cv2.dilate(mask, element) == 0] = BACKGROUND
    return trimap


def scipy_trimap(mask: np.ndarray, radius: float) -> np.ndarray:
    """Erosion and dilation by true discs, from SciPy's distance transforms."""
    trimap = np.full(mask.shape, UNKNOWN, np.uint8)
    trimap[ndimage.distance_transform_edt(mask) > radius] = FOREGROUND
    trimap[ndimage.distance_transform_edt(~mask) > radius] = BACKGROUND
    return trimap


def stock_matting(
    image: np.ndarray, trimap: np.ndarray, epsilon: float = 1e-7, rtol: float = 1e-7
) -> np.ndarray:
    """PyMatting's closed form on a grey image stacked three times: `epsilon` is 3 times ours."""
    from pymatting import estimate_alpha_cf  # compiles itself for a minute when first imported

    known = np.where(trimap == UNKNOWN, 0.5, trimap / 255.0)
    colour = np.repeat(image[..., None].astype(np.float64), 3, axis=2)
    return estimate_alpha_cf(
        colour, known, laplacian_kwargs={"epsilon": epsilon}, cg_kwargs={"rtol": rtol}
    )


def stock_label(image: np.ndarray, mark: RecistMark) -> np.ndarray:
    """The stock chain's alpha [H, W] from image and mark."""
    trimap = stock_trimap(stock_cut(image, mark), max(1.0, 0.08 * mark.long_diameter))
    return stock_matting(image, trimap)
