"""``python -m dsnet.train_sr``: train the SR teacher, self-supervised on CT slices.

Paper, "Self-supervised super-resolution model": slices of 512x512 are shrunk to 128x128, and an
SRGAN learns the way back. Whole slices are shrunk (bicubic with antialiasing, as SRGAN's), then
aligned patches are drawn from both on the device. Folders given by ``--images`` are searched for
16-bit PNG slices with HU + 32768 (DeepLesion's); 8-bit ones are taken as windowed already. Whole
patients are held out (`training.sr_data`). Without ``--images``: phantoms.

Beside the teacher ``NAME.pt``: ``NAME.json`` has the settings, who was held out and at the end the
figures, ``NAME.csv`` the losses, ``NAME.checkpoint.pt`` what ``--resume`` goes on with.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path

from dsnet.dependencies import needed

with needed("train", "training", command="dsnet.train_sr"):
    import torch
    import torch.nn.functional as F

from dsnet.losses import (
    SR_ADVERSARIAL_WEIGHT,
    gan_discriminator_loss,
    sr_adversarial_loss,
    sr_pixel_loss,
)
from dsnet.models import PerceptualLoss, SRDiscriminator, SRResNet, interpolate, save_model
from dsnet.models.srgan import SCALE
from dsnet.training.checkpoint import write_atomically
from dsnet.training.dataset import stream_seed
from dsnet.training.report import Table
from dsnet.training.sr_data import held_out, load_slices, patches, shrink

EDGE = 4  # Pixels left out of the figures at every border, as is usual at this scale.
# Options that do not decide the course of a training.
FREE = ("out", "log_every", "resume")


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(argv)
    try:
        train_sr(options)
    except (ValueError, OSError, ImportError) as error:
        print(f"dsnet.train_sr: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def train_sr(options: argparse.Namespace) -> dict:
    """Train and save a teacher; returns PSNR and SSIM of it and of bicubic, on held-out slices.

    Raises
    ------
    ValueError
        For options out of range, without slices, for slices smaller than a patch, when a loss is
        not finite, or where a checkpoint does not fit.
    """
    _check(options)
    out = Path(options.out)
    checkpoint = out.with_suffix(".checkpoint.pt")
    if checkpoint.exists() and not options.resume:
        raise ValueError(f"{checkpoint} holds a training: --resume goes on, or take another --out")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        print("no CUDA device: training on the CPU")
    torch.manual_seed(options.seed)

    # Slices, whole patients of them held out.
    slices = load_slices(options.images, options.limit, options.seed)
    held = held_out(slices.groups, options.held_out, options.seed)
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
    model = SRResNet(1, options.blocks, options.features, options.global_skip).to(device)
    modules = {"model": model}
    optimizers = {"model": torch.optim.Adam(model.parameters(), options.lr)}
    judge = perceptual = None
    if options.adversarial:
        judge = modules["judge"] = SRDiscriminator(1, options.features).to(device)
        optimizers["judge"] = torch.optim.Adam(judge.parameters(), options.lr)
    if options.vgg:
        perceptual = PerceptualLoss(options.vgg).to(device)
    generator = torch.Generator().manual_seed(stream_seed(options.seed, 0, 2))
    course = {name: value for name, value in vars(options).items() if name not in FREE}
    course["slices"] = slices.digest()
    parts = {**modules, **{f"{name}_optimizer": one for name, one in optimizers.items()}}
    done = _load(checkpoint, course, parts, generator) if options.resume else 0
    settings = {**vars(options), "resume": False, "held_out_groups": away}
    _write_json(out.with_suffix(".json"), settings)
    table = Table(out.with_suffix(".csv"), done)

    first, started = done, time.monotonic()
    while done < options.steps:
        x, y = patches(low, high, options.batch, options.patch, generator)
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
            group["lr"] = options.lr * (0.1 if done >= options.steps // 2 else 1.0)
        optimizers["model"].step()
        judged = loss.new_zeros(())
        if judge is not None:
            judge.requires_grad_(True)
            judged = gan_discriminator_loss(judge(y), judge(image.detach()))
            optimizers["judge"].zero_grad(set_to_none=True)
            judged.backward()
            optimizers["judge"].step()
        done += 1
        if done % options.log_every == 0 or done == options.steps:
            value = float(loss.detach())
            if not math.isfinite(value):
                raise ValueError(
                    f"the loss is {value} at step {done}: lower --lr; {checkpoint}, if there, is "
                    "the last good state"
                )
            rate = (done - first) * options.batch / (time.monotonic() - started)
            print(f"step {done} of {options.steps}  loss {value:.3g}  {rate:.1f} patches/s")
            row = {"loss": value, "discriminator": float(judged.detach()), "patches_per_s": rate}
            table.write(done, row)
            _save(checkpoint, course, parts, generator, done)
    table.close()

    scores = evaluate_sr(model, test)
    print("held-out slices   PSNR (dB)   SSIM")
    for name in ("bicubic", "teacher"):
        print(f"{name:17} {scores[name + '_psnr']:9.2f}   {scores[name + '_ssim']:.4f}")
    save_model(out, model)
    _write_json(out.with_suffix(".json"), {**settings, "scores": scores})
    print(f"saved {out}: python -m dsnet.train --teacher {out}")
    return scores


def _check(options: argparse.Namespace) -> None:
    for name in ("blocks", "features", "steps", "batch", "log_every"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} is {getattr(options, name)}; at least 1")
    if options.patch < SCALE or options.patch % SCALE:
        raise ValueError(f"--patch is {options.patch}; a multiple of {SCALE} is needed")
    if not 0 < options.held_out < 1:
        raise ValueError(f"--held-out is {options.held_out}; between 0 and 1 is needed")
    if Path(options.out).suffix != ".pt":
        raise ValueError(f"--out is {options.out}; a file NAME.pt is needed")


def _save(path, course: dict, parts: dict, generator: torch.Generator, done: int) -> None:
    content = {
        "course": course,
        "state": {name: part.state_dict() for name, part in parts.items()},
        "generator": generator.get_state(),
        "done": done,
    }
    write_atomically(path, lambda temporary: torch.save(content, temporary))


def _load(path, course: dict, parts: dict, generator: torch.Generator) -> int:
    """Put a checkpoint's state into the parts; returns the steps that are done."""
    if not path.is_file():
        raise ValueError(f"--resume needs {path}, which is not there")
    content = torch.load(path, map_location="cpu", weights_only=True)
    for name, value in course.items():
        then = content["course"][name]
        if value != then:
            if name == "slices":
                raise ValueError("the slices changed since the training began")
            raise ValueError(f"{name} is {value!r}; the training to resume has {then!r}")
    for name, part in parts.items():
        part.load_state_dict(content["state"][name])
    generator.set_state(content["generator"])
    return content["done"]


