"""An `.npz` of arrays that are larger than memory: rows come one by one, in any order."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np

_COPIED = 1 << 20  # bytes at a time


class NpzRows:
    """Arrays [N, ...] that are filled row by row on disk, then written as `.npz`.

    What `save` writes is what `np.savez_compressed` writes of the same arrays. Memory is that of a
    row; until then the disk holds the arrays as they are.

    Parameters
    ----------
    folder : Path
        For the files that hold the rows until `save`: an empty one, which the caller removes.
    rows : int
        N, which may be 0.
    arrays : dict of str to (shape, dtype)
        Name, shape [...] of a row, and dtype of each array.
    """

    def __init__(
        self, folder: Path, rows: int, arrays: dict[str, tuple[tuple[int, ...], type]]
    ) -> None:
        self._rows, self._arrays = rows, arrays
        self._files: dict[str, IO[bytes]] = {}
        self._begins: dict[str, int] = {}
        self._paths = {name: folder / f"{name}.npy" for name in arrays}
        self._missing = np.ones(rows, bool)
        for name, (shape, dtype) in arrays.items():
            file = self._files[name] = open(self._paths[name], "x+b")  # noqa: SIM115
            descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
            header = {"descr": descr, "fortran_order": False, "shape": (rows, *shape)}
            np.lib.format.write_array_header_1_0(file, header)
            self._begins[name] = file.tell()

    def __enter__(self) -> NpzRows:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in self._files.values():
            file.close()

    def put(self, index: int, row: dict[str, np.ndarray]) -> None:
        """Fill a row; ValueError where an array of it is missing or has another shape."""
        for name, (shape, dtype) in self._arrays.items():
            array = np.ascontiguousarray(row[name], dtype)
            if array.shape != shape:
                raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
            file = self._files[name]
            file.seek(self._begins[name] + index * array.nbytes)
            file.write(array.tobytes())
        self._missing[index] = False

    def save(self, path: Path, **small: np.ndarray) -> None:
        """Write the `.npz`, arrays that are in memory before the others.

        Raises
        ------
        ValueError
            When a row was not filled.
        """
        if self._missing.any():
            raise ValueError(f"rows must all be filled, {int(self._missing.sum())} are not")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:
            for name, array in small.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
            for name, file in self._files.items():
                file.seek(0)
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    shutil.copyfileobj(file, member, _COPIED)
                # The disk need not hold both.
                file.close()
                self._paths[name].unlink()
