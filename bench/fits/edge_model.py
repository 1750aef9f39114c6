"""Fit `dsnet/labeling/edge_model.npz`: `python -m bench.fits.edge_model`, in twenty minutes.

All slices of half of LIDC's patients, the consensus and each reader's mask, and phantoms of lung
and soft tissue; over each mask marks as people draw them, and one derived from it. Images get
noise, other windows and gammas, and are turned dark for bright; marks get noise, or lose their
short axis. A fifth of the patients is left out: the probabilities are calibrated on them. The
expected Dice is fitted by `bench.fits.expected_dice` afterwards.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench.fits.edge_cases import SIZE, Cases, make_cases
from bench.fits.edge_frames import Frames, network_inputs, with_assumed_short_axis
from bench.fits.edge_network import Network, in_whole_numbers
from dsnet.labeling.edge_model import LAYERS, EdgeNetwork

STEPS, BATCH, RATE, WEIGHT_DECAY = 16_000, 128, 5e-3, 1e-3
DICE_SHARE = 0.5
# So many of the derived marks stay exact.
EXACT = 0.7
# One patient of so many is left out for the calibration.
LEFT_OUT = 5
OUT = Path(__file__).parents[2] / "dsnet/labeling/edge_model.npz"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--half", type=int, default=0, choices=(0, 1), help="patients to fit to")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    cases = make_cases(options.half, np.random.default_rng(0))
    left_out = left_out_patients(cases)
    network = fit(cases, np.flatnonzero(~left_out), options.steps)
    chosen = np.flatnonzero(left_out & cases.drawn & (np.array(cases.kind) == "consensus"))
    gain, bias, entropy = calibrated(network, cases, chosen)
    print(f"log-odds times {gain:.3f} plus {bias:.3f}, {entropy:.4f} a cell on patients left out")
    for name, drawn in (("drawn", cases.drawn), ("derived", ~cases.drawn)):
        kept = left_out & drawn & cases.largest & (np.array(cases.kind) == "consensus")
        scores = dice_of_cells(network, cases, np.flatnonzero(kept), bias / gain)
        print(
            f"Dice of cells, {name} marks: {scores.mean():.4f}, 5 % {np.percentile(scores, 5):.3f}"
        )
    some = np.random.default_rng(1).permutation(np.flatnonzero(~left_out))[:4000]
    whole = in_whole_numbers(network, *plain_inputs(cases, some)[:2], gain, bias)
    save(whole, options.out)
    print(options.out)


def left_out_patients(cases: Cases) -> np.ndarray:
    """Marks of the patients that the calibration is made on."""
    patients = np.unique(cases.patient[cases.patient >= 0])
    return np.isin(cases.patient, patients[::LEFT_OUT])


def fit(cases: Cases, rows: np.ndarray, steps: int) -> Network:
    network = Network().to(memory_format=torch.channels_last)
    mean = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
    weight, drawn = cases.weight[rows], torch.tensor(rows)
    augment = Augment()
    begun = time.monotonic()
    for step in range(steps):
        for group in optimizer.param_groups:
            decay = 0.5 * (1 + np.cos(np.pi * step / steps))
            group["lr"] = RATE * min(1.0, (step + 1) / 200) * decay + 1e-5
        batch = drawn[torch.multinomial(weight, BATCH, replacement=True)]
        cells, constants, truth = augment(cases, batch)
        loss = loss_of(network(cells, constants), truth)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            kept = min(0.998, (step + 1) / (step + 51))
            for name, value in network.state_dict().items():
                mean[name].lerp_(value, 1 - kept)
        if step % 1000 == 999:
            print(
                f"{step + 1} steps, {time.monotonic() - begun:.0f} s, {loss.item():.4f}", flush=True
            )
    network.load_state_dict(mean)
    return network.eval()


def loss_of(log_odds: Tensor, truth: Tensor) -> Tensor:
    """Cross entropy, for probabilities, and a Dice in which every lesion counts alike."""
    entropy = functional.binary_cross_entropy_with_logits(log_odds, truth)
    found = log_odds.sigmoid()
    both = 2 * (found * truth).sum((1, 2)) + 1
    dice = both / ((found**2).sum((1, 2)) + (truth**2).sum((1, 2)) + 1)
    return entropy + DICE_SHARE * (1 - dice.mean())


@dataclass(eq=False)
class Augment:
    """Inputs and truths of a batch, each a little different from the case's."""

    def __post_init__(self) -> None:
        noise = torch.randn(64, 1, SIZE, SIZE)
        taps = torch.tensor([0.25, 0.5, 0.25])
        noise = functional.conv2d(noise, taps.view(1, 1, 1, 3), padding=(0, 1))
        noise = functional.conv2d(noise, taps.view(1, 1, 3, 1), padding=(1, 0))[:, 0]
        self.noise = noise / noise.std()

    def __call__(self, cases: Cases, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        count = len(rows)

        def often(share: float) -> Tensor:
            return torch.rand(count) < share

        def each(values: Tensor) -> Tensor:
            return values[:, None, None]

        marks = cases.coordinates[rows]
        chance = torch.rand(count, 1)
        unsteady = torch.zeros(count, 1)
        for most, pixels in ((0.35, 2.0), (0.3, 1.0), (0.2, 0.25)):
            unsteady = torch.where(chance < most, pixels, unsteady)
        exact = ~torch.from_numpy(cases.drawn)[rows] & often(EXACT)
        unsteady[exact] = 0
        marks = marks + torch.randn(count, 8) * unsteady
        # Other shapes and sizes: image, mask and mark warped alike.
        warp = random_warps(count)
        ends = marks.view(-1, 4, 2)
        middle = Frames.of(marks).middle[:, None]
        back = torch.linalg.solve(warp, (ends - middle).transpose(1, 2)).transpose(1, 2)
        marks = (middle + back).reshape(-1, 8)
        known, blank = ~often(0.1), often(0.015)
        marks = torch.where(known[:, None], marks, with_assumed_short_axis(marks))
        frames = Frames.of(marks)
        mirrored = torch.randint(0, 2, (count, 2)) * 2.0 - 1.0

        grey = frames.sampled(cases.images, cases.image[rows], mirrored, warp) / 255
        noisy = often(0.5).nonzero()[:, 0]
        fields = torch.randint(len(self.noise), (len(noisy),))
        grain = frames.chosen(noisy).sampled(self.noise, fields, mirrored[noisy])
        grey[noisy] += each(torch.rand(len(noisy)) * 0.05) * grain
        low = often(0.3) * torch.rand(count) * 0.2
        high = 1 - often(0.3) * torch.rand(count) * 0.2
        grey = ((grey - each(low)) / each(high - low)).clamp(0, 1)
        grey = grey ** each(((torch.rand(count) - 0.5) * 0.5).exp())
        grey = torch.where(each(often(0.1)), 1 - grey, grey)
        cells, constants = network_inputs(frames, grey, mirrored, known, blank)
        return cells, constants, frames.sampled(cases.masks, cases.mask[rows], mirrored, warp)


def random_warps(count: int) -> Tensor:
    """Linear maps [N, 2, 2]: a size, a stretch in any direction, a shear."""
    turn = torch.rand(count) * torch.pi
    cos, sin = turn.cos(), turn.sin()
    turned = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
    size = (torch.randn(count) * 0.12).exp()
    stretch = (torch.randn(count) * 0.1).exp()
    shear = torch.randn(count) * 0.06
    zero = torch.zeros(count)
    shape = torch.stack(
        [torch.stack([size * stretch, shear], 1), torch.stack([zero, size / stretch], 1)], 1
    )
    return turned @ shape @ turned.transpose(1, 2)


def plain_inputs(cases: Cases, rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs and truths of cases as they are."""
    chosen = torch.tensor(rows)
    frames = Frames.of(cases.coordinates[chosen])
    upright = torch.ones(len(rows), 2)
    grey = frames.sampled(cases.images, cases.image[chosen], upright) / 255
    known = torch.ones(len(rows), dtype=torch.bool)
    cells, constants = network_inputs(frames, grey, upright, known, ~known)
    return cells, constants, frames.sampled(cases.masks, cases.mask[chosen], upright)


def calibrated(network: Network, cases: Cases, rows: np.ndarray) -> tuple[float, float, float]:
    """Gain and bias of the log-odds with the least cross entropy, and that."""
    cells, constants, truth = plain_inputs(cases, rows)
    with torch.no_grad():
        log_odds = network(cells, constants)
    line = torch.tensor([1.0, 0.0], requires_grad=True)
    optimizer = torch.optim.LBFGS([line], max_iter=50)

    def entropy() -> Tensor:
        return functional.binary_cross_entropy_with_logits(log_odds * line[0] + line[1], truth)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = entropy()
        loss.backward()
        return loss

    optimizer.step(closure)
    gain, bias = line.detach().tolist()
    return gain, bias, float(entropy().detach())


def dice_of_cells(network: Network, cases: Cases, rows: np.ndarray, bias: float) -> np.ndarray:
    cells, constants, truth = plain_inputs(cases, rows)
    with torch.no_grad():
        found = network(cells, constants) > -bias
    lesion = truth >= 0.5
    total = found.sum((1, 2)) + lesion.sum((1, 2))
    return (2 * (found & lesion).sum((1, 2)) / total.clamp(min=1)).numpy()


def save(network: EdgeNetwork, path: Path) -> None:
    arrays = {f"{name}_weight": network.weights[name] for name in LAYERS}
    arrays |= {f"{name}_bias": network.biases[name] for name in LAYERS}
    np.savez_compressed(
        path,
        shifts=np.array([network.shifts[name] for name in LAYERS], np.int32),
        of_constants=network.of_constants,
        log_odds_per_unit=np.float64(network.log_odds_per_unit),
        expected_dice=network.expected_dice,
        expected_dice_margin=network.expected_dice_margin,
        **arrays,
    )


if __name__ == "__main__":
    main()
