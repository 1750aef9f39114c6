"""Jobs: what is read and labelled together, in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from dsnet.archive.left import RowNames, file_and_patient, items_left, rows_left
from dsnet.archive.review import ReviewedJobs, review_pictures, review_rows
from dsnet.data.phantom import KINDS, make_phantom
from dsnet.data.picture_file import MAX_PIXELS
from dsnet.data.store.record import LabelRecord
from dsnet.labeling import label_mask, label_raters, label_recist

if TYPE_CHECKING:
    from pathlib import Path

    from dsnet.data.crop import Crop
    from dsnet.data.datasets.deeplesion import DeepLesionAnnotation
    from dsnet.data.datasets.pictures import OutlinedPicture
    from dsnet.data.datasets.promise import VolumeSlice
    from dsnet.data.datasets.slice_crops import SliceFiles


# The reason of a row whose worker died: `resume` tries it again.
WORKER_DIED = "the worker process died on this file (killed, or out of memory)"


@cache
def _deeplesion():
    """The reader of slices, whose import other jobs need not wait for."""
    from dsnet.data.datasets import deeplesion

    return deeplesion


class DeviceFailure(RuntimeError):
    """The GPU failed, not a row: the run ends, and the store goes on with --resume."""


class Job(Protocol):
    """Rows that are labelled together; picklable, so that another process can run it.

    A job may also have `split()`, its parts as smaller jobs: where it kills its process, it is
    searched for the part that does.
    """

    @property
    def rows(self) -> Sequence[tuple[str, str]]:
        """(key, source) of each row; a key is unique in its store."""
        ...

    def run(self) -> list[LabelRecord]:
        """Return a record for each row, in order; what it raises fails all of its rows."""
        ...


class ReadableJob(Job, Protocol):
    """A job whose labelling a GPU can take over.

    It may have `weight`, how many crops of 64x64 a row is about (1 where it has none): so many
    fewer rows are in memory at a time.
    """

    def read(self) -> list[Crop | LabelRecord]:
        """Return a crop for each row, in order, or the record of a row that failed already."""
        ...


class FetchableJob(Job, Protocol):
    """A job whose files can be read ahead of it, by another thread."""

    def fetch(self) -> FetchableJob:
        """Return the job with what its files hold, for this process alone."""
        ...


class CropJob:
    """A job whose rows are crops that are labelled as `label_crop` does; its kinds have `rows` and
    `read`."""

    @property
    def rows(self) -> Sequence[tuple[str, str]]:
        """(key, source) of each row."""
        raise NotImplementedError

    def read(self) -> list[Crop | LabelRecord]:
        """Return a crop for each row, in order, or the record of a row that failed already."""
        raise NotImplementedError

    @property
    def count(self) -> int:
        """How many rows it has."""
        return len(self.rows)

    def crops(self) -> list[Crop | LabelRecord]:
        """As `read`; when that raises, one failed record for each row."""
        try:
            return self.read()
        except Exception as error:
            return [*failed_rows(self, describe(error))]

    def run(self) -> list[LabelRecord]:
        """Read and label."""
        return label_parts(self.read())


def run_job(job: Job) -> list[LabelRecord]:
    """A job's records; when it raises, one failed record for each of its rows.

    Raises
    ------
    DeviceFailure
        What befell the GPU is no row's fault.
    """
    try:
        return job.run()
    except DeviceFailure:
        raise
    except Exception as error:
        return failed_rows(job, describe(error))


def describe(error: BaseException) -> str:
    """An error in words; its type leads where it is not one that the library explains."""
    text = str(error) or type(error).__name__
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"


def failed_rows(job: Job, reason: str) -> list[LabelRecord]:
    """A failed record for each of a job's rows."""
    return [LabelRecord.from_error(key, source, reason) for key, source in job.rows]


