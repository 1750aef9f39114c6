"""Jobs for worker processes: they import this module by name, which a test module has not."""

import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from dsnet.data.store.record import LabelRecord


def parent(pid: int) -> int:
    """Of a process, by its number."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@dataclass(frozen=True)
class Job:
    """A job that does what it is told to."""

    number: int
    deed: str = ""
    place: Path | None = None

    @property
    def rows(self):
        return [(f"{self.number}-{part}", "nowhere") for part in "ab"]

    def run(self):
        if self.deed == "die":
            os._exit(9)
        if self.deed.startswith("die "):
            # As often as it says: a file a death.
            deaths = len(list(self.place.parent.glob(f"{self.place.name}-*")))
            if deaths < int(self.deed.split()[1]):
                self.place.with_name(f"{self.place.name}-{deaths}").touch()
                os._exit(9)
        if self.deed == "kill actor":
            # Ray's, which started the process that this one was forked from.
            os.kill(parent(os.getppid()), signal.SIGKILL)
            time.sleep(600)  # It ends with its parents.
        if self.deed == "unsendable":
            return [threading.Lock()]
        if self.deed == "raise":
            raise OverflowError("too much")
        if self.deed.startswith("tell "):
            told = os.environ.get(self.deed.split()[1], "none")
            return [LabelRecord.from_error(key, source, told) for key, source in self.rows]
        if self.deed == "meet":
            self.place.touch()
        limit = time.monotonic() + 600
        while self.deed == "wait" and not self.place.exists():
            assert time.monotonic() < limit, f"nobody came to {self.place}"
            time.sleep(0.01)
        return [LabelRecord.from_error(key, source, "fine") for key, source in self.rows]

    def read(self):
        return self.run()


@dataclass(frozen=True)
class GpuJob:
    """A row that tells which GPU its process sees, once there is a process with each."""

    number: int
    place: Path
    gpus: int

    @property
    def rows(self):
        return [(str(self.number), "nowhere")]

    def read(self):
        from dsnet.labeling.gpu import engine

        engine.device_count = lambda: 1  # Of what this process may see.
        mine = os.environ["CUDA_VISIBLE_DEVICES"]
        (self.place / mine).touch()
        limit = time.monotonic() + 600
        while len(list(self.place.iterdir())) < self.gpus:
            assert time.monotonic() < limit, f"only {list(self.place.iterdir())} came"
            time.sleep(0.01)
        return [LabelRecord.from_error(key, source, mine) for key, source in self.rows]


@dataclass(frozen=True)
class MeetingJob:
    """A row that tells that it was begun, and is labelled once it may be."""

    number: int
    place: Path

    @property
    def rows(self):
        return [(str(self.number), "nowhere")]

    def run(self):
        (self.place / str(self.number)).touch()
        limit = time.monotonic() + 600
        while not (self.place / "go").exists():
            assert time.monotonic() < limit, f"nobody came to {self.place}"
            time.sleep(0.01)
        return [LabelRecord.from_error(key, source, "fine") for key, source in self.rows]
