"""DICOM files that tests write: small, and wrong where they are told to be."""

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT, ENHANCED = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"
SIDE = 12
STORED = 1064


def item(**tags):
    made = Dataset()
    for name, value in tags.items():
        setattr(made, name, value)
    return made


def dicom(path, sop=CT, frames=None, signed=0, **tags):
    """A CT file of stored values 1064; a tag of None is left out."""
    made = item(
        SOPClassUID=sop, SOPInstanceUID=generate_uid(entropy_srcs=["a"]), Modality="CT", Rows=SIDE,
        Columns=SIDE, SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", BitsAllocated=16,
        BitsStored=16, HighBit=15, PixelRepresentation=signed, PatientID="P-1",
    )  # fmt: skip
    if frames is not None:
        made.NumberOfFrames = frames
    made.PixelData = np.full((frames or 1, SIDE, SIDE), STORED, np.uint16).tobytes()
    usual = {"RescaleSlope": 1, "RescaleIntercept": -1024, "PixelSpacing": [0.8, 0.6]}
    for name, value in {**(usual if sop == CT else {}), **tags}.items():
        if value is None:
            delattr(made, name) if name in made else None
        else:
            setattr(made, name, value)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID if sop else CT
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.save_as(path, enforce_file_format=True)
    return path


def slice_of(path, number, series="1.2.3", z=None, **tags):
    """A CT file of a series: its UIDs end in `number`, and it lies at that place in mm."""
    place = {
        "StudyInstanceUID": "1.2", "SeriesInstanceUID": series, "FrameOfReferenceUID": "1.9",
        "SOPInstanceUID": f"{series}.{number}", "InstanceNumber": number,
        "ImagePositionPatient": [-10, -20, number if z is None else z],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    return dicom(path, **{**place, **tags})
