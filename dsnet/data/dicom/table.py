"""The index as a table of Arrow: small in memory, and kept in Parquet.

A row is a slice, or a file of which there is none and why. A file is read again when its size or
its time changed, or when it could not be read: it may have been the disk, or a server.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from dsnet.data.dicom.entry import SliceEntry
from dsnet.data.dicom.places import Found
from dsnet.files import write_atomically

# Its functions are made as it is imported.
pc: Any = pyarrow.compute
FORMAT, VERSION = "dsnet-dicom-index", "1"
# Of a row. A slice may have a reason, too: what is wrong with it.
SLICE, REFUSED, OTHER = "slice", "refused", "other"
_FEW = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        ("folder", _FEW), ("name", pa.string()), ("member", pa.string()), ("size", pa.int64()),
        ("changed", pa.int64()), ("status", _FEW), ("reason", _FEW), ("study_uid", _FEW),
        ("series_uid", _FEW), ("instance_uid", pa.string()), ("frame", pa.int32()),
        ("frame_of_reference_uid", _FEW), ("sop_class_uid", _FEW), ("modality", _FEW),
        ("rows", pa.int32()), ("columns", pa.int32()), ("frames", pa.int32()), ("spacing", _FEW),
        ("position", pa.list_(pa.float64(), 3)), ("orientation", _FEW), ("transfer_syntax", _FEW),
        ("body_part", _FEW), ("description", _FEW), ("number", pa.int32()), ("tilt", pa.float32()),
    ],
    metadata={"format": FORMAT, "version": VERSION},
)  # fmt: skip
_BATCH = 20_000
# A byte of a path that is no UTF-8, as Python has it, and as a table has it: no path holds a NUL.
_BYTE, _BYTE_TEXT = re.compile("[\udc80-\udcff]"), re.compile("\0([89a-f][0-9a-f])")


class FileRows(NamedTuple):
    """What one file gave.

    Attributes
    ----------
    file : Found
    member : str or None
        Of an archive.
    entries : list of SliceEntry
    status : str
        `SLICE`, or why there is none: `REFUSED`, or `OTHER` of what is no picture.
    reason : str or None
    """

    file: Found
    member: str | None
    entries: list[SliceEntry]
    status: str
    reason: str | None


def path_text(path: str) -> str:
    """A path as a text that a table can hold, whatever bytes are in it; `path_of` undoes it."""
    return path if path.isascii() else _BYTE.sub(lambda m: f"\0{ord(m[0]) - 0xDC00:02x}", path)


def path_of(text: str) -> str:
    """The path that `path_text` was given."""
    if "\0" not in text:
        return text
    return _BYTE_TEXT.sub(lambda m: chr(0xDC00 + int(m[1], 16)), text)


class TableBuilder:
    """Rows become a table, some thousands at a time."""

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._tables: list[pa.Table] = []

    def add(self, *found: FileRows) -> None:
        """Add what one file gave, all of it or, where a signal comes between, nothing."""
        rows: list[dict[str, Any]] = []
        for each in found:
            folder, name = os.path.split(path_text(each.file.path))
            base = {
                "folder": folder, "name": name, "member": each.member, "size": each.file.size,
                "changed": each.file.changed, "status": each.status,
                "reason": each.reason and each.reason.encode("utf-8", "backslashreplace").decode(),
            }  # fmt: skip
            if not each.entries:
                rows.append(base)
            for entry in each.entries:
                row = entry._asdict()
                row["spacing"] = _joined(entry.spacing)
                row["orientation"] = _joined(entry.orientation)
                rows.append({**base, **row})
        self._rows += rows
        if len(self._rows) >= _BATCH:
            self._flush()

    def table(self, *others: pa.Table) -> pa.Table:
        """All rows, with those of other tables, in the order of their files."""
        self._flush()
        table = pa.concat_tables([SCHEMA.empty_table(), *others, *self._tables])
        self._tables = []
        order = [(name, "ascending") for name in ("folder", "name", "member", "frame")]
        table = table.unify_dictionaries().combine_chunks()
        return table.take(_sorted(table, order))

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        if rows:
            self._tables.append(_from_rows(rows))


def _from_rows(rows: list[dict[str, Any]]) -> pa.Table:
    columns = []
    for field in SCHEMA:
        plain = pa.string() if field.type == _FEW else field.type
        values = pa.array([row.get(field.name) for row in rows], plain)
        columns.append(values.dictionary_encode() if field.type == _FEW else values)
    return pa.table(columns, schema=SCHEMA)


def _sorted(table: pa.Table, order: Sequence[tuple[str, str]]) -> pa.Array:
    """Indices that sort a table; Arrow does not sort by dictionaries."""
    plain = pa.table(
        {
            name: pc.cast(table[name], pa.string())
            if table.schema.field(name).type == _FEW
            else table[name]
            for name, _ in order
        }
    )
    return pc.sort_indices(plain, sort_keys=list(order))


def entry_at(table: pa.Table, row: int) -> SliceEntry:
    """The slice of a row."""
    values = table.slice(row, 1).to_pylist()[0]
    source = f"{values['folder']}/{values['name']}" if values["folder"] else values["name"]
    source = path_of(source)
    if values["member"] is not None:
        source += f"!{values['member']}"
    fields = {name: values[name] for name in SliceEntry._fields if name in values}
    fields["source"] = source
    fields["spacing"], fields["orientation"] = (
        _split(values["spacing"]),
        _split(values["orientation"]),
    )
    fields["position"] = None if values["position"] is None else tuple(values["position"])
    return SliceEntry(**fields)


def sources(table: pa.Table) -> pa.ChunkedArray:
    """The path of each row's file, or of the archive that it is in, as `path_text` has it."""
    folder = pc.cast(table["folder"], pa.string())
    separator = pc.if_else(pc.ends_with(folder, pattern="/"), "", "/")
    joined = pc.binary_join_element_wise(folder, separator, table["name"], "")
    return pc.if_else(pc.equal(folder, ""), table["name"], joined)


