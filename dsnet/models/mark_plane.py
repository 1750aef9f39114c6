"""A RECIST mark as a plane beside the image: how far each pixel lies outside of the mark's curve.

Public
------
``mark_plane(marks, shape) -> Tensor [N, 1, H, W]``
``FARTHEST``: its value where nothing is marked

The curve is that of the edge model: four quarters of ellipses through the end points, about the
point where the axes cross. Distances are counted in halves of the short axis, so that a plane which
is resampled with its image is the plane of the resampled mark.
"""

from __future__ import annotations

import torch

# In halves of the short axis; beyond, near and far say the same.
FARTHEST, INMOST = 1.5, -1.0
# `dsnet.labeling.recist.SHORTEST_AXIS`: a shorter one has no direction.
SHORTEST_AXIS = 0.25


def mark_plane(marks: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Signed distance to the marks' curves, negative inside; never waits for the device.

    Parameters
    ----------
    marks : Tensor [N, 8] float
        Coordinates as of `RecistMark.assumed`, with both axes, in pixels of the grid. A row of NaN
        marks nothing.
    shape : (H, W)

    Returns
    -------
    Tensor [N, 1, H, W]
        Of the marks' dtype, in `INMOST`..`FARTHEST`; 0 on the curve.
    """
    long, short = marks[:, :4].unflatten(1, (2, 2)), marks[:, 4:].unflatten(1, (2, 2))
    along = _direction(long, short)
    across = torch.stack([-along[:, 1], along[:, 0]], 1)
    long_u, long_v = _along(long, along), _along(long, across)
    short_u, short_v = _along(short, along), _along(short, across)
    u, v = short_u.mean(1), long_v.mean(1)

    y = torch.arange(shape[0], dtype=marks.dtype, device=marks.device)[:, None]
    x = torch.arange(shape[1], dtype=marks.dtype, device=marks.device)[None, :]
    off_u = x * _wide(along[:, 0]) + y * _wide(along[:, 1]) - _wide(u)
    off_v = x * _wide(across[:, 0]) + y * _wide(across[:, 1]) - _wide(v)
    a = off_u / _half(long_u, u, off_u)
    b = off_v / _half(short_v, v, off_v)
    share = torch.sqrt(a * a + b * b)
    half_short = torch.linalg.vector_norm(short[:, 1] - short[:, 0], dim=1).clamp(min=1) / 2
    distance = torch.sqrt(off_u * off_u + off_v * off_v) * (1 - 1 / share) / _wide(half_short)
    # At the very crossing no ray says how far the curve is.
    distance = torch.where(share > 1e-3, distance, INMOST).clamp(INMOST, FARTHEST)
    marked = _wide(marks.isfinite().all(1))
    return torch.where(marked, distance, FARTHEST)[:, None]


def _direction(long: torch.Tensor, short: torch.Tensor) -> torch.Tensor:
    """Unit vectors [N, 2] along the long axes, as `RecistMark.directions` has them."""
    drawn, other = long[:, 1] - long[:, 0], short[:, 1] - short[:, 0]
    turned = torch.stack([other[:, 1], -other[:, 0]], 1)
    found = 1 - torch.arange(2, dtype=long.dtype, device=long.device).expand_as(drawn)  # (1, 0)
    for vector in (turned, drawn):
        length = torch.linalg.vector_norm(vector, dim=1, keepdim=True)
        found = torch.where(length >= SHORTEST_AXIS, vector / length, found)
    return found


def _along(axis: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    return (axis * direction[:, None]).sum(-1)


def _half(ends: torch.Tensor, at: torch.Tensor, off: torch.Tensor) -> torch.Tensor:
    """Half axis of the curve on the side of every pixel, at least half a pixel."""
    before, after = (at - ends.amin(1)).clamp(min=0.5), (ends.amax(1) - at).clamp(min=0.5)
    return torch.where(off >= 0, _wide(after), _wide(before))


def _wide(each: torch.Tensor) -> torch.Tensor:
    return each[:, None, None]
