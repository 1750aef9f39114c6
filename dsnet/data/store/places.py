"""Where a store's files lie: in a folder, or at an address, from where they are only read."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import tempfile
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from dsnet.data.remote import RemoteFile, place_of
from dsnet.files import require_regular

Place: TypeAlias = Path | RemoteFile
# As whoever opens a store names it.
StorePath: TypeAlias = str | os.PathLike | RemoteFile

# Of a store's file that is read whole: shards end at a quarter of it.
MOST_BYTES = 2**31
# Up to here a shard of which many row groups are read is fetched at once: each range costs a wait.
WHOLE_BYTES = 2**26
# Asked for at a time of a file that is gone through.
_BLOCK = 2**23


def store_place(path: StorePath) -> Place:
    """The folder of a store, or its address."""
    return place_of(path if isinstance(path, RemoteFile) else os.fspath(path))


def given_up(error: Exception) -> OSError:
    """What a run at an address ends with that was not reached for minutes."""
    return OSError(f"{error}; the store there is whole, and resume goes on")


def path_text(place: Place) -> str:
    """What another process finds a place by: secrets of an address are in it."""
    return place.address if isinstance(place, RemoteFile) else os.fspath(place.absolute())


def folder_of(path: StorePath, what: str) -> Path:
    """The folder of a store that something is written into.

    Raises
    ------
    ValueError
        Of an address; `what` is what cannot be done there.
    """
    place = store_place(path)
    if isinstance(place, RemoteFile):
        raise ValueError(
            f"store must be a folder to {what}, got {place}: `python -m dsnet.label push STORE "
            "ADDRESS` copies one there"
        )
    return place


def names(place: Place) -> list[str]:
    """What is in a folder; nothing where there is none."""
    if isinstance(place, RemoteFile):
        return list(place.sizes())
    try:
        return os.listdir(place)
    except FileNotFoundError:
        return []


def sizes(place: Place) -> dict[str, int]:
    """Bytes of what is in a folder, by name; nothing where there is none."""
    if isinstance(place, RemoteFile):
        return place.sizes()
    found = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(place) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # A writer renames and removes.
                found[entry.name] = entry.stat().st_size
    return found


def size_of(file: Place) -> int | None:
    """Bytes of a file; None where there is none."""
    if isinstance(file, RemoteFile):
        return file.size()
    return file.stat().st_size if file.exists() else None


def read_whole(file: Place) -> bytes | None:
    """A file's bytes; None where there is none."""
    if isinstance(file, RemoteFile):
        return file.whole(MOST_BYTES)
    try:
        require_regular(file)
        return file.read_bytes()
    except FileNotFoundError:
        return None


def opened_binary(file: Place) -> BinaryIO:
    """A file, open for reading."""
    if isinstance(file, RemoteFile):
        return io.BufferedReader(_Ranges(file), _BLOCK)
    require_regular(file)
    return open(file, "rb")


def arrow_source(file: Place) -> Any:
    """A file as pyarrow reads it, a context manager."""
    import pyarrow as pa

    if isinstance(file, RemoteFile):
        return pa.PythonFile(_Ranges(file), mode="r")
    require_regular(file)
    # In bytes: pyarrow takes a name with a colon for a URL, and names must be UTF-8.
    return pa.OSFile(os.fsencode(file))


def whole_source(file: Place, most: int = WHOLE_BYTES) -> Any:
    """As `arrow_source`; of an address fetched at once, unless it is of more than `most` bytes."""
    import pyarrow as pa

    if isinstance(file, RemoteFile) and (file.size() or 0) <= most:
        data = file.whole(MOST_BYTES)
        if data is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))
        return pa.BufferReader(data)
    return arrow_source(file)


_copies: dict[tuple[RemoteFile, str], tempfile.TemporaryDirectory] = {}


def local_copy(place: Place, subfolder: str, fresh: bool = False) -> Path:
    """A folder that has a store's `subfolder`; of an address a copy, made anew where `fresh`."""
    if not isinstance(place, RemoteFile):
        return place
    if fresh or (place, subfolder) not in _copies:
        _copies[place, subfolder] = _fetched(place, subfolder)
    return Path(_copies[place, subfolder].name)


def _fetched(place: RemoteFile, subfolder: str) -> tempfile.TemporaryDirectory:
    copy = tempfile.TemporaryDirectory(prefix="dsnet-")
    folder = Path(copy.name, subfolder)
    for name in (place / subfolder).sizes():
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes((place / subfolder / name).read(MOST_BYTES))
    return copy


class _Ranges(io.RawIOBase):
    """A file at an address, of which ranges are asked for as they are wanted."""

    def __init__(self, file: RemoteFile) -> None:
        size = file.size()
        if size is None:
            raise FileNotFoundError(2, os.strerror(2), str(file))
        self._file, self._size, self._at = file, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def size(self) -> int:
        return self._size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(start + offset, 0)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        end = self._size if size is None or size < 0 else min(self._at + size, self._size)
        if end <= self._at:
            return b""
        data = self._file.range(self._at, end)
        self._at = end
        return data

    def readinto(self, buffer) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
