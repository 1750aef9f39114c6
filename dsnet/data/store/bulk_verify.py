"""Are all rows of a table what `record.encode` writes? Asked of its columns at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from dsnet.data.store.buffers import data_of, floats, integers, is_there, offsets
from dsnet.data.store.planes import ARRAY_COLUMNS, LABEL_COLUMNS
from dsnet.data.store.record import PAIRS, POSITIVE, STATUSES
from dsnet.data.store.verify import ALLOWED

# Rows that are looked at together: a table of few costs as much as one of hundreds.
BATCH_ROWS, BATCH_BYTES = 512, 32 * 2**20


def batches(metadata) -> Iterator[list[int]]:
    """A shard's row groups, as many together as are worth to be looked at, and no more memory."""
    taken: list[int] = []
    rows = size = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        if taken and (rows >= BATCH_ROWS or size + group.total_byte_size > BATCH_BYTES):
            yield taken
            taken, rows, size = [], 0, 0
        taken.append(number)
        rows, size = rows + group.num_rows, size + group.total_byte_size
    if taken:
        yield taken


def are_sound(table, alpha_bits: int) -> bool:
    """Whether `verify.verify_row` raises nothing for any row of a pyarrow table.

    False where it cannot be told of the columns, too: whoever asks looks at each row then.
    """
    import pyarrow as pa

    try:
        table.validate(full=True)  # texts are UTF-8
        columns = {name: table[name].combine_chunks() for name in table.column_names}
        return (
            _are_texts(columns)
            and _are_planes(columns, alpha_bits)
            and _are_numbers(columns)
            and not columns["notes"].null_count
            and not columns["notes"].flatten().null_count
            and all(isinstance(json.loads(text), dict) for text in columns["metadata"].to_pylist())
        )
    except (pa.ArrowException, KeyError, ValueError, TypeError, RecursionError):
        return False


def _are_texts(columns: dict[str, Any]) -> bool:
    texts = [columns[name] for name in ("key", "source", "status", "error", "metadata")]
    return (
        not any(text.null_count for text in texts)
        and "" not in columns["key"].to_pylist()
        and set(columns["status"].unique().to_pylist()) <= set(STATUSES)
    )


def _are_planes(columns: dict[str, Any], alpha_bits: int) -> bool:
    there = {name: is_there(columns[name]) for name in ARRAY_COLUMNS if name in columns}
    labelled = np.array([status == "ok" for status in columns["status"].to_pylist()], bool)
    if any((labelled & ~there[name]).any() for name in LABEL_COLUMNS):
        return False
    some = np.logical_or.reduce(list(there.values()))
    sides = [columns[name] for name in ("height", "width")]
    if any((some & ~is_there(side)).any() for side in sides):
        return False
    height, width = map(integers, sides)
    if (some & ((height <= 0) | (width <= 0))).any():
        return False
    sizes = {"image": 2, "alpha": alpha_bits // 8, "readers": 2, "neighbours": 4}
    for name, drawn in there.items():
        size = (height * width * sizes.get(name, 1))[drawn]
        length = np.diff(offsets(columns[name]))[drawn]
        # As many pairs of slices as there are.
        fits = (length > 0) & (length % size == 0) if name == "neighbours" else length == size
        if not fits.all() or not _are_allowed(name, columns[name]):
            return False
    both = there["alpha"] & there["binary"]
    if (both != there["alpha"]).any() or (both != there["binary"]).any():
        return False
    codes = data_of(columns["alpha"]).view(f"<u{alpha_bits // 8}")
    return np.array_equal(data_of(columns["binary"]) != 0, codes >= 2 ** (alpha_bits - 1))


def _are_allowed(name: str, column) -> bool:
    if name not in ALLOWED:
        return True
    wrong = np.ones(256, bool)
    wrong[list(ALLOWED[name])] = False
    return not wrong[data_of(column)].any()


def _are_numbers(columns: dict[str, Any]) -> bool:
    for name, parts in PAIRS:
        first, second = (columns[f"{name}_{part}"] for part in parts)
        drawn = is_there(first)
        if (drawn != is_there(second)).any():
            return False
        for column in (first, second):
            values = floats(column)[drawn]
            if not np.isfinite(values).all() or (name in POSITIVE and (values <= 0).any()):
                return False
    if any(
        np.isinf(floats(column)).any()
        for name, column in columns.items()
        if name.startswith(("quality_", "seconds_"))
    ):
        return False
    return _are_marks(columns["mark"])


def _are_marks(column) -> bool:
    """Eight finite numbers each, or four and four nulls; or no mark."""
    numbers = column.flatten()
    if (np.diff(offsets(column))[is_there(column)] != 8).any() or len(numbers) % 8:
        return False
    finite = np.isfinite(floats(numbers)).reshape(-1, 8)
    null = ~is_there(numbers).reshape(-1, 8)
    known = finite[:, 4:].all(1) | null[:, 4:].all(1)
    return bool(finite[:, :4].all() and known.all())
