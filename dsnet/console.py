"""How far a labelling run is: rows, rate, time left."""

from __future__ import annotations

import sys
import time

from dsnet.data.store.record import LabelRecord


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

    def add(self, record: LabelRecord) -> None:
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
