"""Where a DeepLesion slice lies: `SERIES/KEY.png` or `SERIES_KEY.png`, also below `Images_png`."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from dsnet.data.picture_file import Picture, first_picture, open_picture
from dsnet.data.remote import RemoteFile, place_of


def find_slice(images_dir: str | Path, name: str) -> str | RemoteFile:
    """The place of a slice's file, the first of the four where there is one.

    A local one is a path in text: of a million rows no `Path` is made.

    Parameters
    ----------
    images_dir : path
        Also an address.
    name : str
        SERIES_KEY.png.

    Raises
    ------
    ValueError
        When there is none, or the name would lead out of `images_dir`.
    """
    series, inner = _parts(name)
    whole = _folders(images_dir)
    if isinstance(whole, RemoteFile):
        for more in ("", "Images_png/"):
            for place in (whole / f"{more}{inner}", whole / f"{more}{name}"):
                if place.is_file():
                    return place
    else:
        for path in _local_places(whole, inner, name):
            if os.path.isfile(path):
                return path
    wanted = inner if series else f"/{name}"
    raise ValueError(f"no image {wanted} or {name} in {place_of(images_dir)}")


def open_slice(images_dir: str | Path, name: str, max_pixels: int) -> Picture:
    """The file that `find_slice` finds, as `open_picture` opens it; raises as both."""
    whole = _folders(images_dir)
    if not isinstance(whole, RemoteFile):
        # To read is less work than to look and then read.
        picture = first_picture(_local_places(whole, _parts(name)[1], name), max_pixels)
        if picture is not None:
            return picture
    return open_picture(find_slice(images_dir, name), max_pixels)


def _parts(name: str) -> tuple[str, str]:
    """The series, and where the file lies in a folder of series."""
    series, _, slice_name = name.rpartition("_")
    elsewhere = "/" in name if os.sep == "/" else os.path.basename(name) != name
    if not name or elsewhere or name == "." or series == "..":
        raise ValueError(f"File_name must be a file's name, got {name!r}")
    return series, f"{series}/{slice_name}" if series else slice_name


def _local_places(folders: tuple[str, str], inner: str, name: str) -> tuple[str, ...]:
    if os.sep != "/" or inner.startswith("./") or inner.endswith(("/", "/.")):
        inner = str(Path(inner))  # which leaves that out
    here, below = folders
    return here + inner, here + name, below + inner, below + name


@lru_cache(8)
def _folders(images_dir: str | Path) -> RemoteFile | tuple[str, str]:
    """An address, or what the paths of local files begin with."""
    whole = place_of(images_dir)
    if isinstance(whole, RemoteFile):
        return whole
    here = "" if str(whole) == "." else os.path.join(whole, "")
    return here, os.path.join(here, "Images_png", "")
