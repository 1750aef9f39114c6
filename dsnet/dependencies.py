"""Packages that labelling does without, and the extra of dsnet that brings each.

They are imported inside ``with needed(...)`` and nowhere else in a bare `try`, so that a missing
one is always told in the same words, with its remedy.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

# As pyproject.toml has them, by the names that they are imported by.
TRAIN = ("torch", "triton", "tensorboard")
EXTRAS = {
    "train": TRAIN,
    "dicom": ("pydicom",),
    "evaluate": (*TRAIN, "monai"),
    "export": (*TRAIN, "onnx", "onnxscript"),
}
NAMES = {
    "monai": "MONAI",
    "onnx": "ONNX",
    "tensorboard": "TensorBoard",
    "torch": "PyTorch",
    "triton": "Triton",
}


class MissingDependency(ImportError):
    """A package is not installed that an extra of dsnet brings.

    Parameters
    ----------
    what : str
        What cannot be done without it.
    package : str
        The name that it is imported by.
    extra : str
        One of `EXTRAS`.
    """

    def __init__(self, what: str, package: str, extra: str) -> None:
        name = NAMES.get(package, package)
        super().__init__(f"{what} needs {name}: pip install 'dsnet[{extra}]'", name=package)
        self.package, self.extra = package, extra


@contextlib.contextmanager
def needed(extra: str, what: str, *, command: str | None = None) -> Iterator[None]:
    """The imports inside are of packages that `extra` brings.

    Parameters
    ----------
    extra : str
        One of `EXTRAS`.
    what : str
        What needs them, as the subject of the sentence that tells of a missing one.
    command : str, optional
        Module of the command whose file begins with these imports. Where it is the program that
        runs, a missing package is told on one line, and the process ends with exit code 2.

    Raises
    ------
    MissingDependency
        When one of the extra's packages is not installed. Any other failure to import stays as
        it is: a package that is there and broken is not mended by installing it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name not in EXTRAS[extra]:
            raise
        missing = MissingDependency(what, error.name, extra)
        program = getattr(sys.modules.get("__main__"), "__spec__", None)
        if command is None or program is None or program.name != command:
            raise missing from error
        print(f"{command}: {missing}", file=sys.stderr)
        sys.exit(2)
