"""Files of tensors that tell when a byte of them changed.

Public
------
``save_tensors(path, content)``: `torch.save`, whole or not at all
``load_tensors(path, what, form, version) -> dict``
``require_format(path, content, what, form, version)``

The file is `torch.save`'s, which anyone can read; the comment at its end, which every ZIP archive
may have, is the SHA-256 of all that stands before it. Files of version 1 came without: of these
the archive's own CRC-32 are compared.
"""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from pathlib import Path
from typing import IO

import torch

from dsnet.arguments import brief
from dsnet.files import write_atomically

MARK = b"dsnet-sha256:"
COMMENT = len(MARK) + 64
CHUNK = 1 << 20
DIGEST_SINCE = 2  # the version from which on a file must have its digest


class _Digesting:
    """What `torch.save` writes to: hashes all but the last two bytes, and keeps what failed."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest, self.last = file, hashlib.sha256(), b""
        self.error: OSError | None = None

    def write(self, data) -> int:
        view = memoryview(data).cast("B")
        try:
            written = self.file.write(view)
        except OSError as error:
            self.error = error
            raise
        if len(view) < 2:
            whole = self.last + bytes(view)
            self.digest.update(whole[:-2])
            self.last = whole[-2:]
        else:
            self.digest.update(self.last)
            self.digest.update(view[:-2])
            self.last = bytes(view[-2:])
        return written

    def flush(self) -> None:
        self.file.flush()


def save_tensors(path: str | os.PathLike, content: dict) -> None:
    """`torch.save` into a file that is there whole or not at all; equal content, equal bytes.

    Raises
    ------
    OSError
        When it cannot be written; an older file is kept.
    """

    def write(temporary: Path) -> None:
        # Given a path, torch would keep the temporary name in the file.
        with open(temporary, "wb") as file:
            digesting = _Digesting(file)
            try:
                torch.save(content, digesting)  # pyright: ignore[reportArgumentType]
            except RuntimeError as error:
                if digesting.error is None:
                    raise
                # torch tells a full disk as "unexpected pos 704 vs 598".
                raise digesting.error from error
            # The archive's last two bytes are the length of its comment.
            length = COMMENT.to_bytes(2, "little")
            digesting.digest.update(length)
            file.seek(-2, os.SEEK_END)
            file.write(length + MARK + digesting.digest.hexdigest().encode())

    write_atomically(path, write)


def load_tensors(path: str | os.PathLike, what: str, form: str, version: int) -> dict:
    """What `save_tensors` wrote, on the CPU.

    Parameters
    ----------
    path : path
    what : str
        What the file must be, for the error.
    form, version : str, int
        What the content must have as ``format``, and as ``version`` at most.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is something else, of a later version, or damaged.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"path must be {what}, there is none at {os.fspath(path)}")
    digested = _matches_digest(path)
    if digested is False:
        raise ValueError(f"{path} is damaged: its SHA-256 is not that of its content")
    _check_archive(path, what, checksums=digested is None)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Not torch's text, which is a page about trust.
        raise ValueError(
            f"path must be {what}, got {path}, which cannot be read ({type(error).__name__})"
        ) from error
    require_format(path, content, what, form, version)
    if digested is None and content["version"] >= DIGEST_SINCE:
        raise ValueError(f"{path} is damaged: the SHA-256 at its end is not there")
    return content


def require_format(path: str | os.PathLike, content, what: str, form: str, version: int) -> None:
    """Raise ValueError unless a file's content is a dict of this format and a known version."""
    if not isinstance(content, dict) or content.get("format") != form:
        raise ValueError(f"path must be {what}, got {path}")
    found = content.get("version")
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise ValueError(f"{path} must have a version of at least 1, got {brief(found)}")
    if found > version:
        raise ValueError(f"path must be of version {version} at most, got {path} of {found}")


def _matches_digest(path: str | os.PathLike) -> bool | None:
    """Whether the digest at the file's end is that of the rest; None where there is none."""
    left = os.path.getsize(path) - COMMENT
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while left > 0 and (chunk := file.read(min(CHUNK, left))):
            digest.update(chunk)
            left -= len(chunk)
        comment = file.read()
    if not re.fullmatch(re.escape(MARK) + rb"[0-9a-f]{64}", comment):
        return None
    return comment[len(MARK) :].decode() == digest.hexdigest()


def _check_archive(path: str | os.PathLike, what: str, checksums: bool) -> None:
    """Raise for what is no archive, or a packed one, or one whose checksums are not right."""
    try:
        with zipfile.ZipFile(path) as archive:
            # torch packs nothing: what is packed may unpack to any size.
            packed = any(i.compress_type != zipfile.ZIP_STORED for i in archive.infolist())
            damaged = archive.testzip() if checksums and not packed else None
    except Exception as error:  # zipfile has many for a damaged one
        raise ValueError(f"path must be {what}, got {path}: {brief(str(error))}") from error
    if packed:
        raise ValueError(f"path must be {what}, got {path}, which is compressed")
    if damaged is not None:
        raise ValueError(f"{path} is damaged: the checksum of {brief(damaged)} is not right")
