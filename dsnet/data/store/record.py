"""One row of the label store, and its encoding as Parquet columns.

Arrays are binary columns: row-major, little-endian, `height` x `width`, nothing before or
after the pixels.

    column    bytes a pixel   meaning
    image     2 (uint16)      grey value x 65535
    alpha     1 or 2          soft mask x 255 or x 65535 (`alpha_bits` of the manifest)
    binary    1 (uint8)       0 or 1
    trimap    1 (uint8)       0, 128 or 255
    truth     1 (uint8)       0 or 1; null for a label from a mark
    readers   2 (uint16)      share of the raters who marked it x 65535; null without several
    neighbours 2 (uint16)     as the image, one plane after the other: the slices one below, one
                              above, two below, ...; null where nobody asked for them
"""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from dsnet.data.store.codes import dequantise
from dsnet.data.store.planes import ARRAY_COLUMNS, LABEL_COLUMNS, encoded_planes
from dsnet.labeling.trimap import consensus

STATUSES = ("ok", "failed")
STAGES = ("cut", "trimap", "matting")
PAIRS = (("spacing", ("row", "column")), ("offset", ("x", "y")), ("scale", ("x", "y")))
POSITIVE = ("spacing", "scale")
_PAIR_COLUMNS = [(name, *(f"{name}_{part}" for part in parts)) for name, parts in PAIRS]
_PLAIN = {str, int, bool, type(None)}
_FLAT = _PLAIN | {float}
_JSON = json.JSONEncoder(ensure_ascii=False).encode
_FINITE_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class LabelArrays(NamedTuple):
    """What a labelled row has, each [H, W]: image and alpha float32, binary bool, trimap uint8."""

    image: np.ndarray
    alpha: np.ndarray
    binary: np.ndarray
    trimap: np.ndarray


@dataclass(eq=False)
class LabelRecord:
    """A labelled crop, or the reason why there is none.

    Attributes
    ----------
    key : str
        Unique in its store.
    source : str
        File that the crop was cut from.
    status : str
        "ok" or "failed".
    error : str
        Why it failed; empty for "ok".
    image, alpha : ndarray [H, W], float32, or None
        Values in 0..1. A failed row may lack any array.
    binary : ndarray [H, W], bool, or None
        `alpha >= 0.5`.
    trimap : ndarray [H, W], uint8, or None
    truth : ndarray [H, W], bool, or None
        The mask that people drew, or their 50 % consensus, which `binary` need not equal.
    readers : ndarray [H, W], float32, or None
        Share of the raters who marked each pixel, one who marked nothing counted; None where there
        were not several.
    neighbours : ndarray [2 * count, H, W], float32, or None
        The image of the slices one below, one above, two below, ..., values in 0..1.
    mark : ndarray [8], float64, or None
        The RECIST mark's coordinates in crop pixels, DeepLesion's order; the last four NaN where
        the short axis is unknown.
    spacing : (row, column) or None
        Millimetres per crop pixel.
    offset : (x, y) or None
        Crop pixel (0, 0) in source pixels.
    scale : (x, y) or None
        Crop pixels per source pixel.
    quality, seconds : dict of str to float
        Scores in 0..1, and wall time by stage.
    notes : tuple of str
    metadata : dict
        Anything that JSON can hold. NaN and infinity come back as None.
    """

    key: str
    source: str = ""
    status: str = "ok"
    error: str = ""
    image: np.ndarray | None = None
    alpha: np.ndarray | None = None
    binary: np.ndarray | None = None
    trimap: np.ndarray | None = None
    truth: np.ndarray | None = None
    readers: np.ndarray | None = None
    neighbours: np.ndarray | None = None
    mark: np.ndarray | None = None
    spacing: tuple[float, float] | None = None
    offset: tuple[float, float] | None = None
    scale: tuple[float, float] | None = None
    quality: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_label(cls, crop, label) -> LabelRecord:
        """Record of a `Crop` and its `SoftLabel`; the truth is the masks' consensus, if any."""
        made = object.__new__(cls)
        # As `__init__` does, in half the time: the other fields are their defaults, those of all.
        made.__dict__.update(
            _of_crop(crop),
            neighbours=crop.neighbours,
            alpha=label.alpha,
            binary=label.binary,
            trimap=label.trimap,
            quality=dict(label.quality),
            seconds=dict(label.seconds),
            notes=(*crop.notes, *label.notes),
        )
        if crop.masks is not None:
            made.truth, made.readers = consensus(crop.masks), _share(crop.masks)
        return made

    @classmethod
    def from_error(
        cls, key: str, source: str, error: BaseException | str, *, crop=None, metadata=None
    ) -> LabelRecord:
        """Record of a row that could not be labelled.

        With `crop`, where it was read at least, the image is kept, unless it is the very
        thing that is wrong (not [H, W], or not within 0..1).
        """
        known = _of_crop(crop) if crop is not None else {}
        image = np.asarray(known.get("image", 0))
        if not (image.ndim == 2 and image.size and image.min() >= 0 and image.max() <= 1):
            known["image"] = None
        known.update(key=key, source=str(source), status="failed")
        known["notes"] = () if crop is None else tuple(crop.notes)
        known["error"] = str(error) or type(error).__name__
        if metadata is not None:
            known["metadata"] = dict(metadata)
        return cls(**known)

    def labelled(self) -> LabelArrays:
        """The arrays of a labelled row.

        Raises
        ------
        ValueError
            When one is missing, as it may of a failed row.
        """
        arrays = {name: getattr(self, name) for name in LABEL_COLUMNS}
        if missing := [name for name, array in arrays.items() if array is None]:
            raise ValueError(f"{missing[0]} must be there, row {self.key!r} has none")
        return LabelArrays(**arrays)


