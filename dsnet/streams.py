"""Standard output and error whose end does not end a command.

Public
------
``command(main)``: a decorator of a command's `main`
"""

from __future__ import annotations

import errno
import functools
import io
import os
import sys
from collections.abc import Callable
from typing import Any, cast

from dsnet.console import complain

# The reader has gone (`| head`), or the terminal has (a closed ssh session): nobody to tell.
_NOBODY = (errno.EPIPE, errno.EIO, errno.EBADF)


def command(main: Callable[..., int]) -> Callable[..., int]:
    """Let `main` run to its end, and its exit code stand, whoever stops to read what it prints.

    What cannot be written any more is left out; on a full disk that is told at the end, and the
    exit code is 2. Names that the stream's encoding lacks are escaped.
    """

    @functools.wraps(main)
    def run(argv: list[str] | None = None) -> int:
        _open_closed_descriptors()
        before = sys.stdout, sys.stderr
        out, err = (_Kept(stream or io.StringIO()) for stream in before)
        sys.stdout, sys.stderr = cast(Any, out), cast(Any, err)
        try:
            code = main(argv)
            out.flush()
            lost = out.failure
            if lost is not None and getattr(lost, "errno", None) not in _NOBODY:
                code = complain("standard output", lost)
            return code
        finally:
            out.flush()
            err.flush()
            sys.stdout, sys.stderr = before

    return run


class _Kept:
    """A stream that takes everything; `failure` is the first error that it met."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.failure: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if self.failure is None:
            try:
                self._write(text)
            except (OSError, ValueError) as error:
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        if self.failure is None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._give_up(error)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))

    def _give_up(self, error: Exception) -> None:
        self.failure = error
        try:
            # What waits in the stream's buffer would fail again when Python ends.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        except (OSError, ValueError):
            pass


def _open_closed_descriptors() -> None:
    """Else the next file that is opened would be taken for standard output."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
