"""Where DICOM lies: folders, zips and DICOMDIRs; what is there, and how it is opened.

Public
------
``Found(path, size, changed, member)``: a file, or what an archive is made of
``files_below(folder) -> (iterator of Found, left out)``
``dicomdir_files(path) -> (list of Found, problems)``
``zip_members(path) -> (list of names, problems)``
``read_source(source, read)``: of a path, "ARCHIVE.zip!MEMBER" or an address
"""

from __future__ import annotations

import contextlib
import functools
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple, TypeVar, cast

from dsnet.data.dicom.header import read_header, several, told
from dsnet.data.dicom.streams import Pulled
from dsnet.data.dicom.web import is_web, root_of, web_server
from dsnet.data.picture_file import open_regular_file

DICOMDIR = "DICOMDIR"
DICOMDIR_CLASS = "1.2.840.10008.1.3.10"
# Of a member of an archive. The largest objects that are met are enhanced ones of 2 GB.
MAX_MEMBER_BYTES = 2**33
_MOST_OPEN = 8


class Found(NamedTuple):
    """A file that may hold DICOM.

    Attributes
    ----------
    path : str
    size : int
        Bytes.
    changed : int
        When, in nanoseconds.
    """

    path: str
    size: int
    changed: int


def files_below(folder: str | Path) -> tuple[Iterator[Found], Counter[str]]:
    """The regular files below a folder, in the order of their names.

    Hidden ones are left out. A link to a folder is followed once: where it leads to a folder that
    was gone through it is left out.

    Returns
    -------
    files : iterator of Found
    left_out : Counter
        From a reason to a number; complete when the iterator is at its end.
    """
    left_out: Counter[str] = Counter()

    def walk() -> Iterator[Found]:
        seen, waiting = set(), [os.fspath(folder)]
        while waiting:
            place = waiting.pop()
            try:
                state = os.stat(place)
                if (state.st_dev, state.st_ino) in seen:
                    left_out["links to folders that were gone through"] += 1
                    continue
                seen.add((state.st_dev, state.st_ino))
                with os.scandir(place) as listed:
                    items = sorted(listed, key=lambda item: item.name)
            except OSError:
                left_out["folders that cannot be read"] += 1
                continue
            folders = []
            for item in items:
                if item.name.startswith("."):
                    left_out["hidden"] += 1
                    continue
                try:
                    if item.is_dir():
                        folders.append(item.path)
                    elif item.is_file():
                        state = item.stat()
                        yield Found(item.path, state.st_size, state.st_mtime_ns)
                    else:
                        left_out["neither files nor folders"] += 1
                except OSError:
                    left_out["files that cannot be read"] += 1
            waiting += reversed(folders)

    return walk(), left_out


def is_zip(path: str | Path) -> bool:
    """Whether a regular file begins as an archive does."""
    try:
        with open_regular_file(path) as file:
            return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    except (ValueError, OSError):
        return False


def zip_members(path: str) -> tuple[list[str], list[tuple[str, str]]]:
    """The names of an archive's files, sorted, and (source, reason) of those left out.

    Raises
    ------
    ValueError
        When it is no archive that can be read.
    """
    names, problems = [], []
    state = os.stat(path)
    for info in _archive(path, state.st_mtime_ns, state.st_size).infolist():
        parts = PurePosixPath(info.filename.replace("\\", "/"))
        source = f"{path}!{info.filename}"
        if info.is_dir() or parts.name.startswith(".") or "__MACOSX" in parts.parts:
            continue
        if parts.is_absolute() or ".." in parts.parts or ":" in parts.parts[0]:
            problems.append((source, "its name leads out of the archive"))
        elif why := _unreadable(info):
            problems.append((source, why))
        else:
            names.append(info.filename)
    twice = [name for name, count in Counter(names).items() if count > 1]
    problems += [(f"{path}!{name}", "the archive has two of that name") for name in twice]
    return sorted(set(names)), problems


