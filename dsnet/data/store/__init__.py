"""The label store: a folder of Parquet shards and a small manifest.

Importing this package loads none of it: a worker that labels needs no check and no compaction.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dsnet.data.store.check import repair_store, validate_store
    from dsnet.data.store.compact import compact_store
    from dsnet.data.store.reader import LabelStore, open_store
    from dsnet.data.store.record import LabelRecord
    from dsnet.data.store.writer import StoreWriter

__all__ = [
    "LabelRecord",
    "LabelStore",
    "StoreWriter",
    "compact_store",
    "open_store",
    "repair_store",
    "validate_store",
]

_HOMES = {
    "LabelRecord": "record",
    "LabelStore": "reader",
    "StoreWriter": "writer",
    "compact_store": "compact",
    "open_store": "reader",
    "repair_store": "check",
    "validate_store": "check",
}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
