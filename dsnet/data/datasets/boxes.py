"""Tables of boxes around lesions, one row a lesion."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dsnet.data.datasets.deeplesion import DeepLesionAnnotation
from dsnet.data.datasets.keys import RowKeys
from dsnet.data.tables import read_table
from dsnet.labeling.prompts import as_mark

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
    wanted = (*BOX_COLUMNS, *FILE_COLUMNS, "key", "spacing_mm")
    table = read_table(path, lower=True, wanted=wanted)
    names = table.columns
    file_column = next((name for name in FILE_COLUMNS if name in names), None)
    missing = [name for name in BOX_COLUMNS if name not in names]
    if file_column is None or missing:
        raise ValueError(
            f"{path}: column {', '.join(missing) or 'file'} is missing; the table has "
            f"{', '.join(names) or 'nothing'}"
        )
    found, keys = [], RowKeys()
    for row in table.rows:
        line, fields = row.line, row.fields
        name = fields.get(file_column, "").strip()
        mark, error, spacing = None, "", None
        try:
            if not fields:
                raise ValueError(row.error)
            if not name:
                raise ValueError("file is empty")
            spacing = _spacing(fields.get("spacing_mm", ""))
            mark = as_mark([fields.get(column) for column in BOX_COLUMNS])
            if row.error:
                raise ValueError(row.error)
        except (TypeError, ValueError) as problem:
            mark, error = None, f"row {line}: {problem}"
        box = ",".join(fields.get(column) or "" for column in BOX_COLUMNS)
        key = (fields.get("key") or "").strip()
        key = keys.unique(key) if key else keys.key(name.rsplit(".", 1)[0], box)
        row_of_box = {"spacing": spacing, "from_box": True}
        found.append(DeepLesionAnnotation(key, name, line, mark, error, **row_of_box))
    return found


def _spacing(text: str) -> tuple[float, float] | None:
    numbers = [float(part) for part in text.replace(",", " ").split()]
    if not numbers:
        return None
    if len(numbers) > 2 or not all(0 < number < np.inf for number in numbers):
        raise ValueError(f"spacing_mm must be one or two numbers > 0, got {text!r}")
    return numbers[0], numbers[-1]
