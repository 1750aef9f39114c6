"""What of a patient goes into a store: by default UIDs, and nothing that names a person.

Public
------
``Naming``: UIDs, sources, texts and errors as they are stored
``hash_key(path) -> bytes``: the secret of a file
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dsnet.data.datasets.keys import content_digest
from dsnet.data.dicom.person import tells_of
from dsnet.data.dicom.places import split_source
from dsnet.data.picture_file import read_regular_file

if TYPE_CHECKING:
    from dsnet.data.marks.match import MatchedMark

_LEAST_KEY, _MOST_KEY = 16, 2**16
# Hexadecimal digits of a hash.
_DIGITS = 32
# A UID, or what some tools write for one; anything else in its place may be a name.
_UID = re.compile(r"[0-9.]+|[0-9A-Fa-f-]{16,}")
# A value of a file as an error quotes it, also one that was cut.
_QUOTED = re.compile(r"(?<!\w)b?(?:'(?:[^'\\]|\\.)*(?:'|$)|\"(?:[^\"\\]|\\.)*(?:\"|$))")
_LEFT_OUT = "left out: it holds what names the patient"


@dataclass(frozen=True)
class Naming:
    """What of a patient goes into a store.

    Attributes
    ----------
    hash_key : bytes
        UIDs and the patient's pseudonym become keyed hashes (HMAC-SHA-256) with it; empty: UIDs
        stay as they are.
    keep_identifiers : bool
        Paths, and the patient's name, birth date and number, are kept, too.
    """

    hash_key: bytes = field(default=b"", repr=False)
    keep_identifiers: bool = False

    @property
    def settings(self) -> dict[str, str]:
        """What a resumed store must have been made with; it does not tell the secret."""
        if not self.hash_key:
            return {}
        return {"hash_key": hmac.new(self.hash_key, b"dsnet", hashlib.sha256).hexdigest()[:8]}

    def uid(self, text: str | None) -> str | None:
        """A UID, or its keyed hash; what is none is hashed in any case."""
        if not text:
            return text
        data = text.encode("utf-8", "surrogatepass")  # Names of files need not be Unicode.
        if self.hash_key:
            return hmac.new(self.hash_key, data, hashlib.sha256).hexdigest()[:_DIGITS]
        if self.keep_identifiers or _UID.fullmatch(text):
            return text
        return hashlib.sha256(data).hexdigest()[:_DIGITS]

    def source(self, matched: MatchedMark) -> str:
        """What a row calls the picture that it comes from: paths may hold names."""
        entry, mark = matched.entry, matched.mark
        if self.keep_identifiers:
            return entry.source if entry is not None else mark.file or mark.source
        named = entry.instance_uid if entry is not None else mark.instance_uid
        return self.uid(named) or f"{mark.format} {self.file(mark.source)}"

    def file(self, source: str) -> str:
        """What tells a file of marks from another: its path, or digits of a hash of it."""
        if self.keep_identifiers:
            return source
        return (self.uid(source) or "")[:8] if self.hash_key else content_digest([source])

    def text(self, said: str, names: Iterable[str] | None) -> str:
        """A mark's text; empty where it names the patient, or nobody can tell who that is.

        Parameters
        ----------
        said : str
        names : iterable of str or None
            What the patient is called; None where that is not known.
        """
        if self.keep_identifiers or not said:
            return said
        return "" if names is None or tells_of(said, names) else said

    def notes(self, notes: Iterable[str], names: Iterable[str] | None) -> tuple[str, ...]:
        """Notes, in place of each that names the patient that it is left out."""
        names = list(names or ())
        if self.keep_identifiers:
            return tuple(notes)
        return tuple(f"a note is {_LEFT_OUT}" if tells_of(n, names) else n for n in notes)

    def error(self, said: str, source: str, shown: str, names: Iterable[str] | None = ()) -> str:
        """A reason of a row without the paths that it tells; `shown` stands in their place."""
        if self.keep_identifiers:
            return said
        for path in dict.fromkeys((source, split_source(source)[0])):
            said = said.replace(path, shown) if path else said
        return f"the reason is {_LEFT_OUT}" if tells_of(said, names or ()) else said

    def told(self, source: str, said: str) -> str:
        """What was wrong with a file, on a terminal: with its path, or without what it quotes."""
        if self.keep_identifiers:
            return f"{source}: {said}"
        for path in dict.fromkeys((source, split_source(source)[0])):
            said = said.replace(path, "it") if path else said
        return _QUOTED.sub("'...'", said)


def hash_key(path: str | None) -> bytes:
    """The secret in a file, without the white space around it; empty without a file.

    Raises
    ------
    ValueError
        When there is no such file, or it holds less than 16 bytes: those can be guessed.
    """
    if path is None:
        return b""
    try:
        key = read_regular_file(path, _MOST_KEY).strip()
    except (OSError, ValueError) as error:
        raise ValueError(f"hash_key must be a file with a secret: {error}") from error
    if len(key) < _LEAST_KEY:
        raise ValueError(f"hash_key must hold at least {_LEAST_KEY} bytes, got {len(key)}")
    return key
