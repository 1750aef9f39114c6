"""What a lesion is and where it lies, in SNOMED CT, by the words of its label.

The codes are those of DICOM PS3.16: context groups 7159 and 6054 (what), 4031 and 4 (where).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pydicom.sr.coding import Code


class Concept(NamedTuple):
    """A coded concept of SNOMED CT."""

    value: str
    meaning: str


ABNORMAL = Concept("49755003", "Morphologically Abnormal Structure")
LESION = Concept("52988006", "Lesion")
LONG_AXIS = Concept("103339001", "Long Axis")
SHORT_AXIS = Concept("103340004", "Short Axis")
_KINDS = (
    (r"nodul", Concept("27925004", "Nodule")),
    (r"mass|masses", Concept("4147007", "Mass")),
    (r"cyst", Concept("367643001", "Cyst")),
    (r"metasta", Concept("128462008", "Metastasis")),
    (r"tumou?r|neoplas", Concept("108369006", "Neoplasm")),
)
# Before the organ that it lies in: a node of the mediastinum is a node.
_PLACES = (
    (r"lymph|node|nodal", Concept("59441001", "Lymph Node")),
    (r"lung|pulmon", Concept("39607008", "Lung")),
    (r"liver|hepat", Concept("10200004", "Liver")),
    (r"kidney|renal", Concept("64033007", "Kidney")),
    (r"adrenal", Concept("23451007", "Adrenal gland")),
    (r"spleen|splen", Concept("78961009", "Spleen")),
    (r"pancrea", Concept("15776009", "Pancreas")),
    (r"brain|cerebr", Concept("12738006", "Brain")),
    (r"pleura", Concept("3120008", "Pleura")),
    (r"mediastin", Concept("72410000", "Mediastinum")),
    (r"bone|osseous|vertebra", Concept("272673000", "Bone")),
    (r"soft[ _-]?tissue", Concept("87784001", "Soft tissue")),
    (r"pelvi", Concept("816092008", "Pelvis")),
    (r"abdom", Concept("818981001", "Abdomen")),
)


def kind_of(label: str) -> Concept:
    """What the label's words call the lesion; `LESION` where they do not."""
    return _first(_KINDS, label) or LESION


def place_of(label: str, place: str = "") -> Concept | None:
    """Where it lies: by the label's words, else by the name of the place; None where neither says.

    Parameters
    ----------
    label : str
        As the mark has it, "pulmonary nodule" for one.
    place : str
        DeepLesion's type, "lung" for one.
    """
    return _first(_PLACES, label) or _first(_PLACES, place)


def sct(concept: Concept) -> Code:
    """The concept as pydicom and highdicom take it."""
    from pydicom.sr.coding import Code

    return Code(concept.value, "SCT", concept.meaning)


def _first(table: tuple[tuple[str, Concept], ...], text: str) -> Concept | None:
    text = text.lower().replace("_", " ")
    for words, concept in table:
        if re.search(rf"\b(?:{words})", text):
            return concept
    return None
