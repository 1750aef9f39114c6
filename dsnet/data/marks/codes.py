"""What a report measures: the long axis, the short one, some length, or none of them."""

from __future__ import annotations

import re

from dsnet.data.marks.content_tree import Code

LONG, SHORT, LENGTH = "long", "short", "length"

# SNOMED CT and its older SNOMED-RT ids (schemes SCT; SRT, SNM3 and 99SDM), PS3.16: context groups
# 7470 and 7471.
_SNOMED = ("SCT", "SRT", "SNM3", "99SDM")
_CODES = {
    "103339001": LONG,  # long axis
    "G-A185": LONG,
    "131187009": LONG,  # major axis
    "G-A193": LONG,
    "103340004": SHORT,  # short axis
    "G-A186": SHORT,
    "131188004": SHORT,  # minor axis
    "G-A194": SHORT,
    "410668003": LENGTH,
    "G-D7FE": LENGTH,
    "81827009": LENGTH,  # diameter
    "M-02550": LENGTH,
}
_NAMES = (
    (SHORT, r"\b(short(est)?|minor|perpendicular|orthogonal)\b.*\b(axis|diameter|dimension)\b"),
    (LONG, r"\b(long(est)?|major)\b.*\b(axis|diameter|dimension)\b"),
    (LENGTH, r"\b(length|diameter|distance|linear measurement|ruler|line)\b"),
)
# A code's meaning has 64 characters; some are longer.
_LONGEST_NAME = 256

# Of the DICOM scheme (DCM), by their numbers.
TRACKING_ID, TRACKING_UID = "112039", "112040"
OBSERVER, SHORT_LABEL, FINDING = "121008", "125309", "121071"
COMMENT = "121106"  # what OHIF calls a measurement
REFERENCE_POINTS = "122438"  # where a viewer writes its text
SERIES_UID = "112002"
_SITES = ("363698007", "G-C0E3")  # finding site


def measured(code: Code) -> str:
    """`LONG`, `SHORT`, `LENGTH` or "": by the code, where it is known, else by its meaning."""
    known = _CODES.get(code.value.strip()) if code.scheme.strip() in _SNOMED else None
    return known or measured_by_name(code.meaning)


def measured_by_name(name: str) -> str:
    """The same by what it is called: "Long Axis", "shortAxis", "longest_diameter", "Length"."""
    # The patterns below take the square of a name's length.
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|[_\-.]", " ", name[:_LONGEST_NAME]).lower()
    return next((kind for kind, pattern in _NAMES if re.search(pattern, words)), "")


def is_site(code: Code) -> bool:
    """Whether it says where a finding lies."""
    return code.value in _SITES or code.meaning.strip().lower() in (
        "finding site", "anatomic entity", "anatomic location",
    )  # fmt: skip
