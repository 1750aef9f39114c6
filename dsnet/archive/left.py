"""The rows of slices that are to be labelled: keys are asked for by thousands, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from dsnet.data.datasets.slice_rows import SliceRows

if TYPE_CHECKING:
    from dsnet.data.datasets.deeplesion import DeepLesionAnnotation

Item = TypeVar("Item")
# Rows that a store is asked for at a time.
ASKED_ROWS = 4096


class RowNames(Sequence[tuple[str, str]]):
    """(key, source) of each annotation; how many there are is known without reading them.

    Parameters
    ----------
    annotations : sequence of DeepLesionAnnotation
    """

    def __init__(self, annotations: Sequence[DeepLesionAnnotation]) -> None:
        self._annotations = annotations

    def __len__(self) -> int:
        return len(self._annotations)

    def __getitem__(self, which):
        return [(a.key, a.file_name) for a in self._annotations][which]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((a.key, a.file_name) for a in self._annotations)

    def __eq__(self, other: object) -> bool:
        return list(self) == other

    __hash__ = None  # type: ignore[assignment]


def rows_left(
    groups: Iterable[Sequence[DeepLesionAnnotation]], done: Collection[str]
) -> Iterator[Sequence[DeepLesionAnnotation]]:
    """The groups, of each the rows whose keys are not done, those that have some left.

    Parameters
    ----------
    groups : iterable of sequence of DeepLesionAnnotation
    done : collection of str
        One that has `known(keys)`, those of many keys that are in it, is asked by that.
    """
    if not len(done):
        yield from groups
        return
    several: list[Sequence[DeepLesionAnnotation]] = []
    count = 0
    for group in groups:
        several.append(group)
        count += len(group)
        if count >= ASKED_ROWS:
            yield from _left(several, done)
            several, count = [], 0
    yield from _left(several, done)


def _left(
    groups: list[Sequence[DeepLesionAnnotation]], done: Collection[str]
) -> Iterator[Sequence[DeepLesionAnnotation]]:
    keys = [g.keys() if isinstance(g, SliceRows) else [a.key for a in g] for g in groups]
    there = known_of([key for of_group in keys for key in of_group], done)
    for group, of_group in zip(groups, keys, strict=True):
        left = [i for i, key in enumerate(of_group) if key not in there]
        if len(left) == len(of_group):
            yield group
        elif left:
            yield group.take(left) if isinstance(group, SliceRows) else [group[i] for i in left]


def items_left(
    items: Iterable[Item], key_of: Callable[[Item], str], done: Collection[str]
) -> Iterator[Item]:
    """The items whose keys are not done; a store is asked for thousands at a time."""
    if not len(done):
        yield from items
        return
    rest = iter(items)
    while several := list(islice(rest, ASKED_ROWS)):
        keys = [key_of(item) for item in several]
        there = known_of(keys, done)
        yield from (item for item, key in zip(several, keys, strict=True) if key not in there)


def known_of(keys: list[str], done: Collection[str]) -> Container[str]:
    """What tells which of some keys are done."""
    known = getattr(done, "known", None)
    return done if known is None else known(keys)


def file_and_patient(rows: Sequence[DeepLesionAnnotation]) -> tuple[str, int | str | None]:
    """Of the first of some rows."""
    return rows.first() if isinstance(rows, SliceRows) else (rows[0].file_name, rows[0].patient)
