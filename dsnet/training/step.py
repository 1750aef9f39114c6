"""One adversarial step of network and discriminator (paper, equations 4 to 6).

Public
------
``learning_rate(step, total, base=2e-4, power=0.9, warmup=0) -> float``
``make_optimizer(parameters, lr, device) -> Adam``, fused where the device has it
``AdversarialStep(network, discriminator=None, *, lr=2e-4, precision="fp32", accumulate=1,
    compile=False, cuda_graphs=False, distributed=False, soft_weight=100, gan_weight=1,
    soft_loss=None, average=0.0)``
    ``.run(batches, lr) -> StepLosses(total, dice, soft, gan, discriminator, overlap)``
    ``.network``, ``.discriminator``, ``.optimizers``, ``.scaler``, ``.average``
    ``.result``: the network to validate and keep, the average of its weights where there is one
``autocast(image, precision)``: the context in which the step computes
``compiler_options(network, cuda_graphs=False) -> dict``
``compiled_graphs() -> int``
``Batch(image, soft, binary, teacher_outputs=None)``

A step never waits for the device: the losses are tensors there, and the caller decides how often
to read them. The discriminator judges pairs on the network's output grid, the image interpolated.
Each learns against the other as it stood before the step, so that one forward and one backward
pass serve both: pix2pix too shows its discriminator the prediction that was made before the network
moved. The paper says "trained alternately" only.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import nn

from dsnet.losses import (
    GAN_WEIGHT,
    SOFT_WEIGHT,
    gan_discriminator_loss,
    segmentation_losses,
)
from dsnet.models import DSNet, PixelDiscriminator, SROutputs, interpolate, to_output_grid
from dsnet.training.average import Average

# Paper, "Implementation"; the power is not stated: 0.9 is DeepLab's (Chen et al. 2018).
LEARNING_RATE = 2e-4
POLY_POWER = 0.9
# Not stated; pix2pix lowers the first moment's decay for adversarial training to 0.5.
BETAS = (0.5, 0.999)
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Batch(NamedTuple):
    """On the input's grid: image [N, C, H, W], all that the network sees, and soft [N, 1, H, W],
    float32; binary [N, 1, H, W] bool."""

    image: torch.Tensor
    soft: torch.Tensor
    binary: torch.Tensor
    teacher_outputs: SROutputs | None = None


class StepLosses(NamedTuple):
    """Scalar tensors on the device, unweighted but for `total`; `overlap` is the batch's Dice."""

    total: torch.Tensor
    dice: torch.Tensor
    soft: torch.Tensor
    gan: torch.Tensor
    discriminator: torch.Tensor
    overlap: torch.Tensor


def learning_rate(
    step: int, total: int, base: float = LEARNING_RATE, power: float = POLY_POWER, warmup: int = 0
) -> float:
    """Poly schedule, ``base * (1 - step / total) ** power``, after a linear warm-up.

    Parameters
    ----------
    step : int
        0 to ``total - 1``.
    total : int
        Steps of the whole training.
    base, power : float
    warmup : int
        Steps in which the rate grows evenly to the schedule.

    Raises
    ------
    ValueError
        For a step out of range.
    """
    if not 0 <= step < total:
        raise ValueError(f"step must be 0 to total - 1, got {step} of {total}")
    grown = min((step + 1) / (warmup + 1), 1.0)
    return base * grown * (1 - step / total) ** power


def make_optimizer(parameters, lr: float, device: torch.device) -> torch.optim.Adam:
    """Adam, in one fused pass over the parameters on CUDA and on a CPU."""
    fused = torch.device(device).type in ("cuda", "cpu")
    return torch.optim.Adam(list(parameters), lr=lr, betas=BETAS, fused=fused)


