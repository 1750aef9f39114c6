"""What the readers' verdicts come to: agreement, mends, time, and the score against them."""

from __future__ import annotations

from typing import Any

from dsnet.data.store.reader import LabelStore
from dsnet.data.store.verdicts import Verdicts


def agreement(store: LabelStore, verdicts: Verdicts) -> dict[str, Any]:
    return {"readers": []}
