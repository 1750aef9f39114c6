"""Labels are lent: what one reader has before him no other one gets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

import numpy as np

# The page renews every half minute: three misses, and its reader is gone.
LEASE_SECONDS = 90.0


class Leases:
    """Who holds which label, and until when; safe to share between threads.

    Parameters
    ----------
    count : int
        Labels of the store.
    seconds : float
        How long a lease lasts that nobody renews.
    clock : callable
        Seconds that do not run backwards.
    """

    def __init__(
        self,
        count: int,
        seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds, self._clock = seconds, clock
        self._held: dict[int, tuple[str, float]] = {}
        self._mask = np.zeros(count, bool)
        self._lock = threading.Lock()

    def holder(self, index: int) -> str | None:
        """Who holds a label now; None where nobody does."""
        reader, end = self._held.get(index, ("", 0.0))
        return reader if end > self._clock() else None

    def lend(self, index: int, reader: str) -> bool:
        """Lend a label, or renew; False where another reader holds it."""
        with self._lock:
            if self.holder(index) not in (None, reader):
                return False
            self._held[index] = (reader, self._clock() + self._seconds)
            self._mask[index] = True
            return True

    def renew(self, indices: Iterable[int], reader: str) -> list[int]:
        """Those of `indices` that the reader holds, for as long again."""
        return [i for i in indices if self.holder(i) == reader and self.lend(i, reader)]

    def give_back(self, indices: Iterable[int], reader: str) -> None:
        """End the reader's leases of `indices`."""
        with self._lock:
            for index in indices:
                if self._held.get(index, ("", 0.0))[0] == reader:
                    del self._held[index]
                    self._mask[index] = False

    def grow(self, count: int) -> None:
        """There are so many labels now."""
        with self._lock:
            self._mask = np.pad(self._mask, (0, count - len(self._mask)))

    def of_others(self, reader: str) -> np.ndarray:
        """Bool [count]: held by somebody else."""
        with self._lock:
            now, mask = self._clock(), self._mask.copy()
            for index, (holder, end) in self._held.items():
                if holder == reader or end <= now:
                    mask[index] = False
        return mask