def _write_json(path: Path, content: dict) -> None:
    text = json.dumps(content, indent=1) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text))


@torch.no_grad()
def evaluate_sr(model: SRResNet, slices: list[torch.Tensor]) -> dict[str, float]:
    """Mean PSNR and SSIM of the model and of bicubic enlargement over slices [1, 1, H, W]."""
    model.eval()
    sums = dict.fromkeys(("bicubic_psnr", "bicubic_ssim", "teacher_psnr", "teacher_ssim"), 0.0)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dsnet.train_sr",
        description="Train DSNet's SR teacher on CT slices, 128 to 512 pixels.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    data = parser.add_argument_group("data")
    data.add_argument("--images", nargs="*", default=[], help="folders with PNG slices")
    data.add_argument("--limit", type=int, default=0, help="most slices to read; 0: all")
    data.add_argument("--held-out", type=float, default=0.1, help="share of patients to test on")
    network = parser.add_argument_group("network")
    network.add_argument("--blocks", type=int, default=16, help="residual blocks")
    network.add_argument("--features", type=int, default=64, help="their width")
    network.add_argument("--global-skip", action="store_true", help="learn what bicubic lacks")
    recipe = parser.add_argument_group("recipe")
    recipe.add_argument("--steps", type=int, default=20000, help="batches")
    recipe.add_argument("--batch", type=int, default=16, help="patches a step")
    recipe.add_argument("--patch", type=int, default=96, help="pixels a side, divisible by 4")
    recipe.add_argument("--lr", type=float, default=1e-4, help="learning rate")
    recipe.add_argument("--adversarial", action="store_true", help="add SRGAN's discriminator")
    recipe.add_argument("--vgg", default="", help="VGG19 weights, for the perceptual loss")
    recipe.add_argument("--seed", type=int, default=0, help="of everything random")
    run = parser.add_argument_group("run")
    run.add_argument("--out", default="runs/teacher.pt", help="file of the teacher")
    run.add_argument("--log-every", type=int, default=100, help="steps between lines and saves")
    run.add_argument("--resume", action="store_true", help="go on with the training at --out")
    return parser


if __name__ == "__main__":
    sys.exit(main())
