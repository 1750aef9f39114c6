"""Pictures of trained runs after the paper's figures: ``python -m bench.studies.figures``.

    python -m bench.studies.figures attention lidc32 runs/rungs/edrfm-0 runs/rungs/sdrfm-0
    python -m bench.studies.figures readers lidc32 runs/networks/unet-0 runs/networks/backbone-0
    python -m bench.studies.figures soft-masks isbi runs/isbi/backbone-0

``attention`` is figure 5: the slice enlarged, the teacher's, and the spatial attention of the first
CBAM block of each run, black 0 and white 1. ``readers`` is figure 7: a nodule as each reader drew
it, their 50 % consensus and the networks. ``soft-masks`` is figure 8: the mask of the data set, the
trimap, the soft mask of the label and the networks'.

The cases are held out of all the runs, and nobody chooses them: they lie at equal steps of the
truth's size (of LIDC, each nodule's largest slice), from the smallest to the largest. Contours are
red, those of the truth green. ``attention.png`` and so on are written into ``--out``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from bench.common.lidc import reader_masks
from bench.common.study import shared_data
from dsnet.data.datasets.lidc import find_rater_pictures
from dsnet.data.store import open_store
from dsnet.data.store.record import LabelRecord
from dsnet.drawing.tiles import Colour, Tile, fitted, paper, put, write
from dsnet.evaluation.runs import cases_of, find_run
from dsnet.files import write_png
from dsnet.labeling import consensus
from dsnet.models import DSNet, interpolate, load_model, threshold_of

SIDE, HEAD, GAP = 160, 24, 6
TRUTH, FOUND, INK = (70, 215, 70), (60, 60, 245), (30, 30, 30)
OVERSAMPLING, THICK = 3, 5


class Picture(NamedTuple):
    """A plane [H, W] in 0..1 under its name, and lines where others cross their levels."""

    name: str
    plane: np.ndarray
    outlines: tuple[tuple[np.ndarray, Colour, float], ...] = ()


def spatial_attention(network: DSNet, image: torch.Tensor) -> np.ndarray:
    """The spatial gate of the first CBAM block (paper, figure 5), [N, H, W] in 0..1.

    Parameters
    ----------
    network : DSNet
        In evaluation mode, of a rung with CBAM blocks.
    image : Tensor [N, C, H, W]
        As the network sees it; the gate is on the network's grid.
    """
    block = network.network.encoder[0]
    seen: list[torch.Tensor] = []
    hook = block.conv2.register_forward_hook(lambda module, given, made: seen.append(made))
    with torch.no_grad():
        network(image)
        hook.remove()
        x = block.norm2(seen[0])
        mlp = block.cbam.ChannelGate["mlp"]
        channel = torch.sigmoid(mlp(x.mean((2, 3))) + mlp(x.amax((2, 3))))
        x = x * channel[:, :, None, None]
        spatial = block.cbam.SpatialGate["spatial"]
        maps = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)
        gate = torch.sigmoid(spatial["bn"](spatial["conv"](maps)))[:, 0]
    height, width = (network.config.scale * side for side in image.shape[2:])
    return gate[:, :height, :width].numpy()


def held_out(store: str, runs: Sequence[str], count: int) -> tuple[list[LabelRecord], dict]:
    """Records of the cases that are drawn, and of each run its network and what it sees of them."""
    records = {record.key: record for record in open_store(store).records("ok")}
    loaded: dict = {}
    parts = {run: cases_of(find_run(Path(run)), store, "test", loaded)[0] for run in runs}
    shared = set.intersection(*(set(part.keys) for part in parts.values()))
    areas = {
        key: _size(records[key]) for key in shared if records[key].metadata.get("largest", True)
    }
    if not areas:
        raise ValueError(f"runs must hold out a case of {store} together, got none")
    ranked = sorted(areas, key=lambda key: (areas[key], key))
    places = np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int)
    keys = [ranked[place] for place in places]
    found = {}
    for run, part in parts.items():
        index = torch.tensor([part.keys.index(key) for key in keys])
        network = load_model(find_run(Path(run)).model)
        assert isinstance(network, DSNet)
        found[run] = network.eval(), part.inputs(index)
    return [records[key] for key in keys], found


def attention(records: list[LabelRecord], runs: dict) -> list[list[Picture]]:
    """Figure 5: a row a case."""
    rows: list[list[Picture]] = [[] for _ in records]
    teachers = [pair for pair in runs.values() if pair[0].teacher is not None]
    planes = {}
    if teachers:
        network, inputs = teachers[0]
        image = network.slice_of(inputs)
        planes["enlarged"] = interpolate(image, network.config.scale)
        planes["super-resolved"] = network.teach(image).image
    else:
        network, inputs = next(iter(runs.values()))
        planes["image"] = network.slice_of(inputs)
    for name, plane in planes.items():
        for row, one in zip(rows, plane[:, 0].numpy(), strict=True):
            row.append(Picture(name, one))
    for run, (network, inputs) in runs.items():
        if network.config.rung.network == "unet":
            raise ValueError(f"run must have CBAM blocks, {run} is of {network.config.variant}")
        for row, gate in zip(rows, spatial_attention(network, inputs), strict=True):
            row.append(Picture(f"attention, {Path(run).name}", gate))
    return rows


def readers(records: list[LabelRecord], runs: dict) -> list[list[Picture]]:
    """Figure 7: a row a nodule."""
    pictures = {p.key: p for p in find_rater_pictures(shared_data("lidc") / "LIDC-IDRI-slices")}
    found = _predicted(runs)
    rows = []
    for k, record in enumerate(records):
        image = _image(record)
        masks = reader_masks(pictures[record.key], record)
        row = [Picture("nodule", image)]
        for number, mask in enumerate(masks, 1):
            row.append(Picture(f"reader {number}", image, ((mask, FOUND, 0.5),)))
        agreed = consensus(masks)
        green = (agreed, TRUTH, 0.5)
        row.append(Picture("50 % consensus", image, (green,)))
        for name, (soft, cut) in found.items():
            row.append(Picture(name, image, (green, (soft[k], FOUND, cut))))
        rows.append(row)
    return rows


def soft_masks(records: list[LabelRecord], runs: dict) -> list[list[Picture]]:
    """Figure 8: a row a sample."""
    found = _predicted(runs)
    rows = []
    for k, record in enumerate(records):
        assert record.truth is not None and record.trimap is not None and record.alpha is not None
        planes = {
            "image": _image(record), "truth": record.truth.astype(np.float32),
            "trimap": record.trimap.astype(np.float32) / 255, "soft mask": record.alpha,
            **{name: soft[k] for name, (soft, _) in found.items()},
        }  # fmt: skip
        rows.append([Picture(name, plane) for name, plane in planes.items()])
    return rows


KINDS = {"attention": attention, "readers": readers, "soft-masks": soft_masks}


def sheet(rows: list[list[Picture]], titles: Sequence[str], side: int = SIDE) -> np.ndarray:
    """All of it on one sheet: names above the columns, the case's below each row."""
    width = len(rows[0]) * (side + GAP) - GAP
    head = paper(HEAD, width)
    for i, picture in enumerate(rows[0]):
        write(head, picture.name, (i * (side + GAP) + 2, HEAD - 8), 12, INK, side - 4)
    strips = [head]
    for row, title in zip(rows, titles, strict=True):
        strip = paper(side + HEAD, width)
        for i, picture in enumerate(row):
            put(strip, _drawn(picture, side), i * (side + GAP), 0, side, side)
        write(strip, title, (2, side + 16), 11, INK, width - 4)
        strips.append(strip)
    return np.pad(np.concatenate(strips), ((GAP, GAP), (GAP, GAP), (0, 0)), constant_values=255)


