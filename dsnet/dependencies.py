"""Packages that labelling does without, and the extra of dsnet that brings each.

They are imported inside ``with needed(...)`` and nowhere else in a bare `try`, so that a missing
one is always told in the same words, with its remedy.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

# As pyproject.toml has them, by the names that they are imported by.
TRAIN = ("torch", "triton", "tensorboard", "safetensors")
DICOM = ("pydicom", "highdicom", "pylibjpeg", "pyjpegls")
EXTRAS = {
    "train": TRAIN,
    "dicom": DICOM,
    "dicomweb": (*DICOM, "httpx"),
    "remote": ("fsspec", "aiohttp"),
    "evaluate": (*TRAIN, "monai"),
    "export": (*TRAIN, "onnx", "onnxscript"),
    "review": ("h11", "starlette", "uvicorn"),
    "peers": (*TRAIN, "monai", "einops"),
    "ray": ("ray",),
    "smp": (*TRAIN, "segmentation_models_pytorch"),
}
NAMES = {
    "monai": "MONAI",
    "starlette": "Starlette",
    "uvicorn": "Uvicorn",
    "ray": "Ray",
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
def needed(extra: str, what: str) -> Iterator[None]:
    """The imports inside need packages that `extra` brings.

    Parameters
    ----------
    extra : str
        One of `EXTRAS`.
    what : str
        What needs them, as the subject of the sentence that tells of a missing one.

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
        raise MissingDependency(what, error.name, extra) from error
