"""What is wrong with a store's decisions and mended versions, and a store without what is."""

from __future__ import annotations

from pathlib import Path

from dsnet.data.store.decisions import Decision, decision_files, read_decisions, sound_lines
from dsnet.data.store.places import Place
from dsnet.data.store.versions import version_row
from dsnet.files import write_bytes


def review_faults(store: Place, alpha_bits: int) -> list[str]:
    """Lines of decisions that are damaged, and mended versions that are missing or damaged.

    A last line without an end is no fault: its reader was never told that it counts.
    """
    found = read_decisions(store)
    return [*found.damaged, *(text for _, text in _lost(store, found.rows, alpha_bits))]


def repair_review(store: Path, alpha_bits: int, keep) -> list[str]:
    """Take out of a store's decisions what is damaged; what was taken out, in words.

    A version that is lost takes the verdicts on it along.

    Parameters
    ----------
    store : Path
    alpha_bits : int
        The store's.
    keep : callable
        Given a file that will change, keeps a copy of it; with `move` true the file itself.
    """
    found = read_decisions(store)
    lost = _lost(store, found.rows, alpha_bits)
    told = [*found.damaged, *(text for _, text in lost)]
    versions = {version for version, _ in lost}
    for file in decision_files(store) if told else ():
        try:
            sound = sound_lines(file, versions)
        except ValueError:  # No file to be read at all.
            keep(file, move=True)
            continue
        if sound != file.read_bytes():
            keep(file, move=False)
            write_bytes(file, sound)
    return told


def _lost(store: Place, rows: list[Decision], alpha_bits: int) -> list[tuple[str, str]]:
    lost = []
    for row in rows:
        if row.kind == "mend":
            try:
                version_row(store, row, alpha_bits)
            except ValueError as error:
                lost.append((row.version, f"mended version of {row.key!r}: {error}"))
    return lost
