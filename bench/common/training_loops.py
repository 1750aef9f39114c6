"""Trainings that a bench drives a step at a time: dsnet's, and MONAI's as its tutorials have it.

A loop has ``batch``, ``steps`` (of the whole training), ``parameters``, ``step()``, which trains
once, and ``soft(image)``: soft masks [N, 1, H, W] in 0..1 of images like them, in evaluation mode.
"""

from __future__ import annotations

from typing import Any

import torch
from monai.data import DataLoader, Dataset
from monai.losses import DiceCELoss
from monai.networks.nets import BasicUNet
from monai.transforms import Compose, EnsureTyped, RandFlipd, RandRotate90d
from monai.utils import set_determinism

from dsnet.models import PixelDiscriminator, build, load_model, to_input_grid
from dsnet.training.augment import Augmentation, apply, draw
from dsnet.training.dataset import DeviceDataset, epoch_order
from dsnet.training.settings import SOFT_LOSS, Settings
from dsnet.training.step import AdversarialStep, Batch, autocast, learning_rate

# Crops at once where nothing is learnt.
CHUNK = 64


class OurLoop:
    """`dsnet.train` of these settings on one device: the same data path, step and schedule.

    Parameters
    ----------
    settings : Settings
        Without --accumulate, --compile, --neighbours and --mark-input; data and output are not
        looked at.
    data : DeviceDataset
        What to learn from.
    """

    def __init__(self, settings: Settings, data: DeviceDataset):
        torch.manual_seed(settings.seed)
        self.settings, self.data = settings, data
        self.batch = settings.batch
        self.epoch_steps = -(-len(data) // self.batch)
        self.steps, self.done = self.epoch_steps * settings.epochs, 0
        network = build(
            settings.variant, teacher=load_model(settings.teacher) if settings.teacher else None,
            scale=settings.scale, width=settings.width, depth=settings.depth,
            reduction=settings.reduction, teacher_blocks=settings.teacher_blocks,
            teacher_features=settings.teacher_features,
        )  # fmt: skip
        network.expect(float(data.soft.mean()))
        last = settings.channels_last
        self.memory = torch.channels_last if last else torch.contiguous_format
        judge = None
        if network.config.rung.gan_loss:
            judge = PixelDiscriminator(width=settings.judge_width).to(memory_format=self.memory)
        self.network = network.to(memory_format=self.memory)
        self.parameters = sum(p.numel() for p in network.trainable_parameters())
        self.trainer = AdversarialStep(
            self.network, judge, lr=settings.lr, precision=settings.precision,
            soft_weight=settings.soft_weight, gan_weight=settings.gan_weight,
            soft_loss=SOFT_LOSS[settings.soft_loss],
            average=settings.average,
        )  # fmt: skip
        self.augmentation = Augmentation(settings.augment)

    def step(self) -> None:
        settings = self.settings
        epoch, k = divmod(self.done, self.epoch_steps)
        if k == 0:
            self.order = epoch_order(len(self.data), settings.seed, epoch, self.batch)
            self.draws = draw(self.augmentation, len(self.order), settings.seed, epoch)
        chosen = slice(k * self.batch, (k + 1) * self.batch)
        index = self.order[chosen]
        planes = (self.data.image[index], self.data.soft[index], self.data.binary[index])
        image, soft, binary = apply(self.augmentation, self.draws.part(chosen), *planes)
        lr = learning_rate(self.done, self.steps, settings.lr, warmup=settings.warmup)
        image = image.contiguous(memory_format=self.memory)
        self.trainer.run([Batch(image, soft, binary)], lr)
        self.done += 1

    @torch.no_grad()
    def soft(self, image: torch.Tensor) -> torch.Tensor:
        network = self.trainer.result.eval()
        found = []
        for part in image.split(CHUNK):
            part = part.contiguous(memory_format=self.memory)
            with autocast(part, self.settings.precision):
                found.append(to_input_grid(network(part), network.config.scale))
        return torch.cat(found)


class MonaiLoop:
    """BasicUNet as MONAI's tutorials train networks: dictionaries, random flips and quarter turns,
    DiceCELoss, Adam at 1e-3.

    Parameters
    ----------
    data : DeviceDataset
        What to learn from: images, and binary masks.
    batch, epochs, seed : int
    width : int, optional
        Of the first level; MONAI's own 32 by default.
    """

    def __init__(self, data: DeviceDataset, batch: int, epochs: int, seed: int, width: int = 32):
        set_determinism(seed)
        cases = [
            {"image": image, "label": binary.float()}
            for image, binary in zip(data.image, data.binary, strict=True)
        ]
        keys = ["image", "label"]
        varied = Compose(
            [
                RandFlipd(keys, prob=0.5, spatial_axis=0),
                RandFlipd(keys, prob=0.5, spatial_axis=1),
                RandRotate90d(keys, prob=0.5, spatial_axes=(0, 1)),
                EnsureTyped(keys, track_meta=False),  # the faster of its two kinds of tensor
            ]
        )
        self.batch = batch
        self.loader = DataLoader(Dataset(cases, varied), batch_size=batch, shuffle=True)
        self.steps = len(self.loader) * epochs
        self.batches: Any = iter(())
        features = (width, width, 2 * width, 4 * width, 8 * width, width)
        self.network = BasicUNet(spatial_dims=2, in_channels=1, out_channels=1, features=features)
        self.parameters = sum(p.numel() for p in self.network.parameters())
        self.loss = DiceCELoss(sigmoid=True)
        self.optimizer = torch.optim.Adam(self.network.parameters(), 1e-3)

    def step(self) -> None:
        batch = next(self.batches, None)
        if batch is None:
            self.batches = iter(self.loader)
            batch = next(self.batches)
        self.network.train()
        self.optimizer.zero_grad()
        loss = self.loss(self.network(batch["image"]), batch["label"])
        loss.backward()
        self.optimizer.step()

    @torch.no_grad()
    def soft(self, image: torch.Tensor) -> torch.Tensor:
        self.network.eval()
        return torch.cat([torch.sigmoid(self.network(part)) for part in image.split(CHUNK)])
