"""What the page is told, as JSON: of the review, and of one label. All of it is plain text."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from dsnet import __version__
from dsnet.data.store.decisions import MADE, REASONS, Decision
from dsnet.data.store.reader import LabelStore
from dsnet.data.store.record import LabelRecord, json_ready
from dsnet.reviewing.catalogue import ORDERS, counted
from dsnet.reviewing.plan import TELLING
from dsnet.reviewing.review import Review
from dsnet.reviewing.surroundings import HU_RANGE, Surroundings, hu_window
from dsnet.reviewing.views import View

# Of the grey values that the store has, 0..1.
PRESETS = (
    ("as stored", 0.0, 1.0),
    ("dark", 0.0, 0.5),
    ("middle", 0.25, 0.75),
    ("bright", 0.5, 1.0),
)
# In HU, of slices whose window is known: name, level, width, as viewers have them.
HU_PRESETS = (
    ("lung", -600, 1500),
    ("soft tissue", 40, 400),
    ("bone", 400, 1800),
    ("liver", 30, 150),
)
_MOST_NAMES = 50
_LONGEST_TEXT = 2000


def session(review: Review, reader: str | None) -> dict[str, Any]:
    """What holds for the whole review, and how far it is.

    store, store_id, version, blind, order, orders, sample, readings, types and sources (the most
    frequent names, with counts), reasons (key, code, text), readers (name, decided), presets (name,
    low, high in 0..1) and hu_presets (in HU), hu_range, report_ready; and what `Review.progress`
    tells.
    """
    plan, catalogue, chosen = review.plan, review.stock.catalogue, review.chosen()
    reasons = enumerate(REASONS.items(), 1)
    return {
        "store": review.store.path.resolve().name,
        "store_id": store_id(review.store),
        "version": __version__,
        "blind": plan.blind,
        "order": plan.order,
        "orders": [name for name in ORDERS if not (plan.blind and name in TELLING)],
        "sample": plan.sample,
        "readings": plan.readings,
        "types": counted(catalogue.types, chosen, _MOST_NAMES),
        "sources": counted(catalogue.sources, chosen, _MOST_NAMES),
        "reasons": [{"key": str(n), "code": c, "text": text} for n, (c, text) in reasons],
        "readers": review.decided_by(),
        "report_ready": bool(review.verdicts.keys),
        "presets": [{"name": name, "low": low, "high": high} for name, low, high in PRESETS],
        "hu_presets": [
            {"name": name, "low": level - width / 2, "high": level + width / 2}
            for name, level, width in HU_PRESETS
        ],
        "hu_range": HU_RANGE,
        **review.progress(reader),
    }


def store_id(store: LabelStore) -> str:
    """Tells a store from others of its name, wherever it lies and whatever rows come and go."""
    told = [store.manifest["created"], store.manifest["settings"]]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def item(review: Review, view: View, index: int) -> dict[str, Any]:
    """A label in the queue: key, index, position, and the expected Dice where it may be shown."""
    score = float(review.stock.catalogue.score[index])
    known = score == score and not review.plan.blind
    return {
        "key": review.stock.keys[index],
        "index": index,
        "position": int(view.place[index]),
        "expected_dice": round(score, 4) if known else None,
    }


def listed(review: Review, view: View, index: int, reader: str) -> dict[str, Any]:
    """A label in the list: `item`, the readers' verdict (`Verdicts.state`) and the reader's own.

    Where the readers are to be independent the first one is null.
    """
    key = review.stock.keys[index]
    standing = review.verdicts.standing(key)
    mine = standing[reader].verdict if reader in standing else None
    state = None if review.plan.independent else review.verdicts.state(key)
    return {
        **item(review, view, index),
        "verdict": state or None,
        "mine": mine,
    }


def label(review: Review, around: Surroundings, index: int, reader: str) -> dict[str, Any]:
    """One label in words and numbers; see `docs/how-to/review-labels.md`.

    Of a blind review it has neither scores nor numbers of the metadata. Versions and decisions are
    those that the reader may see.

    Raises
    ------
    ValueError
        When its row is damaged.
    """
    version = review.version(index, reader)
    record = review.labels.read(index, version)
    made = record if version == MADE else review.labels.read(index)
    image = made.image
    mark = None if record.mark is None else record.mark.tolist()
    blind = review.plan.blind
    return json_ready(
        {
            "key": record.key,
            "index": index,
            "status": record.status,
            "error": record.error,
            "height": None if image is None else image.shape[0],
            "width": None if image is None else image.shape[1],
            "has_mask": record.alpha is not None,
            "mark": mark,
            "spacing": record.spacing,
            "hu": hu_window(made),
            "scores": {} if blind else {n: round(v, 4) for n, v in record.quality.items()},
            "notes": list(record.notes),
            "source": record.source,
            "type": review.stock.catalogue.type_of(index),
            "metadata": _pairs(made, blind),
            "has_source": around.has_source(made),
            "slices": around.slices(made),
            "versions": versions(review, index, reader),
            "decisions": decisions(review, record.key, reader),
            "version": version,
            "lent_to": review.leases.holder(index),
        }
    )


def versions(review: Review, index: int, reader: str) -> list[dict[str, Any]]:
    """A label's versions, the one that was made first: version, made_by, time, what, base."""
    made = {"version": MADE, "made_by": "", "time": "", "what": "as it was made", "base": ""}
    mended = [
        {
            "version": row.version,
            "made_by": row.reader,
            "time": row.time,
            "what": row.mended_by,
            "base": row.base,
            "comment": row.comment,
            "id": row.id,
        }
        for row in review.verdicts.mended(review.stock.keys[index])
        if review.may_see(row, reader)
    ]
    return [made, *mended]


def decisions(review: Review, key: str, reader: str) -> list[dict[str, Any]]:
    """The verdicts on a label, the first one first; kind "undone" of those that were undone."""
    rows = (row for row in review.verdicts.rows(key) if row.kind == "verdict")
    rows = (row for row in rows if review.may_see(row, reader))
    return [decision(row, undone=review.verdicts.is_undone(row)) for row in rows]


def decision(row: Decision, *, undone: bool = False) -> dict[str, Any]:
    """One verdict."""
    return {
        "id": row.id,
        "kind": "undone" if undone else "verdict",
        "reader": row.reader,
        "time": row.time,
        "verdict": row.verdict,
        "reason": row.reason or None,
        "comment": row.comment,
        "seconds": row.seconds,
        "version": row.version,
    }


def _pairs(record: LabelRecord, blind: bool) -> list[list[str]]:
    """The metadata as pairs of texts."""
    pairs = []
    for name, value in record.metadata.items():
        if value is None or (blind and isinstance(value, float)):
            continue
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        pairs.append([str(name)[:_LONGEST_TEXT], text[:_LONGEST_TEXT]])
    return pairs
