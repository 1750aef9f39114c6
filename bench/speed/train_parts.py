"""What `bench.speed.train` measures: the network as people write it, its parts, and what they cost.

``plain(network)`` takes the fused operations out; ``Supply`` is `dsnet.train`'s data path;
``parts_of`` gives each part of a step by itself; ``count`` says what a step computes and moves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from dsnet.losses import gan_discriminator_loss, gan_generator_loss, segmentation_losses
from dsnet.models import DSNet, PixelDiscriminator, build, interpolate, to_output_grid
from dsnet.models.fused import CBAM, SelectiveFusion
from dsnet.training.augment import Augmentation, apply, draw
from dsnet.training.dataset import DeviceDataset, epoch_order
from dsnet.training.step import PRECISIONS, AdversarialStep, Batch

SETS = 4


class PlainCBAM(CBAM):
    """CBAM step by step in the input's dtype, as in its authors' code."""

    def forward(self, x, residual=None, *, scale=None, shift=None):
        x = _scaled(x, scale, shift)
        mlp, spatial = self.ChannelGate["mlp"], self.SpatialGate["spatial"]
        gate = mlp(F.adaptive_avg_pool2d(x, 1)) + mlp(F.adaptive_max_pool2d(x, 1))
        x = x * torch.sigmoid(gate)[:, :, None, None]
        maps = torch.cat([x.max(1, keepdim=True)[0], x.mean(1, keepdim=True)], 1)
        x = x * torch.sigmoid(spatial["bn"](spatial["conv"](maps)))
        return x if residual is None else F.relu(x + residual)


class PlainSelectiveFusion(SelectiveFusion):
    """Selective fusion step by step in the input's dtype."""

    def forward(
        self, u, v, *, u_scale=None, u_shift=None, v_scale=None, v_shift=None, negative_slope=0.01
    ):
        if u_scale is not None:
            u = F.leaky_relu(_scaled(u, u_scale, u_shift), negative_slope)
            v = F.leaky_relu(_scaled(v, v_scale, v_shift), negative_slope)
        hidden = self.conv_fc1((u + v).mean((2, 3), keepdim=True))
        hidden = F.relu(hidden if self.bn_fc1 is None else self.bn_fc1(hidden))
        a, b = torch.softmax(torch.stack(self.conv_fc2(hidden).chunk(2, 1)), 0).unbind()
        return a * u + b * v


def plain(network: DSNet) -> DSNet:
    """The same network and parameters with plain PyTorch for the fused operations; in place."""
    for module in network.modules():
        if type(module) is CBAM:
            module.__class__ = PlainCBAM
        elif type(module) is SelectiveFusion:
            module.__class__ = PlainSelectiveFusion
    return network


def make(shape: dict, seed: int = 0) -> tuple[DSNet, PixelDiscriminator]:
    """Network and discriminator somewhat off their first weights, as after a few steps.

    At the first, gates have no gradient, and hidden units lie on the kink of their ReLU: rounding
    would decide whose gradient is 0.
    """
    torch.manual_seed(seed)
    network, judge = build("dsnet", **shape), PixelDiscriminator()
    with torch.no_grad():
        for parameter in (*network.trainable_parameters(), *judge.parameters()):
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return network, judge


class Supply:
    """Batches as `dsnet.train` makes them: gathered and augmented on the device."""

    def __init__(self, data: DeviceDataset, batch: int, memory: torch.memory_format):
        device = data.image.device
        self.data, self.batch, self.memory = data, batch, memory
        self.augmentation = Augmentation()
        orders = [epoch_order(len(data), 0, epoch, batch) for epoch in range(SETS)]
        self.order = torch.cat(orders)[: SETS * batch].to(device)
        self.draws = draw(self.augmentation, len(self.order), 0, 0).to(device)

    def __call__(self, k: int) -> Batch:
        begin = k % SETS * self.batch
        chosen = slice(begin, begin + self.batch)
        index, drawn = self.order[chosen], self.draws.part(chosen)
        planes = (self.data.image[index], self.data.soft[index], self.data.binary[index])
        image, soft, binary = apply(self.augmentation, drawn, *planes)
        return Batch(image.contiguous(memory_format=self.memory), soft, binary)


def autocast(device: torch.device, precision: str):
    dtype = PRECISIONS[precision]
    return torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


