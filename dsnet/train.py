"""``python -m dsnet.train``: train DSNet or a rung of its ablation; see `dsnet.training.run`."""

from __future__ import annotations

import sys

from dsnet.console import UserError, complain
from dsnet.dependencies import needed
from dsnet.devices import NoDevice, out_of_memory
from dsnet.streams import command


@command
def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    try:
        with needed("train", "training"):
            from dsnet.training.run import NotFinite, train
            from dsnet.training.settings import parse
    except ImportError as error:
        return complain("dsnet.train", error)
    settings = parse(argv)
    try:
        train(settings)
    except NotFinite as error:
        complain("dsnet.train", error)
        return 3
    except (ValueError, OSError, ImportError, NoDevice) as error:
        return complain("dsnet.train", error)
    except (RuntimeError, MemoryError) as error:
        if full := out_of_memory(error):
            return complain("dsnet.train", UserError(full))
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
