"""Binary files that cost no more than they are allowed to, whatever claims to be in them."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from typing import BinaryIO

# Kept in memory of what is pulled; the rest goes to a temporary file without a name.
_IN_MEMORY = 2**26
_CHUNK = 2**16


# Of a header. An enhanced CT of 4000 frames has 100,000 items, and takes half of these reads; an
# item takes a kilobyte or two in memory, and 8 bytes in a file.
MAX_HEADER_READS, MAX_HEADER_ITEMS = 2**20, 2**17
_ITEM_TAGS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")


class Interrupted(OSError):
    """A connection was lost, or a server is busy: what was done may be tried again.

    Attributes
    ----------
    wait : float or None
        Seconds that the server asks to wait.
    away : bool
        Whether it is the server that is not there, and not this one thing.
    """

    wait: float | None = None
    away: bool = True


class Limited(io.RawIOBase):
    """A file whose header is read within limits: bytes, reads, and items of sequences.

    Parameters
    ----------
    file : binary file
        Seekable.
    most : int
        Where reading ends, from the file's beginning.

    Raises
    ------
    ValueError
        On reading past it, or more often than a header needs.

    Attributes
    ----------
    failed : Exception or None
        Why it could not be read: pydicom tells some errors of a file as its own.
    """

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file, self._most = file, most
        self._reads = self._items = 0
        self.failed: Exception | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def read(self, size: int | None = -1) -> bytes:
        try:
            return self._read(size)
        except Exception as error:
            self.failed = error
            raise

    def _read(self, size: int | None) -> bytes:
        left = self._most - self._file.tell()
        if left <= 0:
            raise ValueError(f"more than {self._most} bytes come before the pixels")
        # Not more than there can be: a claimed length is no reason to allocate.
        wanted = left if size is None or size < 0 else min(size, left)
        parts, missing = [], wanted
        while missing and (part := self._file.read(min(missing, 2**20))):
            parts.append(part)
            missing -= len(part)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self._count(data[:4])
        return data

    def _count(self, start: bytes) -> None:
        self._reads += 1
        self._items += start in _ITEM_TAGS
        if self._reads > MAX_HEADER_READS or self._items > MAX_HEADER_ITEMS:
            raise ValueError(
                f"its header has more than {MAX_HEADER_ITEMS} items, or {MAX_HEADER_READS} values"
            )


class Pulled(io.RawIOBase):
    """A file that is seekable although its bytes come one after the other.

    Parameters
    ----------
    pull : callable
        Takes a number, gives at most about as many bytes, and b"" at the end.
    most : int
        Bytes that may come.
    close : callable, optional
        Called once the file is closed.

    Raises
    ------
    ValueError
        On reading, when more come.
    """

    def __init__(
        self,
        pull: Callable[[int], bytes],
        most: int,
        close: Callable[[], object] | None = None,
    ) -> None:
        self._pull, self._most, self._close = pull, most, close
        self._at = self._have = 0
        self._all = False
        self._kept = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            self._fetch(self._most + 1)
        self._at = max(0, offset + (0, self._at, self._have)[whence])
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        self._fetch(self._most + 1 if size is None or size < 0 else self._at + size)
        if self._at >= self._have:
            return b""
        self._kept.seek(self._at)
        data = self._kept.read(self._have - self._at if size is None or size < 0 else size)
        self._at += len(data)
        return data

    def close(self) -> None:
        if not self.closed:
            self._kept.close()
            if self._close is not None:
                self._close()
        super().close()

    def _fetch(self, until: int) -> None:
        while self._have < until and not self._all:
            data = self._pull(_CHUNK)
            if not data:
                self._all = True
                return
            if self._have + len(data) > self._most:
                raise ValueError(f"it holds more than the {self._most} bytes allowed")
            self._kept.seek(self._have)
            self._kept.write(data)
            self._have += len(data)
