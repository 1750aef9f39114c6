"""What a DICOM object calls its patient, and whether a text says any of it.

Public
------
``person_of(dataset) -> dict``: names and numbers of a patient, by their tags
``tells_of(text, names) -> bool``: whether a text holds one of these
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from dsnet.data.dicom.header import several, text

PERSON = (
    "PatientName", "PatientID", "PatientBirthDate", "OtherPatientIDs", "OtherPatientNames",
    "PatientBirthName", "PatientMotherBirthName", "ResponsiblePerson", "PatientAddress",
    "PatientTelephoneNumbers", "AccessionNumber",
)  # fmt: skip
# Names of files that declare no character set, or another one, are in one of these.
_CHARSETS = ("utf-8", "gb18030", "cp932", "euc_kr", "cp1251")
# From here on, but for some, scripts put no spaces between words: a name stands inside of others.
_WITHOUT_SPACES = re.compile(r"[\u0e00-\u109f\u1780-\u17ff\u2e80-\uffff\U00020000-\U0003ffff]")
# A part of a word that is shorter is found in many that have nothing to do with it.
_LEAST_PART = 4
_MOST_WORDS = 8
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe", "æ": "ae"})
_PLAIN = str.maketrans({"ø": "o", "æ": "ae", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"})


def person_of(dataset: Any) -> dict[str, str]:
    """What an object calls its patient, by keyword; what is empty or cannot be read is left out.

    Parameters
    ----------
    dataset : pydicom.Dataset
    """
    found = {name: said for name in PERSON if (said := _said(dataset, name))}
    for other in several(dataset.get("OtherPatientIDsSequence")):
        if said := text(other, "PatientID"):
            found["OtherPatientIDs"] = "\\".join(filter(None, (found.get("OtherPatientIDs"), said)))
    return found


def _said(dataset: Any, name: str) -> str:
    said = text(dataset, name)
    other = []
    try:
        values = several(dataset.get(name))
    except Exception:  # pydicom decodes a value when it is asked for it
        values = []
    for value in values:
        raw = getattr(value, "original_string", None)
        if isinstance(raw, bytes) and not raw.isascii() and b"\x1b" not in raw:
            for charset in _CHARSETS:
                try:
                    other.append(raw.decode(charset))
                except (UnicodeDecodeError, LookupError):
                    continue
    return "\\".join(dict.fromkeys(filter(None, (said, *other))))


def tells_of(said: str, names: Iterable[str]) -> bool:
    """Whether a text holds a name or a number of a patient, however it is written.

    Words count, in any case, without accents or with umlauts written out; several that stand
    together, as "A 77" for "A-77" and "JaneDoe" for "Doe^Jane"; dates in any order of their parts;
    numbers without their leading zeros. Single Latin letters and digits are no names. A word too
    many may be found, as a finding that is called like the patient.

    Parameters
    ----------
    said : str
    names : iterable of str
        Values of `person_of`.
    """
    words = _words(said)
    if not words:
        return False
    runs = {
        "".join(words[at : at + count])
        for count in range(1, _MOST_WORDS + 1)
        for at in range(len(words) - count + 1)
    }
    whole = "".join(words)
    for value in names:
        for name in re.split(r"[\\=]", value):
            if _holds(runs, whole, words, name):
                return True
    return False


def _holds(runs: set[str], whole: str, words: list[str], name: str) -> bool:
    for parts in {tuple(_words(name)), tuple(_words(name.lower().translate(_UMLAUTS)))}:
        joined = ("".join(parts), "".join(reversed(parts)))
        for part in {*parts, *joined}:
            if _WITHOUT_SPACES.search(part):
                if part in whole:
                    return True
            elif len(part) >= 2 and (part in runs or (len(part) >= _LEAST_PART and part in whole)):
                return True
    return bool(re.fullmatch(r"\s*\d{8}\s*", name)) and _dated(words, name.strip())


def _dated(words: list[str], date: str) -> bool:
    """Whether three numbers that stand together are a day, a month and a year, in any order."""
    year, month, day = date[:4].lstrip("0"), date[4:6].lstrip("0"), date[6:].lstrip("0")
    ways = [sorted((y, month, day)) for y in (year, year[-2:].lstrip("0"))]
    orders = itertools.permutations((date[:4], date[4:6], date[6:]))
    if any("".join(order).lstrip("0") in words for order in orders):
        return True
    return any(sorted(words[at : at + 3]) in ways for at in range(len(words) - 2))


def _words(said: str) -> list[str]:
    """Letters and numbers that stand together, in small letters without accents."""
    # "JaneDoe1" is three words.
    said = re.sub(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])", " ", said)
    said = "".join(
        f" {c}" if c.isupper() and before.islower() else c
        for before, c in zip(f" {said}", said, strict=False)
    )
    plain = unicodedata.normalize("NFKD", said.casefold())
    plain = "".join(c for c in plain if not unicodedata.category(c).startswith("M"))
    found = re.findall(r"[^\W_]+", plain.translate(_PLAIN))
    return [word.lstrip("0") or "0" if word.isdecimal() else word for word in found]
