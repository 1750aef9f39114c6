"""What a command shows on a terminal, and how it is stopped."""

from __future__ import annotations

import signal
import sys
import threading
import time


class UserError(Exception):
    """What the user can mend: told in one line, exit code 2."""


class Stop:
    """Ctrl-C and SIGTERM as a flag, while used as a context manager.

    The first signal lets the run finish its row and flush; a second one interrupts at once.

    Attributes
    ----------
    signal : int
        The signal that came, 0 before.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __bool__(self) -> bool:
        return self.signal != 0

    def _take(self, number, frame) -> None:
        if self.signal:
            raise KeyboardInterrupt
        self.signal = number


class Rate:
    """Rows a second and the time left, as text.

    Parameters
    ----------
    total : int or None
        None when the number of rows is not known beforehand.
    """

    def __init__(self, total: int | None) -> None:
        self.total = total
        self.rows = 0
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

    def __str__(self) -> str:
        rate = self.rows / self.seconds
        text = f"{self.rows}{f' of {self.total}' if self.total else ''} rows, {rate:.1f} rows/s"
        if self.total and rate and self.rows < self.total:
            left = round((self.total - self.rows) / rate)
            text += f", {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left"
        return text + (f", {self.failed} failed" if self.failed else "")


class Progress:
    """A progress bar on a terminal; elsewhere a plain line now and then."""

    def __init__(self, total: int | None, line_seconds: float = 10.0) -> None:
        self.rate = Rate(total)
        self._line_seconds = line_seconds
        self._last_line = time.monotonic()
        self._bar = self._task = None

    def __enter__(self) -> Progress:
        if sys.stdout.isatty():
            from rich import progress

            self._bar = progress.Progress(
                progress.TextColumn("labelling"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TextColumn("{task.fields[rate]}"),
                progress.TimeElapsedColumn(),
                progress.TextColumn("left"),
                progress.TimeRemainingColumn(),
            )
            self._bar.start()
            self._task = self._bar.add_task("labelling", total=self.rate.total, rate="")
        return self

    def __exit__(self, *exception) -> None:
        if self._bar is not None:
            self._bar.stop()

    def add(self, record) -> None:
        """Count a row and show it."""
        self.rate.add(record)
        if self._bar is not None:
            rate = f"{self.rate.rows / self.rate.seconds:.1f}/s, {self.rate.failed} failed"
            self._bar.update(self._task, advance=1, rate=rate)
        elif time.monotonic() - self._last_line >= self._line_seconds:
            self._last_line = time.monotonic()
            print(self.rate, flush=True)

    def say(self, text: str) -> None:
        """A line beside the bar."""
        (self._bar.console.print if self._bar is not None else print)(text)
