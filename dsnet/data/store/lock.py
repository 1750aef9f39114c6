"""One writer of a folder at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from dsnet.console import warn
from dsnet.files import CANNOT

LOCK = ".lock"


class StoreLock:
    """The right to write to a store or a run's folder; it ends with its process, however that dies.

    A file system without `flock` gives none: a warning tells that nobody watches, and the writer
    goes on.

    Raises
    ------
    RuntimeError
        When another process holds it.
    """

    def __init__(self, path: Path, what: str = "the store") -> None:
        self._file = path / LOCK
        self._descriptor: int | None = None
        while self._descriptor is None:
            self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._close()
                raise RuntimeError(f"another process is writing to {what} {path}") from None
            except OSError as error:
                if error.errno not in CANNOT:
                    self._close()
                    raise
                warn(
                    f"{path}: the file system has no locks ({error.strerror}): let no two runs"
                    f" write to {what} at a time"
                )
                return
            if not self._named():
                self._close()

    @property
    def held(self) -> bool:
        """Whether it was not released yet."""
        return self._descriptor is not None

    def release(self) -> None:
        """Let the next one write, and leave no file; a second call does nothing."""
        if self._descriptor is not None:
            self._file.unlink(missing_ok=True)
            self._close()

    def _named(self) -> bool:
        """Whether what was locked is still the file of that name: its last holder removes it."""
        try:
            return os.path.samestat(os.fstat(self._descriptor or 0), os.stat(self._file))
        except FileNotFoundError:
            return False

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
