"""A training of the SR teacher, self-supervised on CT slices.

Public
------
``SRSettings(images=(), limit=0, ...)``
``train_sr(settings) -> dict``
``evaluate_sr(model, slices) -> dict``, ``psnr(x, y)``, ``ssim(x, y)``

Paper, "Self-supervised super-resolution model": slices of 512x512 are shrunk to 128x128, and an
SRGAN learns the way back. Whole slices are shrunk (bicubic with antialiasing, as SRGAN's), then
aligned patches are drawn from both on the device. Whole patients are held out (`sr_data`).

Beside the teacher ``NAME.pt``: ``NAME.json`` has the settings, who was held out and at the end the
figures, ``NAME.csv`` the losses, ``NAME.checkpoint.pt`` what ``resume`` goes on with.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from dsnet.arguments import LEARNING_RATES, SEEDS, Range, brief
from dsnet.console import Rate, print_table
from dsnet.data.store.lock import writing
from dsnet.devices import torch_device
from dsnet.files import write_json
from dsnet.losses import (
    SR_ADVERSARIAL_WEIGHT,
    gan_discriminator_loss,
    sr_adversarial_loss,
    sr_pixel_loss,
)
from dsnet.models import PerceptualLoss, SRDiscriminator, SRResNet, interpolate, save_model
from dsnet.models.srgan import RANGES, SCALE
from dsnet.models.tensor_file import load_tensors, save_tensors
from dsnet.training.dataset import stream_seed
from dsnet.training.memory import require_memory
from dsnet.training.report import Table
from dsnet.training.sr_data import held_out, load_slices, patches, shrink

EDGE = 4  # Pixels left out of the figures at every border, as is usual at this scale.
# Settings that do not decide the course of a training.
FREE = ("out", "log_every", "resume", "device")
NUMBERS = {
    "limit": Range(int, 0, 10**9),
    "held_out": Range(float, above=0, most=0.99),
    "blocks": RANGES["blocks"],
    "features": RANGES["features"],
    "steps": Range(int, 1, 10**9),
    "batch": Range(int, 1, 65536),
    "patch": Range(int, SCALE, 65536),
    "lr": LEARNING_RATES,
    "seed": SEEDS,
    "log_every": Range(int, 1, 10**9),
}
FORMAT = "dsnet-sr-training"
VERSION = 2  # 1 had neither format nor SHA-256


@dataclass
class SRSettings:
    """Every setting of a teacher's training.

    Attributes
    ----------
    images : list of path
        Folders with PNG slices; phantoms without.
    limit : int
        Most slices to read; 0: all.
    held_out : float
        Share of the patients to test on.
    blocks, features, global_skip
        Of `SRResNet`.
    steps, batch : int
        Batches, and patches of each.
    patch : int
        Pixels a side, divisible by 4.
    lr : float
        Learning rate; a tenth of it for the second half.
    adversarial : bool
        Whether to add SRGAN's discriminator.
    vgg : str
        VGG19 weights, for the perceptual loss; without where empty.
    seed : int
    out : str
        File of the teacher.
    log_every : int
        Steps between lines and saves.
    resume : bool
    device : str
        As `dsnet.devices` has it.
    """

    images: list = field(default_factory=list)
    limit: int = 0
    held_out: float = 0.1
    blocks: int = 16
    features: int = 64
    global_skip: bool = False
    steps: int = 20000
    batch: int = 16
    patch: int = 96
    lr: float = 1e-4
    adversarial: bool = False
    vgg: str = ""
    seed: int = 0
    out: str = "runs/teacher.pt"
    log_every: int = 100
    resume: bool = False
    device: str = "auto"


def train_sr(settings: SRSettings) -> dict:
    """Train and save a teacher; returns PSNR and SSIM of it and of bicubic, on held-out slices.

    Raises
    ------
    ValueError
        For settings out of range, without slices, for slices smaller than a patch, when a loss is
        not finite, where a checkpoint does not fit, or another process trains that teacher.
    """
    _check(settings)
    with writing(Path(settings.out), f"{settings.out} in", is_file=True):
        return _train(settings)


def _train(settings: SRSettings) -> dict:
    out = Path(settings.out)
    checkpoint = out.with_suffix(".checkpoint.pt")
    if checkpoint.exists() and not settings.resume:
        raise ValueError(f"{checkpoint} holds a training: --resume goes on, or take another --out")
    device = torch_device(settings.device)
    if device.type == "cpu" and settings.device == "auto":
        print("no CUDA device: training on the CPU")
    torch.manual_seed(settings.seed)

    # Slices, whole patients of them held out.
    slices = load_slices(settings.images, settings.limit, settings.seed)
    held = held_out(slices.groups, settings.held_out, settings.seed)
    high = [s.to(device) for s, out in zip(slices.images, held, strict=True) if not out]
    test = [s.to(device) for s, out in zip(slices.images, held, strict=True) if out]
    low = [shrink(s) for s in high]
    away = sorted({group for group, out in zip(slices.groups, held, strict=True) if out})
    for why, count in slices.left_out.items():
        print(f"left out: {count} files {why}")
    print(
        f"{len(high)} slices to learn from, {len(test)} held out with {len(away)} of "
        f"{len(set(slices.groups))} patients or volumes"
    )

    # Network, losses, where the training stands.
    require_memory(
        lambda: SRResNet(1, settings.blocks, settings.features), device, "--blocks, --features"
    )
    model = SRResNet(1, settings.blocks, settings.features, settings.global_skip).to(device)
    modules: dict[str, torch.nn.Module] = {"model": model}
    optimizers = {"model": torch.optim.Adam(model.parameters(), settings.lr)}
    judge = perceptual = None
    if settings.adversarial:
        require_memory(lambda: SRDiscriminator(1, settings.features), device, "--features")
        judge = modules["judge"] = SRDiscriminator(1, settings.features).to(device)
        optimizers["judge"] = torch.optim.Adam(judge.parameters(), settings.lr)
    if settings.vgg:
        perceptual = PerceptualLoss(settings.vgg).to(device)
    generator = torch.Generator().manual_seed(stream_seed(settings.seed, 0, 2))
    course = {name: value for name, value in asdict(settings).items() if name not in FREE}
    course["slices"] = slices.digest()
    parts = {**modules, **{f"{name}_optimizer": one for name, one in optimizers.items()}}
    done = _load(checkpoint, course, parts, generator) if settings.resume else 0
    told = {**asdict(settings), "resume": False, "held_out_groups": away}
    del told["device"]  # The teacher is the same wherever it was trained.
    write_json(out.with_suffix(".json"), told)
    table = Table(out.with_suffix(".csv"), done)

    rate = Rate(settings.steps, done)
    while done < settings.steps:
        x, y = patches(low, high, settings.batch, settings.patch, generator)
        model.train()
        image = model(x).image
        loss = sr_pixel_loss(image, y)
        if perceptual is not None:
            loss = loss + perceptual(image, y)
        if judge is not None:
            judge.requires_grad_(False)
            loss = loss + SR_ADVERSARIAL_WEIGHT * sr_adversarial_loss(judge(image))
        optimizers["model"].zero_grad(set_to_none=True)
        loss.backward()
        # SRGAN lowers the rate to a tenth for the second half.
        for group in optimizers["model"].param_groups:
            group["lr"] = settings.lr * (0.1 if done >= settings.steps // 2 else 1.0)
        optimizers["model"].step()
        judged = loss.new_zeros(())
        if judge is not None:
            judge.requires_grad_(True)
            judged = gan_discriminator_loss(judge(y), judge(image.detach()))
            optimizers["judge"].zero_grad(set_to_none=True)
            judged.backward()
            optimizers["judge"].step()
        done += 1
        if done % settings.log_every == 0 or done == settings.steps:
            value = float(loss.detach())
            if not math.isfinite(value):
                raise ValueError(
                    f"the loss is {value} at step {done}: lower --lr; {checkpoint}, if there, is "
                    "the last good state"
                )
            rate.rows = done
            speed = rate.per_second * settings.batch
            print(f"step {done} of {settings.steps}  loss {value:.3g}  {speed:.1f} patches/s")
            row = {"loss": value, "discriminator": float(judged.detach()), "patches_per_s": speed}
            table.write(done, row)
            _save(checkpoint, course, parts, generator, done)
    table.close()

    scores = evaluate_sr(model, test)
    names = ("bicubic", "teacher")
    rows = [(n, f"{scores[f'{n}_psnr']:.2f}", f"{scores[f'{n}_ssim']:.4f}") for n in names]
    print_table(rows, ("held-out slices", "PSNR (dB)", "SSIM"))
    save_model(out, model)
    write_json(out.with_suffix(".json"), {**told, "scores": scores})
    print(f"saved {out}: python -m dsnet.train --teacher {out}")
    return scores


def _check(settings: SRSettings) -> None:
    for name, allowed in NUMBERS.items():
        allowed.check(f"--{name.replace('_', '-')}", getattr(settings, name))
    if settings.patch % SCALE:
        raise ValueError(f"--patch must be a multiple of {SCALE}, got {settings.patch}")
    if Path(settings.out).suffix != ".pt":
        raise ValueError(f"--out must be a file NAME.pt, got {settings.out}")


def _save(path, course: dict, parts: dict, generator: torch.Generator, done: int) -> None:
    content = {
        "format": FORMAT,
        "version": VERSION,
        "course": course,
        "state": {name: part.state_dict() for name, part in parts.items()},
        "generator": generator.get_state(),
        "done": done,
    }
    save_tensors(path, content)


def _load(path, course: dict, parts: dict, generator: torch.Generator) -> int:
    """Put a checkpoint's state into the parts; returns the steps that are done."""
    if not path.is_file():
        raise ValueError(f"--resume needs {path}, which is not there")
    content = load_tensors(path, "a checkpoint of dsnet.train_sr, of this version", FORMAT, VERSION)
    stored: Any = content.get("course")
    done: Any = content.get("done")
    if not isinstance(stored, dict) or done not in Range(int, 0):
        raise ValueError(f"{path} must have a course and the steps done, got {brief(done)}")
    for name, value in course.items():
        then = stored.get(name)
        if value != then:
            if name == "slices":
                raise ValueError("the slices changed since the training began")
            raise ValueError(
                f"{name} must be {then!r}, as in the training to resume, got {value!r}"
            )
    try:
        for name, part in parts.items():
            part.load_state_dict(content["state"][name])
        generator.set_state(content["generator"])
    except Exception as error:  # torch has many for a state of another form
        raise ValueError(f"{path} is of another training: {error!r}") from error
    return done


