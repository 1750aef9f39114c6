"""``python -m dsnet.train_sr``: train the SR teacher on CT slices; see `dsnet.training.sr`.

Folders given by ``--images`` are searched for 16-bit PNG slices with HU + 32768 (DeepLesion's);
8-bit ones are taken as windowed already. Without ``--images``: phantoms.
"""

from __future__ import annotations

import argparse
import sys

from dsnet import devices
from dsnet.arguments import given
from dsnet.console import UserError, complain
from dsnet.dependencies import needed
from dsnet.streams import command


@command
def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(argv)
    try:
        with needed("train", "training"):
            from dsnet.training.sr import SRSettings, train_sr

        train_sr(SRSettings(**vars(options)))
    except (ValueError, OSError, ImportError, devices.NoDevice) as error:
        return complain("dsnet.train_sr", error)
    except (RuntimeError, MemoryError) as error:
        if full := devices.out_of_memory(error):
            return complain("dsnet.train_sr", UserError(full))
        raise
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dsnet.train_sr",
        description="Train DSNet's SR teacher on CT slices, 128 to 512 pixels.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    data = parser.add_argument_group("data")
    data.add_argument("--images", type=given, nargs="*", default=[], help="folders with PNG slices")
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
    recipe.add_argument(
        "--vgg",
        type=given,
        default=argparse.SUPPRESS,
        help="VGG19 weights, for the perceptual loss",
    )
    recipe.add_argument("--seed", type=int, default=0, help="of everything random")
    run = parser.add_argument_group("run")
    run.add_argument("--out", type=given, default="runs/teacher.pt", help="file of the teacher")
    run.add_argument("--log-every", type=int, default=100, help="steps between lines and saves")
    run.add_argument("--device", type=given, default="auto", help=devices.HELP)
    run.add_argument("--resume", action="store_true", help="go on with the training at --out")
    return parser


if __name__ == "__main__":
    sys.exit(main())
