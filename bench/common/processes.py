"""A command and all processes that come of it: what they hold, and how one of them is killed.

By Linux' /proc. A process that lost its parent is still known, if it was seen before.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

# Seconds for what ends in one, where nobody else works.
PATIENCE = 600.0


class Family:
    """A command that runs, and its children's children.

    Parameters
    ----------
    arguments : list of str
    output : Path
        What it prints goes there.
    environment : dict of str to str
    """

    def __init__(self, arguments: list[str], output: Path, environment: dict[str, str]) -> None:
        with open(output, "ab") as told:
            self.head = subprocess.Popen(
                arguments, stdout=told, stderr=told, stdin=subprocess.DEVNULL, env=environment
            )
        self._known: dict[int, str] = {}
        self._parents: dict[int, int] = {}
        self.look()

    @property
    def ended(self) -> bool:
        """Whether the command has."""
        return self.head.poll() is not None

    def look(self) -> dict[int, str]:
        """Processes that live, but for the command itself, and their command lines."""
        parents: dict[int, tuple[int, str]] = {}
        for place in Path("/proc").iterdir():
            if place.name.isdigit() and (found := _stat(int(place.name))):
                parents[int(place.name)] = found
        # A number may be given anew: it is another process then, of another time.
        self._known = {p: s for p, s in self._known.items() if parents.get(p, (0, ""))[1] == s}
        family = {self.head.pid, *self._known}
        while more := {p for p, (parent, _) in parents.items() if parent in family} - family:
            family |= more
        self._known.update((p, parents[p][1]) for p in family - {self.head.pid} if p in parents)
        self._parents = {p: parents[p][0] for p in self._known}
        return {pid: _words(pid) for pid in self._known}

    def find(self, role: str) -> list[int]:
        """Those of a role: "worker", "server" (which workers are forked from) or "actor"."""
        words = self.look()
        if role == "actor":
            return sorted(pid for pid, said in words.items() if "ray::Labeller" in said)
        forked = {pid for pid, said in words.items() if "multiprocessing.forkserver" in said}
        workers = {pid for pid in forked if self._parents[pid] in forked}
        return sorted(workers if role == "worker" else forked - workers)

    def memory_mb(self) -> tuple[float, float]:
        """Resident memory of the command, and the most of one of its children."""
        return _resident(self.head.pid), max(map(_resident, self.look()), default=0.0)

    def kill(self, pid: int, how: int = signal.SIGKILL) -> bool:
        """Send one a signal; whether it was there."""
        try:
            os.kill(pid, how)
        except ProcessLookupError:
            return False
        return True

    def wait(self) -> int:
        """Wait for the command, however long, and then for all others; its exit code.

        Raises
        ------
        RuntimeError
            When processes outlive it; they are killed.
        """
        code = self.head.wait()
        limit = time.monotonic() + PATIENCE
        while left := self.look():
            if time.monotonic() > limit:
                for pid in left:
                    self.kill(pid)
                raise RuntimeError(f"processes outlive their run: {left}")
            time.sleep(0.05)
        return code


def _stat(pid: int) -> tuple[int, str] | None:
    """(parent, when it began) of a process; None where there is none, or only its exit code."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else (int(fields[1]), fields[19])


def _words(pid: int) -> str:
    try:
        text = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:
        return ""
    return text.decode("utf-8", "replace").strip()


def _resident(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)
