"""Keys of a table's rows: from what a row says, not from where it stands.

A row keeps its key when others are put in front of it, sorted or taken out, so that a store that
is resumed knows it again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from operator import attrgetter

from dsnet.data.datasets.cells import plain_numbers, said

DIGITS = 8
# What the key of a row without a file begins with.
NAMELESS = "nameless"
# What a label depends on, or is told apart by, besides the file and the mark.
CONTENT = (
    "spacing", "slice_spacing", "window", "image_size", "patient", "study", "series", "key_slice",
    "lesion_type", "possibly_noisy", "split",
)  # fmt: skip
_CONTENT_OF = attrgetter(*CONTENT)
# Keys of older versions: the second mark of a file was `FILE#2`.
NUMBERED = "which number the marks of a file"
_NUMBERED = re.compile(r"(.+?)(#\d{1,6})?", re.DOTALL)


class RowKeys:
    """Keys `FILE#DIGEST` for the rows of one table, each there once.

    The digest is of the file and its mark. A row that says the same as an earlier one, twice the
    same mark, gets `-2` and so on: which is which does not matter.
    """

    def __init__(self) -> None:
        self._used: dict[str, int] = {}

    def key(self, stem: str, mark: str | None) -> str:
        """The key of a row, see `base_key`."""
        return self.unique(base_key(stem, mark))

    def unique(self, key: str) -> str:
        """The key itself, or where it was used with the next number."""
        if key not in self._used:
            self._used[key] = 1
            return key
        while (numbered := f"{key}-{self._used[key] + 1}") in self._used:
            self._used[key] += 1
        self._used[key] += 1
        self._used[numbered] = 1
        return numbered


def base_key(stem: str, mark: str | None) -> str:
    """The key of a row that is there once.

    Parameters
    ----------
    stem : str
        What the key begins with: the file's name without ending.
    mark : str or None
        Its numbers, between commas, however they are written; of what are no numbers the text.
    """
    text, begin = mark or "", stem or NAMELESS
    plain = plain_numbers(text)
    if plain is not None:
        return f"{begin}#{digest_of(f'{stem!r}, {plain[1]}')}"
    try:
        parts: list[object] = [float(number) for number in text.split(",") if number.strip()]
    except ValueError:
        parts = [text.strip()]
    return f"{begin}#{content_digest([stem, *parts])}"


def row_content(row: object) -> str:
    """A digest of what a row of a table says besides its file and mark; of `CONTENT`."""
    return content_digest(_CONTENT_OF(row))


def content_digest(parts: Iterable[object]) -> str:
    """Eight hexadecimal digits of a checksum of what parts say."""
    return digest_of(said(parts))


def digest_of(text: str) -> str:
    """As `content_digest`, of what `said` gives: of some parts, of others behind them."""
    data = f"[{text}]".encode("utf-8", "surrogatepass")
    return hashlib.sha256(data).hexdigest()[:DIGITS]


def is_numbered(key: str, stems: Collection[str]) -> bool:
    """Whether a key is one that older versions gave to a mark of one of these files."""
    found = _NUMBERED.fullmatch(key)
    return found is not None and found.group(1) in stems
