"""Files that are written once, whole and synced at once: without the system's copy of them.

The copy, of pages that are made for it, costs as much as compressing what is written. It would
serve whoever reads the file soon; stores are larger than memory, or quick to read.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np

# Of memory, places and sizes; no device asks for more of what is in common use.
BLOCK = 4096
# Neither is on every system.
_PLAIN = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_UNABLE = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP)


def aligned(size: int) -> np.ndarray:
    """Memory that can be written without a copy, uint8 [size], of any content."""
    room = np.empty(size + BLOCK, np.uint8)
    begin = -room.ctypes.data % BLOCK
    return room[begin : begin + size]


def write_direct(path: Path, data: memoryview) -> None:
    """Write a file's bytes; copied where the system or the memory cannot do without.

    Raises
    ------
    OSError
        When it cannot be written.
    """
    whole = len(data) // BLOCK * BLOCK
    done = _direct(path, data[:whole]) if whole else 0
    flags = os.O_WRONLY | os.O_CREAT | _PLAIN | (0 if done else os.O_TRUNC)
    descriptor = os.open(path, flags, 0o666)
    try:
        _write(descriptor, data, done)
    finally:
        os.close(descriptor)


def _direct(path: Path, data: memoryview) -> int:
    """Write blocks without a copy; how many bytes of them, 0 where it cannot be done."""
    flag = getattr(os, "O_DIRECT", 0)
    if not flag:
        return 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _PLAIN | flag
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
        return 0
    done = 0
    try:
        while done < len(data):
            done += os.write(descriptor, data[done:])
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
    finally:
        os.close(descriptor)
    return done


def _write(descriptor: int, data: memoryview, at: int) -> None:
    os.lseek(descriptor, at, os.SEEK_SET)
    while at < len(data):
        at += os.write(descriptor, data[at:])
