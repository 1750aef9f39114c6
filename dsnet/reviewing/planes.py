"""Pictures as the page takes them: planes after a head of 16 bytes."""

from __future__ import annotations

import struct

import numpy as np

MAGIC = 0x314E5344  # "DSN1", little-endian
# In this order, each where its bit is set.
BITS = {"image": 1, "alpha": 2, "trimap": 4, "binary": 8, "truth": 16}


def packed(**planes: np.ndarray | None) -> bytes:
    """Planes [H, W] of one size as bytes.

    Four uint32, little-endian: `MAGIC`, height, width, the sum of the `BITS` of the planes that are
    there; then these, row-major. The image has two bytes a pixel, little-endian, value x 65535: a
    narrow window of a wide one has its grey levels, too. The others have one: alpha is value x 255,
    rounded so that it keeps its side of one half; binary and truth 0 or 1; the trimap as it is.

    Parameters
    ----------
    **planes : ndarray [H, W] or None
        By the names of `BITS`.

    Raises
    ------
    ValueError
        When none is there, or the sizes differ.
    """
    there = {name: plane for name in BITS if (plane := planes.get(name)) is not None}
    shapes = {plane.shape for plane in there.values()}
    if len(shapes) != 1:
        raise ValueError(f"planes must be of one size, got {sorted(shapes)}")
    (height, width) = shapes.pop()
    head = struct.pack("<4I", MAGIC, height, width, sum(BITS[name] for name in there))
    return head + b"".join(_bytes(name, plane) for name, plane in there.items())


def _bytes(name: str, plane) -> bytes:
    if name == "image":
        codes = np.rint(np.asarray(plane, np.float64) * 65535)
        return np.ascontiguousarray(codes, dtype="<u2").tobytes()
    if name == "alpha":
        # 127.5 is one half: as `data.store.codes.quantise`, which rounds it up.
        plane = np.floor(np.asarray(plane, np.float64) * 255 + 0.5)
    return np.ascontiguousarray(plane, dtype=np.uint8).tobytes()
