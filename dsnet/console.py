"""What a command shows on a terminal, how it is stopped, and how it fails.

Public
------
``Stop()``: Ctrl-C, SIGTERM and a terminal that is gone (SIGHUP) as a flag
``Rate(total, done=0)``: rows a second and the time left; ``clock(seconds) -> str``
``Bar(name, total, ...)``: a bar on a terminal, nothing elsewhere
``Progress(total)``: a bar, or a plain line now and then, of records as they come
``print_table(rows, heads=None, title="")``
``UserError``, ``complain(command, error) -> 2``, ``warn(text)``: one line on standard error
``require_folder(path, name)``, ``require_table``: what an option names is there
``require_no_file(path, name)``: a folder may be written there
``printable(text)``: what of a file's name may go to a terminal
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class UserError(Exception):
    """What the user can mend: told in one line, exit code 2."""


def complain(command: str, error: BaseException) -> int:
    """Tell an error in one line on standard error; returns exit code 2."""
    text = printable(" ".join(str(error).split())) or type(error).__name__
    print(f"{command}: {text}", file=sys.stderr)
    return 2


def require_folder(path: str, name: str) -> None:
    """UserError where an option's folder is none."""
    if not Path(path).is_dir():
        raise UserError(f"{name} must be a folder, there is none at {path}")


def require_no_file(path: str | Path, name: str) -> None:
    """ValueError where a file stands in the place of a folder that is to be written."""
    if Path(path).exists() and not Path(path).is_dir():
        raise ValueError(f"{name} must be a folder, {path} is a file")


def require_table(path: str, name: str) -> None:
    """UserError where an option's table is neither a file nor a folder of files."""
    if not (Path(path).is_file() or Path(path).is_dir()):
        raise UserError(f"{name} must be a file, there is none at {path}")


def warn(text: str) -> None:
    """Tell what goes on all the same: a line on standard error, or to the log "dsnet"."""
    logging.getLogger("dsnet").warning("%s", printable(text))


def printable(text: str) -> str:
    """`text` with escapes for what a terminal would obey or cannot show.

    Control characters, line separators, marks that turn the direction of writing, and bytes of a
    name that is no UTF-8: a file's name may hold any of them.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(character) for character in text)


# Other, of unicodedata: control, format, surrogate, private; and what separates lines.
_UNSHOWN = ("Cc", "Cf", "Cs", "Zl", "Zp")
# Joiners that scripts and pictures are written with.
_JOINERS = "\u200c\u200d"


def _escaped(character: str) -> str:
    if unicodedata.category(character) not in _UNSHOWN or character in _JOINERS:
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


class Stop:
    """Ctrl-C, SIGTERM and SIGHUP as a flag, while used as a context manager.

    The first signal lets the run finish what it is at and save; Ctrl-C after it interrupts at
    once. A launcher may send SIGTERM twice, which changes nothing. SIGHUP comes when the terminal
    is gone, as of a closed ssh session; under `nohup` it is ignored, and stays so.

    Attributes
    ----------
    signal : int
        The signal that came first, 0 before.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        # Elsewhere Python has no signals to handle.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                    continue
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __bool__(self) -> bool:
        return self.signal != 0

    def _take(self, number: int, frame) -> None:
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = self.signal or number


class Rate:
    """How many rows are done, how many a second, and the time left, as text.

    Parameters
    ----------
    total : int or None
        None when the number of rows is not known beforehand.
    done : int
        Rows of the run that this one goes on with: they count in no rate.
    """

    def __init__(self, total: int | None, done: int = 0) -> None:
        self.total = total
        self.rows = self.first = done
        self.failed = 0
        self.start = time.monotonic()

    def add(self, record) -> None:
        """Count a row."""
        self.rows += 1
        self.failed += record.status == "failed"

    @property
    def seconds(self) -> float:
        """Wall time so far."""
        return max(time.monotonic() - self.start, 1e-9)

    @property
    def per_second(self) -> float:
        """Rows a second, of this run."""
        return (self.rows - self.first) / self.seconds

    @property
    def left(self) -> str:
        """The time left; empty where nothing tells it."""
        if not self.total or not self.per_second:
            return ""
        return clock((self.total - self.rows) / self.per_second)

    def __str__(self) -> str:
        text = f"{self.rows}{f' of {self.total}' if self.total else ''} rows"
        text += f", {self.per_second:.1f} rows/s"
        if self.total and self.rows < self.total and (left := self.left):
            text += f", {left} left"
        return text + (f", {self.failed} failed" if self.failed else "")


