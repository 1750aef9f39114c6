"""One server of a store's review at a time: it alone knows who has which label before them."""

from __future__ import annotations

from pathlib import Path

from dsnet.console import printable
from dsnet.data.store.lock import StoreLock

NAME = ".review.lock"
_LONGEST = 300  # bytes of what a holder tells


def review_lock(path: Path, otherwise: str) -> StoreLock:
    """The right to take decisions about a store's labels, or to change those that are there.

    Labels are labelled and merged meanwhile: that needs `StoreLock` alone.

    Parameters
    ----------
    path : Path
        The store's folder.
    otherwise : str
        What is to be done where a server holds it.

    Raises
    ------
    RuntimeError
        When another process holds it; with what that one told of itself.
    OSError
        When the folder cannot be written to.
    """
    try:
        return StoreLock(path, name=NAME)
    except RuntimeError:
        where = printable(_told(path / NAME))
        raise RuntimeError(f"{path} is being reviewed{where}: {otherwise}") from None


def _told(file: Path) -> str:
    try:
        with file.open("rb") as open_file:
            text = open_file.read(_LONGEST).decode(errors="replace").strip()
    except OSError:
        text = ""
    return text and f" at {text}"
