"""A shard's bytes on the disk, written without the system's copy where it can do without."""

import errno
import os

import numpy as np
import pytest

from dsnet.data.store.direct import BLOCK, aligned, write_direct


@pytest.mark.parametrize("system", ["usual", "without", "refuses", "refuses bytes", "in parts"])
def test_a_file_is_written_without_a_copy_or_with_one(tmp_path, monkeypatch, system):
    path, data = tmp_path / "file", np.random.default_rng(0).integers(0, 256, 50_001, np.uint8)
    real_open, real_write = os.open, os.write
    direct, without_copy = getattr(os, "O_DIRECT", 0), set()

    def opened(name, flags, *mode):
        if system == "refuses" and flags & direct:
            raise OSError(errno.EINVAL, "Invalid argument")
        descriptor = real_open(name, flags, *mode)
        (without_copy.add if flags & direct else without_copy.discard)(descriptor)
        return descriptor

    def write(descriptor, some):
        if system == "refuses bytes" and descriptor in without_copy:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real_write(descriptor, some[:5000] if system == "in parts" else some)

    if system == "without":
        monkeypatch.delattr(os, "O_DIRECT", raising=False)
    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "write", write)
    for size in (50_001, 0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK):  # Over a longer one, too.
        for shift in (0, 1):  # What is at an odd address is copied.
            room = aligned(size + 1)[shift : shift + size]
            room[:] = data[:size]
            write_direct(path, room.data)
            assert path.read_bytes() == data[:size].tobytes()
            path.write_bytes(b"longer" * 10_000)


def test_a_full_disk_is_told_while_a_file_is_written_without_a_copy(tmp_path, monkeypatch):
    def full(descriptor, some):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    for size in (1, BLOCK):
        with pytest.raises(OSError, match="No space left"):
            write_direct(tmp_path / "file", aligned(size).data)
