"""Memory that one shard leaves for the next one: new pages cost a row as much as its encoding."""

from __future__ import annotations

import numpy as np

# Larger ones go back to the system; what of them is not used takes no memory.
MOST_BYTES = 64 * 2**20


class Spare:
    """The arrays that were given back last, uint8 [N] each; threads may share it."""

    def __init__(self) -> None:
        self._sets: list[list[np.ndarray]] = []

    def take(self) -> list[np.ndarray]:
        """Arrays of any content; none where none are left."""
        try:
            return self._sets.pop()
        except IndexError:
            return []

    def give(self, arrays: list[np.ndarray]) -> None:
        """Leave arrays that nobody uses any more, in the place of what was left before."""
        if sum(map(len, arrays)) <= MOST_BYTES:
            self._sets[:] = [arrays]