def _share(masks: np.ndarray) -> np.ndarray | None:
    """Of the raters, for each pixel; None where there are not several."""
    if len(masks) < 2:
        return None
    return (np.asarray(masks) != 0).mean(axis=0, dtype=np.float64).astype(np.float32)


def _of_crop(crop) -> dict[str, Any]:
    return {
        "key": crop.key,
        "source": str(crop.source),
        "image": crop.image,
        "mark": None if crop.mark is None else crop.mark.coordinates,
        "spacing": crop.spacing,
        "offset": crop.offset,
        "scale": crop.scale,
        "metadata": dict(crop.metadata),
    }


def encode(record: LabelRecord, alpha_bits: int) -> dict[str, Any]:
    """Column values of a record.

    Raises
    ------
    ValueError
        Naming the field, when it has the wrong shape or values, when a row of status "ok"
        lacks an array, or when `binary` is not `alpha >= 0.5`.
    TypeError
        When the key is not text, the notes are one, or the metadata is not JSON's.
    """
    row = encode_plain(record)
    planes, shape = encoded_planes(record, alpha_bits)
    require_planes(record, planes)
    return {**row, **planes, "height": shape[0], "width": shape[1]}


def require_planes(record: LabelRecord, planes: dict[str, bytes | None]) -> None:
    """ValueError where a labelled row lacks one of its planes."""
    missing = [name for name in LABEL_COLUMNS if planes[name] is None]
    if record.status == "ok" and missing:
        raise ValueError(f"{missing[0]} must be given for status 'ok' (key {record.key!r})")


def encode_plain(record: LabelRecord) -> dict[str, Any]:
    """Column values of a record but for its planes and their height and width; see `encode`."""
    if not isinstance(record.key, str):
        raise TypeError(f"key must be a str, got {type(record.key).__name__}")
    if not record.key:
        raise ValueError("key must not be empty")
    if storable_text(record.key) != record.key:
        raise ValueError(f"key must be valid Unicode, got {record.key!r}")
    if isinstance(record.notes, str):
        raise TypeError(f"notes must be a sequence of str, got {record.notes!r}")
    if record.status not in STATUSES:
        raise ValueError(f"status must be one of {STATUSES}, got {record.status!r}")
    row: dict[str, Any] = {
        "key": record.key,
        "source": storable_text(record.source),
        "status": record.status,
        "error": storable_text(record.error),
    }
    row["mark"] = None if record.mark is None else _coordinates(record.mark)
    for name, first, second in _PAIR_COLUMNS:
        pair = getattr(record, name)
        row[first], row[second] = (None, None) if pair is None else _pair(name, pair)
    row["notes"] = [storable_text(note) for note in record.notes]
    row["metadata"] = storable_text(_json(record.metadata))
    for name, value in record.quality.items():
        row[f"quality_{name}"] = float(value)
    for name, value in record.seconds.items():
        row[f"seconds_{name}"] = float(value)
    return row


def decode(row: dict[str, Any], alpha_bits: int) -> LabelRecord:
    """Record of the column values that `encode` gave; see `verify.verify_row` for others."""
    shape = (row["height"], row["width"])

    def array(name: str, dtype: str) -> np.ndarray | None:
        data = row.get(name)  # Older shards lack some.
        return None if data is None else np.frombuffer(data, dtype).reshape(shape)

    readers = array("readers", "<u2")
    beside = row.get("neighbours")
    if beside is not None:
        beside = dequantise(np.frombuffer(beside, "<u2").reshape(-1, *shape), 16)
    image, alpha = array("image", "<u2"), array("alpha", f"<u{alpha_bits // 8}")
    binary, trimap, truth = (array(name, "u1") for name in ("binary", "trimap", "truth"))
    pairs = {}
    for name, parts in PAIRS:
        pair = tuple(row[f"{name}_{part}"] for part in parts)
        pairs[name] = None if None in pair else pair
    return LabelRecord(
        **{name: row[name] for name in ("key", "source", "status", "error")},
        image=None if image is None else dequantise(image, 16),
        alpha=None if alpha is None else dequantise(alpha, alpha_bits),
        binary=None if binary is None else binary.astype(bool),
        trimap=None if trimap is None else trimap.copy(),
        truth=None if truth is None else truth.astype(bool),
        readers=None if readers is None else dequantise(readers, 16),
        neighbours=beside,
        mark=None if row["mark"] is None else np.array(row["mark"], dtype=np.float64),
        **pairs,
        quality=_prefixed(row, "quality_"),
        seconds=_prefixed(row, "seconds_"),
        notes=tuple(row["notes"]),
        metadata=json.loads(row["metadata"]),
    )