class AdversarialStep:
    """Network and discriminator with their optimizers, and the step that trains both.

    Parameters
    ----------
    network : DSNet
        Its variant decides which losses count, and whether there is a discriminator.
    discriminator : PixelDiscriminator, optional
        Needed by variants with the adversarial loss; made when not given. On the network's
        device and in its memory format.
    lr : float
        Of both optimizers, until `run` is given another.
    precision : {"fp32", "bf16", "fp16"}
        Of the autocast; fp16 brings a gradient scaler.
    accumulate : int
        Batches whose gradients are averaged before the optimizers move.
    compile : bool or str
        `torch.compile` network, discriminator and losses as one graph, and raise where that is
        not possible; a str names the backend.
    cuda_graphs : bool
        Let the compiled graph replay CUDA graphs; needs `compile` and CUDA.
    distributed : bool
        Average gradients over the processes of the default group.
    soft_loss : bool, optional
        Whether the soft mask loss counts; by default as the network's variant says.
    soft_weight, gan_weight : float
        As in `dsnet.losses.segmentation_losses`.
    average : float
        Decay of the exponential average of the network's weights; 0: none is made.

    Raises
    ------
    ValueError
        For arguments that do not go together.
    """

    def __init__(
        self,
        network: DSNet,
        discriminator: PixelDiscriminator | None = None,
        *,
        lr: float = LEARNING_RATE,
        precision: str = "fp32",
        accumulate: int = 1,
        compile: bool | str = False,
        cuda_graphs: bool = False,
        distributed: bool = False,
        soft_weight: float = SOFT_WEIGHT,
        gan_weight: float = GAN_WEIGHT,
        soft_loss: bool | None = None,
        average: float = 0.0,
    ):
        self.device = next(network.parameters()).device
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        if accumulate < 1:
            raise ValueError(f"accumulate must be at least 1, got {accumulate}")
        if cuda_graphs and not (compile and self.device.type == "cuda"):
            raise ValueError(
                "cuda_graphs must come with compile and a CUDA device, got compile "
                f"{compile} on {self.device}"
            )
        self.network = network
        self.accumulate, self.cuda_graphs = accumulate, cuda_graphs
        if discriminator is None and network.config.rung.gan_loss:
            discriminator = PixelDiscriminator().to(self.device)
        self.discriminator = discriminator if network.config.rung.gan_loss else None
        use_soft = network.config.rung.soft_loss if soft_loss is None else soft_loss
        weights: dict[str, Any] = {
            "soft_weight": soft_weight, "gan_weight": gan_weight, "use_soft": use_soft,
        }  # fmt: skip
        self.objective = _Objective(network, self.discriminator, precision, weights)
        if compile:
            how: dict[str, Any] = {"options": compiler_options(network, cuda_graphs)}
            if isinstance(compile, str):
                how = {"backend": compile}
            compute = self.objective.compute
            self.objective.compute = torch.compile(compute, fullgraph=True, dynamic=False, **how)
        if distributed:
            ids = [self.device.index] if self.device.type == "cuda" else None
            self.objective = nn.parallel.DistributedDataParallel(self.objective, device_ids=ids)
        self.optimizers = [make_optimizer(network.trainable_parameters(), lr, self.device)]
        if self.discriminator is not None:
            self.optimizers.append(make_optimizer(self.discriminator.parameters(), lr, self.device))
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        self.average = Average(network, average) if average else None

    @property
    def result(self) -> DSNet:
        """The network to validate and to keep."""
        return self.network if self.average is None else self.average.network

    def run(self, batches: Sequence[Batch], lr: float | None = None) -> StepLosses:
        """Move both once.

        Parameters
        ----------
        batches : sequence of Batch
            As many as `accumulate`, of one size.
        lr : float, optional
            The rate of this step.

        Returns
        -------
        StepLosses
            Means over the batches, of this process.

        Raises
        ------
        ValueError
            For another number of batches.
        """
        if len(batches) != self.accumulate:
            raise ValueError(
                f"batches must be {self.accumulate}, as accumulate is, got {len(batches)}"
            )
        if self.cuda_graphs:
            torch.compiler.cudagraph_mark_step_begin()
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
            if lr is not None:
                for group in optimizer.param_groups:
                    group["lr"] = lr
        for module in (self.network, self.discriminator):
            # To walk hundreds of modules takes the host as long as to launch a hundred kernels.
            if module is not None and not module.training:
                module.train()
        sums = None
        for index, batch in enumerate(batches):
            with self._no_sync(index):
                both, parts = self.objective(*batch)
                self.scaler.scale(both / self.accumulate).backward()
            sums = parts.detach().clone() if sums is None else sums + parts.detach()
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update()
        assert sums is not None
        return StepLosses(*(sums / self.accumulate).unbind())

    def _no_sync(self, index: int):
        """Processes exchange gradients once a step: with the last of the batches."""
        last, objective = index == self.accumulate - 1, self.objective
        is_parallel = isinstance(objective, nn.parallel.DistributedDataParallel)
        return objective.no_sync() if is_parallel and not last else nullcontext()


