"""NIfTI-1 volumes, written slice by slice and compressed.

Source: the NIfTI-1 header of R. W. Cox et al., nifti1.h, 2003-2007.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np

# numpy's name to NIfTI's code.
_TYPES = {"uint8": 2, "float32": 16, "uint16": 512}
_HEADER_BYTES, _DATA_OFFSET = 348, 352
_SCANNER = 1  # of a form's code: coordinates of the scanner
_MILLIMETRES = 2
_LONGEST_SIDE = 32767  # sides are int16
# Axes that are less than this off a right angle are a rotation.
_ORTHOGONAL = 1e-4


def write_nifti(
    path: Path,
    affine: np.ndarray,
    shape: tuple[int, int, int],
    dtype: str,
    slices: Iterable[np.ndarray],
    description: str = "",
) -> None:
    """Write `NAME.nii.gz`.

    Parameters
    ----------
    path : Path
    affine : ndarray [4, 4]
        From (column, row, slice) to DICOM's millimetres (LPS). It is written as NIfTI's (RAS), and
        as a rotation besides where the axes stand at right angles: of a tilted gantry they do not.
    shape : (slices, rows, columns)
    dtype : str
        "uint8", "uint16" or "float32".
    slices : iterable of ndarray [rows, columns]
        As many as `shape` says.

    Raises
    ------
    ValueError
        When a side is beyond NIfTI-1's 32767.
    """
    if max(shape) > _LONGEST_SIDE:
        raise ValueError(f"a side of a NIfTI-1 volume must be at most 32767, got {max(shape)}")
    header = _header(np.asarray(affine, np.float64), shape, dtype, description)
    little = np.dtype(dtype).newbyteorder("<")
    # Without a name and a time, which gzip would put before the data.
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
        file.write(header)
        for one in slices:
            file.write(np.ascontiguousarray(one, little).tobytes())


def _header(affine: np.ndarray, shape: tuple[int, int, int], dtype: str, said: str) -> bytes:
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    sides = np.linalg.norm(ras[:3, :3], axis=0)
    axes = ras[:3, :3] / sides
    rotation = np.abs(axes.T @ axes - np.eye(3)).max() < _ORTHOGONAL
    turned = -1.0 if np.linalg.det(axes) < 0 else 1.0
    quaternion = _quaternion(axes * [1.0, 1.0, turned]) if rotation else (0.0, 0.0, 0.0)
    values = (
        _HEADER_BYTES, b"", b"", 0, 0, b"r", 0,
        3, shape[2], shape[1], shape[0], 1, 1, 1, 1,
        0.0, 0.0, 0.0, 0, _TYPES[dtype], np.dtype(dtype).itemsize * 8, 0,
        turned, *sides, 0.0, 0.0, 0.0, 0.0,
        float(_DATA_OFFSET), 1.0, 0.0, 0, 0, _MILLIMETRES, 0.0, 0.0, 0.0, 0.0, 0, 0,
        said.encode("ascii", "replace")[:79], b"", _SCANNER if rotation else 0, _SCANNER,
        *quaternion, *ras[:3, 3], *ras[:3].ravel(), b"", b"n+1",
    )  # fmt: skip
    packed = struct.pack("<i10s18sihcb8h3f4h8f3fh2b4f2i80s24s2h3f3f12f16s4s", *values)
    return packed + b"\0" * (_DATA_OFFSET - len(packed))


def _quaternion(rotation: np.ndarray) -> tuple[float, float, float]:
    """b, c and d of the unit quaternion with a >= 0."""
    m = rotation
    # The largest of the four squared parts is the one to divide by.
    parts = np.array([
        1 + m[0, 0] + m[1, 1] + m[2, 2], 1 + m[0, 0] - m[1, 1] - m[2, 2],
        1 - m[0, 0] + m[1, 1] - m[2, 2], 1 - m[0, 0] - m[1, 1] + m[2, 2],
    ])  # fmt: skip
    largest = int(np.argmax(parts))
    rows = np.array([
        [parts[0], m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]],
        [m[2, 1] - m[1, 2], parts[1], m[0, 1] + m[1, 0], m[0, 2] + m[2, 0]],
        [m[0, 2] - m[2, 0], m[0, 1] + m[1, 0], parts[2], m[1, 2] + m[2, 1]],
        [m[1, 0] - m[0, 1], m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], parts[3]],
    ])  # fmt: skip
    found = rows[largest] / np.linalg.norm(rows[largest])
    _, b, c, d = (found if found[0] >= 0 else -found).tolist()
    return b, c, d
