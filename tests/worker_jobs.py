"""Jobs for worker processes: they import this module by name, which a test module has not."""

import os
import time
from dataclasses import dataclass

from dsnet.data.record import LabelRecord


@dataclass(frozen=True)
class Job:
    """A job that does what it is told to."""

    number: int
    deed: str = ""

    @property
    def rows(self):
        return [(f"{self.number}-{part}", "nowhere") for part in "ab"]

    def run(self):
        if self.deed == "die":
            os._exit(9)
        if self.deed == "raise":
            raise OverflowError("too much")
        if self.deed == "wait":
            time.sleep(0.3)
        return [LabelRecord.from_error(key, source, "fine") for key, source in self.rows]
