"""Labels back on the series that they were made of: one call a format, told row by row.

Public
------
``SERIES_FORMATS``: names of the formats
``export_on_series(store, form, out, images, ...) -> Exported``
``export_and_tell(store, options) -> bool``: the command
``require_seg(folder, hash_key)``
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dsnet.console import UserError, printable

if TYPE_CHECKING:
    import argparse

    from dsnet.data.dicom.index import SeriesIndex
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
    """Write a store's labels in one of `SERIES_FORMATS`, and say how many.

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
        done = write(store, out, images, keep_identifiers=keep_identifiers, **common)
    elif form == "flare-npz":
        from dsnet.data.dicom.index import read_slice
        from dsnet.data.store.flare import export_flare_npz

        done = export_flare_npz(store, out, images, lambda entry: read_slice(entry).hu, **common)
    else:
        from dsnet.data.store import volumes

        write = {"nifti": volumes.export_nifti, "nrrd": volumes.export_nrrd}[form]
        done = write(store, out, images, **common)
    print(f"wrote {done.written} labels to {printable(os.fspath(out))}")
    return done


def require_new_folder(path: str | os.PathLike, option: str) -> None:
    """Tell before hours of labelling that an export could not be written after them."""
    place = Path(path)
    if place.exists() and not (place.is_dir() and not any(place.iterdir())):
        raise UserError(f"{option} must be a new or empty folder, got {place}")


def require_seg(folder: str, hash_key: str | None) -> None:
    """Check where segmentations go that are written after labelling."""
    if hash_key:
        raise UserError("--seg must find the slices by their UIDs: it goes without --hash-key")
    require_new_folder(folder, "--seg")


def require_wishes(form: str, images: str | None, out: str, to: str | None) -> str:
    """Check what an export is asked for before anything is read; the place of the images.

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
    return images


def export_and_tell(store: LabelStore, options: argparse.Namespace) -> bool:
    """Export as `options.export_options` asks, and send; whether all is written and has arrived.

    Raises
    ------
    UserError, ValueError, FileExistsError
        As `require_wishes`, `export_on_series` and `dsnet.data.dicom.send.send_objects`.
    """
    from dsnet.data.dicom.index import index_series
    from dsnet.data.dicom.send import send_objects

    form, out, to = options.format, options.out, options.to
    place = require_wishes(form, options.images, out, to)
    done = export_on_series(
        store, form, out, index_series(place, options.index),
        keep_identifiers=options.keep_identifiers, min_quality=options.min_quality,
    )  # fmt: skip
    if to is None:
        return not done.refused
    sent = send_objects(
        to,
        sorted(Path(out).rglob("*.dcm")),
        refuse=lambda file, why: _tell(file, why, "not sent"),
    )
    print(f"{sent.arrived} objects are on the server")
    return not (done.refused or sent.refused)


def _tell(name: str, reason: str, what: str = "not written") -> None:
    print(printable(f"{what}: {name}: {reason}"), file=sys.stderr)
