"""Marks' frames for the fit of the edge model: what `csrc/edge` computes, for batches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dsnet.labeling.edge_model import FRAME_PIXELS, FRAME_SHARE, GRID, LEAST_CONTRAST
from dsnet.labeling.recist import ASSUMED_RATIO

MOST_SAMPLES = 8
# Subtracted from what is the same for all cells, so that it is about zero.
CENTRES = (2.3, 0.7, 0.7, 2.7, 0.0)


@dataclass(frozen=True, eq=False)
class Frames:
    """Of N marks: see `dsnet.labeling.reference.edge_model.Frame`."""

    along: Tensor  # [N, 2]
    across: Tensor
    centre: Tensor  # [N, 2], along and across
    crossing: Tensor
    half_u: Tensor  # [N, 2]: negative and positive side
    half_v: Tensor
    long: Tensor  # [N]
    short: Tensor

    @classmethod
    def of(cls, coordinates: Tensor) -> Frames:
        """Of marks [N, 8]."""
        long, short = coordinates[:, :4].view(-1, 2, 2), coordinates[:, 4:].view(-1, 2, 2)
        drawn = long[:, 1] - long[:, 0]
        along = drawn / drawn.norm(dim=1, keepdim=True).clamp(min=1e-3)
        across = torch.stack([-along[:, 1], along[:, 0]], 1)
        long_u, short_u = ((axis * along[:, None]).sum(-1) for axis in (long, short))
        long_v, short_v = ((axis * across[:, None]).sum(-1) for axis in (long, short))
        u, v = short_u.mean(1), long_v.mean(1)

        def halves(ends: Tensor, at: Tensor) -> Tensor:
            sides = torch.stack([at - ends.amin(1), ends.amax(1) - at], 1)
            return sides.clamp(min=0.5)

        return cls(
            along=along,
            across=across,
            centre=torch.stack([long_u.mean(1), short_v.mean(1)], 1),
            crossing=torch.stack([u, v], 1),
            half_u=halves(long_u, u),
            half_v=halves(short_v, v),
            long=drawn.norm(dim=1).clamp(min=1),
            short=(short[:, 1] - short[:, 0]).norm(dim=1).clamp(min=1),
        )

    @property
    def half(self) -> Tensor:
        return FRAME_SHARE * torch.maximum(self.long, self.short) + FRAME_PIXELS

    @property
    def middle(self) -> Tensor:
        """The frames' centres (x, y): [N, 2]."""
        return self.along * self.centre[:, :1] + self.across * self.centre[:, 1:]

    def chosen(self, rows: Tensor) -> Frames:
        return Frames(**{name: value[rows] for name, value in vars(self).items()})

    def sampled(
        self, images: Tensor, index: Tensor, mirrored: Tensor, warp: Tensor | None = None
    ) -> Tensor:
        """Means [N, GRID, GRID] of the cells of `images[index]` [K, H, W]; `mirrored` [N, 2] is +-1
        for each frame's columns and rows; `warp` [N, 2, 2]: images are warped about the frames'
        centres."""
        step = 2 * self.half / GRID
        samples = step.round().clamp(1, MOST_SAMPLES).long()
        cells = torch.empty(len(index), GRID, GRID)
        for count in samples.unique().tolist():
            rows = (samples == count).nonzero()[:, 0]
            some = self.chosen(rows)
            image = images[index[rows]][:, None].float()
            height, width = image.shape[-2:]
            place = (torch.arange(GRID * count) + 0.5) / count - GRID / 2
            u, v = (
                place.view(shape) * (step[rows] * mirrored[rows, axis])[:, None, None]
                + some.centre[:, axis, None, None]
                for axis, shape in ((0, (1, 1, -1)), (1, (1, -1, 1)))
            )
            x = u * some.along[:, 0, None, None] + v * some.across[:, 0, None, None]
            y = u * some.along[:, 1, None, None] + v * some.across[:, 1, None, None]
            if warp is not None:
                x, y = warped(x, y, some.middle, warp[rows])
            grid = torch.stack([(x + 0.5) / width * 2 - 1, (y + 0.5) / height * 2 - 1], -1)
            found = functional.grid_sample(
                image, grid, mode="bilinear", padding_mode="border", align_corners=False
            )
            cells[rows] = functional.avg_pool2d(found, count)[:, 0]
        return cells

    def places(self, mirrored: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels outside the curve, and the distance as a share of its radius: [N, GRID, GRID]."""
        place = (torch.arange(GRID) + 0.5 - GRID / 2) * (2 * self.half / GRID)[:, None]
        off = self.centre - self.crossing
        u = (place * mirrored[:, :1] + off[:, :1])[:, None, :]
        v = (place * mirrored[:, 1:] + off[:, 1:])[:, :, None]

        def half(of: Tensor, at: Tensor) -> Tensor:
            return torch.where(at >= 0, of[:, 1, None, None], of[:, 0, None, None])

        share = torch.sqrt((u / half(self.half_u, u)) ** 2 + (v / half(self.half_v, v)) ** 2)
        share = share.clamp(min=1e-3)
        inmost = -self.short[:, None, None] / 2
        return torch.maximum(torch.sqrt(u**2 + v**2) * (1 - 1 / share), inmost), share


def network_inputs(
    frames: Frames, grey: Tensor, mirrored: Tensor, known: Tensor, blank: Tensor
) -> tuple[Tensor, Tensor]:
    """What the network is told: cells [N, 3, GRID, GRID] and what is the same for all, [N, 5].

    `known` [N]: whether the short axis is; `blank` [N]: images that are to say nothing.
    """
    outside, share = frames.places(mirrored)
    surroundings, scale, spread = levels(frames, grey, outside, share)
    relative = ((grey - surroundings[:, None, None]) / scale[:, None, None]).clamp(-1, 2.5)
    relative = relative * ~blank[:, None, None]
    cells = torch.stack(
        [
            relative,
            (outside / 5).clamp(-1, 1),
            (outside / (frames.short / 2)[:, None, None]).clamp(-1, 1.5),
        ],
        1,
    )
    constants = torch.stack(
        [
            frames.short.clamp(2, 40).log(),
            frames.short / frames.long,
            spread * ~blank,
            frames.long.clamp(2, 80).log(),
            (~known).float(),
        ],
        1,
    )
    return cells, constants - torch.tensor(CENTRES)


def levels(
    frames: Frames, grey: Tensor, outside: Tensor, share: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Grey value of the surroundings, what the lesion's is above it, and the surroundings' spread
    beside that: [N] each."""
    values, share, outside = (plane.flatten(1) for plane in (grey, share, outside))
    core = share <= share.kthvalue(4, dim=1)[0].clamp(min=0.6)[:, None]
    far = 2 + (0.35 * frames.long).clamp(min=3)
    ring = (outside > 1.5) & (outside < far[:, None])
    ring |= (ring.sum(1) < 5)[:, None]
    lesion = _quantile(values, core, 0.5)
    dark, bright = (_quantile(values, ring, q) for q in (0.25, 0.75))
    darker = (lesion < bright) & ((lesion - bright).abs() > 2 * (lesion - dark).abs())
    surroundings = torch.where(darker, bright, dark)
    contrast = lesion - surroundings
    scale = torch.copysign(contrast.abs().clamp(min=LEAST_CONTRAST), contrast)
    return surroundings, scale, ((bright - dark) / scale.abs()).clamp(0, 2)


def warped(x: Tensor, y: Tensor, middle: Tensor, warp: Tensor) -> tuple[Tensor, Tensor]:
    """Places [N, h, w] under a linear map about a point of each row."""
    left, top = middle[:, 0, None, None], middle[:, 1, None, None]
    w = warp[:, :, :, None, None]
    dx, dy = x - left, y - top
    return left + w[:, 0, 0] * dx + w[:, 0, 1] * dy, top + w[:, 1, 0] * dx + w[:, 1, 1] * dy


def with_assumed_short_axis(coordinates: Tensor) -> Tensor:
    """Marks [N, 8] whose short axis is what is assumed where it is unknown."""
    start, end = coordinates[:, :2], coordinates[:, 2:4]
    middle, drawn = (start + end) / 2, end - start
    upright = torch.stack([-drawn[:, 1], drawn[:, 0]], 1) * (ASSUMED_RATIO / 2)
    return torch.cat([start, end, middle - upright, middle + upright], 1)


def _quantile(values: Tensor, chosen: Tensor, share: float) -> Tensor:
    ordered = values.masked_fill(~chosen, torch.inf).sort(1)[0]
    last = chosen.sum(1) - 1
    place = share * last
    below = place.floor().long()
    low = ordered.gather(1, below[:, None])[:, 0]
    high = ordered.gather(1, torch.minimum(below + 1, last)[:, None])[:, 0]
    return low + (high - low) * (place - below)
