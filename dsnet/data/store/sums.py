"""What the closing tables say of a shard, in its entry of the manifest: no row need be read again.

    sums     JSON in one text, so that a manifest of many shards is quick to read:
             [version, rows, failed, empty, low, unknown, like_hu, means, reasons]

`means` has of a column of numbers the sum and the count of the labelled rows' finite values, and
`reasons` counts why rows failed, names and numbers left out; null where they are too many. Entries
of older stores have no sums, and one of another version says nothing: the shard's rows are summed
up where somebody asks.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dsnet.data.datasets.pictures import LIKE_HU
from dsnet.data.patients import DEEPLESION_KEY, LIDC_KEY, PATIENT_NAMES, known_patient
from dsnet.data.store.buffers import floats, offsets, truths
from dsnet.data.store.entries import Written, entry_of, is_full
from dsnet.data.store.record import STAGES, metadata_of
from dsnet.labeling.notes import EMPTY

if TYPE_CHECKING:
    from dsnet.data.store.reader import LabelStore

SUMS = "sums"
# Of what follows: another one would count other things under the same names.
VERSION = 1
# Below these a person should look at a label: the expected Dice of one from a mark, and the overall
# score of one from masks.
LOW_DICE, LOW_QUALITY = 0.8, 0.6
RANKED_BY = ["quality_expected_dice", "quality_overall"]
NUMBERS = [*RANKED_BY, *(f"seconds_{stage}" for stage in STAGES)]
COLUMNS = ["key", "status", "error", "notes", "metadata", *NUMBERS]
# Different reasons of a shard's entry, and their characters: manifests are read whole.
MOST_REASONS, MOST_CHARACTERS = 64, 4096
# In RE2, whose digits are those of ASCII: what it finds `patient_in_name` finds, too.
_PATIENT = f"{LIDC_KEY.pattern}|{DEEPLESION_KEY.pattern}"
# Metadata as most have it, nothing in it nested or escaped, that names the patient.
_TEXT = r'"[^"\\\x00-\x1f]*"'
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?"
_ENTRY = rf"{_TEXT}: (?:{_TEXT}|{_NUMBER}|true|false|null)"
_NAMED = (
    rf'^\{{(?:{_ENTRY}, )*"(?:{"|".join(PATIENT_NAMES)})": '
    rf'(?:"[^"\\\x00-\x1f]+"|{_NUMBER}|true|false)(?:, {_ENTRY})*\}}$'
)


@dataclass
class Mean:
    """Of the finite values that were added; NaN is one that is not known."""

    total: float = 0.0
    count: int = 0

    @property
    def value(self) -> float | None:
        """None of nothing."""
        return self.total / self.count if self.count else None


def _means() -> dict[str, Mean]:
    return {name: Mean() for name in NUMBERS}


@dataclass
class Sums:
    """The counts and means of some rows.

    Attributes
    ----------
    rows, failed, empty, low : int
        `low`: labels whose expected Dice (of masks: overall quality) is low or not known.
    unknown : int
        Labels whose patient nothing tells.
    like_hu : int
        Notes of pictures that look like HU and were taken as windowed.
    means : dict of str to Mean
        By column, of the labelled rows: the scores that rank, and the stages' seconds.
    reasons : Counter of str or None
        Of the failed rows, as `general_reason` has them; None where nobody counted them.
    """

    rows: int = 0
    failed: int = 0
    empty: int = 0
    low: int = 0
    unknown: int = 0
    like_hu: int = 0
    means: dict[str, Mean] = field(default_factory=_means)
    reasons: Counter[str] | None = field(default_factory=Counter)

    def add(self, other: Sums) -> None:
        """Take in what other rows come to."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name, mean in other.means.items():
            self.means[name].total += mean.total
            self.means[name].count += mean.count
        if self.reasons is None or other.reasons is None:
            self.reasons = None
        else:
            self.reasons.update(other.reasons)

    def is_close(self, other: Sums) -> bool:
        """Whether both say the same, but for the last digits of sums."""
        return all(getattr(self, name) == getattr(other, name) for name in _COUNTS) and (
            self.reasons == other.reasons
            and all(
                mean.count == other.means[name].count
                and math.isclose(mean.total, other.means[name].total, rel_tol=1e-9, abs_tol=1e-9)
                for name, mean in self.means.items()
            )
        )

    def may_begin(self, beginning: str) -> bool:
        """Whether the reason of a failed row may begin so."""
        # Whole words of a beginning are told alike, whatever follows.
        whole = beginning.rpartition(" ")[0]
        words = general_reason(whole) if whole else ""
        return self.reasons is None or any(reason.startswith(words) for reason in self.reasons)

    def told(self) -> str:
        """As an entry has it."""
        means = {name: [m.total, m.count] for name, m in self.means.items() if m.count}
        counts = [getattr(self, name) for name in _COUNTS]
        reasons = None if self.reasons is None else dict(self.reasons)
        return json.dumps([VERSION, *counts, means, reasons], separators=(",", ":"))


