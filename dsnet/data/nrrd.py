"""NRRD volumes, written slice by slice and compressed.

Source: teem.sourceforge.net/nrrd/format.html, version 5; of `.seg.nrrd` the fields of 3D Slicer.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

_TYPES = {"uint8": "uint8", "uint16": "uint16", "float32": "float"}


def write_nrrd(
    path: Path,
    affine: np.ndarray,
    shape: tuple[int, int, int],
    dtype: str,
    slices: Iterable[np.ndarray],
    fields: Mapping[str, str] | None = None,
) -> None:
    """Write a volume; its arguments are those of `dsnet.data.nifti.write_nifti`.

    Parameters
    ----------
    fields : mapping of str to str, optional
        Key/value pairs of the header.
    """
    numbers = np.asarray(affine, np.float64)
    header = [
        "NRRD0005",
        f"type: {_TYPES[dtype]}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {shape[2]} {shape[1]} {shape[0]}",
        "space directions: " + " ".join(_vector(numbers[:3, axis]) for axis in range(3)),
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector(numbers[:3, 3])}",
        *(f"{_plain(key)}:={_escaped(value)}" for key, value in (fields or {}).items()),
    ]
    little = np.dtype(dtype).newbyteorder("<")
    with open(path, "wb") as raw:
        raw.write(("\n".join(header) + "\n\n").encode("utf-8", "backslashreplace"))
        with gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
            for one in slices:
                file.write(np.ascontiguousarray(one, little).tobytes())


def _vector(values: np.ndarray) -> str:
    return "(" + ",".join(repr(float(value)) for value in values) + ")"


def _plain(key: str) -> str:
    return key.replace(":=", ":-").replace("\n", " ")


def _escaped(value: str) -> str:
    return " ".join(value.replace("\\", "\\\\").split())
