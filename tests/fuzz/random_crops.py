"""Random crops, marks, masks and trimaps, good and bad; the same seed gives the same ones."""

from __future__ import annotations

import numpy as np

from dsnet.labeling import BACKGROUND, FOREGROUND, UNKNOWN

TRIMAP_VALUES = np.array([BACKGROUND, UNKNOWN, FOREGROUND], np.uint8)


def random_shape(rng, largest=150):
    """Mostly crops of a usual size, some of one or a few pixels, few of them square."""
    high = rng.choice([4, 24, 64, largest], p=[0.1, 0.3, 0.45, 0.15])
    return tuple(int(n) for n in rng.integers(1, min(high, largest) + 1, 2))


def random_grey(rng, shape):
    """float64 [H, W] in 0..1, or hardly outside."""
    noise = rng.random(shape)
    y, x = (np.linspace(-2, 2, n) for n in shape)
    distance = np.hypot(y[:, None] - rng.normal(0, 0.3), x[None] - rng.normal(0, 0.3))
    lesion = np.clip(0.1 + 0.1 * noise + 0.6 * (distance < rng.uniform(0.2, 1.5)), 0, 1)
    kinds = (
        lambda: noise,
        lambda: lesion,
        lambda: lesion,
        lambda: 1 - lesion,
        lambda: np.full(shape, rng.choice([0.0, -0.0, 0.4, 1.0])),
        lambda: (noise > rng.random()).astype(float),
        lambda: noise * 1e-40,  # denormal as float32
        lambda: noise * 5e-324,
        lambda: np.round(noise * 4) / 4,
        lambda: 0.4 + 1e-6 * noise,
        lambda: np.broadcast_to(np.linspace(0, 1, shape[1]), shape),
        lambda: np.indices(shape).sum(0) % 2.0,
        lambda: (noise > 0.98).astype(float),
        lambda: lesion * 1.001,  # as far outside as is allowed
        lambda: np.where(noise < 0.5, -9e-4, 1e-30),
    )
    return np.array(kinds[rng.integers(len(kinds))]())


def random_image(rng, shape=None, bad=0.1):
    """An image of any floating dtype and layout; with probability `bad` a pixel is unusable."""
    image = random_grey(rng, random_shape(rng) if shape is None else shape)
    if rng.random() < bad:
        image[tuple(rng.integers(image.shape))] = rng.choice(
            [np.nan, np.inf, -np.inf, 1.5, -0.5, 1e30, -1e30, 1e300, 70000.0]
        )
    dtype = rng.choice(["f4", "f4", "f4", "f2", "f8", ">f4", ">f8", "g"])
    with np.errstate(over="ignore"):
        image = image.astype(dtype)
    return laid_out(rng, image)


def laid_out(rng, array):
    """The same values in another layout in memory."""
    layout = rng.integers(7)
    if layout == 1:
        return np.asfortranarray(array)
    if layout == 2:
        return np.repeat(np.repeat(array, 2, -2), 3, -1)[..., ::2, ::3]
    if layout == 3:
        return np.ascontiguousarray(array[..., ::-1, ::-1])[..., ::-1, ::-1]
    if layout == 4:
        array = array.copy()
        array.flags.writeable = False
    return array


def at_odd_address(array):
    """The same values, one byte off every alignment."""
    memory = bytearray(1) + array.tobytes()
    return np.frombuffer(memory, array.dtype, offset=1).reshape(array.shape)


