"""Tables of boxes around lesions, one row a lesion."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from dsnet.data.datasets.deeplesion import DeepLesionAnnotation
from dsnet.data.datasets.keys import RowKeys
from dsnet.labeling.recist import as_mark

BOX_COLUMNS = ("x0", "y0", "x1", "y1")
FILE_COLUMNS = ("file_name", "file", "image")


def read_boxes(path: str | Path) -> list[DeepLesionAnnotation]:
    """The rows of a table of boxes, as annotations whose mark is the box's middle lines.

    Columns, in any case: `file` (or `File_name`, `image`), `x0`, `y0`, `x1`, `y1`, the centres of
    the first and last column and row counted from 0, as `lesions.csv` has them, and if known `key`
    and `spacing_mm` (one number, or row and column). The file may name folders.

    Raises
    ------
    ValueError
        When the table cannot be read or lacks a column. A bad row tells in its `error`.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    reader = csv.DictReader(text.splitlines())
    names = {(name or "").strip().lower(): name for name in reader.fieldnames or []}
    file_column = next((names[name] for name in FILE_COLUMNS if name in names), None)
    missing = [name for name in BOX_COLUMNS if name not in names]
    if file_column is None or missing:
        raise ValueError(
            f"{path}: column {', '.join(missing) or 'file'} is missing; the table has "
            f"{', '.join(reader.fieldnames or []) or 'nothing'}"
        )
    try:
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise ValueError(f"{path}: line {reader.line_num}: {error}") from error
    found, keys = [], RowKeys()
    for line, row in rows:
        name = (row[file_column] or "").strip()
        mark, error, spacing = None, "", None
        try:
            if not name:
                raise ValueError("file is empty")
            spacing = _spacing(row.get(names.get("spacing_mm", "")) or "")
            mark = as_mark([row[names[column]] for column in BOX_COLUMNS])
        except (TypeError, ValueError) as problem:
            error = f"row {line}: {problem}"
        box = ",".join(row[names[column]] or "" for column in BOX_COLUMNS)
        key = (row.get(names.get("key", "")) or "").strip()
        key = keys.unique(key) if key else keys.key(name.rsplit(".", 1)[0], box)
        found.append(DeepLesionAnnotation(key, name, line, mark, error, spacing=spacing))
    return found


def _spacing(text: str) -> tuple[float, float] | None:
    numbers = [float(part) for part in text.replace(",", " ").split()]
    if not numbers:
        return None
    if len(numbers) > 2 or not all(0 < number < np.inf for number in numbers):
        raise ValueError(f"spacing_mm must be one or two numbers > 0, got {text!r}")
    return numbers[0], numbers[-1]
