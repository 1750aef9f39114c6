"""``python -m dsnet.train_sr``: train the SR teacher, self-supervised on CT slices.

Paper, "Self-supervised super-resolution model": slices of 512x512 are shrunk to 128x128, and an
SRGAN learns the way back. Whole slices are shrunk (bicubic with antialiasing, as SRGAN's), then
aligned patches are drawn from both on the device. Folders given by ``--images`` are searched for
16-bit PNG slices with HU + 32768 (DeepLesion's); 8-bit ones are taken as windowed already. Slices
are held out by their folder, which is a series or a patient. Without ``--images``: phantoms.
"""

import argparse
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from .data.ct_image import LUNG_WINDOW, apply_window, read_ct_png, read_picture
from .data.phantom import make_phantoms
from .losses import (
    SR_ADVERSARIAL_WEIGHT,
    gan_discriminator_loss,
    sr_adversarial_loss,
    sr_pixel_loss,
)
from .models import PerceptualLoss, SRDiscriminator, SRResNet, interpolate, save_model
from .training.dataset import stream_seed

SCALE = 4
EDGE = 4  # Pixels left out of the figures at every border, as is usual at this scale.


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
        Without slices, for slices smaller than a patch, or when a loss is not finite.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        print("no CUDA device: training on the CPU")
    torch.manual_seed(options.seed)
    slices, groups = load_slices(options.images, options.limit, options.seed)
    held = held_out(groups, options.held_out, options.seed)
    high = [s.to(device) for s, out in zip(slices, held, strict=True) if not out]
    test = [s.to(device) for s, out in zip(slices, held, strict=True) if out]
    low = [shrink(s) for s in high]
    print(f"{len(high)} slices to learn from, {len(test)} held out, of {len(set(groups))} folders")
    model = SRResNet(1, options.blocks, options.features, options.global_skip).to(device)
    optimizer = torch.optim.Adam(model.parameters(), options.lr)
    judge = judge_optimizer = perceptual = None
    if options.adversarial:
        judge = SRDiscriminator(1, options.features).to(device)
        judge_optimizer = torch.optim.Adam(judge.parameters(), options.lr)
    if options.vgg:
        perceptual = PerceptualLoss(options.vgg).to(device)
    generator = torch.Generator().manual_seed(stream_seed(options.seed, 0, 2))
    started = time.monotonic()
    for step in range(options.steps):
        x, y = patches(low, high, options.batch, options.patch, generator)
        model.train()
        image = model(x).image
        loss = sr_pixel_loss(image, y)
        if perceptual is not None:
            loss = loss + perceptual(image, y)
        if judge is not None:
            judge.requires_grad_(False)
            loss = loss + SR_ADVERSARIAL_WEIGHT * sr_adversarial_loss(judge(image))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        # SRGAN lowers the rate to a tenth for the second half.
        for group in optimizer.param_groups:
            group["lr"] = options.lr * (0.1 if step >= options.steps // 2 else 1.0)
        optimizer.step()
        if judge is not None:
            judge.requires_grad_(True)
            judged = gan_discriminator_loss(judge(y), judge(image.detach()))
            judge_optimizer.zero_grad(set_to_none=True)
            judged.backward()
            judge_optimizer.step()
        if (step + 1) % options.log_every == 0 or step + 1 == options.steps:
            value = float(loss.detach())
            if not math.isfinite(value):
                raise ValueError(f"the loss is {value} at step {step + 1}: lower --lr")
            rate = (step + 1) * options.batch / (time.monotonic() - started)
            print(f"step {step + 1} of {options.steps}  loss {value:.3g}  {rate:.1f} patches/s")
            save_model(options.out, model)
    scores = evaluate_sr(model, test)
    print("held-out slices   PSNR (dB)   SSIM")
    for name in ("bicubic", "teacher"):
        print(f"{name:17} {scores[name + '_psnr']:9.2f}   {scores[name + '_ssim']:.4f}")
    save_model(options.out, model)
    print(f"saved {options.out}: python -m dsnet.train --teacher {options.out}")
    return scores


def load_slices(folders, limit: int, seed: int) -> tuple[list[torch.Tensor], list[str]]:
    """Slices [1, 1, H, W] float32 in 0..1, sides divisible by 4, and each one's folder."""
    if not folders:
        made = make_phantoms(min(limit or 16, 64), 128, seed)
        return [torch.from_numpy(p.image)[None, None] for p in made], [str(p.seed) for p in made]
    files = sorted(f for folder in folders for f in Path(folder).rglob("*.png"))
    if not files:
        raise ValueError(f"images is {', '.join(map(str, folders))}; there is no PNG slice")
    if limit and len(files) > limit:
        order = np.random.default_rng(seed).permutation(len(files))[:limit]
        files = [files[i] for i in sorted(order)]
    slices = []
    for file in files:
        try:
            plane = apply_window(read_ct_png(file), *LUNG_WINDOW)
        except ValueError:
            plane = read_picture(file)
        height, width = (side // SCALE * SCALE for side in plane.shape)
        slices.append(torch.from_numpy(plane[:height, :width].copy())[None, None])
    return slices, [str(file.parent) for file in files]


def held_out(groups: list[str], share: float, seed: int) -> list[bool]:
    """Which slices are held out: whole folders, at least one and not all."""
    names = sorted(set(groups))
    if len(names) < 2:
        raise ValueError(
            f"images has {len(names)} folder with slices; 2 are needed to hold one out"
        )
    count = min(max(round(share * len(names)), 1), len(names) - 1)
    chosen = {names[i] for i in np.random.default_rng(seed).permutation(len(names))[:count]}
    return [group in chosen for group in groups]


def shrink(image: torch.Tensor) -> torch.Tensor:
    """A quarter of the sides, bicubic with antialiasing, in 0..1."""
    size = [side // SCALE for side in image.shape[2:]]
    small = F.interpolate(image, size, mode="bicubic", antialias=True, align_corners=False)
    return small.clamp(0, 1)


def patches(low, high, count: int, side: int, generator: torch.Generator):
    """Aligned patches [count, 1, side / 4, side / 4] and [count, 1, side, side]."""
    small = side // SCALE
    xs, ys = [], []
    for _ in range(count):
        k, u, v = torch.randint(0, 2**31, (3,), generator=generator).tolist()
        x, y = low[k % len(low)], high[k % len(low)]
        if min(x.shape[2:]) < small:
            raise ValueError(f"patch is {side}; a slice has {list(y.shape[2:])}")
        u, v = u % (x.shape[2] - small + 1), v % (x.shape[3] - small + 1)
        xs.append(x[..., u : u + small, v : v + small])
        ys.append(y[..., SCALE * u : SCALE * u + side, SCALE * v : SCALE * v + side])
    return torch.cat(xs), torch.cat(ys)


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
    data.add_argument("--held-out", type=float, default=0.1, help="share of folders to test on")
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
    return parser


if __name__ == "__main__":
    sys.exit(main())
