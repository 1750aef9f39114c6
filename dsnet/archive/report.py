"""What people are told of a run and of its store: progress, the closing table, contact sheets."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from dsnet.console import Progress, Rate, print_table, printable
from dsnet.data.dicom.attempts import LOST
from dsnet.data.patients import unknown_patients_note
from dsnet.data.store.decisions import MADE, read_decisions
from dsnet.data.store.reader import LabelStore
from dsnet.data.store.record import STAGES, LabelRecord
from dsnet.data.store.stage import StoredRow
from dsnet.data.store.sums import LOW_DICE, LOW_QUALITY, RANKED_BY, scores_of
from dsnet.data.store.verdicts import STATES, Verdicts
from dsnet.drawing import sheet
from dsnet.labeling.quality import ranking

LONGEST_SHEET = 24
LOW = f"low (expected Dice < {LOW_DICE:g}; of masks, quality < {LOW_QUALITY:g})"
EMPTY_LABELS = "empty (no pixel reaches one half)"
LINE_SECONDS = 10.0  # between the lines that tell progress where there is no terminal


class TerminalProgress:
    """Prints how far a run is: an `Observer` of `label_archive`, used as a context manager.

    Parameters
    ----------
    total : int or None
        Rows of the archive, those that are stored already included.

    Attributes
    ----------
    rate : Rate
        Of this run.
    """

    brief = True

    def __init__(self, total: int | None = None) -> None:
        self._total = total
        self._open = contextlib.ExitStack()
        self._told_lost = False
        self.rate = Rate(total)

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(self, *exception) -> None:
        self._open.close()

    def begin(self, stored: int) -> None:
        """Tell what is there, and begin to count."""
        if stored:
            print(f"{stored} rows are in the store already")
        left = None if self._total is None else max(self._total - stored, 0)
        self._progress = self._open.enter_context(Progress(left, LINE_SECONDS))
        self.rate = self._progress.rate

    def add(self, record: LabelRecord | StoredRow) -> None:
        """Count a row; the first that a server is given up for is told."""
        self._progress.add(record)
        if not self._told_lost and LOST in (record.error or ""):
            self._told_lost = True
            self.say(f"{LOST}: its other rows fail at once; --retry-failed tries them again")

    def say(self, text: str) -> None:
        """A line beside the bar."""
        self._progress.say(text)


def summary_rows(store: LabelStore) -> list[tuple[str, str]]:
    """(what, value) lines: rows, labelled, failed, empty, low quality, mean time by stage."""
    sums = store.sums
    labelled = sums.rows - sums.failed
    rows = [
        ("rows", str(sums.rows)),
        ("labelled", _share(labelled, sums.rows)),
        ("failed", _share(sums.failed, sums.rows)),
        (EMPTY_LABELS, _share(sums.empty, labelled)),
        (LOW, _share(sums.low, labelled)),
    ]
    if labelled:
        for what, name in (("expected Dice", "expected_dice"), ("quality", "overall")):
            if (mean := sums.means[f"quality_{name}"].value) is not None:
                rows.append((f"mean {what}", f"{mean:.3f}"))
        if not any(sums.means[name].count for name in RANKED_BY):
            rows.append(("mean quality", "not known"))
        means = {stage: sums.means[f"seconds_{stage}"].value for stage in STAGES}
        known = {stage: 1000 * seconds for stage, seconds in means.items() if seconds is not None}
        rows += [(f"{stage}, mean", f"{ms:.2f} ms a label") for stage, ms in known.items()]
        if known:
            rows.append(("all stages, mean", f"{sum(known.values()):.2f} ms a label"))
    return rows + _reviewed(store)


def _reviewed(store: LabelStore) -> list[tuple[str, str]]:
    """How far the review is; nothing where nobody began it."""
    verdicts = Verdicts(read_decisions(store.path).rows)
    keys = [key for key in verdicts.keys if key in store]
    states = verdicts.counts(keys)
    readers = {reader for key in keys for reader in verdicts.standing(key)}
    if not readers:
        return []
    mended = sum(verdicts.version(key) != MADE for key in keys)
    return [
        ("reviewed", _share(sum(states[state] for state in STATES), len(store))),
        *((state, str(states[state])) for state in STATES),
        ("accepted as mended", str(mended)),
        ("readers", str(len(readers))),
    ]


def failure_reasons(store: LabelStore) -> list[tuple[str, int]]:
    """Reasons of the failed rows with their counts, the most frequent first.

    File names and numbers are left out of a reason, so that equal faults count as one.
    """
    reasons = store.sums.reasons or {}
    return sorted(reasons.items(), key=lambda item: (-item[1], item[0]))


def print_summary(store: LabelStore) -> None:
    """The closing tables, as plain lines where standard output is no terminal."""
    print_table(summary_rows(store), title=str(store.path))
    if reasons := failure_reasons(store):
        print_table(
            [(str(count), reason) for reason, count in reasons], ("rows", "why they failed")
        )


def print_demo(store: LabelStore, path: Path) -> None:
    """A sheet of a store of phantoms, at `path`, and how near the labels are to the outlines."""
    labelled = list(islice(store.records("ok"), LONGEST_SHEET))
    if labelled:
        sheet = write_sheet(labelled, path, "phantoms: alpha from the mark alone")
        overlap = [record.metadata["dice"] for record in store.records("ok")]
        print(f"mean Dice with the known outline: {sum(overlap) / len(overlap):.3f}")
        print(printable(f"look at {sheet}"))


def warnings_of(store: LabelStore) -> list[str]:
    """What a user should know of a store before training on it: patients unknown, HU misread."""
    sums = store.sums
    labelled = sums.rows - sums.failed
    told = [note] if (note := unknown_patients_note(sums.unknown, labelled)) else []
    if sums.like_hu:
        told.append(
            f"{sums.like_hu} of {labelled} pictures look like HU + 32768 and were taken as"
            " windowed, with a few per cent of their contrast: --window LOW HIGH reads HU"
        )
    return told


def write_sheets(store: LabelStore, out: Path, rows: int = 12) -> list[Path]:
    """Contact sheets `best.png`, `median.png` and `worst.png` by expected Dice (masks: quality).

    Parameters
    ----------
    store : LabelStore
    out : Path
        Folder, made where absent.
    rows : int
        Labels a sheet.

    Returns
    -------
    list of Path
        The sheets; none where no row is labelled.
    """
    ranked = [key for _, key in sorted(scores_of(store))]
    if not ranked:
        return []
    middle = max((len(ranked) - rows) // 2, 0)
    chosen = {
        "best": ranked[::-1][:rows],
        "median": ranked[middle : middle + rows],
        "worst": ranked[:rows],
    }
    paths = []
    for name, keys in chosen.items():
        if records := list(_sound(store, keys)):
            heading = f"{name} {len(records)} of {len(ranked)} by expected Dice or quality"
            paths.append(write_sheet(records, out / f"{name}.png", heading))
    return paths


def _sound(store: LabelStore, keys: list[str]) -> Iterator[LabelRecord]:
    for key in keys:
        if key in store.damaged:
            continue
        try:
            yield store.read(key)
        except ValueError:
            if key not in store.damaged:  # Not the row's: its shard.
                raise


def print_stages(device: str, workers: int) -> None:
    """Where a device's labelling in this process took its time, a line a stage."""
    from dsnet.archive.gpu import stages

    if workers > 1:
        print("stages: told with --workers 1 alone, each process has its own")
    for name, seconds in stages(device):
        print(f"{name}: {seconds:.3f} s")


def write_sheet(records: list[LabelRecord], path: Path, heading: str) -> Path:
    """A contact sheet of labelled records, their quality beside their keys."""
    rows = [
        (
            f"{ranking(record.quality) or math.nan:.2f}  {record.key}",
            record.image,
            record.mark,
            record.trimap,
            record.alpha,
            record.binary,
        )
        for record in records
    ]
    return sheet.render(rows, path, columns=min(3, len(rows)), heading=heading)


def _share(count: int, total: int) -> str:
    return f"{count} ({100 * count / total:.1f} %)" if total else str(count)
