"""Files and folders that are there whole or not at all, however the process ends.

Public
------
``write_atomically(path, write)``: `write(temporary)`, synced and renamed
``write_bytes(path, data)``, ``write_text(path, text)``, ``write_json(path, content)``,
    ``write_png(path, pixels)``: the same
``encode_png(pixels) -> bytes``
``build_folder(out, write)``: `write(building)`, renamed
``sync(path)``: a file's content, or a folder's names, are on disk
``TEMPORARY``: how the names of unfinished files begin
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

TEMPORARY = ".tmp-"
# Characters of the file's own name in the temporary one: no longer name than file systems take.
_KEPT = 40
_count = itertools.count()


def write_atomically(path: str | os.PathLike, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, then put it in the place of `path`.

    Killed at any moment, `path` is the old file or the new one, whole. Its folder is made where
    absent.

    Parameters
    ----------
    path : path
    write : callable
        Takes the path of a file in the same folder, and leaves it closed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the ending: DuckDB's `*.parquet` takes hidden files, too.
    mine = f"{TEMPORARY}{os.getpid()}-{next(_count)}"
    temporary = path.with_name(f"{mine}-{path.stem[-_KEPT:]}")
    try:
        write(temporary)
        sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Put a file with these bytes in the place of `path`; see `write_atomically`."""
    write_atomically(path, lambda temporary: temporary.write_bytes(data))


def write_text(path: str | os.PathLike, text: str) -> None:
    """Put a file with this text, UTF-8, in the place of `path`; see `write_atomically`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike, content: object) -> None:
    """Put a JSON file in the place of `path`; see `write_atomically`."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def write_png(path: str | os.PathLike, pixels: np.ndarray) -> None:
    """Put a PNG in the place of `path`, under any ending; see `encode_png`, `write_atomically`."""
    write_bytes(path, encode_png(pixels))


def encode_png(pixels: np.ndarray) -> bytes:
    """A PNG of uint8 or uint16 [H, W], or of blue, green and red [H, W, 3].

    Raises
    ------
    OSError
        When it cannot be encoded.
    """
    import cv2

    encoded, data = cv2.imencode(".png", pixels)
    if not encoded:
        raise OSError(f"no PNG can be made of pixels {pixels.shape} of {pixels.dtype}")
    return data.tobytes()


def build_folder(out: str | os.PathLike, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary folder, then put it in the place of `out`.

    A mount point cannot be replaced: there, what was written is moved in when all is there.

    Raises
    ------
    FileExistsError
        When `out` is not a new or empty folder.
    """
    # Resolved: a symbolic link is followed, and "." has a name.
    out = Path(out).resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"out must be a new or empty folder, got {out}")
    out.parent.mkdir(parents=True, exist_ok=True)
    mounted = os.path.ismount(out)
    building = (out if mounted else out.parent) / f".{out.name}.tmp-{os.getpid()}"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    try:
        write(building)
        if mounted:
            for part in sorted(building.iterdir()):
                os.replace(part, out / part.name)
            building.rmdir()
        else:
            os.replace(building, out)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def sync(path: str | os.PathLike) -> None:
    """Wait until a file's content, or the names in a folder, are on disk as they are now."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