def clock(seconds: float) -> str:
    """Hours, minutes and seconds: 1:02:03."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


class Bar:
    """A bar for each name on a terminal; elsewhere nothing is drawn, and `say` prints.

    Parameters
    ----------
    on_stderr : bool
        Draw on standard error, and wipe it at the end: the results go to standard output.

    """

    def __init__(self, *, on_stderr: bool = False) -> None:
        self._on_stderr = on_stderr
        self._bars = None
        self._tasks: dict[str, Any] = {}

    def start(self) -> Bar:
        """Begin to draw."""
        stream = sys.stderr if self._on_stderr else sys.stdout
        if stream.isatty():
            from rich import progress
            from rich.console import Console

            self._bars = progress.Progress(
                progress.TextColumn("{task.description}", markup=False),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TextColumn("{task.fields[text]}", markup=False),
                progress.TimeElapsedColumn(),
                progress.TextColumn("left"),
                progress.TimeRemainingColumn(),
                console=Console(stderr=self._on_stderr),
                transient=self._on_stderr,
            )
            self._bars.start()
        return self

    def stop(self) -> None:
        """Leave the bars as they are."""
        if self._bars is not None:
            self._bars.stop()

    def __enter__(self) -> Bar:
        return self.start()

    def __exit__(self, *exception) -> None:
        self.stop()

    @property
    def shown(self) -> bool:
        """Whether there is a terminal to draw on; from `start` on."""
        return self._bars is not None

    def show(self, name: str, done: int, total: int | None, text: str = "") -> None:
        """Draw how far `name` is, `text` beside it."""
        if self._bars is None:
            return
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=total, completed=done, text=text)
        self._bars.update(self._tasks[name], completed=done, total=total, text=text)

    def say(self, text: str) -> None:
        """A line beside the bars."""
        text = printable(text)
        if self._bars is None:
            print(text)
        else:
            self._bars.console.print(text, markup=False, highlight=False)


class Progress:
    """How far a run is that yields records: a bar, or a plain line now and then."""

    def __init__(
        self, total: int | None, line_seconds: float = 10.0, name: str = "labelling"
    ) -> None:
        self.rate = Rate(total)
        self.name = name
        self._line_seconds = line_seconds
        self._last_line = time.monotonic()
        self._bar = Bar()

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *exception) -> None:
        self._bar.stop()

    def add(self, record) -> None:
        """Count a row and show it."""
        self.rate.add(record)
        if self._bar.shown:
            text = f"{self.rate.per_second:.1f}/s, {self.rate.failed} failed"
            self._bar.show(self.name, self.rate.rows, self.rate.total, text)
        elif time.monotonic() - self._last_line >= self._line_seconds:
            self._last_line = time.monotonic()
            print(self.rate, flush=True)

    def say(self, text: str) -> None:
        """A line beside the bar."""
        self._bar.say(text)


def print_table(
    rows: Sequence[Sequence[str]], heads: Sequence[str] | None = None, title: str = ""
) -> None:
    """A table on a terminal; plain text elsewhere.

    Parameters
    ----------
    rows : sequence of rows of str
    heads : sequence of str, optional
        Of the columns. Without them plain rows are "first: second".
    title : str
        Above the table on a terminal.
    """
    rows, title = [[printable(cell) for cell in row] for row in rows], printable(title)
    heads = None if heads is None else [printable(head) for head in heads]
    if not sys.stdout.isatty():
        for line in _plain(rows, heads):
            print(line)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # As Text: of a str rich would take what stands in brackets for its markup.
    table = Table(title=Text(title) if title else None, show_header=heads is not None)
    for at, head in enumerate(heads or ("", "")):
        table.add_column(Text(head), justify="left" if heads or not at else "right")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


def _plain(rows: Sequence[Sequence[str]], heads: Sequence[str] | None) -> list[str]:
    if heads is None:
        return [": ".join(row) for row in rows]
    lines = [heads, *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(heads))]
    padded = ([cell.ljust(w) for cell, w in zip(line, widths, strict=True)] for line in lines)
    return ["  ".join(cells).rstrip() for cells in padded]
