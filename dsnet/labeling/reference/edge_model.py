"""The edge model in NumPy, bit for bit what is compiled: float32 where that is, whole numbers in
the network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dsnet.labeling.edge_model import (
    DETAIL,
    DETAIL_SPREAD,
    FRAME_PIXELS,
    FRAME_SHARE,
    GRID,
    LEAST_CONTRAST,
    MOST_ACTIVE,
    EdgeNetwork,
    edge_network,
)
from dsnet.labeling.points import dot
from dsnet.labeling.recist import RecistMark

_MOST_SAMPLES = 8
_F = np.float32


@dataclass(frozen=True, eq=False)
class Frame:
    """A mark's frame: a square of `GRID` x `GRID` cells, its columns along the long axis.

    Attributes
    ----------
    center : (x, y)
    along : (x, y)
        Unit vector.
    half : float
        From the centre to the sides, in pixels.
    cross : (u, v)
        Where the axes cross, from the centre along the frame's columns and rows, in pixels.
    half_u, half_v : (float, float)
        Half axes of the curve through the end points, on their negative and positive side.
    long, short : float
        The axes' lengths in pixels, at least 1.
    short_known : bool
    """

    center: np.ndarray
    along: np.ndarray
    half: float
    cross: tuple[float, float]
    half_u: tuple[float, float]
    half_v: tuple[float, float]
    long: float
    short: float
    short_known: bool

    @classmethod
    def of(cls, mark: RecistMark) -> Frame:
        short_known = mark.short_axis is not None
        mark = mark.assumed()
        along, across = mark.directions
        # Whichever end was drawn first: to the right, or down.
        if along[0] < 0 or (along[0] == 0 and along[1] < 0):
            along, across = -along, -across
        long, short = max(mark.long_diameter, 1.0), max(mark.short_diameter, 1.0)
        long_axis, short_axis = mark.axes
        long_u, long_v = dot(long_axis, along), dot(long_axis, across)
        short_u, short_v = dot(short_axis, along), dot(short_axis, across)
        u, v = short_u[0] / 2 + short_u[1] / 2, long_v[0] / 2 + long_v[1] / 2
        center = mark.center
        return cls(
            center=center,
            along=along,
            half=FRAME_SHARE * max(long, short) + FRAME_PIXELS,
            cross=(u - dot(center, along), v - dot(center, across)),
            half_u=(max(u - long_u.min(), 0.5), max(long_u.max() - u, 0.5)),
            half_v=(max(v - short_v.min(), 0.5), max(short_v.max() - v, 0.5)),
            long=long,
            short=short,
            short_known=short_known,
        )

    @property
    def step(self) -> float:
        """Pixels from one cell to the next."""
        return 2 * self.half / GRID

    def window(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns of an image that the frame covers, one of each at least."""
        reach = self.half * (abs(self.along[0]) + abs(self.along[1]))

        def side(center: float, size: int) -> slice:
            low = np.clip(np.floor(center - reach), 0, size - 1)
            return slice(int(low), int(np.clip(np.ceil(center + reach) + 1, low + 1, size)))

        return side(self.center[1], shape[0]), side(self.center[0], shape[1])


