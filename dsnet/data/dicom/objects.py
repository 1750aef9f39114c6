"""What all written DICOM objects share: whom they name, whose UIDs they have, no time of day.

An object's UIDs follow from its content: what is written again is the same object, to the byte,
and a server takes it as what it has already.
"""

from __future__ import annotations

import hashlib
import io
import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import dsnet
from dsnet.data.dicom.slices import hashed_patient
from dsnet.dependencies import needed

if TYPE_CHECKING:
    from pydicom import Dataset

# The UIDs that `finished` puts content's in the place of. 2.25.0 to 2.25.2 are nobody's.
SERIES_PLACEHOLDER, INSTANCE_PLACEHOLDER = "2.25.1", "2.25.2"
MANUFACTURER = "dsnet"
# A series that tells no date has one all the same, since the objects must state theirs.
_NO_DATE, _NO_TIME = "19000101", "000000"
_SEXES = ("M", "F", "O")
# What says where a slice lies and which one it is; nothing of it is a person's.
_GEOMETRY = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "StudyDate",
    "StudyTime", "Modality", "ImageType", "InstanceNumber", "FrameOfReferenceUID",
    "PositionReferenceIndicator", "ImagePositionPatient", "ImageOrientationPatient",
    "PixelSpacing", "SliceThickness", "SpacingBetweenSlices", "Rows", "Columns",
    "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
# What a server files a study by, and what tells a person.
_IDENTIFIERS = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex",
    "PatientAge", "AccessionNumber", "StudyID", "StudyDescription", "ReferringPhysicianName",
)  # fmt: skip
_NEVER_ABSENT = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
    "StudyDate", "StudyTime", "ReferringPhysicianName",
)  # fmt: skip


def content_uid(*parts: object) -> str:
    """A UID below 2.25 that follows from `parts`: the same for the same, on every machine."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode("utf-8", "surrogatepass"))
    return f"2.25.{uuid.UUID(bytes=digest.digest()[:16], version=5).int}"


def source_header(header: Dataset, *, keep_identifiers: bool) -> Dataset:
    """What an object may take of the header of a slice.

    Without `keep_identifiers` name, birth date, sex, accession number and physicians are empty,
    and the patient's number is `hashed_patient` of it. The date of the study and the UIDs stay:
    by them a viewer finds the images.
    """
    with needed("dicom", "writing DICOM"):
        from pydicom import Dataset
    taken = Dataset()
    names = (*_GEOMETRY, *(_IDENTIFIERS if keep_identifiers else ()))
    for name in names:
        value = header.get(name)
        if value is not None and value != "":
            setattr(taken, name, value)
    if keep_identifiers:
        if taken.get("PatientSex") not in (None, *_SEXES):
            taken.PatientSex = ""
    else:
        taken.PatientID = hashed_patient(header.get("PatientID")) or ""
    for name in _NEVER_ABSENT:
        if name not in taken:
            setattr(taken, name, None if name in ("StudyDate", "StudyTime") else "")
    return taken


def require_names(headers: Iterable[Dataset], names: Iterable[str]) -> None:
    """Tell which tag a slice lacks that the object cannot do without.

    Raises
    ------
    ValueError
    """
    for header in headers:
        for name in names:
            if header.get(name) in (None, ""):
                raise ValueError(f"slice {header.get('SOPInstanceUID')} has no {name}")


def finished(made: Dataset, source: Dataset) -> Dataset:
    """`made` with the UIDs of its content, dated as the study that it belongs to.

    Its series and instance are `SERIES_PLACEHOLDER` and `INSTANCE_PLACEHOLDER` before.
    """
    for name in ("InstanceCreationDate", "InstanceCreationTime"):
        if name in made:
            delattr(made, name)
    for item in made.get("ContributingEquipmentSequence") or ():
        item.pop("ContributionDateTime", None)
    made.ContentDate = source.get("StudyDate") or _NO_DATE
    made.ContentTime = source.get("StudyTime") or _NO_TIME
    dimensions = [item for item in made.get("DimensionOrganizationSequence") or ()]
    dimensions += [item for item in made.get("DimensionIndexSequence") or ()]
    for item in dimensions:
        item.DimensionOrganizationUID = "2.25.0"
    digest = hashlib.sha256(_encoded(made)).hexdigest()
    made.SeriesInstanceUID = content_uid("series", digest)
    made.SOPInstanceUID = content_uid("instance", digest)
    for item in dimensions:
        item.DimensionOrganizationUID = content_uid("dimensions", digest)
    meta: Any = made.file_meta
    meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    return made


def file_bytes(made: Dataset) -> bytes:
    """The object as a DICOM file."""
    with io.BytesIO() as file:
        made.save_as(file, enforce_file_format=True)
        return file.getvalue()


def equipment() -> dict[str, Any]:
    """Of the General Equipment module, for the constructors of highdicom."""
    return {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": "dsnet.label",
        "software_versions": dsnet.__version__,
        "device_serial_number": dsnet.__version__,
    }


def _encoded(made: Dataset) -> bytes:
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, False
    write_dataset(file, made)
    return file.getvalue()
