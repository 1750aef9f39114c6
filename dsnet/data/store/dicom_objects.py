"""A store's labels as DICOM objects: segmentations, and reports of their measurements."""

from __future__ import annotations

import os
from pathlib import Path

from dsnet.data.dicom.grid import slice_distance
from dsnet.data.dicom.header import quiet
from dsnet.data.dicom.objects import file_bytes
from dsnet.data.dicom.seg import segmentation
from dsnet.data.dicom.sr import measurement_report
from dsnet.data.store.placed import Exported, Refuse, SeriesLesions, SourceImages, export_series
from dsnet.data.store.reader import LabelStore


def export_dicom_seg(
    store: LabelStore,
    out: str | os.PathLike,
    images: SourceImages,
    *,
    keep_identifiers: bool = False,
    min_quality: float | None = None,
    refuse: Refuse | None = None,
) -> Exported:
    """Write `SERIES_UID/soft.dcm` and `SERIES_UID/binary.dcm`: DICOM Segmentations of its lesions.

    A segment and a frame each lesion, in the order of the store. `soft.dcm` is fractional and holds
    the soft masks in steps of 1/255; `binary.dcm` is for the viewers that read no such ones. Their
    UIDs follow from what they hold: of a repeat they are the same.

    Parameters
    ----------
    out : path
        New or empty folder.
    images : SourceImages
        Where the slices' headers are.
    keep_identifiers : bool
        The patient's and the study's identifiers as the headers have them, which a server needs to
        file the objects with the images. Else the name is empty and the number is a hash.
    min_quality, refuse
        As in `export_series`.

    Raises
    ------
    FileExistsError, ValueError
        As `export_series`.
    """

    def write(folder: Path, series: SeriesLesions) -> None:
        distance = slice_distance(series.entries)
        with quiet():  # highdicom prints the patient's name where it has one part
            made = {
                f"{kind}.dcm": file_bytes(
                    segmentation(
                        series.lesions, series.headers, kind,
                        slice_distance=distance, keep_identifiers=keep_identifiers,
                    )
                )
                for kind in ("soft", "binary")
            }  # fmt: skip
        _write(folder / series.name, made)

    return export_series(store, images, out, write, min_quality=min_quality, refuse=refuse)


def export_dicom_sr(
    store: LabelStore,
    out: str | os.PathLike,
    images: SourceImages,
    *,
    keep_identifiers: bool = False,
    min_quality: float | None = None,
    refuse: Refuse | None = None,
) -> Exported:
    """Write `SERIES_UID/measurements.dcm`: the axes of a series' lesions, measured on their masks.

    The arguments are those of `export_dicom_seg`; see `dsnet.data.dicom.sr`.
    """

    def write(folder: Path, series: SeriesLesions) -> None:
        with quiet():
            report = measurement_report(
                series.lesions, series.headers, _spacings(series), keep_identifiers=keep_identifiers
            )
            made = {"measurements.dcm": file_bytes(report)}
        _write(folder / series.name, made)

    return export_series(store, images, out, write, min_quality=min_quality, refuse=refuse)


def _spacings(series: SeriesLesions) -> list[tuple[float, float]]:
    found = {(entry.instance_uid, entry.frame or 1): entry.spacing for entry in series.entries}
    spacings = []
    for lesion in series.lesions:
        spacing = found.get((lesion.instance_uid, lesion.frame or 1))
        if spacing is None:
            raise ValueError(f"slice {lesion.instance_uid} has no spacing: nothing to measure by")
        spacings.append(spacing)
    return spacings


def _write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir()
    for name, data in files.items():
        # No need to sync each one: the folder has no name yet.
        (folder / name).write_bytes(data)