def schema(score_columns: list[str]):
    """Arrow schema of a shard; `score_columns` are its `quality_` and `seconds_` columns."""
    import pyarrow as pa

    fields: list[tuple[str, Any]] = [(n, pa.string()) for n in ("key", "source", "status", "error")]
    fields += [("height", pa.int32()), ("width", pa.int32())]
    fields += [(name, pa.binary()) for name in ARRAY_COLUMNS]
    # A plain list: Parquet itself has no fixed-size one.
    fields += [("mark", pa.list_(pa.float64()))]
    fields += [(f"{name}_{part}", pa.float64()) for name, parts in PAIRS for part in parts]
    fields += [("notes", pa.list_(pa.string())), ("metadata", pa.string())]
    return pa.schema(fields + [(name, pa.float64()) for name in score_columns])


def usual_score_columns() -> list[str]:
    """Columns of the known scores and stages: in every shard, so that all read as one table."""
    from dsnet.labeling.quality import QUALITY_SCORES

    return [f"quality_{name}" for name in QUALITY_SCORES] + [f"seconds_{s}" for s in STAGES]


def json_ready(value: Any) -> Any:
    """Plain Python values for JSON; NaN and infinity become None, which JSON can say."""
    if isinstance(value, dict):
        return {
            str(name): item if type(item) in _PLAIN else json_ready(item)
            for name, item in value.items()
        }
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [json_ready(item) for item in value]
    if isinstance(value, np.floating):  # `tolist` of a long double is one.
        return json_ready(float(value))
    if isinstance(value, np.generic | np.ndarray):
        return json_ready(value.tolist())
    if value is None or isinstance(value, str | int):
        return value
    raise TypeError(f"metadata and settings must hold JSON values, got {type(value).__name__}")


def _json(metadata: Any) -> str:
    """The JSON text of a row's metadata."""
    plain = type(metadata) is dict and set(map(type, metadata)) <= {str}
    if plain and set(map(type, metadata.values())) <= _FLAT:
        with contextlib.suppress(ValueError):  # NaN or infinity is among them.
            return _FINITE_JSON(metadata)
    try:
        return _JSON(json_ready(metadata))
    except RecursionError:
        told = "metadata must be nested less deep than Python's recursion limit"
        raise ValueError(f"{told}, got deeper ones, or such that hold themselves") from None


def _coordinates(mark) -> list[float | None]:
    """A mark's eight numbers, the last four None where its short axis is unknown."""
    numbers = _numbers("mark", mark, 8)
    if all(map(math.isnan, numbers[4:])):
        numbers[4:] = []
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"mark must be finite (the last four all NaN: unknown), got {mark}")
    return [*numbers, *[None] * (8 - len(numbers))]


def _numbers(name: str, values, count: int) -> list[float]:
    if type(values) is tuple and len(values) == count and set(map(type, values)) == {float}:
        return list(values)
    numbers = np.asarray(values, dtype=np.float64).ravel()
    if numbers.size != count:
        raise ValueError(f"{name} must be {count} numbers, got {numbers.size}")
    return numbers.tolist()


def _pair(name: str, values) -> list[float]:
    numbers = _numbers(name, values, 2)
    if not all(map(math.isfinite, numbers)) or (name in POSITIVE and min(numbers) <= 0):
        above = " above 0" if name in POSITIVE else ""
        raise ValueError(f"{name} must be 2 finite numbers{above}, got {numbers}")
    return numbers


def metadata_of(text: str | None) -> dict[str, Any]:
    """A row's metadata as its column has them; empty where that is not sound."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def storable_key(key: object) -> str:
    """A key as it is; for one that `encode` refuses, a text that says the same."""
    if type(key) is str and key and key.isascii():
        return key
    return storable_text(key) or "nameless"


def storable_text(value: object) -> str:
    """What a text column has of a value."""
    # A file name that is no UTF-8 holds lone surrogates, which Parquet cannot store.
    text = str(value)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _prefixed(row: dict[str, Any], prefix: str) -> dict[str, float]:
    return {
        name.removeprefix(prefix): value
        for name, value in row.items()
        if name.startswith(prefix) and value is not None
    }
