"""A resumed store beside what its run is now given: what has changed since is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dsnet.data.datasets.keys import NUMBERED, is_numbered, row_content
from dsnet.data.store.record import metadata_of

if TYPE_CHECKING:
    from dsnet.data.datasets.deeplesion import DeepLesionAnnotation
    from dsnet.data.datasets.pictures import OutlinedPicture
    from dsnet.data.datasets.promise import VolumeSlice
    from dsnet.data.store.reader import LabelStore

# Keys that a line names, of those that it counts.
NAMED = 3


@dataclass(frozen=True)
class ReviewedJobs:
    """What `label_archive` takes: the jobs that are left, and a look at the store before.

    Attributes
    ----------
    left : callable
        Given the keys that are done, the jobs that are not.
    review : callable
        Given the store that is resumed, lines that tell what has changed; raises ValueError where
        the run cannot go on with it.
    asked : str
        What the rows are all rows of, see `again.asked_of`; empty where nobody asks for it again.
    """

    left: Callable[[set[str]], Iterator]
    review: Callable[[LabelStore], list[str]]
    asked: str = ""

    def __call__(self, done: set[str]) -> Iterator:
        """The jobs that are left."""
        return self.left(done)


@dataclass(frozen=True)
class ListedRow:
    """A row as a store would have it."""

    key: str
    source: str


def review_rows(store: LabelStore, annotations: Sequence[DeepLesionAnnotation]) -> list[str]:
    """Compare a store with the table that it is labelled from; see `ReviewedJobs.review`.

    Raises
    ------
    ValueError
        When the store's keys number the rows of a file, as older versions did: which row is meant
        depends on the table as it was.
    """
    now = {annotation.key: row_content(annotation) for annotation in annotations}
    stems = {annotation.file_name.removesuffix(".png") for annotation in annotations}
    old = [key for key in _gone_keys(store, now) if is_numbered(key, stems)]
    if old:
        raise ValueError(
            f"the store {store.path} has keys of an older version, {NUMBERED}, first {old[0]!r}:"
            " it can be read, not resumed; label into a new folder"
        )
    told = _gone(store, now, "table")
    changed = []
    for part in store.parts(["key", "metadata"]):
        for row in part.to_pylist():
            before = metadata_of(row["metadata"]).get("content")
            if row["key"] in now and before is not None and before != now[row["key"]]:
                changed.append(row["key"])
    if changed:
        told.append(
            f"{_count(changed)} labelled from other columns of the table than it has now (spacing,"
            f" window, patient, ...); they stay as they are: {_some(changed)}"
        )
    return told


def review_pictures(
    store: LabelStore, pictures: Sequence[OutlinedPicture | VolumeSlice | ListedRow]
) -> list[str]:
    """Compare a store with the pictures that it is labelled from; see `ReviewedJobs.review`."""
    now = {picture.key: picture.source for picture in pictures}
    told = _gone(store, now, "folders")
    moved = [
        row
        for part in store.parts(["key", "source"])
        for row in part.to_pylist()
        if now.get(row["key"], row["source"]) != row["source"]
    ]
    if moved:
        first = moved[0]
        told.append(
            f"{_count(moved)} labelled from other files than there are now; they stay as they are:"
            f" {first['key']} from {first['source']}, now {now[first['key']]}"
        )
    return told


def _gone(store: LabelStore, now: dict[str, str], where: str) -> list[str]:
    gone = list(_gone_keys(store, now))
    return [f"{_count(gone)} in the store and not in the {where}: {_some(gone)}"] if gone else []


def _gone_keys(store: LabelStore, now: dict[str, str]) -> Iterator[str]:
    return (key for name in store.shards for key in store.shard_keys(name) if key not in now)


def _count(rows: Sequence) -> str:
    return f"{len(rows)} row{'s are' if len(rows) > 1 else ' is'}"


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:NAMED]) + (", ..." if len(keys) > NAMED else "")
