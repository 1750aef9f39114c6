"""npz files with `imgs`, `spacing` and `recist`, as FLARE's RECIST task and MedSAM2 pass them.

`recist` is [slices, rows, columns] like `imgs`: the lines of each lesion, drawn with its number. So
the ends are whole pixels: the two pixels of a lesion that lie farthest apart are its long axis,
those farthest to its two sides the short one.
"""

from __future__ import annotations

import io
import zipfile
from itertools import islice
from typing import Any, cast

import numpy as np

from dsnet.data.marks.bounded import read_bytes, told
from dsnet.data.marks.record import FoundMark, Refused, refuse
from dsnet.data.picture_file import MAX_PIXELS
from dsnet.labeling.points import convex_hull

MOST_NPZ_BYTES = 2**31
# Of one array: slices are read one after the other, this bounds the time.
_MOST_INFLATED = 2**33
# Of a slice.
_MOST_LESIONS = 1000
# Pixels of two lines across the largest slice, three thick.
_MOST_DRAWN = 2**17
# A line is drawn one to three pixels thick, of which a slanting one has up to five beside each
# other.
_THICKEST = 5


def is_npz(data: bytes) -> bool:
    """Whether the first bytes of a file are those of a zip, as npz files are."""
    return data[:4] == b"PK\x03\x04"


def read_npz(
    source: str, data: bytes | None = None, refused: Refused | None = None
) -> list[FoundMark]:
    """The marks that are drawn into an npz file.

    Parameters
    ----------
    source : str
        The file, or what `data` is called.
    data : bytes, optional
        What it holds.
    refused : list, optional
        Where a slice that holds no usable mark is told; without it that raises.

    Returns
    -------
    list of FoundMark
        A lesion on a slice each, by slices; `file` is the source, `frame` the slice from 1, the
        label the lesion's number. None of an npz without `recist`.

    Raises
    ------
    ValueError
        When the file is no npz, damaged, or larger than allowed; the message names it.
    """
    place = io.BytesIO(read_bytes(source, data, MOST_NPZ_BYTES)) if data is not None else source
    marks: list[FoundMark] = []
    try:
        with zipfile.ZipFile(place) as archive:
            if "recist.npy" not in archive.namelist():
                return []
            spacing = _spacing(archive)
            with archive.open("recist.npy") as file:
                for number, drawn in enumerate(_slices(file)):
                    try:
                        marks += _of_slice(drawn, number, spacing, source, len(marks))
                    except ValueError as error:
                        refuse(refused, source, f"slice {number + 1}: {error}")
    except Exception as error:  # zipfile, its decoders and numpy raise many kinds
        reason = told(error)
        raise ValueError(reason if reason.startswith(source) else f"{source}: {reason}") from error
    return marks


