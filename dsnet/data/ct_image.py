"""CT slices from PNG files, and the HU window that makes 0..1 of them."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

HU_OFFSET = 32768
LUNG_WINDOW = (-1350.0, 150.0)
SOFT_TISSUE_WINDOW = (-175.0, 275.0)

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def read_ct_png(path: str | Path) -> np.ndarray:
    """HU of a DeepLesion PNG: uint16, HU = value - 32768.

    Returns
    -------
    ndarray [H, W], float32

    Raises
    ------
    ValueError
        When the file is missing, cut short, damaged, no PNG, in colour or not 16-bit; the
        message names the file.
    """
    pixels = _read_png(Path(path))
    if pixels.dtype != np.uint16:
        raise ValueError(f"{path}: must be a 16-bit PNG (HU + 32768), got {pixels.dtype}")
    return (pixels.astype(np.int32) - HU_OFFSET).astype(np.float32)


def read_picture(path: str | Path) -> np.ndarray:
    """An 8- or 16-bit grey PNG that was windowed already, as float32 [H, W] in 0..1.

    Raises
    ------
    ValueError
        As `read_ct_png`; 8 and 16 bits are both fine.
    """
    pixels = _read_png(Path(path))
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def read_mask(path: str | Path) -> np.ndarray:
    """A grey PNG as bool [H, W]: non-zero is lesion. Raises ValueError as `read_picture`."""
    return _read_png(Path(path)) != 0


def read_slice(
    path: str | Path, pictures: bool = False
) -> tuple[np.ndarray, tuple[float, float] | None]:
    """A CT slice from a 16-bit PNG or a DICOM file, or a picture that was windowed already.

    Parameters
    ----------
    path : path
    pictures : bool
        Whether a PNG is windowed; otherwise it holds HU + 32768.

    Returns
    -------
    image : ndarray [H, W], float32
        HU, or 0..1 of a picture.
    spacing : (row, column) or None
        Millimetres per pixel, where the file tells.

    Raises
    ------
    ValueError
        When the file cannot be used; the message names it.
    """
    from dsnet.data.dicom.slices import read_dicom_slice

    path = Path(path)
    if path.suffix.lower() in (".dcm", ".dicom"):
        return read_dicom_slice(path)
    if pictures:
        return read_picture(path), None
    try:
        return read_ct_png(path), None
    except ValueError as error:
        hint = "; --pictures takes windowed ones" if "16-bit PNG" in str(error) else ""
        raise ValueError(f"{error}{hint}") from error


def apply_window(hu: np.ndarray, low: float, high: float) -> np.ndarray:
    """HU clipped to `low`..`high` and scaled to 0..1, float32. NaN stays NaN.

    Raises
    ------
    ValueError
        When `low` is not below `high`.
    """
    if not low < high:
        raise ValueError(f"window must have low < high in HU, got ({low}, {high})")
    scaled = (np.asarray(hu, dtype=np.float64) - low) / (high - low)
    return np.clip(scaled, 0.0, 1.0).astype(np.float32)


def _read_png(path: Path) -> np.ndarray:
    import cv2

    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from error
    _check_png(data, path)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:  # a header that states more pixels than OpenCV takes
        raise ValueError(f"{path}: the PNG could not be decoded: {error.err}") from error
    if pixels is None:
        raise ValueError(f"{path}: the PNG could not be decoded")
    if pixels.ndim == 3:
        grey = pixels[..., 0]
        if not all(np.array_equal(grey, pixels[..., c]) for c in range(1, min(pixels.shape[2], 3))):
            raise ValueError(f"{path}: must be a grey image, got {pixels.shape[2]} channels")
        pixels = np.ascontiguousarray(grey)
    return pixels


def _check_png(data: bytes, path: Path) -> None:
    # OpenCV hands back the rows that it could decode of a damaged file, and black for the
    # rest: a lesion could be lost in silence. So every chunk's length and checksum count.
    if not data.startswith(_SIGNATURE):
        raise ValueError(f"{path}: not a PNG file")
    position = len(_SIGNATURE)
    while True:
        head = data[position : position + 8]
        length = int.from_bytes(head[:4], "big")
        end = position + 12 + length
        if len(head) < 8 or end > len(data):
            raise ValueError(f"{path}: the PNG is cut short after {len(data)} bytes")
        if zlib.crc32(data[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise ValueError(f"{path}: the PNG is damaged at byte {position}")
        if head[4:] == b"IEND":
            return
        position = end
