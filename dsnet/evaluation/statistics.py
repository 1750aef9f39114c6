"""Rows of the table against one of them, paired by case."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dsnet.evaluation.rows import Row
from dsnet.metrics import Difference, paired_difference


def reference_row(rows: Sequence[Row], against: str | None = None) -> Row:
    """The row that others are compared with: the one of this name, or the first.

    Raises
    ------
    ValueError
        When none has the name.
    """
    return rows[require_name([row.name for row in rows], against)]


def require_name(names: Sequence[str], against: str | None) -> int:
    """Place of the name that others are compared with; ValueError where it is not there."""
    if against is None:
        return 0
    if against not in names:
        raise ValueError(f"--against must be a row's name, {', '.join(names)}; got {against!r}")
    return list(names).index(against)


def differences(
    rows: Sequence[Row], against: str | None = None
) -> dict[str, dict[str, Difference]]:
    """Of each row but the one that they are compared with, and of each metric.

    Cases that both rows were scored on are paired, by their means over seeds; intervals are by a
    bootstrap over patients, see `dsnet.metrics.paired_difference`.

    Parameters
    ----------
    rows : sequence of Row
    against : str, optional
        Name of the row to compare with; by default the first.

    Returns
    -------
    dict of str to dict of str to Difference
        By row and metric.

    Raises
    ------
    ValueError
        When no row has the name.
    """
    reference = reference_row(rows, against)
    there = {key: i for i, key in enumerate(reference.keys)}
    found = {}
    for row in rows:
        if row is reference:
            continue
        here = [i for i, key in enumerate(row.keys) if key in there]
        same = [there[row.keys[i]] for i in here]
        patients = [row.patients[i] for i in here]
        found[row.name] = {
            metric: paired_difference(
                np.asarray(values)[here], np.asarray(reference.values[metric])[same], patients
            )
            for metric, values in row.values.items()
        }
    return found
