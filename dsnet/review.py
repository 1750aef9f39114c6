"""Review a store's labels in a browser: accept, reject or mend each, the worst first.

python -m dsnet.review store
python -m dsnet.review store --sample 200 --blind --order random --readings 2
python -m dsnet.review store --report
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path
from typing import NoReturn

from dsnet.arguments import SEEDS, Range, above_zero, given
from dsnet.console import (
    UserError,
    complain,
    printable,
    require_folder,
    warn,
)
from dsnet.dependencies import MissingDependency
from dsnet.streams import command


@command
def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(argv)
    try:
        require_folder(options.store, "STORE")
        if options.out and not options.report:
            raise UserError("--out needs --report: it is the report's picture")
        return _report(options) if options.report else _serve(options)
    except (UserError, ValueError, RuntimeError, OSError, MissingDependency) as error:
        return complain("dsnet.review", error)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 128 + signal.SIGINT


def _serve(options) -> int:
    from dsnet.data.store.reader import open_store
    from dsnet.data.store.review_lock import review_lock
    from dsnet.reviewing.plan import Plan
    from dsnet.reviewing.review import Review
    from dsnet.reviewing.serving import serve

    order = options.order or ("random" if options.blind else "expected-dice")
    plan = Plan(order, options.seed, options.sample, options.blind, options.readings)
    store = open_store(options.store)
    lock = None
    if os.access(options.store, os.W_OK | os.X_OK):
        several = "several readers work through that server, at the address that it printed"
        lock = review_lock(store.path, several)
    in_main = threading.current_thread() is threading.main_thread()
    # By default it would end this process before the lock is given back.
    before = signal.signal(signal.SIGTERM, _end) if in_main else None
    try:
        review = Review(store, plan)
        if not review.count:
            told = "has no label with a picture: there is nothing to review"
            warn(f"{printable(options.store)} {told}")
        if lock is None:
            told = "cannot be written to: its labels can be looked at, and nothing can be decided"
            warn(f"{printable(options.store)} {told}")
        serve(
            review,
            host=options.host,
            port=options.port,
            token=options.token,
            reader=options.reader,
            browser=not options.no_browser,
            tell=lock.tell if lock else None,
        )
    finally:
        if lock:
            lock.release()
        if in_main:
            signal.signal(signal.SIGTERM, before)
    return 0


def _end(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _report(options) -> int:
    from dsnet.data.store.decisions import read_decisions
    from dsnet.data.store.reader import open_store
    from dsnet.data.store.verdicts import Verdicts
    from dsnet.reviewing.agreement import agreement
    from dsnet.reviewing.report import print_report, write_picture

    if options.out and Path(options.out).is_dir():
        raise UserError(f"--out must be a file, {options.out} is a folder")
    store = open_store(options.store)
    found = read_decisions(options.store)
    for told in (*found.torn, *found.damaged):
        warn(told)
    told = agreement(store, Verdicts(found.rows))
    print_report(told, str(store.path))
    out = Path(options.out or f"{store.path.resolve()}-review.png")
    if write_picture(told, out):
        print(f"look at {printable(str(out))}")
    return 1 if found.damaged else 0


def _parser() -> argparse.ArgumentParser:
    from dsnet.reviewing.catalogue import ORDERS

    parser = argparse.ArgumentParser(
        prog="python -m dsnet.review",
        description=(__doc__ or "").split("\n")[0],
        epilog="\n".join((__doc__ or "").split("\n")[2:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("store", type=given, metavar="STORE", help="folder of a label store")
    parser.add_argument(
        "--port",
        type=Range(int, 0, 65535),
        help="of the page; 0 takes a free one (default: 8477, or the next that is free)",
    )
    parser.add_argument(
        "--host",
        type=given,
        default="127.0.0.1",
        help="address to listen at (default 127.0.0.1: this machine alone); others need --token",
    )
    parser.add_argument(
        "--token",
        type=given,
        help="what the page's address must have, 16 characters or more (default: new)",
    )
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument(
        "--reader", type=given, metavar="NAME", help="who reads, until the page is told"
    )
    parser.add_argument(
        "--order", choices=ORDERS, help="of the labels (default expected-dice; of --blind random)"
    )
    parser.add_argument(
        "--sample", type=above_zero(int), metavar="N", help="only N labels, at random"
    )
    parser.add_argument("--blind", action="store_true", help="show no score")
    parser.add_argument(
        "--readings",
        type=Range(int, 1, 100),
        default=1,
        metavar="N",
        help="readers who are to decide on each label (default 1)",
    )
    parser.add_argument(
        "--seed", type=SEEDS, default=0, help="of --sample and --order random (default 0)"
    )
    parser.add_argument(
        "--report",
        action="store_true",
        help="print agreement, times and verdicts by expected Dice, and draw these; serve nothing",
    )
    parser.add_argument(
        "--out",
        type=given,
        metavar="PNG",
        help="of --report: its picture (default STORE-review.png)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