@torch.no_grad()
def evaluate_sr(model: SRResNet, slices: list[torch.Tensor]) -> dict[str, float]:
    """Mean PSNR and SSIM of the model and of bicubic enlargement over slices [1, 1, H, W]."""
    model.eval()
    names = ("bicubic_psnr", "bicubic_ssim", "teacher_psnr", "teacher_ssim")
    sums: dict[str, float] = dict.fromkeys(names, 0.0)
    for truth in slices:
        small = shrink(truth)
        for name, image in (("bicubic", interpolate(small)), ("teacher", model(small).image)):
            inner = [t[..., EDGE:-EDGE, EDGE:-EDGE] for t in (image.clamp(0, 1), truth)]
            sums[f"{name}_psnr"] += float(psnr(*inner)) / len(slices)
            sums[f"{name}_ssim"] += float(ssim(*inner)) / len(slices)
    return sums


def psnr(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio in dB of images in 0..1."""
    return -10 * torch.log10((x - y).square().mean().clamp(min=1e-12))


def ssim(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Structural similarity (Wang et al. 2004): 11x11 Gaussian of 1.5 pixels, images in 0..1."""
    at = torch.arange(11, device=x.device, dtype=x.dtype) - 5
    line = torch.exp(-at.square() / (2 * 1.5**2))
    line = line / line.sum()
    window = (line[:, None] * line)[None, None]
    mx, my, xx, yy, xy = (F.conv2d(t, window) for t in (x, y, x * x, y * y, x * y))
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mx * my + c1) * (2 * (xy - mx * my) + c2)
    return (top / ((mx**2 + my**2 + c1) * (xx - mx**2 + yy - my**2 + c2))).mean()