@dataclass(frozen=True, eq=False)
class Cells:
    """What is known of a frame's cells, float32 [GRID, GRID] each.

    Attributes
    ----------
    grey : ndarray
        Mean grey value.
    share : ndarray
        Distance from the axes' crossing as a share of the curve's radius.
    outside : ndarray
        Pixels outside the curve, negative inside.
    """

    grey: np.ndarray
    share: np.ndarray
    outside: np.ndarray


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the model says of the window around a mark.

    Attributes
    ----------
    window : (slice, slice)
        Rows and columns of the image that `log_odds` covers.
    log_odds : ndarray [h, w], float32
        Of the pixel being lesion.
    reachable : ndarray [h, w], bool
        Pixels within the mark's frame.
    contrast : float
        Lesion's grey value less the surroundings', in the image's 0..1.
    threshold : float
        Log-odds from which on a pixel is lesion, for the greatest expected Dice.
    expected_dice : float
        What that may be, by the probabilities alone.
    """

    window: tuple[slice, slice]
    log_odds: np.ndarray
    reachable: np.ndarray
    contrast: float
    threshold: float
    expected_dice: float


def lesion_evidence(
    image: np.ndarray, mark: RecistMark, network: EdgeNetwork | None = None
) -> Evidence:
    """Log-odds of every pixel near the mark.

    Parameters
    ----------
    image : ndarray [H, W], float32
    mark : RecistMark
        Touching the image.
    network : EdgeNetwork, optional
    """
    network = network or edge_network()
    frame = Frame.of(mark)
    cells = frame_cells(image, frame)
    lesion, surroundings, spread = _levels(cells, frame.long)
    contrast = lesion - surroundings
    scale = np.copysign(max(abs(contrast), LEAST_CONTRAST), contrast)
    constants = np.array(
        [
            np.log(np.clip(frame.short, 2, 40)),
            frame.short / frame.long,
            min(2.0, spread / abs(scale)),
            np.log(np.clip(frame.long, 2, 80)),
            float(not frame.short_known),
        ]
    )
    inputs = cell_inputs(cells, _F(surroundings), _F(scale), _F(frame.short / 2))
    odds = weigh_cells(network, inputs, constants)
    window = frame.window(image.shape)
    noise = _F(DETAIL_SPREAD) * _F(constants[2])
    detail = _F(DETAIL) / (_F(scale) * (_F(1) + noise * noise))
    log_odds, reachable = _at_pixels(odds - cells.grey * detail, frame, window)
    log_odds = log_odds + np.asarray(image, _F)[window] * detail
    threshold, expected = best_threshold(odds[_in_image(frame, image.shape)])
    return Evidence(window, log_odds, reachable, float(contrast), threshold, expected)


def frame_cells(image: np.ndarray, frame: Frame) -> Cells:
    """The image in a mark's frame."""
    image = np.asarray(image, _F)
    step = _F(frame.step)
    count = int(np.clip(np.rint(frame.step), 1, _MOST_SAMPLES))
    each = _F(1) / _F(count)
    cell = np.arange(GRID, dtype=_F)
    sums = np.zeros((GRID, GRID), _F)
    for b in range(count):
        for a in range(count):
            u = ((cell + (_F(a) + _F(0.5)) * each) - _F(GRID // 2)) * step
            v = (((cell + (_F(b) + _F(0.5)) * each) - _F(GRID // 2)) * step)[:, None]
            sums += _bilinear(image, *_turned(frame, u, v))
    grey = sums * (_F(1) / _F(count * count))

    middle = _F(0.5 - GRID // 2)
    u = ((cell + middle) * step - _F(frame.cross[0]))[None, :]
    v = ((cell + middle) * step - _F(frame.cross[1]))[:, None]
    half_u = np.where(u >= 0, _F(frame.half_u[1]), _F(frame.half_u[0]))
    half_v = np.where(v >= 0, _F(frame.half_v[1]), _F(frame.half_v[0]))
    a, b = u / half_u, v / half_v
    share = np.maximum(np.sqrt(a * a + b * b), _F(1e-3))
    inmost = _F(-frame.short / 2)
    outside = np.maximum(np.sqrt(u * u + v * v) * (_F(1) - _F(1) / share), inmost)
    # At the very crossing no ray says how far the curve is.
    return Cells(grey, share, np.where(share > _F(1e-3), outside, inmost))


def cell_inputs(cells: Cells, surroundings: _F, scale: _F, half_short: _F) -> np.ndarray:
    """What the network is told of the cells: int32 [3, GRID, GRID]."""
    told = (
        np.clip((cells.grey - surroundings) / scale, _F(-1), _F(2.5)),
        np.clip(cells.outside / _F(5), _F(-1), _F(1)),
        np.clip(cells.outside / half_short, _F(-1), _F(1.5)),
    )
    return np.rint(np.stack(told) * _F(256)).astype(np.int32)


def weigh_cells(network: EdgeNetwork, inputs: np.ndarray, constants: np.ndarray) -> np.ndarray:
    """Log-odds [GRID, GRID], float32, of cells that are told as `cell_inputs` does."""

    def sums(name: str, value: np.ndarray, stride: int = 1) -> np.ndarray:
        weight = network.weights[name].astype(np.int64)
        kernel = weight.shape[-1]
        pad = 1 if kernel == 3 else 0
        padded = np.pad(value, ((0, 0), (pad, pad), (pad, pad)))
        side = (padded.shape[1] - kernel) // stride + 1
        total = np.zeros((len(weight), side, side), np.int64)
        for row in range(kernel):
            for column in range(kernel):
                part = padded[:, row:, column:][:, ::stride, ::stride][:, :side, :side]
                total += np.einsum("oi,iyx->oyx", weight[:, :, row, column], part)
        return total + biases[name][:, None, None]

    def divided(name: str, total: np.ndarray) -> np.ndarray:
        shift = network.shifts[name]
        return (total + (1 << shift >> 1)) >> shift

    def active(name: str, value: np.ndarray, stride: int = 1) -> np.ndarray:
        return np.clip(divided(name, sums(name, value, stride)), 0, MOST_ACTIVE)

    def added(name: str, value: np.ndarray, kept: np.ndarray) -> np.ndarray:
        more = np.clip(divided(name, sums(name, value)), -MOST_ACTIVE, MOST_ACTIVE)
        return np.clip(kept + more.repeat(2, axis=1).repeat(2, axis=2), 0, MOST_ACTIVE)

    biases = {name: bias.astype(np.int64) for name, bias in network.biases.items()}
    first = biases["enter"].astype(np.float64)
    for k, value in enumerate(constants):
        first = first + network.of_constants[:, k] * value
    biases["enter"] = np.rint(first).astype(np.int64)

    half = GRID // 2
    squares = inputs.reshape(3, half, 2, half, 2).transpose(0, 2, 4, 1, 3).reshape(12, half, half)
    fine = active("fine_down", active("enter", squares))
    middle = active("middle_down", active("to_middle", fine, 2))
    coarse = active("coarse", active("to_coarse", middle, 2))
    middle = active("middle_up", added("from_coarse", coarse, middle))
    fine = active("fine_up", added("from_middle", middle, fine))
    odds = sums("leave", fine).reshape(2, 2, half, half).transpose(2, 0, 3, 1)
    return odds.reshape(GRID, GRID).astype(_F) * _F(network.log_odds_per_unit)


def best_threshold(log_odds: np.ndarray) -> tuple[float, float]:
    """The threshold with the greatest expected Dice, and that Dice.

    With calibrated probabilities p of the cells it is 2 sum(p of the lesion's) / (lesion's cells +
    sum(p of all)). Log-odds count in steps of 1/16 within +-8. Without cells both are 0.
    """
    if log_odds.size == 0:
        return 0.0, 0.0
    step = np.clip(((log_odds + _F(8)) * _F(16)).astype(np.int64), 0, 255)
    counts = np.bincount(step, minlength=256)
    middle = (np.arange(256) + 0.5) / 16 - 8
    shares = counts * np.rint(65536 / (1 + np.exp(-middle)))
    cells, inside = counts[::-1].cumsum(), shares[::-1].cumsum()
    expected = 2 * inside / np.maximum(cells * 65536.0 + shares.sum(), 1)
    best = int(np.argmax(expected))
    return (255 - best) / 16 - 8, float(expected[best])


def _in_image(frame: Frame, shape: tuple[int, int]) -> np.ndarray:
    """Cells whose centres lie in the image: bool [GRID, GRID]."""
    place = ((np.arange(GRID, dtype=_F) + _F(0.5)) - _F(GRID // 2)) * _F(frame.step)
    x, y = _turned(frame, place, place[:, None])
    low, right, bottom = _F(-0.5), _F(shape[1] - 0.5), _F(shape[0] - 0.5)
    return (x >= low) & (x <= right) & (y >= low) & (y <= bottom)


def _turned(frame: Frame, u, v):
    """Pixels (x, y) from distances along the frame's columns and rows."""
    x, y = _F(frame.center[0]), _F(frame.center[1])
    along_x, along_y = _F(frame.along[0]), _F(frame.along[1])
    return (u * along_x + x) - v * along_y, (u * along_y + y) + v * along_x


def _bilinear(values: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Values at places, which are brought into the image."""

    def split(place, size):
        place = np.clip(place, _F(0), _F(size - 1))
        whole = np.minimum(place.astype(np.int64), max(size - 2, 0))
        return whole, np.minimum(whole + 1, size - 1), place - whole.astype(_F)

    left, right, share_x = split(x, values.shape[1])
    top, bottom, share_y = split(y, values.shape[0])

    def mixed(first, second, share):
        return first + (second - first) * share

    above = mixed(values[top, left], values[top, right], share_x)
    below = mixed(values[bottom, left], values[bottom, right], share_x)
    return mixed(above, below, share_y)


def _levels(cells: Cells, long: float) -> tuple[float, float, float]:
    """Grey value of the lesion and of the surroundings, and the latter's interquartile range."""
    inner = cells.share <= _F(0.6)
    if np.count_nonzero(inner) < 4:
        inner = cells.share <= np.partition(cells.share.ravel(), 3)[3]
    lesion = float(np.median(cells.grey[inner].astype(np.float64)))
    ring = (cells.outside > _F(1.5)) & (cells.outside < _F(2 + max(3.0, 0.35 * long)))
    if np.count_nonzero(ring) < 5:
        ring = np.ones_like(inner)
    # Walls and vessels brighten the ring of a bright lesion: its darker quarter is lung. For
    # a lesion darker than most of its ring it is the other way round.
    dark, bright = np.percentile(cells.grey[ring].astype(np.float64), [25, 75])
    darker = lesion < bright and abs(lesion - bright) > 2 * abs(lesion - dark)
    return lesion, float(bright if darker else dark), float(bright - dark)


def _at_pixels(odds: np.ndarray, frame: Frame, window) -> tuple[np.ndarray, np.ndarray]:
    """The cells' log-odds at the pixels of a window, and which of them lie in the frame."""
    y, x = np.ogrid[window]
    dx, dy = x.astype(_F) - _F(frame.center[0]), y.astype(_F) - _F(frame.center[1])
    along_x, along_y = _F(frame.along[0]), _F(frame.along[1])
    share, middle = _F(1 / frame.step), _F(GRID // 2 - 0.5)
    column = (dx * along_x + dy * along_y) * share + middle
    row = (dy * along_x - dx * along_y) * share + middle
    low, high = _F(-0.5), _F(GRID - 0.5)
    inside = (column >= low) & (column <= high) & (row >= low) & (row <= high)
    return np.where(inside, _bilinear(odds, column, row), -np.inf), inside
