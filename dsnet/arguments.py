"""What an option, a setting or a file's entry may be.

Public
------
``Range(kind, least, most, above)``: which numbers an option takes; ``above_zero(kind)``
``SEEDS``, ``CROP_SIDES``, ``MILLIMETRES_A_PIXEL``, ``LEARNING_RATES``: ranges that several share
``given(text)``: the type of an option that names something
``brief(value)``: what came, as an error tells it
"""

from __future__ import annotations

from argparse import ArgumentTypeError
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Range:
    """Which numbers an option takes: finite ones of a type, within its bounds.

    Called with an option's text it is a type of argparse's options.

    Attributes
    ----------
    kind : type
        int or float.
    least, most : number, optional
        The bounds, which belong to the range.
    above : number, optional
        A lower bound that does not.
    """

    kind: type = int
    least: float | None = None
    most: float | None = None
    above: float | None = None

    def __contains__(self, value: Any) -> bool:
        # A bool is an int for Python; not float(value), which an int may be too large for.
        if isinstance(value, bool) or not isinstance(value, (int, self.kind)):
            return False
        return (
            -float("inf") < value < float("inf")
            and (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
        )

    def __str__(self) -> str:
        words = "a whole number" if self.kind is int else "a number"
        if self == Range(float):
            return "a finite number"
        bounds = []
        if self.above is not None:
            bounds.append(f"above {self.above:g}")
        if self.least is not None and self.most is None:
            bounds.append(f"of at least {self.least:g}")
        elif self.least is not None:
            return f"{words} in {self.least:g}..{self.most}"
        if self.most is not None:
            bounds.append(f"of at most {self.most}")
        return " ".join([words, " and ".join(bounds)]).rstrip()

    def __call__(self, text: str) -> Any:
        try:
            value = self.kind(text)
        except ValueError:
            value = None
        if value not in self:
            raise ArgumentTypeError(f"must be {self}, got {text}")
        return value

    def check(self, name: str, value: object) -> None:
        """Raise ValueError for a value that is not among these, by its name."""
        if value not in self:
            raise ValueError(f"{name} must be {self}, got {brief(value)}")


def brief(value: object) -> str:
    """A value as an error tells it, shortened; of a huge int how long it is."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no int of more than some thousand digits.
        return "one of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def above_zero(kind: type) -> Range:
    """The numbers above 0."""
    return Range(kind, above=0)


def given(text: str) -> str:
    """The type of an option that names something: a shell's variable that is not set names nothing,
    and would be the folder that one is in, or as if the option were not there."""
    if not text:
        raise ArgumentTypeError("must not be empty")
    return text


# What options, settings and files have in common.
SEEDS = Range(int, 0, 2**63 - 1)
CROP_SIDES = Range(int, 8, 65536)
MILLIMETRES_A_PIXEL = Range(float, above=0, most=1000)
LEARNING_RATES = Range(float, above=0, most=100)
