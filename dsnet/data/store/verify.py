"""Is a row what `record.encode` writes? Asked of every row that is read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dsnet.data.store.record import ARRAY_COLUMNS, LABEL_COLUMNS, PAIRS, POSITIVE, STATUSES
from dsnet.labeling.constants import BACKGROUND, FOREGROUND, UNKNOWN

# What the pixels of a plane may be.
ALLOWED = {
    "trimap": (BACKGROUND, UNKNOWN, FOREGROUND),
    "binary": (0, 1),
    "truth": (0, 1),
}


def verify_row(row: Mapping[str, Any], alpha_bits: int) -> None:
    """Nothing, where the column values of a row are sound.

    Raises
    ------
    ValueError
        Naming the column that is not.
    """
    for name in ("key", "source", "status", "error"):
        if not isinstance(row[name], str):
            raise ValueError(f"{name} must be text, got {row[name]!r}")
    if not row["key"]:
        raise ValueError("key must not be empty")
    if row["status"] not in STATUSES:
        raise ValueError(f"status must be one of {STATUSES}, got {row['status']!r}")
    _verify_arrays(row, alpha_bits)
    _verify_numbers(row)
    if not isinstance(row["notes"], list) or not all(isinstance(n, str) for n in row["notes"]):
        raise ValueError(f"notes must be a list of texts, got {row['notes']!r}")
    try:
        metadata = json.loads(row["metadata"])
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"metadata must be JSON: {error}") from None
    if not isinstance(metadata, dict):
        raise ValueError(f"metadata must be a JSON object, got {type(metadata).__name__}")


def _verify_arrays(row: Mapping[str, Any], alpha_bits: int) -> None:
    present = {name: data for name in ARRAY_COLUMNS if (data := row.get(name)) is not None}
    missing = [name for name in LABEL_COLUMNS if name not in present]
    if row["status"] == "ok" and missing:
        raise ValueError(f"{missing[0]} must be there in a row of status 'ok'")
    if not present:
        return
    shape = (row["height"], row["width"])
    if not all(type(side) is int and side > 0 for side in shape):
        raise ValueError(f"height and width must be whole numbers above 0, got {shape}")
    pixels = shape[0] * shape[1]
    for name, data in present.items():
        sizes = {"image": 2, "alpha": alpha_bits // 8, "readers": 2, "neighbours": 4}
        size = pixels * sizes.get(name, 1)
        if name == "neighbours" and data and len(data) % size == 0:
            continue  # as many pairs of slices as there are
        if len(data) != size:
            raise ValueError(f"{name} must be {size} bytes for {shape}, got {len(data)}")
        if name in ALLOWED and data.translate(None, bytes(ALLOWED[name])):
            raise ValueError(f"{name} must hold {', '.join(map(str, ALLOWED[name]))} alone")
    if "alpha" in present and "binary" in present:
        codes = np.frombuffer(present["alpha"], f"<u{alpha_bits // 8}")
        binary = np.frombuffer(present["binary"], np.uint8)
        if not np.array_equal(binary != 0, codes >= 2 ** (alpha_bits - 1)):
            raise ValueError("binary must be alpha >= 0.5")


def _verify_numbers(row: Mapping[str, Any]) -> None:
    mark = row["mark"]
    # The short axis may be unknown.
    drawn = mark[:4] if mark and mark[4:] == [None] * 4 else mark
    if mark is not None and not (len(mark) == 8 and all(_finite(number) for number in drawn)):
        raise ValueError(f"mark must be 8 finite numbers, or 4 and 4 nulls, got {mark}")
    for name, parts in PAIRS:
        pair = [row[f"{name}_{part}"] for part in parts]
        if pair == [None, None]:
            continue
        if not all(map(_finite, pair)) or (name in POSITIVE and min(pair) <= 0):
            above = " above 0" if name in POSITIVE else ""
            raise ValueError(f"{name} must be 2 finite numbers{above}, got {pair}")
    for name, value in row.items():
        # NaN is a score that is not known.
        if name.startswith(("quality_", "seconds_")) and value is not None and math.isinf(value):
            raise ValueError(f"{name} must be finite, got {value}")


def _finite(number: Any) -> bool:
    return isinstance(number, int | float) and math.isfinite(number)
