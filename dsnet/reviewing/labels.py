"""One label as it is shown: its record and its versions, the last ones kept in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from dsnet.data.store.decisions import MADE
from dsnet.data.store.record import ARRAY_COLUMNS, LabelRecord
from dsnet.data.store.verdicts import Verdicts
from dsnet.data.store.versions import read_version
from dsnet.reviewing.stock import Stock

# Of records that are kept: what is fetched ahead is asked for twice, and a mark that is dragged
# every few milliseconds. Crops of 64x64 take 50 kB.
KEPT_BYTES = 64 * 2**20


class Labels:
    """Reads labels of a store; safe to share between threads.

    Parameters
    ----------
    stock : Stock
    verdicts : Verdicts
        That know of the mended versions.
    look : callable
        Asked when a label cannot be read; true where the store had changed, and `renew` was called.
    """

    def __init__(self, stock: Stock, verdicts: Verdicts, look: Callable[[], bool]) -> None:
        self._stock, self._verdicts, self._look = stock, verdicts, look
        self._kept: OrderedDict[tuple[int, str], tuple[LabelRecord, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def read(self, index: int, version: str = MADE) -> LabelRecord:
        """A version of a label.

        Raises
        ------
        OSError
            When it is damaged, or its file is gone.
        ValueError
            When there is no such version of it.
        """
        try:
            return self._read(index, version)
        except OSError:
            if not self._look():
                raise
            return self._read(index, version)

    def renew(self, stock: Stock) -> None:
        """The store has changed."""
        with self._lock:
            self._stock = stock
            self._kept.clear()
            self._bytes = 0

    def _read(self, index: int, version: str) -> LabelRecord:
        with self._lock:
            found = self._kept.get((index, version))
            if found is not None:
                self._kept.move_to_end((index, version))
                return found[0]
            record = self._made(index)
            if version != MADE:
                row = self._verdicts.made(record.key, version)
                if row is None:
                    raise ValueError(f"version must be one of the label's, got {version!r}")
                store = self._stock.store
                record = read_version(store.path, record, row, store.alpha_bits)
                self._keep((index, version), record)
            return record

    def _made(self, index: int) -> LabelRecord:
        found = self._kept.get((index, MADE))
        if found is not None:
            return found[0]
        record = self._stock.read(index)
        self._keep((index, MADE), record)
        return record

    def _keep(self, place: tuple[int, str], record: LabelRecord) -> None:
        arrays = (getattr(record, name) for name in ARRAY_COLUMNS)
        size = sum(array.nbytes for array in arrays if array is not None)
        self._kept[place] = (record, size)
        self._bytes += size
        while self._bytes > KEPT_BYTES and len(self._kept) > 1:
            _, (_, size) = self._kept.popitem(last=False)
            self._bytes -= size
