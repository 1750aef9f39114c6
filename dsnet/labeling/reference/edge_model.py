"""The edge model in NumPy, in float64; its coefficients are fitted to these features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from dsnet.labeling.edge_model import LEAST_CONTRAST, network_layers
from dsnet.labeling.recist import RecistMark, dot


@dataclass(frozen=True)
class Evidence:
    """What the model says of the window around a mark.

    Attributes
    ----------
    window : (slice, slice)
        Rows and columns of the image that `log_odds` covers.
    log_odds : ndarray [h, w], float64
        Of the pixel being lesion.
    reachable : ndarray [h, w], bool
        Pixels near enough to the mark to be lesion at all.
    contrast : float
        Lesion's grey value less the surroundings', in the image's 0..1.
    """

    window: tuple[slice, slice]
    log_odds: np.ndarray
    reachable: np.ndarray
    contrast: float


def lesion_evidence(image: np.ndarray, mark: RecistMark) -> Evidence:
    """Log-odds of every pixel near the mark.

    Parameters
    ----------
    image : ndarray [H, W], float
    mark : RecistMark
        Touching the image.
    """
    features, reachable, window, contrast = edge_features(image, mark)
    log_odds = np.full(reachable.shape, -np.inf)
    log_odds[reachable] = _network(features[reachable])
    return Evidence(window, log_odds, reachable, contrast)


def edge_features(
    image: np.ndarray, mark: RecistMark
) -> tuple[np.ndarray, np.ndarray, tuple[slice, slice], float]:
    """`FEATURES` [h, w, 18] of the window around a mark, what is reachable, window, contrast."""
    mark = mark.assumed()
    long_axis, short_axis = mark.axes
    long, short = max(mark.long_diameter, 1.0), max(mark.short_diameter, 1.0)
    reach = max(4.0, 0.3 * long)
    window = _window(image.shape, mark, reach + 6.0)
    y, x = np.mgrid[window].astype(np.float64)
    along, across = mark.directions

    # The curve: quarter ellipses around the axes' crossing, one for each pair of half axes.
    u = x * along[0] + y * along[1] - dot(short_axis.mean(0), along)
    v = x * across[0] + y * across[1] - dot(long_axis.mean(0), across)
    half_u = _half_axes(dot(long_axis, along) - dot(short_axis.mean(0), along), u)
    half_v = _half_axes(dot(short_axis, across) - dot(long_axis.mean(0), across), v)
    radius = np.hypot(u, v)
    outside_curve, share = _outside(u, v, half_u, half_v, short)
    centre_u = (x - mark.center[0]) * along[0] + (y - mark.center[1]) * along[1]
    centre_v = (x - mark.center[0]) * across[0] + (y - mark.center[1]) * across[1]
    outside_ellipse, _ = _outside(centre_u, centre_v, long / 2, short / 2, short)

    grey = np.asarray(image[window], dtype=np.float64)
    lesion, surroundings, spread = _levels(grey, share, outside_curve, long)
    contrast = lesion - surroundings
    scale = np.copysign(max(abs(contrast), LEAST_CONTRAST), contrast)
    relative = np.clip((grey - surroundings) / scale, -1.0, 2.5)
    smooth = [ndimage.gaussian_filter(relative, s, mode="nearest") for s in (0.7, 1.5, 3.0)]
    slope_y, slope_x = _slopes(smooth[0])
    out_x, out_y = u * along[0] + v * across[0], u * along[1] + v * across[1]
    slope_out = (slope_x * out_x + slope_y * out_y) / np.maximum(radius, 1e-3)

    half = 0.5 * short
    features = (
        np.clip(outside_curve, -5, 5),
        np.clip(outside_curve / half, -1, 1.5),
        np.clip(outside_ellipse, -5, 5),
        np.clip(outside_ellipse / half, -1, 1.5),
        relative,
        *smooth,
        slope_out,
        np.hypot(slope_x, slope_y),
        ndimage.maximum_filter(relative, 3, mode="nearest"),
        ndimage.minimum_filter(relative, 3, mode="nearest"),
        ndimage.laplace(smooth[0], mode="nearest"),
        np.minimum(np.abs(u) / half_u, 2),
        np.minimum(np.abs(v) / half_v, 2),
        np.full(u.shape, np.log(np.clip(short, 2, 40))),
        np.full(u.shape, short / long),
        np.full(u.shape, np.clip(spread / abs(scale), 0, 2)),
    )
    return np.stack(features, axis=-1), outside_curve <= reach, window, float(contrast)


def _network(features: np.ndarray) -> np.ndarray:
    """Log-odds [N] of features [N, 18]."""
    value, layers = features, network_layers()
    for number, (weight, bias) in enumerate(layers):
        # einsum, not BLAS: the same bits whatever the number of threads.
        value = np.einsum("nk,mk->nm", value, weight)
        value += bias
        if number < len(layers) - 1:
            np.maximum(value, 0.0, out=value)
    return value[:, 0]


def _window(shape: tuple[int, int], mark: RecistMark, margin: float) -> tuple[slice, slice]:
    x_min, y_min, x_max, y_max = mark.bounds()

    def side(low: float, high: float, size: int) -> slice:
        start = int(np.clip(np.floor(low - margin), 0, size - 1))
        return slice(start, int(np.clip(np.ceil(high + margin) + 1, start + 1, size)))

    return side(y_min, y_max, shape[0]), side(x_min, x_max, shape[1])


def _half_axes(ends: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Length of the half axis on the side where each pixel lies, at least half a pixel."""
    return np.where(position >= 0, max(ends.max(), 0.5), max(-ends.min(), 0.5))


def _outside(u, v, half_u, half_v, short: float) -> tuple[np.ndarray, np.ndarray]:
    """Pixels beyond the ellipse along the ray from its centre (negative inside), and the
    distance from the centre as a share of the ellipse's radius in that direction."""
    share = np.maximum(np.hypot(u / half_u, v / half_v), 1e-3)
    outside = np.maximum(np.hypot(u, v) * (1 - 1 / share), -short / 2)
    # At the very centre no ray says how far the ellipse is.
    return np.where(share > 1e-3, outside, -short / 2), share


def _levels(grey, share, outside, long: float) -> tuple[float, float, float]:
    """Grey value of the lesion and of the surroundings, and the latter's interquartile range."""
    inner = share <= 0.6
    if np.count_nonzero(inner) < 3:
        third = min(3, share.size - 1)
        inner = share <= np.partition(share.ravel(), third)[third]
    lesion = float(np.median(grey[inner]))
    ring = (outside > 1.5) & (outside < 2 + max(3.0, 0.35 * long))
    if np.count_nonzero(ring) < 5:
        ring = np.ones_like(inner)
    # Walls and vessels brighten the ring of a bright lesion: its darker quarter is lung. For
    # a lesion darker than most of its ring it is the other way round.
    dark, bright = np.percentile(grey[ring], [25, 75])
    darker = lesion < bright and abs(lesion - bright) > 2 * abs(lesion - dark)
    return lesion, float(bright if darker else dark), float(bright - dark)


def _slopes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    slopes = [
        np.gradient(values, axis=axis) if values.shape[axis] > 1 else np.zeros_like(values)
        for axis in (0, 1)
    ]
    return slopes[0], slopes[1]