def random_mark(rng, shape):
    """Eight coordinates; of every kind that a table could hold, and worse."""
    size = np.array(shape[::-1], float)
    center, reach = size * rng.uniform(0.3, 0.7, 2), size.min() * rng.uniform(0.05, 0.45)
    turn = rng.uniform(0, 2 * np.pi)
    along = np.array([np.cos(turn), np.sin(turn)])
    across = np.array([-along[1], along[0]]) * rng.uniform(0.3, 1)
    plausible = center + reach * np.array([-along, along, -across, across])
    anywhere = rng.uniform(-0.1, 1.1, (4, 2)) * size
    kinds = (
        lambda: plausible,
        lambda: plausible,
        lambda: plausible,
        lambda: plausible + rng.normal(0, 2, (4, 2)),
        lambda: np.rint(plausible),
        lambda: anywhere,
        lambda: anywhere,
        lambda: np.repeat(anywhere[:1], 4, 0),  # one point
        lambda: anywhere[[0, 1, 2, 2]],  # no short axis
        lambda: anywhere[[0, 1, 0, 1]],  # one axis twice
        lambda: anywhere[0] + np.outer(rng.normal(0, 5, 4), along),  # on a line
        lambda: anywhere[0] + rng.normal(0, 1e-9, (4, 2)),
        lambda: anywhere[0] * rng.choice([0.0, 5e-324, 1e-160], (4, 2)),
        lambda: rng.choice([-0.5, 0.0, 0.5, 1.0], (4, 2)) * size - 0.5,  # on the border
        lambda: plausible + size * rng.choice([-1, 0, 1], 2),
        lambda: rng.normal(0, 10.0 ** rng.integers(2, 9), (4, 2)),
        lambda: rng.choice([-1e9, 1e9, 0.0, 3.0], (4, 2)),
        lambda: rng.normal(0, 1, (4, 2)) * 10.0 ** rng.integers(9, 308),
    )
    mark = np.array(kinds[rng.integers(len(kinds))]()).ravel()
    if rng.random() < 0.15:
        mark[4:] = np.nan  # a long axis alone
    if rng.random() < 0.03:
        mark[rng.random(8) < 0.5] = np.nan
    if rng.random() < 0.05:
        mark[rng.integers(8)] = rng.choice([np.nan, np.inf, -np.inf])
    return mark


def random_mask(rng, shape):
    """bool [H, W]."""
    noise = rng.random(shape)
    y, x = (np.linspace(-2, 2, n) for n in shape)
    disc = np.hypot(y[:, None] - rng.normal(0, 0.5), x[None] - rng.normal(0, 0.5))
    kinds = (
        lambda: disc < rng.uniform(0.1, 2),
        lambda: (disc < 1) & (noise > 0.1),
        lambda: (disc > 0.5) & (disc < 1),
        lambda: noise > rng.random(),
        lambda: noise == noise.max(),
        lambda: np.zeros(shape, bool),
        lambda: np.ones(shape, bool),
    )
    return kinds[rng.integers(len(kinds))]()


def random_trimap(rng, shape):
    """uint8 [H, W]; some without foreground, background or unknown pixels."""
    kind = rng.integers(4)
    if kind == 0:
        shares = rng.dirichlet([0.5, 1, 0.5])
        return rng.choice(TRIMAP_VALUES, shape, p=shares)
    if kind == 1:  # all but untied: two known pixels
        trimap = np.full(shape, UNKNOWN, np.uint8)
        trimap[tuple(rng.integers(shape))] = FOREGROUND
        trimap[tuple(rng.integers(shape))] = BACKGROUND
        return trimap
    if kind == 2:
        first, second = random_mask(rng, shape), random_mask(rng, shape)
        return np.where(first & second, FOREGROUND, np.where(first, UNKNOWN, BACKGROUND)).astype(
            np.uint8
        )
    trimap = np.where(random_mask(rng, shape), FOREGROUND, BACKGROUND).astype(np.uint8)
    trimap[random_mask(rng, shape)] = UNKNOWN
    return trimap


def random_number(rng):
    """A radius, spacing or margin, sometimes an unusable one."""
    usual = rng.uniform(0, 12)
    odd = rng.choice([0.0, 1.0, -1.0, np.nan, np.inf, 1e-300, 5e-324, 1e9, 1e300, 1e-9])
    return float(usual if rng.random() < 0.7 else odd)
