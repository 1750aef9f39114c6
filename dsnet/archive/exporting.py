"""Labels back on the series that they were made of: one call a format, told row by row.

Public
------
``SERIES_FORMATS``: names of the formats
``export_on_series(store, form, out, images, ...) -> Exported``
``export_and_tell(store, options) -> bool``: the command
``require_new_folder(path, option)``
``require_taken(options)``: no option is given that the format passes over
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dsnet.archive.finding import named
from dsnet.console import UserError, printable

if TYPE_CHECKING:
    import argparse

    import numpy as np

    from dsnet.archive.naming import Naming
    from dsnet.data.dicom.entry import SliceEntry
    from dsnet.data.dicom.index import SeriesIndex
    from dsnet.data.store.placed import Exported
    from dsnet.data.store.reader import LabelStore

SERIES_FORMATS = ("dicom-seg", "dicom-sr", "nifti", "nrrd", "flare-npz")
# Those that a server takes.
OBJECT_FORMATS = ("dicom-seg", "dicom-sr")
# Which formats an option of the command is for; the others are for all.
_FORMATS_OF = {
    "split": ("npz",),
    "seed": ("npz",),
    "images": SERIES_FORMATS,
    "index": SERIES_FORMATS,
    "hash_key": SERIES_FORMATS,
    "keep_identifiers": SERIES_FORMATS,
    "to": OBJECT_FORMATS,
}


def export_on_series(
    store: LabelStore,
    form: str,
    out: str | os.PathLike,
    images: SeriesIndex,
    naming: Naming | None = None,
    *,
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
    naming : Naming, optional
        Whether the patient's identifiers are kept, and the secret of a store of keyed hashes.
    min_quality
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
    from dsnet.archive.naming import Naming
    from dsnet.archive.unhashed import Unhashed

    naming = naming or Naming()
    common = {"min_quality": min_quality, "refuse": refuse or functools.partial(_tell, naming)}
    if naming.hash_key:
        store = cast(Any, Unhashed(store, naming, images))
    if form in OBJECT_FORMATS:
        from dsnet.data.store import dicom_objects

        write = {
            "dicom-seg": dicom_objects.export_dicom_seg,
            "dicom-sr": dicom_objects.export_dicom_sr,
        }[form]
        done = write(store, out, images, keep_identifiers=naming.keep_identifiers, **common)
    elif form == "flare-npz":
        from dsnet.data.dicom.index import read_slice
        from dsnet.data.store.flare import export_flare_npz

        def hounsfield(entry: SliceEntry) -> np.ndarray:
            try:
                return read_slice(entry).hu
            except (ValueError, OSError) as error:
                raise ValueError(naming.error(str(error), entry.source, "a slice")) from error

        done = export_flare_npz(store, out, images, hounsfield, **common)
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


def require_taken(options: argparse.Namespace) -> None:
    """UserError for an option that the format passes over: who gives it counts on it."""
    for name, formats in _FORMATS_OF.items():
        value = getattr(options, name)
        passed_over = value is not None and value is not False and options.format not in formats
        if passed_over:
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{option} is of --format {', '.join(formats)}, got {options.format}")


def require_wishes(form: str, images: str | None, out: str, to: str | None) -> str:
    """Check what an export is asked for before anything is read; the place of the images.

    Raises
    ------
    UserError, ValueError
        When there are no images to export onto, the server's address is none, or the folder is not
        new or empty.
    """
    from dsnet.data.dicom.send import require_address

    if not images:
        raise UserError(f"--images must be the DICOM that was labelled, for {form}")
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
    from dsnet.archive.naming import Naming, hash_key
    from dsnet.archive.unhashed import require_key
    from dsnet.data.dicom.index import index_series
    from dsnet.data.dicom.send import send_objects

    form, out, to = options.format, options.out, options.to
    place = require_wishes(form, options.images, out, to)
    with named("--hash-key"):
        naming = Naming(hash_key(options.hash_key), options.keep_identifiers)
    require_key(store, naming)
    with named("--images", "--index"):
        index = index_series(place, options.index)
    done = export_on_series(store, form, out, index, naming, min_quality=options.min_quality)
    if to is None:
        return not done.refused
    sent = send_objects(
        to,
        sorted(Path(out).rglob("*.dcm")),
        refuse=lambda file, why: _tell(naming, file, why, "not sent"),
    )
    print(f"{sent.arrived} objects are on the server")
    return not (done.refused or sent.refused)


def _tell(naming: Naming, name: str, reason: str, what: str = "not written") -> None:
    """A line of a row or of a written file: their names tell no person, the reason may."""
    told = naming.told(name, reason)
    print(printable(f"{what}: {told if naming.keep_identifiers else f'{name}: {told}'}"),
          file=sys.stderr)  # fmt: skip
