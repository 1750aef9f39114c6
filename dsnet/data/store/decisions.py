"""What readers decided about a store's labels: rows that are appended and never changed.

    STORE/_review/decisions-TIME-ID.jsonl     a row a line, a file a process that takes decisions
    STORE/_review/version-VERSION.parquet     a mended label: `dsnet.data.store.versions`

A line is a JSON object whose first field, `sum`, is the SHA-256 of the rest (16 hexadecimal digits
of it). It is on disk before its reader is told so. A process that is killed leaves at most a line
without an end, which nobody was told of: it is passed over. No shard and no line is rewritten; to
undo a row is a row, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import threading
from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import NamedTuple

from dsnet.arguments import brief
from dsnet.data.store.places import StorePath, local_copy, store_place
from dsnet.files import require_regular, sync, telling

REVIEW = "_review"
FORMAT = 1
KINDS = ("verdict", "mend", "undo")
VERDICTS = ("accept", "reject", "unsure")
# Why a label is rejected: what the page's second key says.
REASONS = {
    "wrong-place": "wrong place",
    "leaks": "leaks",
    "too-small": "too small",
    "no-lesion": "no lesion",
    "bad-image": "bad image",
}
MENDED_BY = ("mark", "brush", "threshold")
# The label as it was made, among the names of a label's versions.
MADE = "made"
LONGEST_COMMENT = 4000
MOST_SECONDS = 24 * 3600
_FILE = re.compile(r"decisions-[0-9TZ]+-[0-9a-f]+\.jsonl")
_VERSION = re.compile(r"[0-9a-f]{16}")
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}\+00:00", re.ASCII)
_SUM = re.compile(rb'\{"sum": "([0-9a-f]{16})", ')


@dataclass(frozen=True)
class Decision:
    """One row: a verdict, a mended version, or that one of these is undone.

    Attributes
    ----------
    id : str
        Of this row, unique: 1 to 64 letters, digits and hyphens. Whoever decides may give it, so
        that what is sent twice counts once.
    kind : str
        One of `KINDS`.
    key : str
        Of the label.
    reader : str
    time : str
        When it was decided: UTC, ISO 8601 with milliseconds.
    verdict : str
        One of `VERDICTS`; empty where the row is none.
    reason : str
        One of `REASONS`, of a rejected label; or empty.
    version : str
        Which version was judged, or was made by mending.
    comment : str
    seconds : float or None
        That the reader looked at the label.
    mended_by : str
        Of a mended version: names of `MENDED_BY`, joined by "+" where there are several.
    base : str
        The version that was mended.
    file_sum : str
        SHA-256 of the mended version's file.
    undoes : str
        The id of the row that is undone.
    """

    id: str
    kind: str
    key: str
    reader: str
    time: str
    verdict: str = ""
    reason: str = ""
    version: str = MADE
    comment: str = ""
    seconds: float | None = None
    mended_by: str = ""
    base: str = ""
    file_sum: str = ""
    undoes: str = ""

    def faults(self) -> str:
        """What is wrong with the row, as "NAME must be ..."; empty where nothing is."""
        for name in _TEXTS:
            if not isinstance(getattr(self, name), str):
                return f"{name} must be a text, got {getattr(self, name)!r}"
        if not _ID.fullmatch(self.id):
            return f"id must be 1 to 64 letters, digits and hyphens, got {self.id[:80]!r}"
        for name in ("key", "reader"):
            if not getattr(self, name):
                return f"{name} must not be empty"
        if not _TIME.fullmatch(self.time):
            return f"time must be UTC with milliseconds, got {self.time!r}"
        if self.kind not in KINDS:
            return f"kind must be one of {KINDS}, got {self.kind!r}"
        if self.kind == "verdict" and self.verdict not in VERDICTS:
            return f"verdict must be one of {VERDICTS}, got {self.verdict!r}"
        if self.reason and (self.verdict != "reject" or self.reason not in REASONS):
            return f"reason must be one of {tuple(REASONS)}, of a reject, got {self.reason!r}"
        if self.kind == "mend" and not set(self.mended_by.split("+")) <= set(MENDED_BY):
            return f"mended_by must be of {MENDED_BY}, got {self.mended_by!r}"
        if not is_version(self.version) or (self.kind == "mend" and self.version == MADE):
            return f"version must be {MADE!r} or 16 hexadecimal digits, got {self.version!r}"
        if self.kind == "undo" and not self.undoes:
            return "undoes must not be empty"
        if len(self.comment) > LONGEST_COMMENT:
            return f"comment must be of at most {LONGEST_COMMENT} characters"
        seconds = self.seconds
        if seconds is not None and (
            isinstance(seconds, bool)
            or not isinstance(seconds, (int, float))
            or not 0 <= seconds <= MOST_SECONDS
        ):
            return f"seconds must be a number in 0..{MOST_SECONDS}, got {brief(seconds)}"
        return ""


_NAMES = tuple(field.name for field in fields(Decision))
_TEXTS = tuple(name for name in _NAMES if name != "seconds")


class FoundDecisions(NamedTuple):
    """What the files hold: `rows` in the order of their times, `torn` and `damaged` in words."""

    rows: list[Decision]
    torn: list[str]
    damaged: list[str]


def is_version(name: object) -> bool:
    """Whether it can name a version of a label."""
    return isinstance(name, str) and (name == MADE or _VERSION.fullmatch(name) is not None)


def new_id() -> str:
    """An id that no other row and no other version has, whichever process makes it."""
    return secrets.token_hex(8)


class DecisionLog:
    """Appends rows to a file of this process's own, which is made with the first of them.

    Safe to share between threads.

    Parameters
    ----------
    store : path
        The store's folder.
    """

    def __init__(self, store: str | os.PathLike) -> None:
        self._folder = Path(store) / REVIEW
        self._file: Path | None = None
        self._last = ""
        self._lock = threading.Lock()

    def time(self, age: float = 0.0) -> str:
        """A row's time: `age` seconds ago.

        A clock that is put back does not turn rows round that are written at once.
        """
        now = datetime.now(timezone.utc) - timedelta(seconds=age)
        text = now.isoformat(timespec="milliseconds")
        if age == 0:
            with self._lock:
                self._last = text = max(text, self._last)
        return text

    def append(self, *rows: Decision) -> None:
        """Write rows, together; they are on disk when this returns.

        Raises
        ------
        ValueError
            When a field is not what `Decision` says: nothing is written.
        OSError
            When they cannot be written: they do not count.
        """
        for row in rows:
            if fault := row.faults():
                raise ValueError(fault)
        with self._lock:
            self._write(b"".join(map(_line, rows)))

    def _write(self, line: bytes) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        if self._file is None:
            self._folder.mkdir(exist_ok=True)
            sync(self._folder.parent)
            begun = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}"
            file = self._folder / f"decisions-{begun}-{secrets.token_hex(4)}.jsonl"
            flags |= os.O_CREAT | os.O_EXCL
        else:
            file = self._file
        # Until it is known to be whole: after a failure the next row begins another file.
        self._file = None
        descriptor = os.open(file, flags, 0o644)
        whole = os.fstat(descriptor).st_size
        try:
            with telling(file):
                while line:
                    line = line[os.write(descriptor, line) :]
        except OSError:
            # A full disk is asked again every few seconds: each time must leave nothing behind.
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, whole)
                if not whole:
                    file.unlink()
            raise
        finally:
            os.close(descriptor)
        sync(file)
        if flags & os.O_CREAT:
            sync(self._folder)
        self._file = file


def decision_files(store: StorePath) -> list[Path]:
    """A store's files of decisions, in the order of their names; none where nobody reviewed it."""
    folder = local_copy(store_place(store), REVIEW, fresh=True) / REVIEW
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [folder / name for name in sorted(names) if _FILE.fullmatch(name)]


