"""What a training shows: bar or lines, CSV, TensorBoard, panel picture.

Public
------
``Log(folder, total_steps, done, images_per_step, visible)``: ``.read(step, values)``,
    ``.validated(step, epoch, epochs, dice)``, ``.say(text)``, ``.close()``
``Table(path, done)``: a CSV; ``.write(step, values)``, ``.close()``
``write_panel(path, image, truth, prediction)``
"""

import csv
import os
import sys
import time
from pathlib import Path

import numpy as np

from dsnet.dependencies import MissingDependency, needed
from dsnet.training.checkpoint import write_atomically

TILE = 128
COLUMNS = ("image", "truth", "prediction", "difference")


class Log:
    """A bar on a terminal or plain lines, CSV, and TensorBoard where installed.

    ``log.csv`` has the losses, ``validation.csv`` each epoch's Dice and the seconds since the run,
    or what resumed it, began.
    """

    def __init__(self, folder, total_steps, done=0, images_per_step=1, visible=True):
        self.visible, self.total, self.images = visible, total_steps, images_per_step
        self.start, self.done = time.monotonic(), done
        self._bar = self._board = None
        self._tables = {}
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
        if sys.stdout.isatty():
            from rich import progress

            self._bar = progress.Progress(
                progress.BarColumn(), progress.MofNCompleteColumn(),
                progress.TextColumn("{task.fields[text]}"), progress.TimeElapsedColumn(),
                progress.TextColumn("left"), progress.TimeRemainingColumn(),
            )  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task("train", total=total_steps, completed=done, text="")

    @property
    def seconds(self) -> float:
        return max(time.monotonic() - self.start, 1e-9)

    def read(self, step: int, values: dict[str, float]) -> None:
        """Show and store the figures of a step; `step` counts those that are done."""
        if not self.visible:
            return
        rate = (step - self.done) * self.images / self.seconds
        values = {**values, "images_per_s": rate}
        self._tables["log"].write(step, values)
        self._show(step, values)
        text = "  ".join(f"{k} {v:.3g}" for k, v in values.items() if k != "lr")
        if self._bar:
            self._bar.update(self._task, completed=step, text=text)
        else:
            left = round(self.seconds / max(step - self.done, 1) * (self.total - step))
            clock = f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"
            print(f"step {step} of {self.total}  {text}  {clock} left", flush=True)

    def validated(self, step: int, epoch: int, epochs: int, dice: float) -> None:
        """Show and store the validation Dice after `epoch`, counted from 1."""
        if not self.visible:
            return
        values = {"epoch": epoch, "dice": dice, "seconds": self.seconds}
        self._tables["validation"].write(step, values)
        self._show(step, {"validation_dice": dice})
        self.say(f"epoch {epoch} of {epochs}: validation Dice {dice:.4f}")

    def _show(self, step: int, values: dict[str, float]) -> None:
        if self._board:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def say(self, text: str) -> None:
        if self.visible:
            (self._bar.console.print if self._bar else print)(text)

    def close(self) -> None:
        if self._bar:
            self._bar.stop()
        if self._board:
            self._board.close()
        for table in self._tables.values():
            table.close()


class Table:
    """A CSV that a run resumed after step `done` goes on with; 0 begins it anew."""

    def __init__(self, path: Path, done: int):
        self._header = not _keep_rows(path, done)
        self._file = open(path, "a", newline="")  # noqa: SIM115
        self._writer = csv.writer(self._file, lineterminator="\n")

    def write(self, step: int, values: dict[str, float]) -> None:
        """Add a row; the first one's names are the header."""
        if self._header:
            self._writer.writerow(["step", *values])
            self._header = False
        self._writer.writerow([step, *(f"{v:.6g}" for v in values.values())])
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _keep_rows(path: Path, done: int) -> bool:
    """Drop the rows after step `done`, which are to come again; whether a header stays."""
    lines = path.read_text().splitlines(keepends=True) if done and path.exists() else []
    kept = lines[:1]
    for line in lines[1:]:
        step = line.partition(",")[0]
        # A line without its end was being written when the run was killed.
        if step.isdigit() and int(step) <= done and line.endswith("\n"):
            kept.append(line)
    write_atomically(path, lambda temporary: temporary.write_text("".join(kept)))
    return bool(kept)


def write_panel(path, image: np.ndarray, truth: np.ndarray, prediction: np.ndarray) -> None:
    """A PNG with a row for every case: image, true and predicted soft mask, their difference.

    Parameters
    ----------
    path : path
    image, truth, prediction : ndarray [N, H, W]
        In 0..1. In the difference red is too much, blue too little, white none.
    """
    import cv2

    rows = []
    for planes in zip(image, truth, prediction, strict=True):
        x, y, p = (np.asarray(plane, np.float32) for plane in planes)
        more, less = np.clip(p - y, 0, 1), np.clip(y - p, 0, 1)
        tiles = [np.repeat(plane[..., None], 3, 2) for plane in (x, y, p)]
        tiles.append(np.stack([1 - more, 1 - more - less, 1 - less], 2))  # blue, green, red
        sized = [cv2.resize(t, (TILE, TILE), interpolation=cv2.INTER_NEAREST) for t in tiles]
        rows.append(np.concatenate(sized, 1))
    sheet = (np.concatenate(rows).clip(0, 1) * 255).round().astype(np.uint8)
    head = np.full((20, sheet.shape[1], 3), 255, np.uint8)
    for i, name in enumerate(COLUMNS):
        cv2.putText(
            head, name, (i * TILE + 4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 0, 1, cv2.LINE_AA
        )
    data = cv2.imencode(".png", np.concatenate([head, sheet]))[1].tobytes()
    write_atomically(path, lambda temporary: temporary.write_bytes(data))
