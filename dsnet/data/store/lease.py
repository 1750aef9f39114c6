"""One writer of an address at a time, as far as object storage can tell.

    ADDRESS/.lock     JSON: id, host, machine, pid, time

Nothing there ends with its process, as a file's lock does. So the object is put where there is
none, which S3, Google and Azure do for one of two alone, and its time is renewed by a thread. One
whose process is dead, as this machine can see, or that was not renewed for `LEASE_SECONDS`, by the
clocks of both machines, is taken over. A writer that was held up for longer finds that out before
it writes again, and stops.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import threading
import time
import uuid
from datetime import datetime, timezone
from typing import Any

from dsnet.data.remote import NotAllowed, RemoteFile
from dsnet.data.store.lock import LOCK

LEASE_SECONDS = 180.0
RENEW_SECONDS = 30.0
# Of two that take over at a time the one stays whose lock is there after this.
SETTLE_SECONDS = 1.0
_MOST_BYTES = 4096
_held: set[str] = set()


class Lease:
    """The right to write at an address, until `release`.

    Parameters
    ----------
    place : RemoteFile
        The store's.

    Raises
    ------
    RuntimeError
        When another process holds it, or what lies in the lock's place is none.
    ValueError
        When the address cannot be read or written.
    """

    def __init__(self, place: RemoteFile) -> None:
        self._place, self._file = place, place / LOCK
        self._id = uuid.uuid4().hex
        self._lost = False
        self._ended = threading.Event()
        self._turn = threading.Lock()
        self._take()
        _held.add(self._id)
        self._renewed = time.monotonic()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    @property
    def held(self) -> bool:
        """Whether it was not released yet."""
        return not self._ended.is_set()

    def require(self) -> None:
        """Nothing, while it is this process's; asks the address where that is not sure.

        Raises
        ------
        NotAllowed
            When another process has taken over.
        ConnectionError
            When the address cannot be asked.
        """
        if not self._lost and time.monotonic() - self._renewed > LEASE_SECONDS / 2:
            try:
                self._renew()
            except ValueError as error:
                raise ConnectionError(str(error)) from error
        if self._lost:
            raise NotAllowed(f"another process has taken over {self._place}: this one stops")

    def release(self) -> None:
        """Let the next one write; a second call does nothing.

        Where the address cannot be reached the lock stays there until it is old.
        """
        if self._ended.is_set():
            return
        self._ended.set()
        _held.discard(self._id)
        with self._turn, contextlib.suppress(ValueError, RuntimeError):
            if not self._lost and self._read().get("id") == self._id:
                RemoteFile(self._file.address).remove()

    def _take(self) -> None:
        for _ in range(3):
            if self._file.create(self._told()):
                return
            found = self._read()
            if not found:  # Its holder has removed it.
                continue
            if not _is_over(found):
                raise RuntimeError(self._refusal(found))
            self._file.write(self._told())
            time.sleep(SETTLE_SECONDS)
            if self._read().get("id") == self._id:
                return
        raise RuntimeError(f"another process is writing to the store {self._place}")

    def _told(self) -> bytes:
        told = {
            "id": self._id,
            "host": socket.gethostname(),
            "machine": _machine(),
            "pid": os.getpid(),
            "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        return json.dumps(told).encode("utf-8")

    def _read(self) -> dict[str, Any]:
        """What the lock there says; empty where there is none."""
        self._file.forget()
        if self._file.size() is None:
            return {}
        try:
            data = self._file.read(_MOST_BYTES)
        except ValueError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return {}
            raise
        try:
            told = json.loads(data)
            if not all(isinstance(told[name], str) for name in ("id", "host", "machine", "time")):
                raise ValueError
            return {**told, "pid": int(told["pid"]), "at": _seconds(told["time"])}
        except (ValueError, TypeError, KeyError, RecursionError):
            raise RuntimeError(
                f"{self._file} must be the lock of a run, got {data[:40]!r}: remove it if nobody"
                " writes there"
            ) from None

    def _refusal(self, found: dict[str, Any]) -> str:
        return (
            f"another process is writing to the store {self._place}: {found['pid']} on"
            f" {found['host']}, heard of at {found['time']}; one that died there is taken to be"
            f" over {LEASE_SECONDS:.0f} seconds later"
        )

    def _keep(self) -> None:
        while not self._ended.wait(RENEW_SECONDS):
            with contextlib.suppress(ValueError, RuntimeError):  # The writer is told: `require`.
                self._renew()

    def _renew(self) -> None:
        """Put the lock anew, if it is still this one's."""
        with self._turn:
            if self._ended.is_set() or self._lost:
                return
            found = self._read()
            if found and found["id"] != self._id:
                self._lost = True
            elif found:
                self._file.write(self._told())
            elif not self._file.create(self._told()):
                self._lost = True
            if not self._lost:
                self._renewed = time.monotonic()


def _is_over(found: dict[str, Any]) -> bool:
    """Whether nobody holds a lock any more."""
    if found["id"] in _held:
        return False
    if _machine() and found["machine"] == _machine() and not _lives(found["pid"]):
        return True
    return time.time() - found["at"] > LEASE_SECONDS


def _lives(pid: int) -> bool:
    """Whether a process of this machine is there; what has this one's number has ended."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _machine() -> str:
    """What processes share that see each other; empty where that cannot be told."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
        told = f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""
    return hashlib.sha256(told.encode()).hexdigest()[:16]
