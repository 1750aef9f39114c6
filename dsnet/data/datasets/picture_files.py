"""The pictures in a folder, whatever their endings' case, and a count of what was left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from dsnet.data.picture_file import PICTURE_ENDINGS


def find_picture_files(
    root: str | Path, endings: Sequence[str] = PICTURE_ENDINGS, *, deep: bool = True
) -> tuple[list[Path], Counter[str]]:
    """The files below `root` that end like pictures, sorted, and why others were left out.

    Hidden files and folders are no pictures, whatever they end in: macOS and Jupyter leave copies
    there. A link to a folder is not followed.

    Parameters
    ----------
    root : path
    endings : sequence of str
        In lower case; files may have them in any.
    deep : bool
        Whether to look into folders, too.

    Returns
    -------
    files : list of Path
    left_out : Counter
        From a reason ("hidden", "of ending .jpg", ...) to the number of files or folders.
    """
    files, left_out = [], Counter()

    def unreadable(error: OSError) -> None:
        left_out["folders that cannot be read"] += 1

    for folder, folders, names in os.walk(root, onerror=unreadable):
        left_out["hidden"] += sum(name.startswith(".") for name in [*folders, *names])
        folders[:] = [name for name in folders if not name.startswith(".")]
        left_out["links to folders"] += sum(Path(folder, name).is_symlink() for name in folders)
        if not deep:
            folders.clear()
        for name in names:
            ending = Path(name).suffix.lower()
            if name.startswith("."):
                continue
            if ending in endings:
                files.append(Path(folder, name))
            else:
                left_out[f"of ending {ending}" if ending else "without an ending"] += 1
    return sorted(files), +left_out


def by_stem(files: Iterable[Path], root: Path) -> dict[str, list[Path]]:
    """The files by their paths below `root` without the ending."""
    found: dict[str, list[Path]] = {}
    for file in files:
        found.setdefault(stem_of(file.relative_to(root)), []).append(file)
    return found


def stem_of(place: Path) -> str:
    """A path without its ending, with /."""
    return place.with_suffix("").as_posix()


def named_alike(exact: Path, others: list[Path]) -> list[Path]:
    """The picture of that very name where it is there, else those that may be meant."""
    is_there = exact.suffix.lower() in PICTURE_ENDINGS and exact.is_file()
    return [exact] if is_there else others


def readable(name: str | Path) -> str:
    """A file's name as text that can be stored: bytes that are no UTF-8 become escapes."""
    return str(name).encode("utf-8", "backslashreplace").decode()


def tell_left_out(left_out: dict[str, int]) -> str:
    """The counts in words; empty where nothing was left out."""
    return ", ".join(f"{count} {readable(why)}" for why, count in sorted(left_out.items()))