def compiler_options(network: nn.Module, cuda_graphs: bool = False) -> dict[str, bool]:
    """What `torch.compile` is told of the step.

    By itself inductor holds a training graph of narrow convolutions to be better off in NCHW, and
    then copies what convolutions to one channel read to a layout that no kernel of cuDNN knows.
    Where the weights lie in NHWC, so shall all.
    """
    last = all(
        p.is_contiguous(memory_format=torch.channels_last)
        for p in network.parameters()
        if p.ndim == 4
    )
    return {"force_layout_optimization": last, "triton.cudagraphs": cuda_graphs}


def compiled_graphs() -> int:
    """Graphs that `torch.compile` has made so far in this process; a rise is a recompile."""
    import torch._dynamo

    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


class _Objective(nn.Module):
    """What network and discriminator minimise, summed, as one graph.

    Neither loss has a gradient in the other's weights: the network's verdict comes from a
    discriminator that is held fixed, the discriminator's from a prediction that is. One backward
    pass therefore serves both. Compiled, the discriminator's two forward passes over the
    prediction, equal in all but what they pass on, become one.
    """

    def __init__(
        self,
        network: DSNet,
        discriminator: PixelDiscriminator | None,
        precision: str,
        weights: dict[str, Any],
    ):
        super().__init__()
        self.network, self.discriminator = network, discriminator
        self.precision, self.weights = precision, weights
        self.scale = network.config.scale

    def compute(self, image, soft, binary, teacher_outputs):
        soft = to_output_grid(soft, self.scale)
        binary = to_output_grid(binary.to(soft.dtype), self.scale) >= 0.5
        verdict = judged = None
        with autocast(image, self.precision):
            prediction = self.network(image, teacher_outputs)
            if self.discriminator is not None:
                enlarged = interpolate(self.network.slice_of(image), self.scale)
                verdict = self.discriminator(enlarged, prediction, frozen=True)
                real = self.discriminator(enlarged, soft)
                fake = self.discriminator(enlarged, prediction.detach())
        losses = segmentation_losses(prediction, soft, binary, verdict, **self.weights)
        both, judged = losses.total, torch.zeros_like(losses.total)
        if self.discriminator is not None:
            judged = gan_discriminator_loss(real, fake)
            both = both + judged
        # Dice of the binary masks, for the eye.
        found = (prediction.detach() >= 0.5).flatten(1)
        truth = binary.flatten(1)
        shared = 2.0 * (found & truth).sum(1)
        size = (found.sum(1) + truth.sum(1)).clamp(min=1)
        overlap = torch.where((found | truth).any(1), shared / size, 1.0).mean()
        return both, torch.stack([*losses, judged, overlap])

    def forward(self, image, soft, binary, teacher_outputs=None):
        return self.compute(image, soft, binary, teacher_outputs)


def autocast(image: torch.Tensor, precision: str):
    """The context of a forward pass on the image's device; one of `PRECISIONS`."""
    dtype = PRECISIONS[precision]
    return torch.autocast(image.device.type, dtype=dtype, enabled=dtype is not None)
