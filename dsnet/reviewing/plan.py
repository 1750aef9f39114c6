"""Which labels of a store are reviewed, in which order, by how many readers."""

from __future__ import annotations

from dataclasses import dataclass

from dsnet.reviewing.catalogue import ORDERS

# Orders from which a reader would learn the scores.
TELLING = ("expected-dice",)


@dataclass(frozen=True)
class Plan:
    """Which labels are reviewed, and how.

    Attributes
    ----------
    order : str
        One of `catalogue.ORDERS`.
    seed : int
        Of the random order and of the sample.
    sample : int or None
        Only so many labels, chosen at random.
    blind : bool
        No score is shown, and nothing that another reader said.
    readings : int
        Readers who are to decide on each label; of several none sees what another one said.
    """

    order: str = "expected-dice"
    seed: int = 0
    sample: int | None = None
    blind: bool = False
    readings: int = 1

    @property
    def independent(self) -> bool:
        """Whether a reader must not see what others said: their agreement is to be measured."""
        return self.blind or self.readings > 1

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise ValueError(f"order must be one of {ORDERS}, got {self.order!r}")
        if self.blind and self.order in TELLING:
            raise ValueError("order must not be 'expected-dice' in a blind review: it tells scores")
        if self.sample is not None and self.sample < 1:
            raise ValueError(f"sample must be at least 1, got {self.sample}")
        if self.readings < 1:
            raise ValueError(f"readings must be at least 1, got {self.readings}")
