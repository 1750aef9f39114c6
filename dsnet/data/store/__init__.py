"""The label store: a folder of Parquet shards and a small manifest."""

from __future__ import annotations

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
