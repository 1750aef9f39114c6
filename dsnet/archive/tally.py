"""A store summed up a shard at a time: what it takes does not grow with the store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dsnet.data.store.reader import LabelStore
from dsnet.data.store.record import STAGES
from dsnet.labeling.notes import EMPTY

# Below these a person should look at a label: the expected Dice of one from a mark, and the overall
# score of one from masks.
LOW_DICE, LOW_QUALITY = 0.8, 0.6
LOW = f"low (expected Dice < {LOW_DICE:g}; of masks, quality < {LOW_QUALITY:g})"
EMPTY_LABELS = "empty (no pixel reaches one half)"
RANKED_BY = ["quality_expected_dice", "quality_overall"]


@dataclass
class Mean:
    """Of the finite values that were added; NaN is one that is not known."""

    total: float = 0.0
    count: int = 0

    def add(self, values: np.ndarray) -> None:
        """Add those that are finite."""
        known = values[np.isfinite(values)]
        self.total += float(known.sum())
        self.count += len(known)

    @property
    def value(self) -> float | None:
        """None of nothing."""
        return self.total / self.count if self.count else None


class Tally:
    """The counts and means of a store.

    Attributes
    ----------
    rows, failed, empty, low : int
        `low`: labels whose expected Dice (of masks: overall quality) is low or not known.
    means : dict of str to Mean
        By column, of the labelled rows: the scores that rank, and the stages' seconds.
    """

    def __init__(self, store: LabelStore) -> None:
        import pyarrow.compute as pc

        columns = [*RANKED_BY, *(f"seconds_{stage}" for stage in STAGES)]
        self.rows = self.failed = self.empty = self.low = 0
        self.means = {name: Mean() for name in columns}
        for part in store.parts(["status", "notes", *columns]):
            ok = part.filter(pc.field("status") == "ok")
            self.rows += len(part)
            self.failed += len(part) - len(ok)
            if len(ok["notes"].combine_chunks().flatten()):
                self.empty += sum(EMPTY in (notes or ()) for notes in ok["notes"].to_pylist())
            numbers = {name: _numbers(ok[name]) for name in columns}
            for name, values in numbers.items():
                self.means[name].add(values)
            dice, overall = (numbers[name] for name in RANKED_BY)
            # What is not known ranks last.
            low = np.where(np.isfinite(overall), overall, 0.0) < LOW_QUALITY
            self.low += int(np.where(np.isfinite(dice), dice < LOW_DICE, low).sum())


def scores_of(store: LabelStore) -> Iterator[tuple[float, str]]:
    """(score that ranks, key) of each labelled row; 0 where none is known."""
    for part in store.parts(["key", "status", *RANKED_BY]):
        dice, overall = (_numbers(part[name]) for name in RANKED_BY)
        ranks = np.where(np.isfinite(dice), dice, np.where(np.isfinite(overall), overall, 0.0))
        keys, statuses = part["key"].to_pylist(), part["status"].to_pylist()
        yield from (
            (rank, key)
            for rank, key, status in zip(ranks.tolist(), keys, statuses, strict=True)
            if status == "ok"
        )


def _numbers(column) -> np.ndarray:
    """float64 [N], NaN where it is null."""
    return column.combine_chunks().to_numpy(zero_copy_only=False).astype(np.float64)
