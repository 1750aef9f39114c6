"""Tables of Parquet, a file or a folder of them, as the text of a CSV file of the same rows."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from dsnet.data.lines import HELD_BYTES, MOST_BYTES, HeldText, Text, TextOnDisk, open_text
from dsnet.data.remote import RemoteFile, place_of

ENDINGS = (".parquet", ".parq", ".pq")
# The second of files whose footer is encrypted.
_MAGIC = (b"PAR1", b"PARE")


def is_parquet(name: Path | RemoteFile, text: Text) -> bool:
    """Whether a file is, or should be, Parquet: by its first bytes, else its ending."""
    return text.read(0, 4) in _MAGIC or str(name).lower().endswith(ENDINGS)


def open_table(
    path: str | Path | RemoteFile,
    data: bytes | None = None,
    wanted: Collection[str] | None = None,
    lower: bool = False,
) -> tuple[Text, list[str] | None]:
    """The text of a table.

    Parameters
    ----------
    path : path
        CSV or Parquet, here or at an address, or a folder with files of Parquet, which are read
        one after the other in the order of their names.
    data : bytes, optional
        What the file holds, where it was read already.
    wanted : collection of str, optional
        Of Parquet only these columns are read; by default all.
    lower : bool
        Whether columns are told apart by their names in lower case, as `wanted` has them.

    Returns
    -------
    text : Text
        CSV.
    names : list of str or None
        Of Parquet all columns, also those that are not read.

    Raises
    ------
    ValueError
        When it cannot be read, or a wanted column cannot be written as cells; the message names
        the file.
    """
    place = place_of(path)
    if data is not None:
        text: Text = HeldText(data)
    elif isinstance(place, Path) and os.path.isdir(place):
        return _Written(place, wanted, lower).of(_opened(place))
    else:
        try:
            text = open_text(place)
        except ValueError as error:
            if not (_is_missing(error) and isinstance(place, RemoteFile) and place.sizes()):
                raise
            return _Written(place, wanted, lower).of(_opened(place))
    if not is_parquet(place, text):
        return text, None
    return _Written(place, wanted, lower).of([(place, text)])


def table_files(folder: Path | RemoteFile) -> list[Path | RemoteFile]:
    """The files of a table in a folder, in the order of their names.

    Names that begin with _ or . are passed over, as all readers of such folders do.

    Raises
    ------
    ValueError
        When there is none, or something else beside them: that it is no part of the table should
        not be guessed.
    """
    if isinstance(folder, RemoteFile):
        names = list(folder.sizes())
    else:
        try:
            names = os.listdir(folder)
        except OSError as error:
            raise ValueError(f"{folder}: {error.strerror or error}") from error
    names = sorted(name for name in names if not name.startswith(("_", ".")))
    others = [
        name
        for name in names
        if not name.lower().endswith(ENDINGS)
        or (isinstance(folder, Path) and os.path.isdir(folder / name))
    ]
    if others or not names:
        told = others[0] if others else "none"
        raise ValueError(
            f"{folder}: a folder must hold files of Parquet and nothing else, got {told}"
        )
    return [folder / name for name in names]


def _opened(folder: Path | RemoteFile) -> Iterator[tuple[Path | RemoteFile, Text]]:
    return ((file, open_text(file)) for file in table_files(folder))


def _is_missing(error: ValueError) -> bool:
    """Whether there is no such file; of an object store's folder it tells so, too."""
    return isinstance(error.__cause__, (FileNotFoundError, IsADirectoryError))


class _Written:
    """Files of Parquet as one CSV.

    Parameters
    ----------
    path : path
        What messages call the table.
    wanted, lower
        See `open_table`.
    """

    def __init__(
        self, path: Path | RemoteFile, wanted: Collection[str] | None, lower: bool
    ) -> None:
        self._path, self._wanted, self._lower = path, wanted, lower
        self._all: list[str] = []
        self._first: list[str] | None = None

    def of(self, parts: Iterable[tuple[Path | RemoteFile, Text]]) -> tuple[Text, list[str]]:
        """The text of all parts, and the names of the first one's columns."""
        size = 0
        with tempfile.SpooledTemporaryFile(HELD_BYTES) as kept:
            for lines in self._lines(parts):
                size += len(lines)
                if size > MOST_BYTES:
                    raise ValueError(f"{self._path}: must be of at most {MOST_BYTES} bytes as CSV")
                try:
                    kept.write(lines)
                except OSError as error:
                    told = f"its text cannot be kept in {tempfile.gettempdir()}: {error.strerror}"
                    raise ValueError(f"{self._path}: {told}") from error
            if size <= HELD_BYTES:
                kept.seek(0)
                return HeldText(kept.read()), self._all
            kept.flush()
            return TextOnDisk(self._path, os.dup(kept.fileno())), self._all

    def _lines(self, parts: Iterable[tuple[Path | RemoteFile, Text]]) -> Iterator[bytes]:
        import pyarrow as pa

        for name, text in parts:
            try:
                yield from self._lines_of(text)
            except (pa.ArrowException, OSError, ValueError) as error:
                said = " ".join(str(error).split())
                if said.startswith(f"{name}: "):
                    raise
                if not isinstance(error, _Refused):
                    said = f"no Parquet can be read: {said}"
                raise ValueError(f"{name}: {said}") from error

    def _lines_of(self, text: Text) -> Iterator[bytes]:
        import pyarrow.parquet as pq

        from dsnet.data.parquet_cells import header_line, lines_of, require_cells

        opened: Any = _Reading(text)
        file = pq.ParquetFile(opened, page_checksum_verification=True)
        schema = file.schema_arrow
        by_name: dict[str, str] = {}
        for written in schema.names:
            name = written.strip().lower() if self._lower else written.strip()
            if name and name in by_name:
                raise _Refused(f"column {name} comes more than once")
            by_name[name] = written
        names = [name for name in by_name if self._wanted is None or name in self._wanted]
        if self._first is None:
            self._all, self._first = list(by_name), names
            if names:
                yield header_line(names)
        elif set(names) != set(self._first):
            odd = ", ".join(sorted(set(names) ^ set(self._first)))
            raise _Refused(f"must have the columns of the files before it, differs in {odd}")
        if not names:
            return
        for name in names:
            try:
                require_cells(name, schema.field(by_name[name]).type)
            except ValueError as error:
                raise _Refused(str(error)) from error
        yield from lines_of(file, [by_name[name] for name in self._first])


class _Refused(ValueError):
    """A file of Parquet that is in order, but no table that can be read."""


class _Reading(io.RawIOBase):
    """A text as a file that is open for reading."""

    def __init__(self, text: Text) -> None:
        self._text, self._at = text, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._text.size}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        end = self._text.size if size is None or size < 0 else self._at + size
        data = self._text.read(self._at, min(end, self._text.size))
        self._at += len(data)
        return data