def read_npz_slice(
    source: str, number: int, max_pixels: int = MAX_PIXELS
) -> tuple[np.ndarray, tuple[float, float] | None]:
    """A slice of the array `imgs` of such a file, and its spacing.

    Parameters
    ----------
    source : str
    number : int
        The first is 1.
    max_pixels : int
        Of a slice; more are refused.

    Returns
    -------
    image : ndarray [H, W], float32
        8-bit values, which these files hold windowed, as 0..1.
    spacing : (row, column) or None

    Raises
    ------
    ValueError
        When there is no such slice, or its values are none of 8 bits; the message names the file.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            if "imgs.npy" not in archive.namelist():
                raise ValueError("must hold the array imgs")
            spacing = _spacing(archive)
            with archive.open("imgs.npy") as file:
                image = next(islice(_slices(file, "imgs"), number - 1, None), None)
        if image is None:
            raise ValueError(f"imgs has no slice {number}")
    except Exception as error:  # zipfile, its decoders and numpy raise many kinds
        reason = told(error)
        raise ValueError(reason if reason.startswith(source) else f"{source}: {reason}") from error
    if image.size > max_pixels:
        raise ValueError(f"{source}: a slice must be of at most {max_pixels} pixels")
    values = image.astype(np.float32)
    if image.dtype.kind == "b" or not (values.min() >= 0 and values.max() <= 255):
        raise ValueError(f"{source}: imgs must be windowed to 0..255, got {image.dtype}")
    return values / np.float32(255), spacing


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    reader = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if reader is None:
        raise ValueError(f"arrays must be of npy version 1 or 2, got {version}")
    return cast(Any, reader)(file)


def _slices(file: Any, name: str = "recist"):
    """The slices of an array [slices, rows, columns], one at a time."""
    shape, fortran, dtype = _header(file)
    if len(shape) == 2:
        shape = (1, *shape)
    if len(shape) != 3 or dtype.kind not in "biuf" or fortran:
        raise ValueError(
            f"{name} must be numbers [slices, rows, columns] in C order, got {dtype} {shape}"
        )
    pixels = shape[1] * shape[2]
    if pixels > MAX_PIXELS or shape[0] * pixels * dtype.itemsize > _MOST_INFLATED:
        raise ValueError(f"{name} must be of at most {MAX_PIXELS} pixels a slice, got {shape}")
    for _ in range(shape[0]):
        content = file.read(pixels * dtype.itemsize)
        if len(content) != pixels * dtype.itemsize:
            raise ValueError(f"{name} is cut short")
        yield np.frombuffer(content, dtype).reshape(shape[1:])


def _spacing(archive: zipfile.ZipFile) -> tuple[float, float] | None:
    """(row, column) of `spacing`: x, y, z as ITK has it, though the arrays are [z, y, x]."""
    if "spacing.npy" not in archive.namelist():
        return None
    with archive.open("spacing.npy") as file:
        shape, _, dtype = _header(file)
        if shape != (3,) or dtype.kind not in "iuf":
            raise ValueError(f"spacing must be the 3 numbers x, y, z, got {dtype} {shape}")
        values = np.frombuffer(file.read(3 * dtype.itemsize), dtype).astype(np.float64)
    if not (np.isfinite(values).all() and (values > 0).all()) or values.size != 3:
        raise ValueError(f"spacing must be > 0, got {values.tolist()}")
    x, y, z = values.tolist()
    # No scanner's pixels are so far from square; slices are.
    if not 0.99 < x / y < 1.01 and 0.99 < y / z < 1.01:
        raise ValueError(
            f"spacing must be x, y, z, got {x:g}, {y:g}, {z:g}, which reads as z, y, x"
        )
    return y, x


def _of_slice(
    drawn: np.ndarray, number: int, spacing: tuple[float, float] | None, source: str, first: int
) -> list[FoundMark]:
    numbers = np.unique(drawn)
    numbers = numbers[numbers != 0]
    if len(numbers) > _MOST_LESIONS or not np.isfinite(numbers).all():
        raise ValueError(f"recist must have at most {_MOST_LESIONS} lesions, got {len(numbers)}")
    marks = []
    for lesion in numbers:
        long, short = drawn_axes(drawn == lesion)
        marks.append(
            FoundMark(
                long_axis=long,
                short_axis=short,
                file=source,
                frame=number + 1,
                label=f"{lesion:g}",
                tracking_id=f"{lesion:g}",
                written_spacing=spacing,
                source=source,
                format="npz",
                index=first + len(marks),
                notes=("ends are whole pixels of a drawn line",),
            )
        )
    return marks


def drawn_axes(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """The axes of a line or a cross that was drawn into a picture.

    Parameters
    ----------
    mask : bool array [H, W]
        Where it is drawn.

    Returns
    -------
    long_axis : ndarray [2, 2], float64
        The two pixels farthest apart.
    short_axis : ndarray [2, 2] or None
        Those farthest to either side of it; None where they lie no farther apart than the line is
        thick.

    Raises
    ------
    ValueError
        When more is drawn than two lines.
    """
    count = np.count_nonzero(mask)
    if count > _MOST_DRAWN:
        raise ValueError(f"a mark must be drawn as lines, got {count} pixels")
    y, x = np.nonzero(mask)
    pixels = np.stack([x, y], axis=1).astype(np.float64)
    corners = convex_hull(pixels)
    gaps = np.hypot(*np.moveaxis(corners[:, None] - corners[None], -1, 0))
    a, b = np.unravel_index(int(np.argmax(gaps)), gaps.shape)
    long = corners[[a, b]]
    along = long[1] - long[0]
    length = float(np.hypot(*along))
    if length == 0:
        return long, None
    if count > 2 * _THICKEST * (length + _THICKEST):
        raise ValueError(f"a mark must be drawn as lines, got {count} pixels {length:.0f} across")
    across = (pixels - long[0]) @ np.array([-along[1], along[0]]) / length
    low, high = int(np.argmin(across)), int(np.argmax(across))
    # One line is as wide as its pixels are many for its length, a little more at its ends.
    if across[high] - across[low] <= 1.5 * count / length + 1:
        return long, None
    return long, pixels[[low, high]]
