"""What of every label of a store is held while it is reviewed, and in which order they come."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from dsnet.data.store.reader import LabelStore
from dsnet.data.store.record import metadata_of

ORDERS = ("expected-dice", "random", "type", "size", "source")
# Of a label's metadata: DeepLesion's, else a phantom's.
_TYPES = ("lesion_type", "kind")
_SCORES = ("height", "quality_expected_dice", "quality_overall")
UNKNOWN_TYPE = "unknown"
BINS = np.arange(21) / 20  # Not linspace: its 0.7 lies above 0.7.


class Catalogue:
    """Scores, types, sources and sizes of a store's labels, by columns; no pixel is read.

    Attributes
    ----------
    store : LabelStore
    score : ndarray [N], float64
        Expected Dice, of labels from masks the overall quality; NaN where neither is known.
    shown : ndarray [N], bool
        Labels that have a picture: those that can be reviewed.
    types, sources : (list of str, ndarray [N], int32)
        The names, sorted, and which of them each label has.
    """

    def __init__(self, store: LabelStore) -> None:
        self.store = store
        # In one pass: a store of a hundred shards is a hundred files.
        table = store.table([*_SCORES, "source", "metadata"])
        height, expected, overall = (_numbers(table[name]) for name in _SCORES)
        self.score = np.where(np.isfinite(expected), expected, overall)
        self.score[~np.isfinite(self.score)] = np.nan
        self.shown = height > 0
        self.types = _coded([_type_of(text) for text in _texts(table["metadata"])])
        self.sources = _coded([name or "" for name in _texts(table["source"])])

    def __len__(self) -> int:
        return len(self.store)

    def order(self, name: str, seed: int = 0) -> np.ndarray:
        """Indices of the labels that are shown, in an order.

        Parameters
        ----------
        name : str
            One of `ORDERS`. "expected-dice" is lowest first, what has none before all; "type" and
            "source" by their names, in these by score; "size" by the mark's long axis (in mm where
            the spacing is known), shortest first, what has no mark last.
        seed : int
            Of "random".

        Returns
        -------
        ndarray, int64
        """
        if name not in ORDERS:
            raise ValueError(f"order must be one of {ORDERS}, got {name!r}")
        shown = np.flatnonzero(self.shown)
        if name == "random":
            return np.random.default_rng(seed).permutation(shown)
        score = np.where(np.isnan(self.score), -1.0, self.score)[shown]
        if name == "size":
            return shown[np.argsort(self.size[shown], kind="stable")]
        # The last key is the first: lexsort.
        groups = {"type": self.types, "source": self.sources}
        keys = [groups[name][1][shown]] if name in groups else []
        return shown[np.lexsort((shown, score, *keys))]

    def sample(self, count: int, seed: int = 0) -> np.ndarray:
        """`count` labels that are shown, at random, in the store's order; at most all of them.

        The same keys and seed give the same ones.
        """
        shown = np.flatnonzero(self.shown)
        chosen = np.random.default_rng(seed).permutation(len(shown))[:count]
        return np.sort(shown[chosen])

    @cached_property
    def size(self) -> np.ndarray:
        """Float64 [N]: the mark's long axis, in mm or, without a spacing, in pixels; else inf."""
        table = self.store.table(["mark", "spacing_row", "spacing_column"])
        row, column = _numbers(table["spacing_row"]), _numbers(table["spacing_column"])
        row, column = (np.where(np.isfinite(s), s, 1.0) for s in (row, column))
        size = np.full(len(self), np.inf)
        for index, mark in enumerate(table["mark"].to_pylist()):
            if mark is not None and None not in mark[:4]:
                x0, y0, x1, y1 = mark[:4]
                size[index] = np.hypot((x1 - x0) * column[index], (y1 - y0) * row[index])
        return size

    def named(self, coded: tuple[list[str], np.ndarray], name: str) -> np.ndarray:
        """Bool [N]: labels whose type or source has that name."""
        names, codes = coded
        return codes == names.index(name) if name in names else np.zeros(len(self), bool)

    def type_of(self, index: int) -> str:
        """A label's type."""
        names, codes = self.types
        return names[codes[index]]

    def histogram(self, chosen: np.ndarray, decided: np.ndarray) -> dict[str, list]:
        """How the scores of what is left and of what was decided are spread.

        Parameters
        ----------
        chosen, decided : ndarray [N], bool
            What is reviewed, and what of it was decided.
        """
        known = chosen & ~np.isnan(self.score)
        counts = {
            "left": np.histogram(self.score[known & ~decided], BINS)[0].tolist(),
            "decided": np.histogram(self.score[known & decided], BINS)[0].tolist(),
        }
        return {"edges": np.round(BINS, 4).tolist(), **counts}


def counted(coded: tuple[list[str], np.ndarray], chosen: np.ndarray, most: int) -> list[dict]:
    """The `most` frequent names among the labels `chosen` (bool [N]), with their counts."""
    names, codes = coded
    counts = np.bincount(codes[chosen], minlength=len(names))
    order = np.argsort(-counts, kind="stable")[:most]
    return [{"name": names[i], "count": int(counts[i])} for i in order if counts[i]]


def _numbers(column) -> np.ndarray:
    """A column as float64, NaN where it is null."""
    return np.asarray(column.to_numpy(), dtype=np.float64)


def _texts(column) -> Iterator[str | None]:
    """A column's texts, no more than a shard's at a time."""
    for chunk in column.chunks:
        yield from chunk.to_pylist()


def _coded(texts: list[str]) -> tuple[list[str], np.ndarray]:
    names = sorted(set(texts))
    place = {name: code for code, name in enumerate(names)}
    return names, np.array([place[text] for text in texts], dtype=np.int32)


def _type_of(text: str | None) -> str:
    text = text or ""
    # A hundred thousand JSON texts take a second: of a flat one, as the store writes it, this is
    # the value of the name. Within a text its quotes would have a backslash before them.
    for name in _TYPES:
        head = f'"{name}": "'
        begin = text.find(head)
        if begin >= 0 and text.count("{") == 1:
            value, end, _ = text[begin + len(head) :].partition('"')
            if value and end and "\\" not in value:
                return value
            break
    metadata = metadata_of(text)
    return next((str(metadata[n]) for n in _TYPES if metadata.get(n)), UNKNOWN_TYPE)
