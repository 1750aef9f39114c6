"""Which outlines of several readers are one nodule: LIDC's files do not say.

The rule: two readers outlined the same nodule when, on a slice that both outlined, what one drew
(the enclosed pixels and the line) shares a pixel with what the other enclosed. What is joined in
this way, over any number of steps, is one nodule, and what one reader outlined of it in several
pieces counts as that reader's together.

Lines alone do not join: neighbouring nodules may share a border. Nor do outlines on slices that
follow each other: in LIDC-IDRI those are nodules above each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from dsnet.data.datasets.lidc_idri.outlines import bounds, enclosed
from dsnet.data.datasets.lidc_idri.readings import Outline, Reading, ReadNodule, ReadPoint


@dataclass(frozen=True, eq=False)
class Nodule:
    """One nodule, with everything that its readers drew and marked of it.

    Attributes
    ----------
    number : int
        From 1, within its series; in the order of the file.
    parts : tuple of ReadNodule
        At least one; of one reader there may be several.
    points : tuple of ReadPoint
        Points that lie within the outlines: of readers who took it for something else.
    """

    number: int
    parts: tuple[ReadNodule, ...]
    points: tuple[ReadPoint, ...] = ()

    @property
    def readers(self) -> tuple[int, ...]:
        """Who outlined it, each once."""
        return tuple(sorted({part.reader for part in self.parts}))

    def by_reader(self, reader: int) -> tuple[Outline, ...]:
        """All outlines that one reader drew of it."""
        return tuple(o for part in self.parts if part.reader == reader for o in part.outlines)

    @property
    def slices(self) -> dict[str, float]:
        """SOP instance UIDs of the slices with an outline, and their z, from the lowest on."""
        found = {o.instance_uid: o.z for part in self.parts for o in part.outlines}
        return dict(sorted(found.items(), key=lambda item: (item[1], item[0])))


def match_nodules(reading: Reading) -> tuple[Nodule, ...]:
    """The nodules of a file, matched across its readers.

    Parameters
    ----------
    reading : Reading

    Returns
    -------
    tuple of Nodule
        In the order in which the file first has one of their parts.
    """
    drawn = [_Drawn(nodule) for nodule in reading.nodules]
    group = list(range(len(drawn)))
    for first, second in combinations(range(len(drawn)), 2):
        if reading.nodules[first].reader == reading.nodules[second].reader:
            continue
        if drawn[first].meets(drawn[second]):
            kept, gone = sorted((group[first], group[second]))
            group = [kept if number == gone else number for number in group]
    nodules = []
    for number, leader in enumerate(sorted(set(group)), 1):
        members = [i for i, other in enumerate(group) if other == leader]
        within = [p for p in reading.points if any(drawn[i].holds(p) for i in members)]
        parts = tuple(reading.nodules[i] for i in members)
        nodules.append(Nodule(number, parts, tuple(within)))
    return tuple(nodules)


class _Drawn:
    """What a nodule's outlines cover, slice by slice, in a window that holds all of them."""

    def __init__(self, nodule: ReadNodule) -> None:
        x, y, far_x, far_y = bounds(nodule.outlines)
        self.low, self.high = (x, y), (far_x, far_y)
        self.inside: dict[str, np.ndarray] = {}
        self.covered: dict[str, np.ndarray] = {}
        shape = (far_y - y + 1, far_x - x + 1)
        for outline in nodule.outlines:
            if not outline.included:
                continue
            uid = outline.instance_uid
            inside, line = enclosed(outline.points, self.low, shape)
            self.inside[uid] = inside | self.inside.get(uid, False)
            self.covered[uid] = inside | line | self.covered.get(uid, False)

    def meets(self, other: _Drawn) -> bool:
        """Whether it is the same nodule by the rule above."""
        low = [max(pair) for pair in zip(self.low, other.low, strict=True)]
        high = [min(pair) for pair in zip(self.high, other.high, strict=True)]
        if low[0] > high[0] or low[1] > high[1]:
            return False
        for uid in self.inside.keys() & other.inside.keys():
            inside, covered = (
                self._cut(part[uid], low, high) for part in (self.inside, self.covered)
            )
            theirs, reach = (
                other._cut(part[uid], low, high) for part in (other.inside, other.covered)
            )
            if (inside & reach).any() or (covered & theirs).any():
                return True
        return False

    def holds(self, point: ReadPoint) -> bool:
        """Whether a point lies within an outline or on its line."""
        covered = self.covered.get(point.instance_uid)
        x, y = point.x - self.low[0], point.y - self.low[1]
        if covered is None or not (0 <= y < covered.shape[0] and 0 <= x < covered.shape[1]):
            return False
        return bool(covered[y, x])

    def _cut(self, mask: np.ndarray, low: list[int], high: list[int]) -> np.ndarray:
        x, y = self.low
        return mask[low[1] - y : high[1] - y + 1, low[0] - x : high[0] - x + 1]
