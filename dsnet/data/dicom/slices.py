"""One CT slice from a DICOM file; needs the extra `dsnet[dicom]`."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dsnet.data.picture_file import MAX_PIXELS, check_pixels, most_bytes, read_regular_file
from dsnet.dependencies import needed

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


class DicomSlice(NamedTuple):
    """A CT slice and what its file tells of it.

    Attributes
    ----------
    hu : ndarray [H, W], float32
    spacing : (row, column) or None
        Millimetres per pixel, where the file tells.
    patient : str or None
        `hashed_patient` of its PatientID, where it has one.
    """

    hu: np.ndarray
    spacing: tuple[float, float] | None
    patient: str | None


def read_dicom_slice(
    path: str | Path, max_pixels: int = MAX_PIXELS
) -> tuple[np.ndarray, tuple[float, float] | None]:
    """HU and spacing of a CT file of one frame; as `read_dicom`, without the patient."""
    return read_dicom(path, max_pixels)[:2]


def read_dicom(path: str | Path, max_pixels: int = MAX_PIXELS) -> DicomSlice:
    """HU, spacing and hashed patient of a CT file of one frame, plain or enhanced.

    HU are the stored values times the rescale slope plus the intercept. These and the spacing are
    looked for in the functional groups first, the frame's own before the shared ones (PS3.3,
    C.7.6.16), then at the root.

    Parameters
    ----------
    path : path
    max_pixels : int
        More are refused by the header, before anything is decoded.

    Raises
    ------
    ValueError
        When the file is no DICOM of a CT, a localizer, has no picture, several frames, colour or a
        palette, no HU, a slope, intercept or spacing that is none, or a compression that cannot be
        decoded; the message names the file.
    ImportError
        When pydicom is not installed.
    """
    with needed("dicom", "reading DICOM"):
        import pydicom
    data = read_regular_file(path, most_bytes(max_pixels))
    try:
        found = pydicom.dcmread(io.BytesIO(data))
        _require_ct_slice(found, max_pixels)
        slope, intercept = _rescale(found)
        spacing = _spacing(found)
        pixels = found.pixel_array
        if pixels.ndim != 2:
            raise ValueError(f"must be one grey frame, got shape {pixels.shape}")
        hu = (pixels.astype(np.float64) * slope + intercept).astype(np.float32)
        _require_hu(hu, pixels, found.get("PixelPaddingValue"))
        return DicomSlice(hu, spacing, hashed_patient(found.get("PatientID")))
    except Exception as error:  # pydicom raises many kinds; to the caller the file is unusable
        raise ValueError(f"{path}: {_told(error)}") from error


def hashed_patient(patient_id) -> str | None:
    """A name for a patient that two files of theirs share and that is not the PatientID.

    Sixteen digits of its SHA-256: a pseudonym, which whoever has a list of the numbers can undo.
    """
    text = str(patient_id or "").strip()
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16] if text else None


def _require_ct_slice(found: Any, max_pixels: int) -> None:
    kind = str(found.get("SOPClassUID") or "")
    modality = str(found.get("Modality") or "")
    if (kind and kind not in _CT_CLASSES) or modality not in ("CT", "") or not (kind or modality):
        raise ValueError(
            f"must be a CT image, got modality {modality or 'none'} of class {kind or 'none'}"
        )
    if "LOCALIZER" in [str(value).upper() for value in _several(found.get("ImageType"))]:
        raise ValueError("must be a CT slice, got a localizer")
    photometric = str(found.get("PhotometricInterpretation") or "")
    samples = int(found.get("SamplesPerPixel") or 1)
    if not photometric.startswith("MONOCHROME") or samples != 1:
        raise ValueError(f"must be grey, got {photometric or 'no colour space'}")
    frames = int(found.get("NumberOfFrames") or 1)
    rows, columns = int(found.get("Rows") or 0), int(found.get("Columns") or 0)
    if rows < 1 or columns < 1:
        raise ValueError("it has no picture")
    if frames != 1:
        raise ValueError(f"must be one grey frame, got {frames} of {rows}x{columns}")
    check_pixels(rows, columns, max_pixels)


def _rescale(found: Any) -> tuple[float, float]:
    if found.get("ModalityLUTSequence"):
        raise ValueError("its values go through a modality table, and are not HU by a slope")
    place = _group(found, "PixelValueTransformationSequence") or found
    kind = str(place.get("RescaleType") or "HU").strip().upper()
    if kind not in _HU_TYPES:
        raise ValueError(f"RescaleType must be HU, got {kind!r}")
    numbers = {name: _numbers(place, name) for name in ("RescaleSlope", "RescaleIntercept")}
    if not any(numbers.values()):
        numbers = {"RescaleSlope": [1.0], "RescaleIntercept": [0.0]}
    for name, values in numbers.items():
        if len(values) != 1:
            raise ValueError(f"{name} must be one number, got {values or 'none'}")
    (slope,), (intercept,) = numbers.values()
    if slope == 0:
        raise ValueError("RescaleSlope must not be 0")
    if slope > 0 and intercept >= 0 and int(found.get("PixelRepresentation") or 0) == 0:
        raise ValueError(
            "its values cannot be HU: stored without a sign, and no rescale takes them below 0"
        )
    return slope, intercept


def _spacing(found: Any) -> tuple[float, float] | None:
    values = _numbers(_group(found, "PixelMeasuresSequence") or found, "PixelSpacing")
    if not values:
        return None
    if len(values) != 2 or min(values) <= 0:
        raise ValueError(f"PixelSpacing must be two numbers > 0, got {values}")
    return values[0], values[1]


def _require_hu(hu: np.ndarray, pixels: np.ndarray, padding: Any) -> None:
    image = hu[pixels != padding] if isinstance(padding, int) else hu
    if image.size and image.min() < _LOWEST_HU:
        raise ValueError(f"its values begin at {image.min():g}: these are not HU")


def _group(found: Any, name: str) -> Any:
    """That functional group of the one frame, or else the shared one."""
    for groups in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        items = _several(found.get(groups))
        held = _several(items[0].get(name)) if items else []
        if held:
            return held[0]
    return None


def _numbers(place: Any, name: str) -> list[float]:
    """The numbers of a tag; none where it is absent or empty."""
    try:
        values = [float(value) for value in _several(place.get(name)) if str(value).strip()]
    except Exception as error:  # pydicom reads a value when it is asked for it
        raise ValueError(f"{name} must be numbers: {_told(error)}") from error
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, got {values}")
    return values


def _several(value: Any) -> list:
    if value is None or isinstance(value, str | bytes):
        return [] if value is None else [value]
    try:
        return list(value)
    except TypeError:
        return [value]


def _told(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, ValueError) and text else f"{type(error).__name__}: {text}"
