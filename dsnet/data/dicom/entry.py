"""What the index knows of a slice: its header's tags in the one form that the rest takes."""

from __future__ import annotations

from typing import Any, NamedTuple

from dsnet.data.dicom.header import group, numbers, several, text, whole

# What is read of a file for the index. No name, birth date or number of a patient is among them.
TAGS = [
    "SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "Modality",
    "SeriesDescription", "BodyPartExamined", "GantryDetectorTilt", "StudyInstanceUID",
    "SeriesInstanceUID", "InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient",
    "FrameOfReferenceUID", "NumberOfFrames", "Rows", "Columns", "PixelSpacing",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]  # fmt: skip
_LONGEST_UID = 64  # PS3.5, 9.1
_LONGEST_TEXT = 64
_MOST_SIDE = 65535  # US


class SliceEntry(NamedTuple):
    """A slice: where it lies, what it is called, and where it is in the patient.

    Attributes
    ----------
    source : str
        Path, "ARCHIVE.zip!MEMBER" or address.
    study_uid, series_uid, instance_uid, sop_class_uid, modality : str
        "" where the file does not tell.
    frame : int or None
        1-based, of an object whose frames have places of their own.
    frame_of_reference_uid : str or None
    rows, columns, frames : int
    spacing : (row, column) or None
        PixelSpacing, in mm.
    position : (x, y, z) or None
        ImagePositionPatient: the centre of the first pixel, in mm.
    orientation : tuple of 6 float or None
        ImageOrientationPatient.
    transfer_syntax, body_part, description : str
    number : int or None
        InstanceNumber.
    tilt : float or None
        GantryDetectorTilt, in degrees.
    """

    source: str
    study_uid: str
    series_uid: str
    instance_uid: str
    frame: int | None
    frame_of_reference_uid: str | None
    sop_class_uid: str
    modality: str
    rows: int
    columns: int
    frames: int
    spacing: tuple[float, float] | None
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    transfer_syntax: str
    body_part: str
    description: str
    number: int | None
    tilt: float | None


def entries_of(dataset: Any, syntax: str, source: str) -> tuple[list[SliceEntry], list[str]]:
    """The slices of an object by its tags, and what is wrong with them.

    An object whose frames have functional groups of their own has an entry a frame; any other has
    one. An object without a picture has none.

    Parameters
    ----------
    dataset : pydicom.Dataset
    syntax : str
        UID of its transfer syntax.
    source : str

    Raises
    ------
    ValueError
        When it cannot be told what it is: a UID is none, or its size is none.
    """
    rows, columns = whole(dataset, "Rows"), whole(dataset, "Columns")
    if rows == columns == 0:
        return [], []
    if not (0 < rows <= _MOST_SIDE and 0 < columns <= _MOST_SIDE):
        raise ValueError(f"Rows and Columns must be 1 to {_MOST_SIDE}, got {rows} and {columns}")
    problems: list[str] = []
    instance = _uid(dataset, "SOPInstanceUID")
    if not instance:
        problems.append("it has no SOPInstanceUID: no mark can name it")
    frames = max(1, whole(dataset, "NumberOfFrames", 1))
    items = several(dataset.get("PerFrameFunctionalGroupsSequence"))
    if items and len(items) != frames:
        problems.append(f"NumberOfFrames must be {len(items)} as its groups are, got {frames}")
        items = []
    base = SliceEntry(
        source=source,
        study_uid=_uid(dataset, "StudyInstanceUID"),
        series_uid=_uid(dataset, "SeriesInstanceUID"),
        instance_uid=instance,
        frame=None,
        frame_of_reference_uid=_uid(dataset, "FrameOfReferenceUID") or None,
        sop_class_uid=_uid(dataset, "SOPClassUID"),
        modality=text(dataset, "Modality")[:_LONGEST_TEXT],
        rows=rows,
        columns=columns,
        frames=frames,
        spacing=None,
        position=None,
        orientation=None,
        transfer_syntax=syntax[:_LONGEST_UID],
        body_part=text(dataset, "BodyPartExamined")[:_LONGEST_TEXT],
        description=text(dataset, "SeriesDescription")[:_LONGEST_TEXT],
        number=_number(dataset, "InstanceNumber"),
        tilt=_tilt(dataset),
    )
    if not base.series_uid:
        problems.append("it has no SeriesInstanceUID: it is in no series")
    found = []
    for frame in range(1, len(items) + 1) if items else [None]:
        places, wrong = _places(dataset, frame)
        problems += [text for text in wrong if text not in problems]
        found.append(base._replace(frame=frame, **places))
    return found, problems


def _uid(dataset: Any, name: str) -> str:
    """A UID, or what some tools write for one: a hash in hexadecimal digits, a name."""
    value = text(dataset, name)
    if len(value) > _LONGEST_UID or not value.isprintable():
        raise ValueError(
            f"{name} must be of at most {_LONGEST_UID} printable characters, got"
            f" {value[:_LONGEST_UID]!r}"
        )
    return value


def _places(dataset: Any, frame: int | None) -> tuple[dict[str, Any], list[str]]:
    """Spacing, position and orientation, each None where it is none, and why."""
    found: dict[str, Any] = {}
    wrong = []
    for key, sequence, name, count in (
        ("spacing", "PixelMeasuresSequence", "PixelSpacing", 2),
        ("position", "PlanePositionSequence", "ImagePositionPatient", 3),
        ("orientation", "PlaneOrientationSequence", "ImageOrientationPatient", 6),
    ):
        found[key] = None
        try:
            values = numbers(group(dataset, sequence, frame) or dataset, name)
            if values and (len(values) != count or (key == "spacing" and min(values) <= 0)):
                kind = "two numbers > 0" if key == "spacing" else f"{count} numbers"
                raise ValueError(f"{name} must be {kind}, got {values}")
        except ValueError as error:
            wrong.append(str(error))
            continue
        if values:
            found[key] = tuple(values)
    return found, wrong


def _number(dataset: Any, name: str) -> int | None:
    try:
        value = whole(dataset, name, -1)
    except ValueError:
        return None
    return value if 0 <= value < 2**31 else None


def _tilt(dataset: Any) -> float | None:
    try:
        values = numbers(dataset, "GantryDetectorTilt")
    except ValueError:
        return None
    return values[0] if len(values) == 1 else None
