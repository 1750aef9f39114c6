"""The weights that come with the package: their names, and where their files are.

Public
------
``names() -> tuple of str``, ``is_name(text) -> bool``
``path_of(name) -> Path``: its file, there or not; ``installed(name)``: its file, which is there
``located(path) -> Path``: of what may be a path or a name
``FOLDER``: theirs, with `checksums.json` and the model card, `README.md`
"""

from __future__ import annotations

import os
from pathlib import Path

from dsnet.models.weights_file import SUFFIX

FOLDER = Path(__file__).parent / "weights"
# What each is stands in the model card.
NAMES = ("dsnet-lidc", "dsnet-lidc-mark", "dsnet-lidc-sr")


def names() -> tuple[str, ...]:
    """Of the released weights."""
    return NAMES


def is_name(text: str | os.PathLike) -> bool:
    """Whether released weights are called so."""
    return os.fspath(text) in NAMES


def path_of(name: str) -> Path:
    """The file of released weights, which a checkout may lack.

    Raises
    ------
    ValueError
        For no name of any.
    """
    if name not in NAMES:
        raise ValueError(f"name must be one of {', '.join(NAMES)}, got {name!r}")
    return FOLDER / f"{name}{SUFFIX}"


def installed(name: str) -> Path:
    """The file of released weights.

    Raises
    ------
    ValueError
        For no name of any.
    FileNotFoundError
        Where it does not come with this installation.
    """
    file = path_of(name)
    if not file.is_file():
        raise FileNotFoundError(f"the weights {name} do not come with this dsnet: no {file}")
    return file


def located(path: str | os.PathLike) -> Path:
    """The file that is meant by a path or a name.

    What lies at the path outranks the name: a file or folder of the user's is never passed over.

    Raises
    ------
    FileNotFoundError
        Where nothing lies at the path and it is no name, or that name's file is not installed.
    """
    if os.path.lexists(path):
        return Path(path)
    if is_name(path):
        return installed(os.fspath(path))
    raise FileNotFoundError(
        f"path must be a model file of dsnet or one of {', '.join(NAMES)}, there is none at "
        f"{os.fspath(path)}"
    )
