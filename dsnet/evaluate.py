"""``python -m dsnet.evaluate``: score trained networks, see `dsnet.evaluation`.

python -m dsnet.evaluate runs/dsnet
python -m dsnet.evaluate runs/unet runs/dsnet --out comparison
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dsnet import devices
from dsnet.arguments import Range, given
from dsnet.console import Bar, UserError, complain, printable, require_no_file
from dsnet.dependencies import needed
from dsnet.streams import command

NUMBERS = {
    "cases": Range(int, 1, 1000),
    "threads": Range(int, 0, 65536),
    "batch": Range(int, 0, 65536),
    "tolerance": Range(float, 0, 10**6),
}


@command
def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    try:
        from dsnet.data.store.lock import writing

        with needed("evaluate", "scoring"):
            from dsnet.evaluation.report import FILES, show, write
            from dsnet.evaluation.score import evaluate
    except ImportError as error:
        return complain("dsnet.evaluate", error)
    options = _parser().parse_args(argv)
    out = Path(options.out) if options.out else _folder(Path(options.runs[0])) / "evaluation"
    try:
        for name, allowed in NUMBERS.items():
            allowed.check(f"--{name}", getattr(options, name))
        require_no_file(out, "--out")
        devices.use_threads(options.threads)
        with writing(out, "the folder"):
            with Bar(on_stderr=True) as bar:
                rows = evaluate(
                    options.runs,
                    data=options.data,
                    part=options.part,
                    split=options.split,
                    reviewed=options.reviewed,
                    model=options.model,
                    complete=options.folds,
                    device=options.device,
                    precision=options.precision,
                    batch=options.batch,
                    threshold=options.threshold,
                    against=options.against,
                    surface=options.surface,
                    tolerance=options.tolerance,
                    flips=options.flips,
                    on_progress=bar.show,
                )
            write(rows, out, options.cases, options.against)
    except (ValueError, OSError, ImportError, devices.NoDevice) as error:
        return complain("dsnet.evaluate", error)
    except (RuntimeError, MemoryError) as error:
        if full := devices.out_of_memory(error):
            return complain("dsnet.evaluate", UserError(full))
        raise
    show(rows, options.against)
    print(printable(f"{FILES} are in {out}"))
    return 0


def _folder(run: Path) -> Path:
    return run if run.is_dir() else run.parent


def _parser() -> argparse.ArgumentParser:
    from dsnet.data.store.reviewed import CHOICES
    from dsnet.evaluation.runs import PARTS
    from dsnet.evaluation.score import BATCH
    from dsnet.training.step import PRECISIONS

    parser = argparse.ArgumentParser(
        prog="python -m dsnet.evaluate",
        description="Score networks that dsnet.train trained, on the cases that they held out.",
        epilog="examples:\n"
        "  python -m dsnet.evaluate runs/dsnet\n"
        "  python -m dsnet.evaluate runs/unet runs/dsnet --out comparison\n"
        "  all folds of a cross-validation, pooled into one row:\n"
        "    python -m dsnet.evaluate --folds runs/fold-0 runs/fold-1 runs/fold-2 runs/fold-3\n"
        "  three seeds of two networks, with the interval of their difference:\n"
        "    python -m dsnet.evaluate runs/unet-0 runs/unet-1 runs/unet-2 "
        "runs/dsnet-0 runs/dsnet-1 runs/dsnet-2\n"
        "  on another hospital's store:\n"
        "    python -m dsnet.evaluate runs/dsnet --data other --out other-hospital\n"
        "  a model file alone, on the cases that its training held out:\n"
        "    python -m dsnet.evaluate dsnet.pt --data store --split split.json\n"
        "  released weights, on a store of patients that they did not learn from:\n"
        "    python -m dsnet.evaluate dsnet-lidc --data store --part all\n\n"
        "Runs that differ in --seed alone are one row, and so are the folds of a "
        "cross-validation.\nEvery other row is compared with the first one, case by case.\n"
        "table.md, .csv and .json hold the means, cases.csv every case, figure.png a comparison.\n"
        "exit codes: 0 done, 2 wrong use.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "runs",
        type=given,
        nargs="+",
        metavar="RUN",
        help="folder that dsnet.train wrote, a model file, or a name of released weights",
    )
    what = parser.add_argument_group("what to score")
    what.add_argument(
        "--data",
        type=given,
        metavar="STORE",
        help="label store in place of the run's: moved, or another's",
    )
    what.add_argument("--part", default="test", choices=PARTS, help="of the run's split (test)")
    what.add_argument(
        "--reviewed", choices=tuple(CHOICES),
        help="which labels by the verdicts of dsnet.review, as label export has it (the run's)",
    )  # fmt: skip
    what.add_argument(
        "--split", type=given, metavar="FILE", help="split.json for a model file without one"
    )
    what.add_argument(
        "--folds", action="store_true", help="the runs must be all folds of a cross-validation"
    )
    what.add_argument(
        "--model", default="best", choices=("best", "last"), help="which file of a folder (best)"
    )
    what.add_argument(
        "--threshold", type=Range(float, above=0, most=1), metavar="X",
        help="from where on a pixel is lesion (what each model's file says)",
    )  # fmt: skip
    what.add_argument(
        "--against", type=given, metavar="NAME", help="row to compare with (the first)"
    )
    what.add_argument(
        "--no-surface", dest="surface", action="store_false",
        help="leave out HD95 and surface Dice, which need MONAI",
    )  # fmt: skip
    what.add_argument(
        "--tolerance", type=float, default=1.0, metavar="PX", help="of the surface Dice (1)"
    )
    run = parser.add_argument_group("run")
    run.add_argument(
        "--out", type=given, metavar="DIR", help="folder of the results (RUN/evaluation)"
    )
    run.add_argument("--cases", type=int, default=6, metavar="N", help="rows of the figure (6)")
    run.add_argument(
        "--batch", type=int, default=0, metavar="N",
        help=f"crops at once ({BATCH['cpu']} on a CPU, {BATCH['cuda']} on a GPU)",
    )  # fmt: skip
    run.add_argument(
        "--flips", action="store_true",
        help="mean over each crop's eight mirror images: eight times as long",
    )  # fmt: skip
    run.add_argument(
        "--device", type=given, default="auto", metavar="NAME", help=f"{devices.HELP} (auto)"
    )
    run.add_argument(
        "--precision", default="fp32", choices=tuple(PRECISIONS), help="autocast (fp32)"
    )
    run.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads")
    return parser


if __name__ == "__main__":
    sys.exit(main())