_COUNTS = ("rows", "failed", "empty", "low", "unknown", "like_hu")


class Told(NamedTuple):
    """What an entry tells of a shard's rows, by whoever has just made them.

    Attributes
    ----------
    hashes : ndarray [N], uint64
        `entries.hash_keys` of the keys, none of which is there twice.
    sums : Sums
    """

    hashes: np.ndarray
    sums: Sums

    def entry(self, name: str, file: Written) -> dict[str, Any]:
        """The entry of the shard, whose file was written just now."""
        return _summed(entry_of(name, file, self.hashes, self.sums.failed), self.sums)


def sums_in(entry: dict[str, Any] | None) -> Sums | None:
    """What an entry says of its shard; None where it says nothing, or nothing that is sound."""
    if entry is None or not isinstance(entry.get(SUMS), str):
        return None
    try:
        version, *counts, means, reasons = json.loads(entry[SUMS])
        if version != VERSION or len(counts) != len(_COUNTS) or not all(map(_is_count, counts)):
            return None
        found = Sums(*counts)
        for name, (total, count) in means.items():
            if not (_is_count(count) and type(total) in (int, float) and math.isfinite(total)):
                return None
            found.means[name] = Mean(float(total), count)
        if reasons is None:
            found.reasons = None
        elif all(map(_is_count, reasons.values())):
            found.reasons = Counter(reasons)
        else:
            return None
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    known = found.means.keys() == set(NUMBERS) and _fits(found, entry)
    return found if known else None


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _fits(found: Sums, entry: dict[str, Any]) -> bool:
    """Whether sums can be those of a shard of so many rows."""
    labelled = found.rows - found.failed
    reasons = found.failed if found.reasons is None else found.reasons.total()
    return (
        (found.rows, found.failed, reasons) == (entry["rows"], entry.get("failed"), found.failed)
        and max(found.empty, found.low, found.unknown, found.like_hu) <= labelled
        and all(mean.count <= labelled for mean in found.means.values())
    )


def with_sums(entry: dict[str, Any], table) -> dict[str, Any]:
    """A shard's entry with the sums of its rows, where these are sound.

    Parameters
    ----------
    entry : dict
        See `entries.describe`.
    table : pyarrow.Table
        With `COLUMNS`; of those that it lacks the values are not known.
    """
    if not is_full(entry):
        return entry
    return _summed(entry, sums_of(table))


def _summed(entry: dict[str, Any], found: Sums) -> dict[str, Any]:
    reasons = found.reasons or {}
    if len(reasons) > MOST_REASONS or sum(map(len, reasons)) > MOST_CHARACTERS:
        found.reasons = None
    return {**entry, SUMS: found.told()}


def are_sums(entry: dict[str, Any], table) -> bool:
    """Whether what an entry says, if it says anything that is understood here, is a table's."""
    if not str(entry.get(SUMS, "")).startswith(f"[{VERSION},"):
        return True
    said, found = sums_in(entry), sums_of(table)
    if said is not None and said.reasons is None:
        found.reasons = None
    return said is not None and said.is_close(found)


def sums_of(table) -> Sums:
    """The sums of a table's rows.

    Parameters
    ----------
    table : pyarrow.Table
        As `with_sums`.
    """
    pc = _compute()
    # Given a value or an array of Python's, Arrow asks pandas, whose import takes half a second.
    labelled = pc.match_like(table["status"], "ok").combine_chunks()
    ok = truths(labelled)
    errors: list[str] = []
    if not ok.all():
        errors = table["error"].filter(pc.invert(labelled)).to_pylist()
    numbers = {name: _numbers(table, name) for name in NUMBERS if name in table.column_names}
    found = sums_from(ok, numbers, errors)
    if "notes" in table.column_names:
        found.empty = _noted(table["notes"], ok, lambda notes: pc.match_like(notes, EMPTY))
        found.like_hu = _noted(table["notes"], ok, lambda notes: pc.starts_with(notes, LIKE_HU))
    found.unknown = _unknown(table.select(["key", "metadata"]).filter(labelled))
    return found


