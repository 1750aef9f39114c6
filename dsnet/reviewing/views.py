"""The labels that are reviewed, in an order; the last orders that were asked for are kept."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import numpy as np

from dsnet.reviewing.catalogue import Catalogue
from dsnet.reviewing.plan import TELLING, Plan

_KEPT = 8


class View(NamedTuple):
    """Labels in an order: `order`, their indices; `place` int32 [N], where each stands, or -1."""

    order: np.ndarray
    place: np.ndarray


class Views:
    """Makes views of a plan; not safe to share between threads."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._kept: OrderedDict[tuple, View] = OrderedDict()

    def forget(self) -> None:
        """Other labels are reviewed from now on."""
        self._kept.clear()

    def view(
        self, catalogue: Catalogue, chosen: np.ndarray, order: str, type: str, source: str
    ) -> View:
        """The labels `chosen` (bool [N]) in an order, of a type or source where one is named.

        Raises
        ------
        ValueError
            When there is no such order, or it would tell scores in a blind review.
        """
        order = order or self._plan.order
        if self._plan.blind and order in TELLING:
            raise ValueError(f"order must not tell scores in a blind review, got {order!r}")
        wanted = (order, type, source)
        if wanted in self._kept:
            self._kept.move_to_end(wanted)
            return self._kept[wanted]
        found = catalogue.order(order, self._plan.seed)
        if type:
            chosen = chosen & catalogue.named(catalogue.types, type)
        if source:
            chosen = chosen & catalogue.named(catalogue.sources, source)
        found = found[chosen[found]]
        place = np.full(len(catalogue), -1, np.int32)
        place[found] = np.arange(len(found))
        self._kept[wanted] = made = View(found, place)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return made