def unchanged(table: pa.Table, files: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The rows of files that are as they were, and the files that are to be read.

    Parameters
    ----------
    table : Table
        Of an earlier index.
    files : Table
        path, size and changed of each file that is there.
    """
    paths = sources(table)
    at = pc.index_in(paths, value_set=files["path"].combine_chunks())
    same = pc.and_(
        pc.equal(pc.take(files["size"], at), table["size"]),
        pc.equal(pc.take(files["changed"], at), table["changed"]),
    )
    same = pc.fill_null(same, False)
    kept = table.filter(same)
    known = pc.is_in(files["path"], value_set=paths.filter(same).combine_chunks())
    return kept, files.filter(pc.invert(known))


def instances_of_series(table: pa.Table, folder: str) -> tuple[pa.Table, int]:
    """The rows of a server's series, and how many instances they are.

    Parameters
    ----------
    table : Table
    folder : str
        The address of the series.
    """
    rows = table.filter(pc.equal(pc.cast(table["folder"], pa.string()), f"{folder}/instances"))
    return rows, pc.count_distinct(rows["name"]).as_py()


def beside(table: pa.Table, before: pa.Table | None) -> pa.Table:
    """A table, and of an earlier one the rows of the folders that it has not come to."""
    if before is None:
        return table
    folders = pc.cast(before["folder"], pa.string())
    seen = pc.unique(pc.cast(table["folder"], pa.string()))
    return TableBuilder().table(table, before.filter(pc.invert(pc.is_in(folders, value_set=seen))))


def files_table(files: Iterable[Found]) -> pa.Table:
    """path, as `path_text` has it, size and changed of files, in their order."""
    schema = pa.schema([("path", pa.string()), ("size", pa.int64()), ("changed", pa.int64())])
    tables, rows = [schema.empty_table()], []

    def flush() -> None:
        columns = list(zip(*rows, strict=True))
        tables.append(
            pa.table(
                [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema
            )
        )
        rows.clear()

    for file in files:
        rows.append((path_text(file.path), file.size, file.changed))
        if len(rows) >= _BATCH:
            flush()
    if rows:
        flush()
    return pa.concat_tables(tables)


def each_file(files: pa.Table) -> Iterator[Found]:
    """The rows of `files_table`, a batch at a time in memory."""
    for batch in files.to_batches(max_chunksize=_BATCH):
        columns = (column.to_pylist() for column in batch.columns)
        for path, size, changed in zip(*columns, strict=True):
            yield Found(path_of(path), size, changed)


def require_cache(path: str | Path | None) -> None:
    """Refuse what is no index and would be written over; a damaged index is made anew.

    Raises
    ------
    ValueError
        When `path` is a folder, or a file of another kind.
    """
    if path is None or not os.path.exists(path):
        return
    if not os.path.isfile(path):
        raise ValueError(f"cache must be a file, got {path}")
    with open(path, "rb") as file:
        start = file.read(4)
    other = start not in (b"", b"PAR1")
    try:
        if not other and start:
            with pa.OSFile(os.fsencode(path)) as file:
                other = (pq.read_schema(file).metadata or {}).get(b"format") != FORMAT.encode()
    except (OSError, pa.ArrowException, ValueError):
        return
    if other:
        raise ValueError(
            f"cache must be a new file or an index of slices, got another file: {path}"
        )


def read_cache(path: str | Path | None, place: str) -> pa.Table | None:
    """The table of an earlier index of that place, without what could not be read.

    None where there is none that can be used.
    """
    if path is None or not os.path.isfile(path):
        return None
    try:
        with pa.OSFile(os.fsencode(path)) as file:
            table = pq.read_table(file, page_checksum_verification=True)
    except (OSError, pa.ArrowException, ValueError):
        return None
    said = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
    told = (said.get("format"), said.get("version"), said.get("place"))
    if told != (FORMAT, VERSION, path_text(place)):
        return None
    try:
        table = table.cast(SCHEMA)
        return table.filter(pc.not_equal(pc.cast(table["status"], pa.string()), REFUSED))
    except (pa.ArrowException, ValueError):
        return None


def write_cache(path: str | Path, place: str, table: pa.Table) -> None:
    """Keep a table for the next index of that place."""
    metadata = {"format": FORMAT, "version": VERSION, "place": path_text(place)}
    table = table.replace_schema_metadata(metadata)

    def write(temporary: Path) -> None:
        with pa.OSFile(os.fsencode(temporary), "wb") as file:
            pq.write_table(table, file, compression="zstd", write_page_checksum=True)

    write_atomically(path, write)


def _joined(values: Sequence[float] | None) -> str | None:
    return None if values is None else "\\".join(map(repr, values))


def _split(value: str | None) -> Any:
    return None if value is None else tuple(map(float, value.split("\\")))