def read_decisions(store: StorePath) -> FoundDecisions:
    """All rows about a store's labels, in the order of their times.

    A line that is damaged costs itself alone; it is told in `damaged`. One without an end, as a
    process leaves it that is killed in the middle, is told in `torn`.

    Raises
    ------
    OSError
        When a file cannot be read.
    """
    found = FoundDecisions([], [], [])
    for file in decision_files(store):
        try:
            require_regular(file)
        except ValueError as error:
            found.damaged.append(str(error))
            continue
        *lines, last = file.read_bytes().split(b"\n")
        if last:
            found.torn.append(f"{file}: the last line has no end; nobody was told that it counts")
        for number, line in enumerate(lines, 1):
            row = _row(line)
            if isinstance(row, Decision):
                found.rows.append(row)
            else:
                found.damaged.append(f"{file}: line {number} is damaged: {row}")
    found.rows.sort(key=lambda row: row.time)  # Stable: within a file the lines' own order.
    return found


def sound_lines(file: Path, lost: Collection[str] = ()) -> bytes:
    """A file of decisions without the lines that are damaged or torn, or of a version in `lost`.

    Raises
    ------
    ValueError
        When it is no regular file.
    """
    require_regular(file)
    lines = file.read_bytes().split(b"\n")[:-1]
    rows = [(line, _row(line)) for line in lines]
    return b"".join(
        line + b"\n" for line, row in rows if isinstance(row, Decision) and row.version not in lost
    )


def _line(row: Decision) -> bytes:
    told = {name: value for name, value in asdict(row).items() if value not in ("", None)}
    # ASCII alone: no character of a key or a comment ends a line.
    text = json.dumps({"format": FORMAT, **told}, allow_nan=False).encode("ascii")
    return b'{"sum": "%s", %s\n' % (_digest(text), text[1:])


def _row(line: bytes) -> Decision | str:
    """A line's row, or what is wrong with the line."""
    start = _SUM.match(line)
    if start is None:
        return "it does not begin with its sum"
    text = b"{" + line[start.end() :]
    if _digest(text) != start.group(1):
        return "its sum is not that of its content"
    try:
        told = json.loads(text)
        if told.pop("format", None) != FORMAT:
            return f"its format must be {FORMAT}"
        row = Decision(**told)
    except (ValueError, TypeError, AttributeError) as error:
        return str(error)
    return row.faults() or row


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:16].encode()