def sums_from(
    ok: np.ndarray, columns: Mapping[str, np.ndarray], errors: Iterable[str | None]
) -> Sums:
    """The sums of some rows, but for what their notes and patients come to.

    Parameters
    ----------
    ok : bool [N]
        Which are labelled.
    columns : mapping of str to float64 [N]
        Those of `NUMBERS` that there are, NaN where a value is null.
    errors : iterable of str or None
        Of the rows that failed.
    """
    found = Sums(rows=len(ok), failed=len(ok) - int(np.count_nonzero(ok)))
    none = np.full(len(ok) - found.failed, np.nan)
    numbers = {name: columns[name][ok] if name in columns else none for name in NUMBERS}
    for name, values in numbers.items():
        known = values[np.isfinite(values)]
        found.means[name] = Mean(float(known.sum()), len(known))
    dice, overall = (numbers[name] for name in RANKED_BY)
    # What is not known ranks last.
    low = np.where(np.isfinite(overall), overall, 0.0) < LOW_QUALITY
    found.low = int(np.where(np.isfinite(dice), dice < LOW_DICE, low).sum())
    found.reasons = Counter(general_reason(error or "") for error in errors)
    return found


def sums_of_store(store: LabelStore) -> Sums:
    """The sums of a store's rows: by its entries, or of a shard whose entry says nothing its rows'.

    Raises
    ------
    ValueError
        When a shard that is read is damaged; names it.
    """
    entries = {entry["name"]: entry for entry in store.manifest["shards"]}
    whole = Sums()
    for name in store.shards:
        found = sums_in(entries.get(name))
        if found is None or found.reasons is None:
            found = sums_of(store.shard_table(name, COLUMNS))
        whole.add(found)
    return whole


def scores_of(store: LabelStore) -> Iterator[tuple[float, str]]:
    """(score that ranks, key) of each labelled row; 0 where none is known."""
    for part in store.parts(["key", "status", *RANKED_BY]):
        dice, overall = (_numbers(part, name) for name in RANKED_BY)
        ranks = np.where(np.isfinite(dice), dice, np.where(np.isfinite(overall), overall, 0.0))
        keys, statuses = part["key"].to_pylist(), part["status"].to_pylist()
        yield from (
            (rank, key)
            for rank, key, status in zip(ranks.tolist(), keys, statuses, strict=True)
            if status == "ok"
        )


def _compute() -> Any:
    # Its functions are made as it is loaded: type checkers do not know them.
    import pyarrow.compute

    return pyarrow.compute


def _numbers(table, name: str) -> np.ndarray:
    """float64 [N], NaN where it is null."""
    if name not in table.column_names:
        return np.full(len(table), np.nan)
    return floats(table[name].combine_chunks())


def _noted(notes, ok: np.ndarray, matches) -> int:
    """How many labelled rows have a note that a function of all notes tells."""
    column = notes.combine_chunks()
    told = column.flatten()
    if not len(told):
        return 0
    rows = np.repeat(np.arange(len(column)), np.diff(offsets(column)))
    return int(ok[np.unique(rows[truths(matches(told))])].sum())


def _unknown(table) -> int:
    """How many labels' patients nothing tells."""
    pc = _compute()
    # Most names tell, or most metadata at a glance.
    left = table.filter(pc.invert(pc.match_substring_regex(table["key"], _PATIENT)))
    named = pc.match_substring_regex(left["metadata"], _NAMED)
    left = left.filter(pc.or_kleene(pc.invert(named), pc.is_null(named)))
    keys, told = (left[name].to_pylist() for name in ("key", "metadata"))
    return sum(
        known_patient(key, metadata_of(text)) is None for key, text in zip(keys, told, strict=True)
    )


def general_reason(error: str) -> str:
    """A reason without file names and numbers, so that equal faults count as one."""
    reason = re.sub(r"\S*[/\\]\S*?(?=[:,;]?(\s|$))", "FILE", error)
    return re.sub(r"-?\d+(\.\d+)?(e[-+]?\d+)?", "#", reason) or "no reason given"
