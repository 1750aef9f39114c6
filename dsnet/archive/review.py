"""A resumed store beside what its run is now given: what has changed since is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from dsnet.archive.listed import ListedContents, contents_in
from dsnet.data.datasets.keys import NUMBERED, is_numbered, row_content

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
    listed = ListedContents(_contents(annotations))
    gone, changed = [], []
    for part in store.parts(["key", "metadata"]):
        keys = part["key"].to_pylist()
        there, same = listed.compare(keys, contents_in(part["metadata"]))
        if not there.all():
            gone += [key for key, is_there in zip(keys, there, strict=True) if not is_there]
        if not same.all():
            changed += [key for key, is_same in zip(keys, same, strict=True) if not is_same]
    if old := gone and _numbered(gone, annotations):
        raise ValueError(
            f"the store {store.path} has keys of an older version, {NUMBERED}, first {old[0]!r}:"
            " it can be read, not resumed; label into a new folder"
        )
    told = _gone(gone, "table")
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
    gone, moved = [], []
    for part in store.parts(["key", "source"]):
        for key, source in zip(
            *(part[name].to_pylist() for name in ("key", "source")), strict=True
        ):
            if (current := now.get(key)) is None:
                gone.append(key)
            elif current != source:
                moved.append((key, source))
    told = _gone(gone, "folders")
    if moved:
        key, source = moved[0]
        told.append(
            f"{_count(moved)} labelled from other files than there are now; they stay as they are:"
            f" {key} from {source}, now {now[key]}"
        )
    return told


def _contents(annotations: Sequence[DeepLesionAnnotation]) -> Iterator[tuple[str, str]]:
    # A table makes a row's key and content without the row.
    if callable(contents := getattr(annotations, "contents", None)):
        return cast(Iterator[tuple[str, str]], contents())
    return ((annotation.key, row_content(annotation)) for annotation in annotations)


def _numbered(keys: list[str], annotations: Sequence[DeepLesionAnnotation]) -> list[str]:
    """Those keys that older versions gave to a mark of one of the table's files."""
    stems = {annotation.file_name.removesuffix(".png") for annotation in annotations}
    return [key for key in keys if is_numbered(key, stems)]


def _gone(gone: Sequence[str], where: str) -> list[str]:
    return [f"{_count(gone)} in the store and not in the {where}: {_some(gone)}"] if gone else []


def _count(rows: Sequence) -> str:
    return f"{len(rows)} row{'s are' if len(rows) > 1 else ' is'}"


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:NAMED]) + (", ..." if len(keys) > NAMED else "")