def _predicted(runs: dict) -> dict[str, tuple[np.ndarray, float]]:
    return {
        Path(run).name: (network.predict(inputs)[0][:, 0].numpy(), threshold_of(network))
        for run, (network, inputs) in runs.items()
    }


def _size(record: LabelRecord) -> int:
    """Pixels of what is to be found."""
    return 0 if record.truth is None else int(np.count_nonzero(record.truth))


def _image(record: LabelRecord) -> np.ndarray:
    assert record.image is not None
    return record.image


def _drawn(picture: Picture, side: int) -> np.ndarray:
    oversampling = OVERSAMPLING if picture.outlines else 1
    size = fitted(picture.plane.shape, side)
    tile = Tile(picture.plane, size, smooth=True, oversampling=oversampling)
    for level, colour, at in picture.outlines:
        tile.outline(level, colour, THICK, at=at)
    return tile.picture()


def main(argv: list[str] | None = None) -> int:
    """Draw one figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kind", choices=tuple(KINDS))
    parser.add_argument("store", help="the label store that the runs learnt from")
    parser.add_argument("runs", nargs="+", help="folders that dsnet.train wrote")
    parser.add_argument("--cases", type=int, default=4, help="rows (4)")
    parser.add_argument("--side", type=int, default=SIDE, help=f"pixels of a picture ({SIDE})")
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    options = parser.parse_args(argv)
    records, runs = held_out(options.store, options.runs, options.cases)
    rows = KINDS[options.kind](records, runs)
    titles = [f"{record.key}, {_size(record)} px" for record in records]
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / f"{options.kind}.png"
    write_png(file, sheet(rows, titles, options.side))
    print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
