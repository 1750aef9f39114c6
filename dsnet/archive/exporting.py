"""Labels back on the series that they were made of: one call a format, told row by row.

Public
------
``SERIES_FORMATS``: names of the formats
``export_on_series(store, form, out, images, ...) -> Exported``
``send_export(out, root) -> Sent``
``require_wishes(form, images, out, to)``, ``require_new_folder(path, option)``
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dsnet.console import UserError, printable

if TYPE_CHECKING:
    from dsnet.data.dicom.index import SeriesIndex
    from dsnet.data.dicom.send import Sent
    from dsnet.data.store.placed import Exported
    from dsnet.data.store.reader import LabelStore

SERIES_FORMATS = ("dicom-seg", "dicom-sr", "nifti", "nrrd", "flare-npz")
# Those that a server takes.
OBJECT_FORMATS = ("dicom-seg", "dicom-sr")


def export_on_series(
    store: LabelStore,
    form: str,
    out: str | os.PathLike,
    images: SeriesIndex,
    *,
    keep_identifiers: bool = False,
    min_quality: float | None = None,
    refuse: Callable[[str, str], object] | None = None,
) -> Exported:
    """Write a store's labels in one of `SERIES_FORMATS`.

    Parameters
    ----------
    store : LabelStore
    form : str
    out : path
        New or empty folder.
    images : SeriesIndex
        Where the slices are found by their UIDs.
    keep_identifiers, min_quality
        See `dsnet.data.store.dicom_objects`.
    refuse : callable, optional
        Told the key of each row that cannot be written, and why; by default a line of the
        standard error.

    Raises
    ------
    FileExistsError
        When `out` is not an empty folder.
    ValueError
        When no row can be written.
    """
    common = {"min_quality": min_quality, "refuse": refuse or _tell}
    if form in OBJECT_FORMATS:
        from dsnet.data.store import dicom_objects

        write = {
            "dicom-seg": dicom_objects.export_dicom_seg,
            "dicom-sr": dicom_objects.export_dicom_sr,
        }[form]
        return write(store, out, images, keep_identifiers=keep_identifiers, **common)
    if form == "flare-npz":
        from dsnet.data.dicom.index import read_slice
        from dsnet.data.store.flare import export_flare_npz

        return export_flare_npz(store, out, images, lambda entry: read_slice(entry).hu, **common)
    from dsnet.data.store import volumes

    write = {"nifti": volumes.export_nifti, "nrrd": volumes.export_nrrd}[form]
    return write(store, out, images, **common)


def require_new_folder(path: str | os.PathLike, option: str) -> None:
    """Tell before hours of labelling that an export could not be written after them."""
    place = Path(path)
    if place.exists() and not (place.is_dir() and not any(place.iterdir())):
        raise UserError(f"{option} must be a new or empty folder, got {place}")


def require_wishes(form: str, images: str | None, out: str, to: str | None) -> None:
    """Check what an export is asked for before anything is read.

    Raises
    ------
    UserError, ValueError
        When there are no images to export onto, the format is none that a server takes, the
        server's address is none, or the folder is not new or empty.
    """
    from dsnet.data.dicom.send import require_address

    if not images:
        raise UserError(f"--images must be the DICOM that was labelled, for {form}")
    if to and form not in OBJECT_FORMATS:
        raise UserError(f"--to takes {' and '.join(OBJECT_FORMATS)}, got {form}")
    if to:
        require_address(to)
    require_new_folder(out, "--out")


def send_export(out: str | os.PathLike, root: str) -> Sent:
    """Send the DICOM files of an export to a server; one that does not arrive is told on a line.

    Raises
    ------
    ValueError
        See `dsnet.data.dicom.send.send_objects`.
    """
    from dsnet.data.dicom.send import send_objects

    def tell(file: str, reason: str) -> None:
        print(printable(f"not sent: {file}: {reason}"), file=sys.stderr)

    return send_objects(root, sorted(Path(out).rglob("*.dcm")), refuse=tell)


def _tell(key: str, reason: str) -> None:
    print(printable(f"not written: {key}: {reason}"), file=sys.stderr)
