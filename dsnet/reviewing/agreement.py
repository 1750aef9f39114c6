"""What the readers' verdicts come to: agreement, mends, time, and the scores against them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from itertools import combinations, pairwise
from statistics import mean, median
from typing import Any

import numpy as np

from dsnet.data.store.decisions import MADE, VERDICTS, Decision
from dsnet.data.store.reader import LabelStore
from dsnet.data.store.record import LabelRecord
from dsnet.data.store.verdicts import STATES, Verdicts
from dsnet.data.store.versions import read_version
from dsnet.labeling.quality import dice

# Of the expected Dice: most labels lie in the last ones.
EDGES = (0.0, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)
# What a reader made of a label as it was proposed.
OUTCOMES = ("accepted", "mended", "unsure", "rejected")
_Z = 1.959963984540054  # 95 % of a normal distribution lie within so many standard deviations


def agreement(
    store: LabelStore, verdicts: Verdicts, read: Callable[[str], LabelRecord] | None = None
) -> dict[str, Any]:
    """Numbers of a review, of the verdicts that stand.

    Parameters
    ----------
    store : LabelStore
    verdicts : Verdicts
    read : callable, optional
        Gives a label as it was made, by its key; by default the store's own.

    Returns
    -------
    dict
        labels: how many, and how many are accepted, rejected, unsure, left. readers: of each the
        name, verdicts, accept, reject, unsure, mended, and the median seconds. pairs: of each two
        readers the labels that both decided, the share on which they agree, Cohen's kappa (None
        where chance alone would agree). reasons: how often each is given. mended: labels that were
        accepted as mended, and the mean, median and least Dice of these with what was proposed.
        calibration: see `calibration`.
    """
    standing = {key: verdicts.standing(key) for key in verdicts.keys if key in store}
    rows = [row for of_key in standing.values() for row in of_key.values()]
    states = verdicts.counts(standing)
    decided = sum(states[state] for state in STATES)
    return {
        "labels": {
            "all": len(store),
            **{state: states[state] for state in STATES},
            "left": len(store) - decided,
        },
        "readers": [_reader(name, rows) for name in sorted({row.reader for row in rows})],
        "pairs": _pairs(standing),
        "reasons": dict(Counter(row.reason for row in rows if row.reason)),
        "mended": _mended(store, verdicts, rows, read or store.read),
        "calibration": calibration(store, rows),
    }


def outcome(row: Decision) -> str:
    """One of `OUTCOMES`: what a verdict says of the label as it was made."""
    if row.verdict == "accept":
        return "accepted" if row.version == MADE else "mended"
    return "rejected" if row.verdict == "reject" else "unsure"


def kappa(first: list[str], second: list[str]) -> float | None:
    """Cohen's kappa of two readers' verdicts on the same labels; None where it is not defined.

    (observed - by chance) / (1 - by chance), chance by each reader's own shares: Cohen, "A
    coefficient of agreement for nominal scales", 1960.
    """
    if not first:
        return None
    count = len(first)
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / count
    ours, theirs = Counter(first), Counter(second)
    chance = sum(ours[name] * theirs[name] for name in VERDICTS) / count**2
    return None if chance == 1 else (observed - chance) / (1 - chance)


def calibration(store: LabelStore, rows: list[Decision]) -> list[dict[str, Any]]:
    """What readers said of labels from marks, by the Dice that was expected of these.

    Of each bin of `EDGES`: low, high, verdicts, the mean expected Dice, how many of each of
    `OUTCOMES`, and the share accepted as made with its Wilson interval of 95 %.
    """
    table = store.table(["key", "quality_expected_dice"])
    columns = (table[name].to_pylist() for name in table.column_names)
    expected = dict(zip(*columns, strict=True))
    scored = [(expected.get(row.key), outcome(row)) for row in rows]
    scored = [(s, what) for s, what in scored if s is not None and math.isfinite(s)]
    places = np.digitize([s for s, _ in scored], EDGES[1:-1])
    bins = []
    for place, (low, high) in enumerate(pairwise(EDGES)):
        inside = [pair for pair, at in zip(scored, places, strict=True) if at == place]
        counts = Counter(what for _, what in inside)
        least, most = wilson(counts["accepted"], len(inside))
        bins.append(
            {
                "low": low,
                "high": high,
                "verdicts": len(inside),
                "expected_dice": mean(s for s, _ in inside) if inside else None,
                **{name: counts[name] for name in OUTCOMES},
                "share": counts["accepted"] / len(inside) if inside else None,
                "share_low": least,
                "share_high": most,
            }
        )
    return bins


def wilson(successes: int, count: int) -> tuple[float | None, float | None]:
    """Wilson's interval of 95 % of a share; None without a count."""
    if not count:
        return None, None
    share, z2 = successes / count, _Z**2 / count
    middle = (share + z2 / 2) / (1 + z2)
    half = _Z * math.sqrt(share * (1 - share) / count + z2 / (4 * count)) / (1 + z2)
    return max(0.0, middle - half), min(1.0, middle + half)


def _reader(name: str, rows: list[Decision]) -> dict[str, Any]:
    own = [row for row in rows if row.reader == name]
    said = Counter(row.verdict for row in own)
    spent = [row.seconds for row in own if row.seconds is not None]
    return {
        "name": name,
        "verdicts": len(own),
        **{verdict: said[verdict] for verdict in VERDICTS},
        "mended": sum(outcome(row) == "mended" for row in own),
        "median_seconds": median(spent) if spent else None,
    }


def _pairs(standing: dict[str, dict[str, Decision]]) -> list[dict[str, Any]]:
    both: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for of_key in standing.values():
        for pair in combinations(sorted(of_key), 2):
            said = (of_key[pair[0]].verdict, of_key[pair[1]].verdict)
            both.setdefault(pair, []).append(said)
    return [
        {
            "readers": list(pair),
            "labels": len(said),
            "agreed": sum(a == b for a, b in said) / len(said),
            "kappa": kappa([a for a, _ in said], [b for _, b in said]),
        }
        for pair, said in sorted(both.items())
    ]


def _mended(
    store: LabelStore, verdicts: Verdicts, rows: list[Decision], read: Callable
) -> dict[str, Any]:
    found, drawn, lost = [], 0, 0
    for row in (row for row in rows if outcome(row) == "mended"):
        told = verdicts.made(row.key, row.version)
        try:
            made = read(row.key)
            if made.binary is None:
                drawn += 1
            elif told is not None:
                mended = read_version(store.path, made, told, store.alpha_bits)
                found.append(dice(mended.labelled().binary, made.binary))
        except ValueError:  # Damaged: `label check` tells of it.
            lost += 1
    return {
        "labels": len(found),
        "drawn_anew": drawn,
        "damaged": lost,
        "dice_mean": mean(found) if found else None,
        "dice_median": median(found) if found else None,
        "dice_least": min(found, default=None),
    }
