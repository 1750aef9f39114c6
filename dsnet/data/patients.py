"""Whose picture it is: what keeps the slices of one patient in one part of a split."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dsnet.data.parquet_table import ENDINGS
from dsnet.data.tables import read_table

PATIENT_NAMES = ("patient", "patient_id", "PatientID", "Patient_index", "subject")
# DeepLesion's keys start with the patient's number: 000001_03_01_088.
DEEPLESION_KEY = re.compile(r"(\d{6})_\d{2}_\d{2}")
LIDC_KEY = re.compile(r"LIDC-IDRI-\d{4}")
# Of a row whose patient nothing tells: what it has in common with the marks on the same slice.
SLICE = "slice_file"
_FILE_COLUMNS = ("file_name", "file", "image", "key")
_PATIENT_COLUMNS = tuple(name.lower() for name in PATIENT_NAMES)


def patient_of(key: str, metadata: dict) -> str:
    """Whose image it is: `known_patient`, else its slice where the metadata say, else the key."""
    known = known_patient(key, metadata)
    return str(metadata.get(SLICE) or key) if known is None else known


def known_patient(key: str, metadata: dict) -> str | None:
    """The patient by the metadata, else by a DeepLesion or LIDC key; None where neither tells."""
    for name in PATIENT_NAMES:
        if metadata.get(name) not in (None, ""):
            return str(metadata[name])
    return patient_in_name(key)


def patient_in_name(name: str) -> str | None:
    """LIDC-IDRI-0001, or 000001 of a DeepLesion key; None for other names."""
    for pattern in (LIDC_KEY, DEEPLESION_KEY):
        if found := pattern.search(name):
            return found.group(1) if pattern.groups else found.group(0)
    return None


def unknown_patients_note(unknown: int, total: int) -> str:
    """What to tell of a store whose rows lack their patients; empty where none does."""
    if not unknown:
        return ""
    return (
        f"nothing tells the patients of {unknown} of {total} labels: each counts as a patient of "
        "its own, so slices of one patient may be both in training and in test "
        "(dsnet.label --patients REGEX|CSV names them)"
    )


def patients_by(rule: str) -> Callable[[str], str]:
    """How an option names the patient of a file: by a regular expression, or by a table.

    Parameters
    ----------
    rule : str
        The name of a CSV or Parquet file with columns `file` (or `File_name`, `image`, `key`) and
        `patient` (or `Patient_index`, `PatientID`, ...), or else a regular expression, which is
        searched in the file's path: the patient is its group `patient`, its first group, or all of
        it.

    Returns
    -------
    callable
        From a file's path below its folder, with /, to the patient; raises ValueError where the
        rule names none.

    Raises
    ------
    ValueError
        When the rule is neither, or the table is not in order.
    """
    if is_table(rule):
        return _by_table(Path(rule))
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise ValueError(
            f"--patients must be a CSV file or a regular expression, got {rule!r}: {error}"
        ) from error

    def patient(name: str) -> str:
        found = pattern.search(name)
        text = None
        if found:
            text = found.group("patient" if "patient" in pattern.groupindex else pattern.groups > 0)
        if not text:
            raise ValueError(f"--patients {rule!r} names no patient in {name!r}")
        return text

    return patient


def is_table(rule: str) -> bool:
    """Whether a rule of `patients_by` is the name of a table."""
    return rule.lower().endswith((".csv", ".tsv", ".txt", *ENDINGS)) or os.path.isfile(rule)


def _by_table(path: Path) -> Callable[[str], str]:
    table = read_table(path, lower=True, wanted=(*_FILE_COLUMNS, *_PATIENT_COLUMNS))
    file = next((name for name in _FILE_COLUMNS if name in table.columns), None)
    column = next((name for name in _PATIENT_COLUMNS if name in table.columns), None)
    if file is None or column is None:
        raise ValueError(
            f"{path}: columns file and patient are wanted; the table has "
            f"{', '.join(table.columns) or 'nothing'}"
        )
    patients: dict[str, str] = {}
    for row in table.rows:
        name, patient = row.fields.get(file, "").strip(), row.fields.get(column, "").strip()
        if row.error or not name or not patient:
            raise ValueError(f"{path}: row {row.line}: {row.error or 'file or patient is empty'}")
        name = name.replace("\\", "/").removeprefix("./")
        if patients.setdefault(name, patient) != patient:
            raise ValueError(f"{path}: row {row.line}: {name} has a second patient, {patient!r}")

    def patient_of_file(name: str) -> str:
        for spelling in _spellings(name):
            if spelling in patients:
                return patients[spelling]
        raise ValueError(f"--patients {path} has no row for {name!r}")

    return patient_of_file


def _spellings(name: str) -> Sequence[str]:
    """A file's path as a table may have it: with its ending or without."""
    stem = name[: -len(Path(name).suffix)] if Path(name).suffix else name
    return name, stem


def owner_by_table(
    annotations: Iterable, rule: Callable[[str], str] | None = None
) -> Callable[[str], str | None]:
    """Whose a file is: as a table says, else as a rule of `patients_by` does; None: not known."""
    # A table is asked for the rows of a file; it need not make all of them.
    known: Any = getattr(annotations, "patient_of", None)
    if known is None:
        known = {a.file_name: str(a.patient) for a in annotations if a.patient is not None}.get

    def owner(name: str) -> str | None:
        if (patient := known(name)) is not None or rule is None:
            return patient
        try:
            return rule(name)
        except ValueError:
            return None

    return owner


def with_patients(annotations: Iterable, rule: str) -> Sequence:
    """A table's rows with the patients that a rule of `patients_by` names by their files.

    A row that it names none for fails: its `error` tells. Of a table a table.

    Parameters
    ----------
    annotations : iterable of DeepLesionAnnotation
    rule : str
    """
    patient, named = patients_by(rule), []
    named_by: Any = getattr(annotations, "named_by", None)
    if named_by is not None:
        return named_by(patient)
    for row in annotations:
        try:
            named.append(replace(row, patient=patient(row.file_name)))
        except ValueError as error:
            named.append(replace(row, mark=None, error=row.error or str(error)))
    return named
