"""One CT slice from a DICOM file; needs the extra `dsnet[dicom]`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dsnet.dependencies import needed


def read_dicom_slice(path: str | Path) -> tuple[np.ndarray, tuple[float, float] | None]:
    """HU and spacing of a single-frame CT file.

    Returns
    -------
    hu : ndarray [H, W], float32
        Stored values times the rescale slope plus the intercept.
    spacing : (row, column) or None
        Millimetres per pixel, where the file tells.

    Raises
    ------
    ValueError
        When the file is no DICOM, has no picture, several frames or colour, or a compression
        that cannot be decoded; the message names the file.
    ImportError
        When pydicom is not installed.
    """
    with needed("dicom", "reading DICOM"):
        import pydicom
    try:
        data = pydicom.dcmread(path)
        pixels = data.pixel_array
    except Exception as error:  # pydicom raises many kinds; to the caller the file is unusable
        raise ValueError(f"{path}: {error}") from error
    if pixels.ndim != 2:
        raise ValueError(f"{path}: must be one grey frame, got shape {pixels.shape}")
    slope, intercept = (
        default if data.get(name) is None else float(data.get(name))
        for name, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
    )
    hu = (pixels.astype(np.float64) * slope + intercept).astype(np.float32)
    spacing = data.get("PixelSpacing") or None  # the tag may be there and empty
    return hu, None if spacing is None else (float(spacing[0]), float(spacing[1]))
