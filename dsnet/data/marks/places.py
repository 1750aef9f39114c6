"""The files of a folder or a zip, read when they are asked for and never written."""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

from dsnet.data.marks.bounded import told
from dsnet.data.marks.record import Refused
from dsnet.data.picture_file import read_regular_file


class Load(Protocol):
    """Reads a file."""

    def __call__(self, most: int, first: int | None = None) -> bytes:
        """All of it, where it has no more than `most` bytes, or its `first` ones.

        Raises ValueError where it is larger or cannot be read.
        """
        ...


class PlaceFile(NamedTuple):
    """A file: what it is called in full, its own name, and how to read it."""

    source: str
    name: str
    load: Load


def files(place: Path, refused: Refused) -> Iterator[PlaceFile]:
    """The files of a place, in the order of their names; those that cannot be opened, told.

    Raises
    ------
    ValueError
        When there is no such place.
    """
    if place.is_dir():

        def unread(error: OSError) -> None:
            refused.append((str(error.filename), f"cannot be read: {told(error)}"))

        for folder, folders, names in os.walk(place, onerror=unread):
            folders.sort()
            for name in folders:
                if os.path.islink(linked := os.path.join(folder, name)):
                    refused.append((linked, "a link to a folder is not followed"))
            for name in sorted(names):
                path = Path(folder, name)
                if path.is_file():
                    yield from _file_or_zip(path, refused)
                else:
                    refused.append((str(path), "neither a file nor a folder, or a link to none"))
    elif place.is_file():
        yield from _file_or_zip(place, refused)
    else:
        raise ValueError(f"{place}: no such file or folder")


def _file_or_zip(path: Path, refused: Refused) -> Iterator[PlaceFile]:
    if path.suffix.lower() != ".zip":
        yield PlaceFile(str(path), path.name, _plain(path))
        return
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # zipfile raises many kinds
        refused.append((str(path), f"no zip can be read: {told(error)}"))
        return
    with archive:
        for info in sorted(archive.infolist(), key=lambda info: info.filename):
            name = info.filename.replace("\\", "/")
            source = f"{path}!{name}"
            if info.is_dir():
                continue
            if PurePosixPath(name).is_absolute() or ".." in name.split("/") or name[1:2] == ":":
                refused.append((source, "its name leads out of the zip"))
                continue
            if name.lower().endswith(".zip"):
                refused.append((source, "a zip inside of a zip is not opened"))
                continue
            yield PlaceFile(source, PurePosixPath(name).name, _member(archive, info, source))


def _plain(path: Path) -> Load:
    def load(most: int, first: int | None = None) -> bytes:
        if first is not None:
            return read_regular_file(path, sys.maxsize, first)
        return read_regular_file(path, most)

    return load


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, source: str) -> Load:
    def load(most: int, first: int | None = None) -> bytes:
        try:
            with archive.open(info) as file:
                data = file.read(most + 1 if first is None else first)
        except Exception as error:  # zipfile and its decoders raise many kinds
            raise ValueError(f"{source}: cannot be unpacked: {told(error)}") from error
        if len(data) > most:
            raise ValueError(f"{source}: must be of at most {most} bytes")
        return data

    return load
