"""What of every label of a store is held while it is reviewed, and in which order they come."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

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

    Parameters
    ----------
    store : LabelStore
    rows : ndarray [N], int64, optional
        Which row of the store each label is, -1 of one that it has no more; by default they are
        its rows.

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

    def __init__(self, store: LabelStore, rows: np.ndarray | None = None) -> None:
        self.store, self._rows = store, rows
        # The first label needs the scores alone: the texts come while a page is being opened.
        pool = ThreadPoolExecutor(1)
        self._texts = pool.submit(_texts_of, store)
        pool.shutdown(wait=False)
        table = store.table([*_SCORES])
        height, expected, overall = (_numbers(table[name]) for name in _SCORES)
        score = np.where(np.isfinite(expected), expected, overall)
        score[~np.isfinite(score)] = np.nan
        self.score = self._by_label(score, np.nan)
        self.shown = self._by_label(height > 0, False)

    def __len__(self) -> int:
        return len(self.shown)

    @property
    def types(self) -> tuple[list[str], np.ndarray]:
        """See the class; a ValueError where a shard is damaged."""
        names, codes = self._texts.result()[0]
        return names, self._by_label(codes, 0)

    @property
    def sources(self) -> tuple[list[str], np.ndarray]:
        """See the class; a ValueError where a shard is damaged."""
        names, codes = self._texts.result()[1]
        return names, self._by_label(codes, 0)

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
            # The first numbers stay the same when more labels come.
            return shown[np.argsort(np.random.default_rng(seed).random(len(self))[shown])]
        score = np.where(np.isnan(self.score), -1.0, self.score)[shown]
        if name == "size":
            return shown[np.argsort(self.size[shown], kind="stable")]
        # The last key is the first: lexsort.
        groups = {"type": "types", "source": "sources"}
        keys = [getattr(self, groups[name])[1][shown]] if name in groups else []
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
        size = np.full(len(row), np.inf)
        for index, mark in enumerate(table["mark"].to_pylist()):
            if mark is not None and None not in mark[:4]:
                x0, y0, x1, y1 = mark[:4]
                size[index] = np.hypot((x1 - x0) * column[index], (y1 - y0) * row[index])
        return self._by_label(size, np.inf)

    def _by_label(self, values: np.ndarray, otherwise) -> np.ndarray:
        """Values of the store's rows as the labels' own."""
        if self._rows is None:
            return values
        return np.append(values, np.array(otherwise, values.dtype))[self._rows]

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


def counted(named: tuple[list[str], np.ndarray], chosen: np.ndarray, most: int) -> list[dict]:
    """The `most` frequent names among the labels `chosen` (bool [N]), with their counts."""
    names, codes = named
    counts = np.bincount(codes[chosen], minlength=len(names))
    order = np.argsort(-counts, kind="stable")[:most]
    return [{"name": names[i], "count": int(counts[i])} for i in order if counts[i]]


def _texts_of(store: LabelStore):
    table = store.table(["source", "metadata"])
    return types_of(table["metadata"]), coded(table["source"])


def types_of(column) -> tuple[list[str], np.ndarray]:
    """Labels' types, of their metadata as the store writes it (a chunked column of texts, [N]).

    Returns
    -------
    (list of str, ndarray [N], int32)
        The names, sorted, and which of them each label has.
    """
    import pyarrow as pa

    return coded(pa.chunked_array([_types(chunk) for chunk in column.chunks], pa.string()))


def coded(column) -> tuple[list[str], np.ndarray]:
    """The different texts of a chunked column [N], sorted, null as an empty one; int32 [N], which.

    A text becomes a Python object once a chunk.
    """
    parts = [chunk.fill_null("").dictionary_encode() for chunk in column.chunks]
    texts = [part.dictionary.to_pylist() for part in parts]
    names = sorted(set().union(*texts))
    place = {name: code for code, name in enumerate(names)}
    codes = [np.zeros(0, np.int32)]
    for part, own in zip(parts, texts, strict=True):
        places = np.array([place[text] for text in own], dtype=np.int32)
        codes.append(places[np.asarray(part.indices)])
    return names, np.concatenate(codes)


def _types(texts):
    """The types of JSON texts (an array), as an array."""
    import pyarrow as pa
    import pyarrow.compute

    pc: Any = pyarrow.compute  # Its functions are made when it is imported.
    # A hundred thousand JSON texts take a second to read. Of a flat one without an escape the type
    # is what stands behind its name: no text within it can hold a quote.
    texts = texts.fill_null("")
    plain = pc.and_(
        pc.equal(pc.count_substring(texts, "{"), 1),
        pc.invert(pc.match_substring(texts, "\\")),
    )
    found = pa.nulls(len(texts), pa.string())
    for name in _TYPES:
        told = pc.extract_regex(texts, f'"{name}": "(?P<type>[^"]+)"')
        found = pc.coalesce(found, pc.if_else(plain, pc.struct_field(told, "type"), None))
        plain = pc.and_(plain, pc.invert(pc.match_substring(texts, f'"{name}":')))
    odd = found.is_null()
    read = [_type_of(text) for text in texts.filter(odd).to_pylist()]
    return pc.replace_with_mask(found, odd, pa.array(read, pa.string()))


def _numbers(column) -> np.ndarray:
    """A column as float64, NaN where it is null."""
    import pyarrow as pa

    # By way of an array: what a chunked one's `to_numpy` does imports pandas where that is there.
    parts = [np.asarray(c.cast(pa.float64()).fill_null(np.nan)) for c in column.chunks]
    return np.concatenate([np.zeros(0), *parts])


def _type_of(text: str) -> str:
    metadata = metadata_of(text)
    return next((str(metadata[n]) for n in _TYPES if metadata.get(n)), UNKNOWN_TYPE)
