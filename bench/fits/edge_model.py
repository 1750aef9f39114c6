"""Fit `dsnet/labeling/edge_model.json`: `python -m bench.fits.edge_model`.

Pixels around the marks of half of LIDC's patients and of as many phantoms, each six times:
three times with the mark as it is, three times with both axes' end points jittered and the
image made noisier, so that neither is trusted blindly. The phantoms stand for what LIDC has
little of: part-solid, ground-glass and wall-attached nodules, other sizes and blurs. Every
nodule weighs the same per time, whatever its size, a phantom `PHANTOM_WEIGHT` of it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from bench.common.lidc import jittered, read_nodules
from dsnet.data.phantom import KINDS, make_phantom
from dsnet.labeling.edge_model import FEATURES
from dsnet.labeling.reference.edge_model import edge_features

JITTERS = (0.0, 0.0, 0.0, 0.5, 1.0, 1.5)
MOST_NOISE = 0.03
PHANTOM_WEIGHT = 0.3
WIDTH, EPOCHS, BATCH = 20, 20, 4096
OUT = Path(__file__).parents[2] / "dsnet/labeling/edge_model.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--half", type=int, default=0, choices=(0, 1), help="patients to fit to")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    features, lesion, weight = pixels(options.half)
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6
    network = fit((features - mean) / deviation, lesion, weight)
    layers = [
        {"weight": rounded(layer.weight), "bias": rounded(layer.bias)}
        for layer in network
        if isinstance(layer, torch.nn.Linear)
    ]
    stored = {
        "fitted_to": f"LIDC-IDRI, patients of half {options.half}, and as many phantoms",
        "features": FEATURES,
        "mean": rounded(mean),
        "deviation": rounded(deviation),
        "layers": layers,
    }
    options.out.write_text(json.dumps(stored, indent=1) + "\n")
    print(f"{len(lesion)} pixels, {options.out}")


def pixels(half: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    cases = [(n.image, n.truth, n.mark, 1.0) for n in read_nodules() if n.half == half]
    for seed in range(len(cases)):
        size = int(rng.choice([48, 64, 96]))
        spacing, blur = rng.uniform(0.5, 0.9), rng.uniform(0.3, 0.9)
        p = make_phantom(KINDS[seed % len(KINDS)], size, seed, spacing_mm=spacing, blur_mm=blur)
        cases.append((p.image, p.alpha >= 0.5, p.mark, PHANTOM_WEIGHT))
    features, lesion, weight = [], [], []
    for image, truth, mark, share in cases:
        for jitter in JITTERS:
            noise = rng.normal(0, rng.uniform(0, MOST_NOISE), image.shape)
            values, reachable, window, _ = edge_features(
                image + noise if jitter else image, jittered(mark, jitter, rng)
            )
            features.append(values[reachable])
            lesion.append(truth[window][reachable])
            weight.append(np.full(np.count_nonzero(reachable), share / truth.sum()))
    weights = np.concatenate(weight)
    return np.concatenate(features), np.concatenate(lesion), weights / weights.mean()


def fit(features: np.ndarray, lesion: np.ndarray, weight: np.ndarray) -> torch.nn.Sequential:
    x, y, w = (torch.tensor(values, dtype=torch.float32) for values in (features, lesion, weight))
    network = torch.nn.Sequential(
        torch.nn.Linear(len(FEATURES), WIDTH),
        torch.nn.ReLU(),
        torch.nn.Linear(WIDTH, WIDTH),
        torch.nn.ReLU(),
        torch.nn.Linear(WIDTH, 1),
    )
    batches = len(x) // BATCH
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1e-2, total_steps=EPOCHS * batches + 1
    )
    for _ in range(EPOCHS):
        order = torch.randperm(len(x))
        for batch in order[: batches * BATCH].split(BATCH):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                network(x[batch])[:, 0], y[batch], weight=w[batch]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network


def rounded(values) -> list:
    values = values.detach().numpy() if isinstance(values, torch.Tensor) else values
    return np.round(np.asarray(values, dtype=np.float64), 5).tolist()


if __name__ == "__main__":
    main()