@dataclass(frozen=True)
class PhantomJob:
    """A synthetic nodule, labelled from its mark and compared with its known alpha."""

    kind: str
    size: int
    seed: int

    @property
    def rows(self) -> list[tuple[str, str]]:
        """(key, source)."""
        return [(f"{self.kind}-{self.seed}", "phantom")]

    def run(self) -> list[LabelRecord]:
        """Make and label it; the metadata tell how far alpha is from the truth."""
        phantom = make_phantom(self.kind, self.size, self.seed)
        label = label_recist(phantom.image, phantom.mark)
        truth = phantom.alpha >= 0.5
        overlap = 2 * (label.binary & truth).sum() / (label.binary.sum() + truth.sum())
        ((key, source),) = self.rows
        record = LabelRecord(
            key=key,
            source=source,
            image=phantom.image,
            alpha=label.alpha,
            binary=label.binary,
            trimap=label.trimap,
            mark=phantom.mark.coordinates,
            spacing=phantom.spacing,
            quality=label.quality,
            seconds=label.seconds,
            notes=label.notes,
            metadata={
                "kind": self.kind,
                "patient": key,
                "seed": self.seed,
                "dice": float(overlap),
                "mean_absolute_error": float(np.abs(label.alpha - phantom.alpha).mean()),
            },
        )
        return [record]


@dataclass(frozen=True)
class PictureJob(CropJob):
    """A picture and the masks drawn over it."""

    picture: OutlinedPicture
    weight: ClassVar[int] = 4

    @property
    def rows(self) -> list[tuple[str, str]]:
        """(key, source)."""
        return [(self.picture.key, self.picture.source)]

    def read(self) -> list[Crop | LabelRecord]:
        """Read it; a picture that cannot be read raises."""
        return [self.picture.read()]


@dataclass(frozen=True)
class VolumeJob(CropJob):
    """The slices of one volume: read once, each labelled."""

    slices: tuple[VolumeSlice, ...]
    weight: ClassVar[int] = 25  # MR of 320x320

    @property
    def rows(self) -> list[tuple[str, str]]:
        """(key, source) of each slice."""
        return [(one.key, one.source) for one in self.slices]

    def read(self) -> list[Crop | LabelRecord]:
        """Read it; a slice that fails is a record already."""
        from dsnet.data.datasets.promise import read_slices

        found: list[Crop | LabelRecord] = []
        for one, crop in read_slices(self.slices):
            if isinstance(crop, ValueError):
                crop = LabelRecord.from_error(
                    one.key, one.source, describe(crop), metadata=one.metadata
                )
            found.append(crop)
        return found


@dataclass
class SliceJob(CropJob):
    """The annotations of one slice: decoded once, every mark labelled."""

    annotations: Sequence[DeepLesionAnnotation]
    images_dir: str
    options: dict = field(default_factory=dict)
    fetched: SliceFiles | ValueError | None = field(default=None, repr=False, compare=False)

    @property
    def rows(self) -> Sequence[tuple[str, str]]:
        """(key, source) of each annotation."""
        return RowNames(self.annotations)

    @property
    def count(self) -> int:
        """How many annotations there are."""
        return len(self.annotations)

    def fetch(self) -> SliceJob:
        """Read its files."""
        given = self.options.get
        files = _deeplesion().fetch_slice(
            self.annotations,
            self.images_dir,
            max_pixels=given("max_pixels", MAX_PIXELS),
            neighbours=given("neighbours", 0),
            foreign=given("foreign", ()),
        )
        return SliceJob(self.annotations, self.images_dir, self.options, files)

    def read(self) -> list[Crop | LabelRecord]:
        """Read and crop; a row that fails is a record already."""
        found: list[Crop | LabelRecord] = []
        crops = _deeplesion().read_crops(
            self.annotations, self.images_dir, **self.options, fetched=self.fetched
        )
        for annotation, crop in crops:
            if isinstance(crop, ValueError):
                key, name, told = annotation.key, annotation.file_name, annotation.metadata
                crop = LabelRecord.from_error(key, name, describe(crop), metadata=told)
            found.append(crop)
        return found


