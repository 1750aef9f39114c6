"""Who decided on which labels: what is closed, how far a review is, how fast readers are."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection

import numpy as np

# Verdicts whose time tells the rate.
_RECENT = 50


class Tally:
    """Verdicts that stand, counted by label and by reader; not safe to share between threads.

    Parameters
    ----------
    count : int
        Labels of the review.
    readings : int
        Readers who are to decide on each.
    """

    def __init__(self, count: int, readings: int) -> None:
        self._wanted = readings
        self._readings = np.zeros(count, np.int32)
        self._decided: dict[str, np.ndarray] = {}
        self._recent: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_RECENT))

    def grow(self, count: int) -> None:
        """There are so many labels now."""
        more = count - len(self._readings)
        self._readings = np.pad(self._readings, (0, more))
        self._decided = {name: np.pad(own, (0, more)) for name, own in self._decided.items()}

    def recount(self, index: int, readers: Collection[str]) -> None:
        """The verdicts of these readers stand on a label."""
        self._readings[index] = len(readers)
        for reader in readers:
            self._decided.setdefault(reader, np.zeros(len(self._readings), bool))
        for reader, decided in self._decided.items():
            decided[index] = reader in readers

    def spent(self, reader: str, seconds: float) -> None:
        """A reader took so long for a verdict."""
        self._recent[reader].append(seconds)

    @property
    def done(self) -> np.ndarray:
        """Bool [count]: as many readers decided as are wanted."""
        return self._readings >= self._wanted

    def of(self, reader: str) -> np.ndarray:
        """Bool [count]: the reader decided."""
        return self._decided.get(reader, np.zeros(len(self._readings), bool))

    def closed(self, reader: str) -> np.ndarray:
        """Bool [count]: nothing is left for the reader to decide."""
        return self.done | self.of(reader)

    def seconds_each(self, reader: str) -> float | None:
        """Mean time of the reader's last verdicts; None where there was none."""
        spent = self._recent.get(reader)
        return max(sum(spent) / len(spent), 0.05) if spent else None

    def readers(self) -> dict[str, int]:
        """By reader, on how many labels a verdict stands."""
        return {name: int(decided.sum()) for name, decided in self._decided.items()}
