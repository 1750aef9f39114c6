"""Requests to a server that are tried again, until the server is given up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from dsnet.data.dicom.streams import Interrupted

TRIES = 3
# Requests in a row, each tried so often, after which a server is not asked again: an archive of
# thousands of slices would wait seconds to minutes for every one.
GIVEN_UP_AFTER = 3
LOST = "the server does not answer any more"
_LONGEST_WAIT_SECONDS = 30.0

T = TypeVar("T")


class Attempts:
    """How often a server is asked, and whether it is given up."""

    def __init__(self) -> None:
        self._failed = 0

    def begin(self) -> None:
        """Ask it again, whatever it did before: somebody starts anew."""
        self._failed = 0

    def tried(self, read: Callable[[], T], url: str) -> T:
        """What `read()` gives; on `Interrupted` it is called again, `TRIES` times in all.

        Raises
        ------
        ValueError
            The last interruption, in its words; or, of a server that failed `GIVEN_UP_AFTER`
            requests in a row, at once that it is `LOST`.
        """
        if self._failed >= GIVEN_UP_AFTER:
            raise ValueError(f"{url}: not asked: {LOST}")
        last = Interrupted()
        for attempt in range(TRIES):
            try:
                found = read()
            except Interrupted as error:
                last = error
                if attempt < TRIES - 1:
                    wait(min(error.wait or 0.5 * 4**attempt, _LONGEST_WAIT_SECONDS))
            except ValueError:
                self._failed = 0  # It answered, if not well.
                raise
            else:
                self._failed = 0
                return found
        # A fault of the server's own (500) may be the instance's.
        self._failed = self._failed + 1 if last.away else 0
        raise ValueError(f"{last} ({TRIES} times)") from last


def wait(seconds: float) -> None:
    """Between two tries."""
    time.sleep(seconds)
