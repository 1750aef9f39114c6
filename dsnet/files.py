"""Files and folders that are there whole or not at all, however the process ends.

Public
------
``write_atomically(path, write)``: `write(temporary)`, synced and renamed
``write_bytes(path, data)``, ``write_text(path, text)``, ``write_json(path, content)``,
    ``write_png(path, pixels)``: the same
``encode_png(pixels) -> bytes``
``build_folder(out, write)``: `write(building)`, renamed
``sync(path)``: a file's content, or a folder's names, are on disk
``clear_left_overs(folder)``: what killed processes left unfinished there
``table_cell(value)``: what may go into a table that people open in a spreadsheet
``require_regular(path)``: a pipe would be waited for, a device read for ever
``telling(path)``: an error that names no file, as of a full disk, names this one
``TEMPORARY``: how the names of unfinished files begin
``CANNOT``: numbers of the errors by which a file system says that it has no such thing
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import re
import shutil
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsnet.console import warn

if TYPE_CHECKING:
    import numpy as np

TEMPORARY = ".tmp-"
# Characters of the file's own name in the temporary one: no longer name than file systems take.
_KEPT = 40
_count = itertools.count()
# Of flock and fsync on network file systems and in containers. No space and no quota are none.
CANNOT = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EPERM)
# An unfinished file of another machine, whose processes cannot be asked, is left over after a day.
_LEFT_OVER_SECONDS = 24 * 3600
_cleared: set[Path] = set()
_clearing = threading.Lock()
_warned: set[str] = set()


def write_atomically(path: str | os.PathLike, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, then put it in the place of `path`.

    Killed at any moment, `path` is the old file or the new one, whole. Its folder is made where
    absent.

    Parameters
    ----------
    path : path
    write : callable
        Takes the path of a file in the same folder, and leaves it closed.

    Raises
    ------
    OSError
        When it cannot be written; it names a file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    clear_left_overs(path.parent)
    # Without the ending: DuckDB's `*.parquet` takes hidden files, too.
    mine = f"{TEMPORARY}{_process()}-{next(_count)}"
    temporary = path.with_name(f"{mine}-{path.stem[-_KEPT:]}")
    try:
        with telling(path):
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
    mounted = os.path.ismount(out)
    unfinished = f".{out.name}.tmp-"
    if out.exists() and (
        not out.is_dir()
        or any(not (mounted and name.startswith(unfinished)) for name in os.listdir(out))
    ):
        raise FileExistsError(f"out must be a new or empty folder, got {out}")
    out.parent.mkdir(parents=True, exist_ok=True)
    place = out if mounted else out.parent
    for other in _names(place, unfinished):
        if _is_left_over(other, other.name.removeprefix(unfinished)):
            shutil.rmtree(other, ignore_errors=True)
        elif mounted:  # Elsewhere the one that is done first takes the name, and the other fails.
            raise FileExistsError(f"out must be a new or empty folder, {other} is being written")
    building = place / f"{unfinished}{_process()}"
    building.mkdir()
    try:
        with telling(out):
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


@contextlib.contextmanager
def telling(path: str | os.PathLike) -> Iterator[None]:
    """Add a file's name to an OSError without one: a full disk, or a quota, says not whose."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = os.fspath(path)
        raise


def sync(path: str | os.PathLike) -> None:
    """Wait until a file's content, or the names in a folder, are on disk as they are now.

    Where the file system cannot be told to (folders on CIFS, for one) a warning says so once.
    """
    descriptor = None
    try:
        descriptor = os.open(path, os.O_RDONLY)
        with telling(path):
            os.fsync(descriptor)
    except OSError as error:
        folder = os.path.isdir(path)
        if error.errno not in (*CANNOT, *((errno.EACCES, errno.EBADF, errno.EISDIR) * folder)):
            raise
        what = "folders" if folder else "files"
        if what not in _warned:
            _warned.add(what)
            warn(
                f"{os.fspath(path)}: the file system syncs no {what} ({error.strerror}): a power"
                " failure may cost what was written last"
            )
    finally:
        if descriptor is not None:
            os.close(descriptor)


def require_regular(path: str | os.PathLike) -> None:
    """Nothing, where a file may be opened and read to its end.

    Raises
    ------
    OSError
        When there is none.
    ValueError
        When it is a folder, a pipe or a device, or a link to one.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f"{os.fspath(path)}: must be a regular file")


def clear_left_overs(folder: str | os.PathLike) -> None:
    """Remove the unfinished files of killed processes from a folder, once a process."""
    folder = Path(folder).absolute()
    with _clearing:
        if folder in _cleared:
            return
        _cleared.add(folder)
        for path in _names(folder, TEMPORARY):
            if _is_left_over(path, path.name.removeprefix(TEMPORARY)):
                path.unlink(missing_ok=True)


def table_cell(value: Any) -> Any:
    """`value`, an apostrophe before a text that a spreadsheet would take for a formula."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("=", "+", "-", "@"):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}" if value.strip() else value
    return value


def _process() -> str:
    """This process's name among those of all machines that share a folder."""
    machine = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
    return f"{machine}-{os.getpid()}"


def _names(folder: Path, start: str) -> list[Path]:
    try:
        return [folder / name for name in os.listdir(folder) if name.startswith(start)]
    except OSError:
        return []


def _is_left_over(path: Path, process: str) -> bool:
    """Whether nobody writes what `process`, as `_process` tells them, had begun."""
    found = re.match(r"(?:([0-9a-f]{8})-)?(\d+)", process)
    if found is None:
        return False
    machine, number = found.groups()
    if machine not in (None, _process().split("-")[0]):
        try:
            return time.time() - path.stat().st_mtime > _LEFT_OVER_SECONDS
        except OSError:
            return False
    if int(number) == os.getpid():
        return True
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        pass
    return False
