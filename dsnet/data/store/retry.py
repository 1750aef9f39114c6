"""Failed rows that are taken out of a store, so that a run can try them again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from dsnet.data.store.sums import sums_in

if TYPE_CHECKING:
    from dsnet.data.store.reader import LabelStore


def without_failed(
    store: LabelStore, entry: dict[str, Any], chosen: bool | str | Callable[[str], object]
):
    """A shard's rows without its chosen failed ones, a pyarrow table; None where all stay.

    Parameters
    ----------
    store : LabelStore
    entry : dict
        The shard's. Where its sums tell that no row is chosen, none is read.
    chosen : bool, str or callable
        All failed rows, those whose `error` begins with a text, or those that are true of it.
    """
    import pyarrow as pa

    name = entry["name"]
    sums = sums_in(entry) if isinstance(chosen, str) else None
    if isinstance(chosen, str) and sums is not None and not sums.may_begin(chosen):
        return None
    found = store.shard_table(name, ["status", "error"])
    failed = np.flatnonzero([status != "ok" for status in found["status"].to_pylist()])
    errors = [error or "" for error in found["error"].take(pa.array(failed)).to_pylist()]
    if isinstance(chosen, str):
        going = [error.startswith(chosen) for error in errors]
    else:
        going = [not callable(chosen) or bool(chosen(error)) for error in errors]
    if not any(going):
        return None
    left = np.delete(np.arange(len(found)), failed[np.array(going, bool)])
    return store.shard_table(name).take(pa.array(left))