def phantom_jobs(count: int, size: int = 64, seed: int = 0) -> Callable[[set[str]], Iterator]:
    """`count` synthetic nodules of every kind in turn, for `label_archive`.

    Parameters
    ----------
    count : int
    size : int
        Pixels a side.
    seed : int
        Of the first of each kind.
    """

    def jobs(done: set[str]) -> Iterator[PhantomJob]:
        for i in range(count):
            job = PhantomJob(KINDS[i % len(KINDS)], size, seed + i // len(KINDS))
            if job.rows[0][0] not in done:
                yield job

    return jobs


def picture_jobs(
    pictures: Sequence[OutlinedPicture], *, listed: Sequence[OutlinedPicture] | None = None
) -> ReviewedJobs:
    """A job for each picture, for `label_archive`.

    Parameters
    ----------
    pictures : sequence of OutlinedPicture
    listed : sequence of OutlinedPicture, optional
        All that `pictures` were chosen of: what a resumed store is compared with. By default
        `pictures`.
    """

    def jobs(done: set[str]) -> Iterator[PictureJob]:
        return map(PictureJob, items_left(pictures, attrgetter("key"), done))

    whole = pictures if listed is None else listed
    return ReviewedJobs(jobs, lambda store: review_pictures(store, whole))


def volume_jobs(
    slices: Sequence[VolumeSlice], *, listed: Sequence[VolumeSlice] | None = None
) -> ReviewedJobs:
    """A job for each volume that has slices left, for `label_archive`.

    Parameters
    ----------
    slices : sequence of VolumeSlice
    listed : sequence of VolumeSlice, optional
        As `picture_jobs` takes it.
    """

    def jobs(done: set[str]) -> Iterator[VolumeJob]:
        groups: dict[Path, list[VolumeSlice]] = {}
        for one in items_left(slices, attrgetter("key"), done):
            groups.setdefault(one.image, []).append(one)
        return (VolumeJob(tuple(group)) for group in groups.values())

    whole = slices if listed is None else listed
    return ReviewedJobs(jobs, lambda store: review_pictures(store, whole))


def slice_jobs(
    annotations: Sequence[DeepLesionAnnotation],
    images_dir: str | Path,
    *,
    table: Sequence[DeepLesionAnnotation] | None = None,
    patient: Callable[[str], str] | None = None,
    **options,
) -> ReviewedJobs:
    """A job for each slice that has annotations, for `label_archive`.

    Parameters
    ----------
    annotations : sequence of DeepLesionAnnotation
    images_dir : path
        Folder with SERIES/KEY.png.
    table : sequence of DeepLesionAnnotation, optional
        All rows of the table that `annotations` were chosen of: what a resumed store is compared
        with, and whose the files beside are. By default `annotations`.
    patient : callable, optional
        A rule of `patients_by`, for files beside that the table does not have.
    **options
        How the crops are cut: `size`, `window`, `isotropic_mm`, `max_pixels`, `neighbours`, as
        `read_crops` takes them.
    """
    from dsnet.data.datasets.deeplesion import group_by_file
    from dsnet.data.neighbours import foreign_steps
    from dsnet.data.patients import owner_by_table

    whole = annotations if table is None else table
    owner, count = owner_by_table(whole, patient), options.get("neighbours", 0)
    # One of all jobs where nothing is beside: it is then pickled once for a block of them.
    alone = {**options, "foreign": frozenset()}

    folder = str(images_dir)

    def jobs(done: set[str]) -> Iterator[SliceJob]:
        for rows in rows_left(group_by_file(annotations), done):
            how = alone
            if count:
                name, whose = file_and_patient(rows)
                if steps := foreign_steps(name, count, whose, owner):
                    how = {**options, "foreign": steps}
            yield SliceJob(rows, folder, how)

    return ReviewedJobs(jobs, lambda store: review_rows(store, whole))


def label_crop(crop: Crop) -> LabelRecord:
    """Label a crop from its raters' masks, its mask or its mark; a failure is a record, too."""
    try:
        masks = crop.masks
        if masks is None:
            if crop.mark is None:
                raise ValueError("crop must have a mark or masks, got neither")
            label = label_recist(crop.image, crop.mark)
        elif len(masks) == 1:
            label = label_mask(crop.image, masks[0], spacing=crop.spacing)
        else:
            label = label_raters(crop.image, masks, spacing=crop.spacing)
        return LabelRecord.from_label(crop, label)
    except Exception as error:
        return LabelRecord.from_error(crop.key, crop.source, describe(error), crop=crop)


def label_parts(parts: Sequence[Crop | LabelRecord]) -> list[LabelRecord]:
    """Records of what `CropJob.read` gave."""
    return [part if isinstance(part, LabelRecord) else label_crop(part) for part in parts]