def parts_of(
    step: AdversarialStep, batches: list[Batch], precision: str, compiled: bool
) -> dict[str, Callable[[int], object]]:
    """Each part of a step as a function of the number of the run, on inputs prepared before.

    Forward, and backward to parameters and inputs wherever the step has it. "losses" are those
    of the masks; both of the discriminator's halves are in "discriminator". Of one step's parts
    that leaves only the sum of the losses, and what lies between the parts.
    """
    network, judge = step.network.train(), step.discriminator.train()
    scale, channels = network.config.scale, network.config.image_channels
    device = step.device

    def wrap(function):
        def run(*inputs):
            with autocast(device, precision):
                return function(*inputs)

        return torch.compile(run, fullgraph=True, dynamic=False) if compiled else run

    def fuse(image, sr_image, features):
        large = (interpolate(image, scale), sr_image)
        return network.fusion(*(t.expand(-1, channels, -1, -1) for t in large), features)

    def through(image, prediction):
        return gan_generator_loss(judge(interpolate(image, scale), prediction))

    def judged(image, soft, prediction):
        image, soft = interpolate(image, scale), to_output_grid(soft, scale)
        return gan_discriminator_loss(judge(image, soft), judge(image, prediction))

    def mask_losses(prediction, soft, binary):
        soft = to_output_grid(soft, scale)
        binary = to_output_grid(binary.to(soft.dtype), scale) >= 0.5
        return segmentation_losses(prediction, soft, binary).total

    teach, fusion, backbone = wrap(network.teach), wrap(fuse), wrap(network.network)
    generator, discriminator, losses = wrap(through), wrap(judged), wrap(mask_losses)
    made = []
    for batch in batches:
        with torch.no_grad(), autocast(device, precision):
            sr = network.teach(batch.image)
            fused = fuse(batch.image, *sr)
            logits = network.network(fused)
        prediction = torch.sigmoid(logits.float()).requires_grad_()
        ones = torch.ones_like(fused), torch.ones_like(logits)
        made.append((batch, sr, fused.requires_grad_(), prediction, *ones))

    def run_fusion(k):
        batch, sr, *_, ones, _ = made[k % len(made)]
        network.fusion.zero_grad()
        fusion(batch.image, *sr).backward(ones)

    def run_backbone(k):
        _, _, fused, _, _, ones = made[k % len(made)]
        network.network.zero_grad()
        fused.grad = None
        backbone(fused).backward(ones)

    def run_losses(k):
        batch, _, _, prediction, *_ = made[k % len(made)]
        prediction.grad = None
        losses(prediction, batch.soft, batch.binary).backward()

    def run_discriminator(k):
        batch, _, _, prediction, *_ = made[k % len(made)]
        judge.requires_grad_(False)
        prediction.grad = None
        generator(batch.image, prediction).backward()
        judge.requires_grad_(True).zero_grad()
        discriminator(batch.image, batch.soft, prediction.detach()).backward()

    for parameter in (*network.trainable_parameters(), *judge.parameters()):
        parameter.grad = torch.full_like(parameter, 1e-3)
    return {
        "teacher": lambda k: teach(made[k % len(made)][0].image),
        "fusion": run_fusion,
        "backbone": run_backbone,
        "losses": run_losses,
        "discriminator": run_discriminator,
        "optimizer": lambda k: [optimizer.step() for optimizer in step.optimizers],
    }


class Cost(NamedTuple):
    """Of one run: floating-point operations (a multiplication and an addition are two), tensor
    operations that do work, and the bytes that these read and write in eager PyTorch."""

    flops: int
    operations: int
    bytes: int


def count(shape: dict, batch: int, size: int, precision: str = "fp32") -> dict[str, Cost]:
    """What a step ("whole") and each of its parts cost as people write them.

    Nothing is computed: the tensors are fake, so full width is counted on any machine. Only
    matrix products and convolutions have floating-point operations here.
    """
    costs = {}
    with FakeTensorMode():
        network, judge = make(shape)
        step = AdversarialStep(plain(network), judge, precision=precision)
        image, soft = torch.rand(batch, 1, size, size), torch.rand(batch, 1, size, size)
        batches = [Batch(image, soft, soft >= 0.5)]
        costs["whole"] = _cost(lambda k: step.run(batches))
        for name, part in parts_of(step, batches, precision, compiled=False).items():
            costs[name] = _cost(part)
    return costs


class _Traffic(TorchDispatchMode):
    """Counts operations and bytes, views left out."""

    def __init__(self):
        super().__init__()
        self.operations = self.bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        works = function.namespace == "aten" and not function.is_view
        if works and not name.startswith(("detach", "alias", "empty", "new_empty")):
            tensors = [t for t in tree_leaves((args, kwargs, result)) if torch.is_tensor(t)]
            moved = {id(t): t.numel() * t.element_size() for t in tensors}
            self.operations += 1
            self.bytes += sum(moved.values())
        return result


def _cost(function: Callable[[int], object]) -> Cost:
    with FlopCounterMode(display=False) as flops:
        function(0)
    with _Traffic() as traffic:
        function(0)
    return Cost(flops.get_total_flops(), traffic.operations, traffic.bytes)


def _scaled(x, scale, shift):
    if scale is None:
        return x
    return (x * scale[:, None, None] + shift[:, None, None]).to(x.dtype)