def dicomdir_files(path: str | Path) -> tuple[list[Found], list[tuple[str, str]]]:
    """The files that a DICOMDIR lists, sorted, and (source, reason) of those that it cannot have.

    Raises
    ------
    ValueError
        When it is no DICOMDIR; the message names the file.
    """
    path = Path(path)
    try:
        with open_regular_file(path) as file:
            header = read_header(cast(BinaryIO, file), ["SOPClassUID", "DirectoryRecordSequence"])
            records = several(header.dataset.get("DirectoryRecordSequence"))
            names = [several(record.get("ReferencedFileID")) for record in records]
    except Exception as error:
        words = told(error)
        raise ValueError(words if str(path) in words else f"{path}: {words}") from error
    root = path.parent.resolve()
    found, problems = {}, []
    for parts in names:
        parts = [str(part).strip() for part in parts]
        if not any(parts):
            continue
        listed = "\\".join(parts)
        try:
            place = _below(root, parts)
            state = os.stat(place)
            found[str(place)] = Found(str(place), state.st_size, state.st_mtime_ns)
        except (OSError, ValueError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            problems.append((str(path), f"it lists {listed!r}: {reason}"))
    return [found[name] for name in sorted(found)], problems


def _below(root: Path, parts: list[str]) -> Path:
    if any(part in ("", ".", "..") or "/" in part or "\0" in part for part in parts):
        raise ValueError("this leads out of its folder")
    place = root
    for part in parts:
        # Names are in capitals in the DICOMDIR, and copied to disks in either case.
        place /= part if (place / part).exists() else part.lower()
    if not place.resolve().is_relative_to(root):
        raise ValueError("this leads out of its folder")
    return place


def split_source(source: str) -> tuple[str, str | None]:
    """(path, None), or (archive, member) of a source "ARCHIVE!MEMBER"."""
    if "!" in source and not os.path.isfile(source):
        at = source.find("!")
        while at >= 0:
            if os.path.isfile(source[:at]):
                return source[:at], source[at + 1 :]
            at = source.find("!", at + 1)
    return source, None


T = TypeVar("T")


def read_source(
    source: str, read: Callable[[BinaryIO, int | None], T], most: int = MAX_MEMBER_BYTES
) -> T:
    """What `read(file, size)` gives of a path, a member of an archive or an address.

    The file is seekable and fetched as far as it is read; nothing is extracted. A connection that
    is lost is tried again. `size` is in bytes, None where it is not known.

    Parameters
    ----------
    source : str
        As `SliceEntry` has it.
    read : callable
    most : int
        Bytes that a server may answer with.

    Raises
    ------
    ValueError
        When it is not there, no regular file, or cannot be read; the message names it.
    """
    if is_web(source):
        server = web_server(root_of(source))

        def once() -> T:
            with server.instance(source, most) as file:
                return read(file, None)

        return server.attempts.tried(once, source)
    with _opened(source) as (file, size):
        return read(file, size)


@contextlib.contextmanager
def _opened(source: str) -> Iterator[tuple[BinaryIO, int]]:
    path, member = split_source(source)
    if member is None:
        with open_regular_file(path) as file:
            yield file, os.fstat(file.fileno()).st_size
        return
    try:
        state = os.stat(path)
        archive = _archive(path, state.st_mtime_ns, state.st_size)
        info = archive.getinfo(member)
        if why := _unreadable(info):
            raise ValueError(why)
        stream = archive.open(info)
    except Exception as error:  # zipfile raises KeyError, RuntimeError, NotImplementedError, ...
        words = told(error)
        raise ValueError(words if path in words else f"{source}: {words}") from error

    def pull(size: int) -> bytes:
        try:
            return stream.read(size)
        except Exception as error:
            raise ValueError(f"the archive is damaged: {told(error)}") from error

    with contextlib.closing(Pulled(pull, info.file_size, stream.close)) as file:
        yield cast(BinaryIO, file), info.file_size


def _unreadable(info: zipfile.ZipInfo) -> str | None:
    if info.flag_bits & 1:
        return "it is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # The others are inflated without a bound by zipfile.
        return f"it must be stored or deflated, got method {info.compress_type}"
    if info.file_size > MAX_MEMBER_BYTES:
        return f"it must be of at most {MAX_MEMBER_BYTES} bytes, got {info.file_size}"
    return None


@functools.lru_cache(maxsize=_MOST_OPEN)
def _archive(path: str, changed: int, size: int) -> zipfile.ZipFile:
    """An archive, its directory read once as long as the file stays as it is."""
    try:
        return zipfile.ZipFile(open_regular_file(path))
    except Exception as error:
        words = told(error)
        raise ValueError(words if path in words else f"{path}: {words}") from error
