"""Every rung of the ablation learns eight real crops by heart."""

import csv

import numpy as np
import pytest
import torch

from dsnet.data.ct_image import read_picture
from dsnet.labeling import RecistMark, label_recist
from dsnet.metrics import dice
from dsnet.models import VARIANTS, PixelDiscriminator, build, to_input_grid
from dsnet.training.step import AdversarialStep, Batch, learning_rate
from shared_data import shared

SIDE, STEPS, LR = 32, 250, 3e-3


def eight_nodules() -> Batch:
    """The middles of eight LIDC patients' nodules of 60 to 300 pixels, labelled from the mark."""
    root = shared("lidc")
    crops, patients = [], set()
    with open(root / "nodules.csv") as file:
        for row in csv.DictReader(file):
            numbers = [float(row[f"{axis}{end}"]) for end in range(1, 5) for axis in "xy"]
            folder = root / "LIDC-IDRI-slices" / row["patient"] / row["nodule"]
            image = read_picture(folder / "images" / row["largest_slice"])
            label = label_recist(image, RecistMark.from_coordinates(numbers))
            if row["patient"] in patients or not 60 <= label.binary.sum() <= 300:
                continue
            patients.add(row["patient"])
            left, top = (int(np.mean(numbers[axis::2])) - SIDE // 2 for axis in (0, 1))
            window = (slice(top, top + SIDE), slice(left, left + SIDE))
            crops.append([plane[window] for plane in (image, label.alpha, label.binary)])
            if len(crops) == 8:
                break
    return Batch(
        *(torch.from_numpy(np.stack(planes))[:, None] for planes in zip(*crops, strict=True))
    )


@pytest.mark.long
@pytest.mark.parametrize("variant", VARIANTS)
def test_eight_real_crops_are_learnt_by_heart(variant):
    batch = eight_nodules()
    torch.manual_seed(0)
    network = build(variant, width=8, depth=3, reduction=4, teacher_blocks=2, teacher_features=8)
    discriminator = PixelDiscriminator(width=8) if network.config.rung.gan_loss else None
    step = AdversarialStep(network, discriminator, lr=LR)
    for k in range(STEPS):
        step.run([batch], learning_rate(k, STEPS, LR, warmup=10))
    network.eval()
    with torch.no_grad():
        soft = to_input_grid(network(batch.image), network.config.scale)
    assert float(dice(soft, batch.binary).mean()) > 0.98
