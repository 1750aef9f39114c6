"""What a training shows and writes while it goes on: bar or lines, CSV, TensorBoard.

Public
------
``Log(folder, total_steps, done, images_per_step, visible)``: ``.read(step, values)``,
    ``.validated(step, epoch, epochs, dice, threshold, dice_half)``, ``.say(text)``, ``.close()``
``Table(path, done)``: a CSV; ``.write(step, values)``, ``.close()``
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

from dsnet.console import Bar, Rate
from dsnet.dependencies import MissingDependency, needed
from dsnet.files import telling, write_text


class Log:
    """A bar on a terminal or plain lines, CSV, and TensorBoard where installed.

    ``log.csv`` has the losses, ``validation.csv`` each epoch's Dice at its best threshold, the
    seconds since the run, or what resumed it, began, that threshold, and the Dice at one half.
    """

    def __init__(self, folder, total_steps, done=0, images_per_step=1, visible=True):
        self.visible, self.images = visible, images_per_step
        self.rate = Rate(total_steps, done)
        self._bar, self._board, self._tables = Bar(), None, {}
        if not visible:
            return
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("log", "validation"):
            self._tables[name] = Table(folder / f"{name}.csv", done)
        try:
            with needed("train", "the TensorBoard log"):
                from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(os.fspath(folder / "tensorboard"), purge_step=done)
        except MissingDependency as error:
            print(f"{error}; losses go to log.csv")
        self._bar.start()
        self._bar.show("training", done, total_steps)

    def read(self, step: int, values: dict[str, float]) -> None:
        """Show and store the figures of a step; `step` counts those that are done."""
        if not self.visible:
            return
        self.rate.rows = step
        values = {**values, "images_per_s": self.rate.per_second * self.images}
        self._tables["log"].write(step, values)
        self._add(step, values)
        text = "  ".join(f"{k} {v:.3g}" for k, v in values.items() if k != "lr")
        if self._bar.shown:
            self._bar.show("training", step, self.rate.total, text)
        else:
            print(f"step {step} of {self.rate.total}  {text}  {self.rate.left} left", flush=True)

    def validated(
        self, step: int, epoch: int, epochs: int, dice: float, threshold: float, dice_half: float
    ) -> None:
        """Show and store the validation Dice after `epoch`, counted from 1."""
        if not self.visible:
            return
        values = {"epoch": epoch, "dice": dice, "seconds": self.rate.seconds}
        cut = {"threshold": threshold, "dice_half": dice_half}
        self._tables["validation"].write(step, {**values, **cut})
        self._add(step, {f"validation_{name}": v for name, v in {"dice": dice, **cut}.items()})
        self.say(
            f"epoch {epoch} of {epochs}: validation Dice {dice:.4f} at threshold {threshold:g}, "
            f"{dice_half:.4f} at 0.5"
        )

    def _add(self, step: int, values: dict[str, float]) -> None:
        if self._board:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def say(self, text: str) -> None:
        """A line beside the bar."""
        if self.visible:
            self._bar.say(text)

    def close(self) -> None:
        """Leave the bar, and all files complete."""
        self._bar.stop()
        if self._board:
            self._board.close()
        for table in self._tables.values():
            table.close()


class Table:
    """A CSV that a run resumed after step `done` goes on with; 0 begins it anew."""

    def __init__(self, path: Path, done: int):
        self._path = path
        self._columns = _keep_rows(path, done)
        self._file = open(path, "a", newline="")  # noqa: SIM115
        self._writer = csv.writer(self._file, lineterminator="\n")

    def write(self, step: int, values: dict[str, float]) -> None:
        """Add a row; the first one's names are the header, which later ones keep to."""
        row = {"step": step, **{name: f"{value:.6g}" for name, value in values.items()}}
        with telling(self._path):
            if not self._columns:
                self._columns = list(row)
                self._writer.writerow(self._columns)
            # A table that an older version began has fewer columns.
            self._writer.writerow([row.get(name, "") for name in self._columns])
            self._file.flush()

    def close(self) -> None:
        with telling(self._path):
            self._file.close()


def _keep_rows(path: Path, done: int) -> list[str]:
    """Drop the rows after step `done`, which are to come again; the header, if one stays."""
    lines = path.read_text().splitlines(keepends=True) if done and path.exists() else []
    kept = lines[:1]
    for line in lines[1:]:
        step = line.partition(",")[0]
        # A line without its end was being written when the run was killed.
        if step.isdigit() and int(step) <= done and line.endswith("\n"):
            kept.append(line)
    write_text(path, "".join(kept))
    return kept[0].strip().split(",") if kept else []
