"""One writer of a folder, or of a file, at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from dsnet.console import warn
from dsnet.files import CANNOT

LOCK = ".lock"


@contextlib.contextmanager
def writing(path: Path, what: str, *, is_file: bool = False) -> Iterator[None]:
    """The right to write what a command gives, for as long as the block lasts; see `StoreLock`.

    Parameters
    ----------
    path : Path
        A folder, made where absent, and removed where nothing was written; or, with `is_file`, a
        file and what lies beside it under its name: others may be written there meanwhile.
    what : str
        What it is, as the object of "another process is writing to".
    is_file : bool

    Raises
    ------
    ValueError
        When another process holds it.
    """
    folder = path.parent if is_file else path
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = StoreLock(folder, what, f".{path.stem}{LOCK}" if is_file else LOCK)
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    try:
        yield
    finally:
        lock.release()
        if made:
            with contextlib.suppress(OSError):  # There is something in it.
                folder.rmdir()


def is_free(folder: Path) -> bool:
    """Whether there is no such folder, or nothing in it but the lock of who writes to it."""
    return not folder.is_dir() or all(path.name == LOCK for path in folder.iterdir())


class StoreLock:
    """The right to write to a store or a run's folder; it ends with its process, however that dies.

    A file system without `flock` gives none: a warning tells that nobody watches, and the writer
    goes on.

    Raises
    ------
    RuntimeError
        When another process holds it.
    """

    def __init__(self, path: Path, what: str = "the store", name: str = LOCK) -> None:
        self._file = path / name
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

    def tell(self, text: str) -> None:
        """Write into the lock's file who holds it, for those whom it keeps out."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, text.encode(), 0)

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
