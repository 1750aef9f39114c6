"""What a table says of its rows, held as numbers: a store of millions is compared with it."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from dsnet.data.datasets.keys import DIGITS
from dsnet.data.store.record import metadata_of

# How `record.encode` writes what a row of a table says; other texts are taken apart.
_CONTENT = rf'^\{{"row": \d+, "content": "(?P<content>[0-9a-f]{{{DIGITS}}})"[,}}]'


class ListedContents:
    """The keys of a table and `keys.row_content` of each: 20 bytes a row.

    Parameters
    ----------
    rows : iterable of (key, content)
        Each key once; contents are hexadecimal numbers of `DIGITS` digits.
    """

    def __init__(self, rows: Iterable[tuple[str, str]]) -> None:
        hashes, contents = bytearray(), array("Q")
        for key, content in rows:
            hashes += _hash(key)
            contents.append(int(content, 16))
        pairs = np.frombuffer(hashes, "<u8").reshape(-1, 2)
        order = np.argsort(pairs[:, 0], kind="stable")
        self._first, self._second = pairs[order, 0], pairs[order, 1]
        self._contents = np.frombuffer(contents, np.uint64)[order].astype(np.uint32)

    def __len__(self) -> int:
        return len(self._first)

    def compare(
        self, keys: Sequence[str], contents: Sequence[str | None]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which of some rows are listed, and which say nothing else than they are listed with.

        Parameters
        ----------
        keys : sequence of N str
        contents : sequence of N
            As the rows have them; what is no content (older rows have none) differs from nothing.

        Returns
        -------
        listed, same : ndarray [N], bool
            A row that is not listed is the same.
        """
        pairs = np.frombuffer(b"".join(map(_hash, keys)), "<u8").reshape(-1, 2)
        listed = np.zeros(len(keys), bool)
        places = np.searchsorted(self._first, pairs[:, 0])
        asked = np.arange(len(keys))
        # More than one round only where the first halves of two hashes are equal.
        while len(asked := asked[places[asked] < len(self)]):
            asked = asked[self._first[places[asked]] == pairs[asked, 0]]
            hits = self._second[places[asked]] == pairs[asked, 1]
            listed[asked[hits]] = True
            asked = asked[~hits]
            places[asked] += 1
        same = np.ones(len(keys), bool)
        for row in np.flatnonzero(listed).tolist():
            if (content := contents[row]) is not None:
                same[row] = content == f"{self._contents[places[row]]:0{DIGITS}x}"
        return listed, same


def contents_in(column) -> list:
    """What a pyarrow column of metadata has as the rows' contents; None where there is none."""
    # Its functions are made as it is loaded: type checkers do not know them.
    import pyarrow.compute

    pc: Any = pyarrow.compute
    found = pc.struct_field(pc.extract_regex(column.combine_chunks(), _CONTENT), "content")
    told = found.to_pylist()
    if None in told:
        for number, text in enumerate(column.to_pylist()):
            if told[number] is None:
                told[number] = metadata_of(text).get("content")
    return told


def _hash(key: str) -> bytes:
    # Of 128 bits no two keys ever have the same.
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
