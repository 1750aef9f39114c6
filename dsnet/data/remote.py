"""Files at addresses (s3://, https://, memory://, ...), by what fsspec knows; the extra `remote`.

A network fails now and then: what may be mended by trying again is tried again, and what is left
after that is told with the address, without the password that it may have.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from dsnet.dependencies import MissingDependency, needed
from dsnet.files import write_bytes

# Waits of 1, 2 and 4 seconds: a server's or a bucket's hiccup is over by then.
TRIES = 4
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0
# Of a run that would end: it waits for three minutes.
PATIENT_TRIES = 11
# What is so now will be so in a second.
_LASTING = (
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
    ImportError,
    NotImplementedError,
    TypeError,
    ValueError,
)
# Of botocore, which is not imported here.
_LASTING_NAMES = ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound")
# Of HTTP: too slow, and too many requests.
_PASSING_STATUS = (408, 425, 429)


class NotAllowed(RuntimeError):
    """Nobody may try: what a `RemoteFile` is not to be used for any more."""


class Unreachable(ValueError):
    """What is at an address could not be read or written."""


def is_address(place: object) -> bool:
    """Whether this is an address rather than a path: a name, then ://."""
    return isinstance(place, RemoteFile) or (
        isinstance(place, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", place) is not None
    )


def place_of(place: str | Path | RemoteFile) -> Path | RemoteFile:
    """A file or folder, here or at an address."""
    if isinstance(place, RemoteFile):
        return place
    return RemoteFile(str(place)) if is_address(place) else Path(place)


def check_place(place: str, check: Callable[[str], object]) -> None:
    """Call `check` with a path; of an address, see whether it can be used.

    Raises
    ------
    MissingDependency, ValueError
        As `RemoteFile.check`.
    """
    if is_address(place):
        RemoteFile(place).check()
    else:
        check(place)


def is_file(place: Path | RemoteFile) -> bool:
    """Whether a file is there."""
    # Path's is_file raises where a name is too long.
    return os.path.isfile(place) if isinstance(place, Path) else place.is_file()


class RemoteFile:
    """A file or a folder at an address, by the names that paths have.

    Parameters
    ----------
    address : str
        PROTOCOL://PLACE, as fsspec reads it.
    tries : int
        How often what may be mended by trying again is tried.
    allowed : callable, optional
        Called before each try; `NotAllowed` ends them.
    """

    def __init__(
        self, address: str, tries: int = TRIES, allowed: Callable[[], object] | None = None
    ) -> None:
        self.address = address.rstrip("/")
        self.tries, self.allowed = tries, allowed

    def __str__(self) -> str:
        """The address as it may be shown and stored: without user, password and signature."""
        shown = re.sub(r"://[^/@]*@", "://", self.address)
        return shown.partition("?")[0] if shown.startswith("http") else shown

    def __repr__(self) -> str:
        return f"RemoteFile({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteFile) and other.address == self.address

    def __hash__(self) -> int:
        return hash(self.address)

    def __truediv__(self, name: str) -> RemoteFile:
        return RemoteFile(f"{self.address}/{name}", self.tries, self.allowed) if name else self

    @property
    def name(self) -> str:
        """What comes after the last /."""
        return self.address.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The ending of its name, with the dot."""
        return Path(self.name).suffix

    def with_name(self, name: str) -> RemoteFile:
        """Another file beside it."""
        folder = self.address.rpartition("/")[0]
        return RemoteFile(f"{folder}/{name}", self.tries, self.allowed)

    def is_file(self) -> bool:
        """Whether there is such a file.

        Raises
        ------
        ValueError
            When that cannot be found out.
        """
        return self._info() is not None

    def check(self) -> None:
        """Ask for nothing, but that the address can be used.

        Raises
        ------
        MissingDependency
            When fsspec, or what it needs for this protocol, is not installed.
        ValueError
            When the protocol is none that it knows.
        """
        self._system()

    def read(self, most: int, first: int | None = None) -> bytes:
        """All bytes of a file of at most `most` bytes, or its `first` ones alone.

        Raises
        ------
        ValueError
            When there is none, it is larger, or it cannot be read, after several tries; the message
            has the address.
        """
        wanted = most + 1 if first is None else first

        def read(system, path: str) -> bytes:
            # A folder of an object store is a name that others begin with.
            return system.cat_file(path, start=0, end=wanted)

        data = self._tried(read)
        if first is None and len(data) > most:
            raise ValueError(f"{self}: must be of at most {most} bytes")
        return data if first is None else data[:first]

    def range(self, begin: int, end: int) -> bytes:
        """The bytes of a file from `begin` to `end` (excluded); raises as `read`."""

        def read(system, path: str) -> bytes:
            data = system.cat_file(path, start=begin, end=end)
            if len(data) != end - begin:
                raise OSError(f"{len(data)} bytes came of {end - begin}")
            return data

        return self._tried(read)

    def whole(self, most: int) -> bytes | None:
        """All bytes that a file has at a moment; None where there is none. Raises as `read`."""

        wait, data, size = FIRST_WAIT, b"", 0
        for left in reversed(range(self.tries)):
            self.forget()
            if (size := self.size()) is None:
                return None
            if size > most:
                raise ValueError(f"{self}: must be of at most {most} bytes")
            # One more is asked for: another file may have come into its place.
            data = self.read(most, size + 1)
            if len(data) == size:
                return data
            if left:
                time.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT)
        error = OSError(f"{len(data)} bytes came of {size}")
        raise Unreachable(self._told(error, self.tries))

    def size(self) -> int | None:
        """Bytes of the file; None where there is none; ValueError where that cannot be told."""
        found = self._info()
        if found is not None and found.get("size") is None:
            raise ValueError(f"{self}: its size is not told")
        return None if found is None else int(found["size"])

    def _info(self) -> dict | None:
        """What is told of the file; None where there is none."""
        return self._tried(_info)

    def sizes(self) -> dict[str, int]:
        """Bytes of each file of a folder, by name; none where there is no folder."""

        def sizes(system, path: str) -> dict[str, int]:
            system.invalidate_cache()
            try:
                found = system.ls(path, detail=True)
            except FileNotFoundError as error:
                if _hidden(error) is not None:
                    raise
                return {}
            sized = {}
            for one in found:
                # An empty object of the folder's own name, which consoles make, is none in it.
                if one["type"] == "file" and one["name"].rstrip("/") != path.rstrip("/"):
                    # A page that lists files tells of no sizes.
                    size = one["size"] if one["size"] is not None else system.size(one["name"])
                    sized[one["name"].rstrip("/").rpartition("/")[2]] = int(size or 0)
            return sized

        return self._tried(sizes)

    def write(self, data: bytes) -> None:
        """Put a file in the place of what is there, whole or not at all; raises as `read`."""

        def write(system, path: str) -> None:
            if "file" in _protocols(system):
                write_bytes(path, data)
            else:
                system.pipe_file(path, data)

        self._tried(write)

    def create(self, data: bytes) -> bool:
        """Put a file where there is none; raises as `read`.

        Where the storage cannot tell (fsspec's `mode="create"`; S3, Google and Azure can), two that
        do so at a time may both be told that they did.

        Returns
        -------
        bool
            Whether what is there now is `data`, as it is after a try whose answer got lost.
        """

        def create(system, path: str) -> bool:
            try:
                if "file" in _protocols(system):
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    with open(path, "xb") as file:
                        file.write(data)
                else:
                    _create(system, path, data)
            except FileExistsError:
                pass
            try:
                return system.cat_file(path) == data
            except FileNotFoundError:  # Removed meanwhile.
                return False

        return self._tried(create)

    def copy(self, to: RemoteFile) -> None:
        """Put this file in the place of another one of its folder, whole or not at all.

        Done by the storage, where it can. Raises as `read`; a second call does no harm.
        """

        def copy(system, path: str) -> None:
            there = to._system()[1]
            if "file" in _protocols(system):
                with open(path, "rb") as file:
                    write_bytes(there, file.read())
                return
            try:
                system.cp_file(path, there)
            except NotImplementedError:
                system.pipe_file(there, system.cat_file(path))
            system.invalidate_cache()

        self._tried(copy)

    def forget(self) -> None:
        """Let what was listed be asked for again: others may have written there."""
        self._system()[0].invalidate_cache()

    def remove(self) -> None:
        """Remove a file, if it is there; raises as `read`."""

        def remove(system, path: str) -> None:
            with contextlib.suppress(FileNotFoundError):
                system.rm_file(path)

        self._tried(remove)

    def _system(self):
        """The file system that it is on, and its path there."""
        with needed("remote", f"reading {self.address.partition('://')[0]}://"):
            from fsspec.core import url_to_fs
        try:
            return url_to_fs(self.address)
        except ImportError as error:
            raise ValueError(f"{self}: {error}") from error
        except ValueError as error:
            raise ValueError(f"{self}: cannot be read: {error}") from error

    def _tried(self, what):
        """What `what` gives of the file system and the path."""
        wait = FIRST_WAIT
        for left in reversed(range(self.tries)):
            try:
                if self.allowed is not None:
                    self.allowed()
                return what(*self._system())
            except (MissingDependency, NotAllowed):
                raise
            except Exception as error:
                error = _hidden(error) or error
                if not left or not _may_pass(error):
                    raise Unreachable(self._told(error, self.tries - left)) from error
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)
        raise AssertionError("unreachable")

    def _told(self, error: Exception, tries: int) -> str:
        text = " ".join(str(error).split()).replace(self.address, str(self))
        if isinstance(error, FileNotFoundError):
            # s3fs tells of a bucket that is not there likewise.
            return f"{self}: {text if 'bucket does not exist' in text else 'No such file'}"
        told = text if isinstance(error, ValueError) and text else type(error).__name__
        if text and told != text:
            told = f"{told}: {text}"
        begin = "" if told.startswith(f"{self}: ") else f"{self}: "
        return f"{begin}{told}" + (f" (tried {tries} times)" if tries > 1 else "")


def _hidden(error: Exception) -> Exception | None:
    """What a server said, where fsspec makes "no such file" of it; None where there is none."""
    cause = error.__cause__ if isinstance(error, FileNotFoundError) else None
    if not isinstance(cause, Exception):
        return None
    if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError):
        return cause
    status = getattr(cause, "status", None)  # Of HTTP: 404 and 410 say that there is none.
    told = isinstance(status, int) and status not in (404, 410)
    return cause if told and isinstance(cause, Exception) else None


def _info(system, path: str) -> dict | None:
    """What is told of a file; None where there is none."""
    # Not isfile, to which whatever fails is no file.
    try:
        found = system.info(path)
    except FileNotFoundError as error:
        if _hidden(error) is not None:
            raise
        return None
    return found if found["type"] == "file" else None


def _create(system, path: str, data: bytes) -> None:
    """Put a file; FileExistsError where one is there."""
    try:
        system.pipe_file(path, data, mode="create")
    except TypeError as error:  # fsspec before 2024.10.
        if system.exists(path):
            raise FileExistsError from error
        system.pipe_file(path, data)


def _protocols(system) -> tuple[str, ...]:
    return (system.protocol,) if isinstance(system.protocol, str) else tuple(system.protocol)


def _may_pass(error: Exception) -> bool:
    """Whether another try may go better."""
    if isinstance(error, _LASTING) or type(error).__name__ in _LASTING_NAMES:
        return False
    status = getattr(error, "status", None)
    return not (isinstance(status, int) and 400 <= status < 500 and status not in _PASSING_STATUS)
