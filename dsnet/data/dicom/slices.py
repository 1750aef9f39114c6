"""One CT slice from a DICOM file; needs the extra `dsnet[dicom]`."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from dsnet.data.dicom.header import (
    group,
    numbers,
    quiet,
    read_header,
    several,
    text,
    told,
    whole,
)
from dsnet.data.dicom.pixels import Stored, read_stored
from dsnet.data.dicom.streams import Interrupted
from dsnet.data.picture_file import MAX_PIXELS, check_pixels, most_bytes, open_regular_file

# CT Image, Enhanced CT, Legacy Converted Enhanced CT (PS3.4, table B.5-1).
_CT_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.2.1",
    "1.2.840.10008.5.1.4.1.1.2.2",
)
# US says nothing, which scanners write of HU, too (PS3.3, C.11.1.1.2).
_HU_TYPES = ("HU", "US")
# No scanner gives less, padding aside: HU have 16 bits at most, and air is -1000.
_LOWEST_HU = -8192.0
# What nothing was measured in is shown as air.
AIR_HU = -1000.0
# Noise about air reaches this; what lies lower is padding that the file does not call so.
_BELOW_AIR_HU = -1500.0
# Nor fat, which is about -100: what begins above it is no whole slice, or its rescale is wrong.
_NO_FAT_HU = -50.0


class DicomSlice(NamedTuple):
    """A CT slice and what its file tells of it.

    Attributes
    ----------
    hu : ndarray [H, W], float32
    spacing : (row, column) or None
        Millimetres per pixel, where the file tells.
    patient : str or None
        `hashed_patient` of its PatientID, where it has one.
    notes : tuple of str
        What was odd, and what was done about it.
    position : (x, y, z) or None
        ImagePositionPatient: the centre of the first pixel, in mm.
    orientation : tuple of 6 float or None
        ImageOrientationPatient: along a row, then along a column.
    """

    hu: np.ndarray
    spacing: tuple[float, float] | None
    patient: str | None
    notes: tuple[str, ...] = ()
    position: tuple[float, ...] | None = None
    orientation: tuple[float, ...] | None = None


def read_dicom_slice(
    path: str | Path, max_pixels: int = MAX_PIXELS
) -> tuple[np.ndarray, tuple[float, float] | None]:
    """HU and spacing of a CT file of one frame; as `read_dicom`, and no more of it."""
    return read_dicom(path, max_pixels)[:2]


def read_dicom(
    path: str | Path, max_pixels: int = MAX_PIXELS, frame: int | None = None
) -> DicomSlice:
    """HU, spacing and hashed patient of a frame of a CT file, plain or enhanced.

    HU are the stored values times the rescale slope plus the intercept. These and the spacing are
    looked for in the functional groups first, the frame's own before the shared ones (PS3.3,
    C.7.6.16), then at the root. Padding becomes `AIR_HU`, and is told in the notes.

    Parameters
    ----------
    path : path
    max_pixels : int
        More are refused by the header, before anything is decoded.
    frame : int, optional
        1-based, as DICOM counts. A file of several frames is refused without.

    Raises
    ------
    ValueError
        When the file is no DICOM of a CT, a localizer, has no picture, several frames and none
        named, colour or a palette, no HU, a slope, intercept or spacing that is none, or a
        compression that cannot be decoded; the message names the file.
    ImportError
        When pydicom is not installed.
    """
    with open_regular_file(path) as file:
        return read_stream(file, str(path), max_pixels, frame, os.fstat(file.fileno()).st_size)


def read_stream(
    file: BinaryIO, name: str, max_pixels: int, frame: int | None, size: int | None = None
) -> DicomSlice:
    """As `read_dicom`, from an open file.

    Parameters
    ----------
    file : binary file
        Seekable, at its beginning.
    name : str
        Of the file, for messages.
    max_pixels : int
    frame : int or None
    size : int, optional
        The file's, in bytes, where it is known.
    """
    try:
        with quiet():
            return _read(file, max_pixels, frame, size)
    except (ImportError, Interrupted):
        raise
    except Exception as error:  # pydicom raises many kinds; to the caller the file is unusable
        raise ValueError(f"{name}: {told(error)}") from error


def _read(file: BinaryIO, max_pixels: int, frame: int | None, size: int | None) -> DicomSlice:
    header = read_header(file)
    found = header.dataset
    frames = _require_ct_slice(found, max_pixels, frame)
    if size is not None and size > most_bytes(max_pixels) * frames:
        raise ValueError(f"must be of at most {most_bytes(max_pixels) * frames} bytes, got {size}")
    slope, intercept = _rescale(found, frame)
    spacing, notes = _spacing(found, frame)
    stored = read_stored(header, frame or 1, frames, max_pixels)
    hu, told_of = _hounsfield(stored, slope, intercept)
    if text(found, "PhotometricInterpretation") == "MONOCHROME1":
        notes.append("MONOCHROME1 is how it is shown: HU are as they were stored")
    return DicomSlice(
        hu,
        spacing,
        hashed_patient(found.get("PatientID")),
        (*notes, *stored.notes, *told_of),
        _place(found, "PlanePositionSequence", "ImagePositionPatient", 3, frame),
        _place(found, "PlaneOrientationSequence", "ImageOrientationPatient", 6, frame),
    )


def hashed_patient(patient_id) -> str | None:
    """A name for a patient that two files of theirs share and that is not the PatientID.

    Sixteen digits of its SHA-256: a pseudonym, which whoever has a list of the numbers can undo.
    """
    text = str(patient_id or "").strip()
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16] if text else None


def _require_ct_slice(found: Any, max_pixels: int, frame: int | None) -> int:
    """How many frames there are of a CT."""
    kind = str(found.get("SOPClassUID") or "")
    modality = str(found.get("Modality") or "")
    if (kind and kind not in _CT_CLASSES) or modality not in ("CT", "") or not (kind or modality):
        raise ValueError(
            f"must be a CT image, got modality {modality or 'none'} of class {kind or 'none'}"
        )
    if "LOCALIZER" in [str(value).upper() for value in several(found.get("ImageType"))]:
        raise ValueError("must be a CT slice, got a localizer")
    photometric = str(found.get("PhotometricInterpretation") or "")
    samples = whole(found, "SamplesPerPixel", 1)
    if not photometric.startswith("MONOCHROME") or samples != 1:
        raise ValueError(f"must be grey, got {photometric or 'no colour space'}")
    frames = whole(found, "NumberOfFrames", 1) or 1
    rows, columns = whole(found, "Rows"), whole(found, "Columns")
    if rows < 1 or columns < 1:
        raise ValueError("it has no picture")
    if frames != 1 and frame is None:
        raise ValueError(f"must be one grey frame, got {frames} of {rows}x{columns}")
    if frame is not None and not 1 <= frame <= frames:
        raise ValueError(f"frame must be 1 to {frames}, got {frame}")
    check_pixels(rows, columns, max_pixels)
    return frames


def _rescale(found: Any, frame: int | None) -> tuple[float, float]:
    if found.get("ModalityLUTSequence"):
        raise ValueError("its values go through a modality table, and are not HU by a slope")
    place = group(found, "PixelValueTransformationSequence", frame) or found
    kind = str(place.get("RescaleType") or "HU").strip().upper()
    if kind not in _HU_TYPES:
        raise ValueError(f"RescaleType must be HU, got {kind!r}")
    given = {name: numbers(place, name) for name in ("RescaleSlope", "RescaleIntercept")}
    if not any(given.values()):
        given = {"RescaleSlope": [1.0], "RescaleIntercept": [0.0]}
    for name, values in given.items():
        if len(values) != 1:
            raise ValueError(f"{name} must be one number, got {values or 'none'}")
    (slope,), (intercept,) = given.values()
    if slope == 0:
        raise ValueError("RescaleSlope must not be 0")
    if slope > 0 and intercept >= 0 and whole(found, "PixelRepresentation") == 0:
        raise ValueError(
            "its values cannot be HU: stored without a sign, and no rescale takes them below 0"
        )
    return slope, intercept


def _spacing(found: Any, frame: int | None) -> tuple[tuple[float, float] | None, list[str]]:
    values = numbers(group(found, "PixelMeasuresSequence", frame) or found, "PixelSpacing")
    if not values:
        others = ("ImagerPixelSpacing", "NominalScannedPixelSpacing")
        return None, [
            f"it has no PixelSpacing, and {name} is not the patient's: not taken"
            for name in others
            if found.get(name)
        ]
    if len(values) != 2 or min(values) <= 0:
        raise ValueError(f"PixelSpacing must be two numbers > 0, got {values}")
    return (values[0], values[1]), []


def _place(
    found: Any, sequence: str, name: str, count: int, frame: int | None
) -> tuple[float, ...] | None:
    values = numbers(group(found, sequence, frame) or found, name)
    if values and len(values) != count:
        raise ValueError(f"{name} must be {count} numbers, got {values}")
    return tuple(values) or None


def _hounsfield(stored: Stored, slope: float, intercept: float) -> tuple[np.ndarray, list[str]]:
    """HU of stored values, padding as air, and what is told of that."""
    hu = _rescaled(stored.values, slope, intercept)
    notes = []
    padding = stored.padding
    if padding is not None and not padding.any():
        padding = None
    image = hu if padding is None else hu[~padding]
    if image.size and not (np.isfinite(image).all() and image.min() >= _LOWEST_HU):
        raise ValueError(f"its values begin at {image.min():g}: these are not HU")
    count = 0
    if padding is not None:
        if hu[padding].max() < _BELOW_AIR_HU:
            # A lossy code spreads the padding's value.
            padding = padding | (hu < _BELOW_AIR_HU)
        count = np.count_nonzero(padding)
        hu[padding] = AIR_HU
        notes.append(f"{count} pixels of padding became air ({AIR_HU:g} HU)")
    if low := np.count_nonzero(hu < _BELOW_AIR_HU):
        notes.append(
            f"{low} pixels below {_BELOW_AIR_HU:g} HU are not called padding: left as they are"
        )
    if not count and hu.size and hu.min() > _NO_FAT_HU:
        notes.append(f"its values begin at {hu.min():g} HU: there is neither air nor fat in it")
    return hu, notes


def _rescaled(values: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """Stored values times the slope plus the intercept, float32 as float64 rounds to it."""
    whole = slope.is_integer() and intercept.is_integer()
    # Whole numbers below 2**24 are exact in float32, too.
    if whole and values.itemsize <= 2 and max(abs(slope) * 2.0**16, abs(intercept)) < 2.0**23:
        hu = values.astype(np.float32)
        if slope != 1.0:
            hu *= np.float32(slope)
        hu += np.float32(intercept)
        return hu
    return (values.astype(np.float64) * slope + intercept).astype(np.float32)
