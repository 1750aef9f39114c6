"""One shard of a store: opened, read, written, and told whole by its size and columns."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dsnet.data.store.manifest import sha256
from dsnet.data.store.record import LATER_COLUMNS, schema
from dsnet.files import write_atomically

# A reader decompresses whole row groups; 64 crops of 64 x 64 are about 1.5 MB.
ROW_GROUP_ROWS = 64


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn pyarrow's errors into a ValueError that names the shard.

    Raises
    ------
    ValueError
        When it is missing or damaged.
    OSError
        When the system cannot open or read it: that is not the shard's fault.
    """
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        number = getattr(error, "errno", None)
        if number == errno.ENOENT:
            raise ValueError(f"shard {path} is missing") from None
        if number is not None:
            raise OSError(number, os.strerror(number), str(path)) from error
        raise ValueError(f"shard {path} is damaged: {error}") from error


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A shard as a `pyarrow.parquet.ParquetFile`, page checksums verified; see `naming`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # As a file and in bytes: pyarrow takes a name with a colon for a URL, and names must be UTF-8.
    with naming(path), pa.OSFile(os.fsencode(path)) as source:
        yield pq.ParquetFile(source, page_checksum_verification=True)


def checked_metadata(path: Path, listed: dict[str, Any] | None):
    """Parquet metadata of a shard.

    Raises
    ------
    ValueError
        When its size, rows or columns are not those of the manifest's entry or of a store.
    """
    if listed and path.exists() and path.stat().st_size != listed["bytes"]:
        raise ValueError(
            f"shard {path} is damaged: {path.stat().st_size} bytes,"
            f" the manifest says {listed['bytes']}"
        )
    with opened(path) as file:
        if listed and file.metadata.num_rows != listed["rows"]:
            raise ValueError(
                f"shard {path} is damaged: {file.metadata.num_rows} rows,"
                f" the manifest says {listed['rows']}"
            )
        found = {field.name: field.type for field in file.schema_arrow}
        for field in (f for f in schema([]) if f.name not in LATER_COLUMNS or f.name in found):
            if found.get(field.name) != field.type:
                raise ValueError(
                    f"shard {path} is damaged: it has no column {field.name!r} of {field.type}"
                )
        for name, kind in found.items():
            if name.startswith(("quality_", "seconds_")) and str(kind) != "double":
                raise ValueError(
                    f"shard {path} is damaged: column {name!r} must be double, got {kind}"
                )
        return file.metadata


def write_shard(path: Path, table) -> None:
    """Put a shard with a table's rows in the place of `path`, whole or not at all.

    The metadata of the table's schema go into its footer: `manifest.origin_of`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    def write(temporary: Path) -> None:
        with pa.OSFile(os.fsencode(temporary), "wb") as file:
            pq.write_table(
                table,
                file,
                compression="zstd",
                row_group_size=ROW_GROUP_ROWS,
                write_page_checksum=True,
            )

    write_atomically(path, write)


def describe_shard(path: Path, rows: int) -> dict[str, Any]:
    """A shard's entry in the manifest."""
    size = path.stat().st_size
    return {"name": path.name, "rows": rows, "bytes": size, "sha256": sha256(path)}
