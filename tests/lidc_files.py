"""LIDC's files as tests write them: XML readings, tiny CT slices, and where those lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsnet.data.dicom.slices import read_dicom

SERIES = "1.2.3.100"


@dataclass(frozen=True)
class FoundSlice:
    """What an index of DICOM files tells of a slice."""

    source: str
    spacing: tuple[float, float] | None = (0.7, 0.5)


def read_found(found: FoundSlice):
    return read_dicom(found.source)


def uid(z: float) -> str:
    return f"{SERIES}.{round(z * 10) + 5000}"


def ring(x: int, y: int, radius: int) -> list[tuple[int, int]]:
    """A square line around (x, y), pixel by pixel: it encloses (2 radius - 1)**2 pixels."""
    side = range(-radius, radius)
    return [
        *((x + k, y - radius) for k in side),
        *((x + radius, y + k) for k in side),
        *((x - k, y + radius) for k in side),
        *((x - radius, y - k) for k in side),
    ]


def roi(z: float, points, inclusion: str = "TRUE") -> str:
    edges = "".join(
        f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in points
    )
    return (
        f"<roi><imageZposition>{z} </imageZposition><imageSOP_UID>{uid(z)}</imageSOP_UID>"
        f"<inclusion>{inclusion}</inclusion>{edges}</roi>"
    )


def nodule(name: str, *rois: str, malignancy: int | None = None) -> str:
    scores = f"<characteristics><malignancy>{malignancy}</malignancy></characteristics>"
    return (
        f"<unblindedReadNodule><noduleID>{name}</noduleID>"
        f"{scores if malignancy else ''}{''.join(rois)}</unblindedReadNodule>"
    )


def non_nodule(name: str, z: float, x: int, y: int) -> str:
    return (
        f"<nonNodule><nonNoduleID>{name}</nonNoduleID><imageZposition>{z}</imageZposition>"
        f"<imageSOP_UID>{uid(z)}</imageSOP_UID>"
        f"<locus><xCoord>{x}</xCoord><yCoord>{y}</yCoord></locus></nonNodule>"
    )


def reading(*sessions: str, series: str = SERIES, root: str = "LidcReadMessage") -> bytes:
    """A file of one session for each argument, which is what that reader marked."""
    bodies = "".join(
        "<readingSession><annotationVersion>3.12</annotationVersion>"
        f"<servicingRadiologistID>{number}</servicingRadiologistID>{marked}</readingSession>"
        for number, marked in enumerate(sessions)
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="http://www.nih.gov">'
        f"<ResponseHeader><SeriesInstanceUid>{series}</SeriesInstanceUid>"
        f"<StudyInstanceUID>1.2.3</StudyInstanceUID></ResponseHeader>{bodies}</{root}>"
    ).encode()


def write_ct(path: Path, z: float, stored: np.ndarray, **tags) -> Path:
    """A CT slice of these stored values less 1024 HU, 0.7 by 0.5 mm a pixel."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    made = Dataset()
    rows, columns = stored.shape
    usual = dict(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.2", SOPInstanceUID=uid(z), SeriesInstanceUID=SERIES,
        StudyInstanceUID="1.2.3", Modality="CT", Rows=rows, Columns=columns, SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2", BitsAllocated=16, BitsStored=16, HighBit=15,
        PixelRepresentation=0, PatientID="P-1", RescaleSlope=1, RescaleIntercept=-1024,
        PixelSpacing=[0.7, 0.5], ImagePositionPatient=[0, 0, z], InstanceNumber=1,
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0], FrameOfReferenceUID="1.2.3.9",
    )  # fmt: skip
    for name, value in {**usual, **tags}.items():
        setattr(made, name, value)
    made.PixelData = stored.astype("<u2").tobytes()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path, enforce_file_format=True)
    return path


def place_of(row) -> str:
    """Which nodule of the series a row is, and where; its key tells that by what was drawn."""
    return f"nodule-{row.metadata['nodule']}/z{row.metadata['z']:+.2f}"
