"""Files of marks, changed at random: sound marks or a reason in a line, and never anything else.

`pytest tests/fuzz/test_marks_fuzz.py --long` tries 10,000 of each. A failure names the row that
makes the same file again.
"""

import io
import json
import os
from copy import deepcopy
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzz.random_stores import ODD, damaged, pick

pydicom = pytest.importorskip("pydicom")
from mark_files import (  # noqa: E402
    aim_v3,
    aim_v4,
    aim_v4_xml,
    as_json,
    dicom_bytes,
    group,
    line_item,
    number_item,
    report,
)

from dsnet.data.marks.find import read_marks  # noqa: E402
from dsnet.data.marks.record import LONGEST_TEXT  # noqa: E402
from dsnet.labeling.recist import RecistMark  # noqa: E402

ROWS = int(os.environ.get("DSNET_FUZZ_ROWS", 100_000)) // 10
MARK = RecistMark.from_coordinates([100.25, 200, 140, 210, 118, 220, 122.5, 190])
LONG, SHORT = ("G-A185", "SRT", "Long Axis"), ("G-A186", "SRT", "Short Axis")
TEXTS = ["", "NaN", "1e999", "-1", "9" * 400, "x" * 5000, "\x1b[31m", "[red]=1+1", "é", "٣", "0x10"]


class Image:
    SOPInstanceUID, SeriesInstanceUID, PixelSpacing = "1.2.3", "1.2.2", [0.5, 0.5]


def sr():
    long = number_item(LONG, 20, content=[line_item(MARK.long_axis)])
    short = number_item(SHORT, 15, content=[line_item(MARK.short_axis)])
    return report(
        group(long, short), group(number_item(LONG, 9, content=[line_item([[1, 2], [3, 4]])]))
    )


def made(**tags):
    dataset = pydicom.Dataset()
    for name, value in tags.items():
        setattr(dataset, name, value)
    return dataset


def gsps():
    line = made(
        GraphicAnnotationUnits="PIXEL", GraphicDimensions=2, NumberOfGraphicPoints=2,
        GraphicData=[1.5, 2.5, 30.5, 4.5], GraphicType="POLYLINE", GraphicFilled="N",
    )  # fmt: skip
    shown = made(
        ReferencedSOPInstanceUID="1.2.3", ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2"
    )
    note = made(
        GraphicLayer="A", GraphicObjectSequence=[line, line], ReferencedImageSequence=[shown]
    )
    state = made(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.11.1", SOPInstanceUID="1.2.9", Modality="PR",
        GraphicAnnotationSequence=[note],
    )  # fmt: skip
    state.file_meta = pydicom.dataset.FileMetaDataset()
    state.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    return dicom_bytes(state)


def ohif():
    ends = {"start": {"x": 1, "y": 2}, "end": {"x": 30, "y": 4}}
    across = {"perpendicularStart": {"x": 9, "y": 1}, "perpendicularEnd": {"x": 9, "y": 8}}
    image = {"imageId": "wadors:/instances/1.2.3/frames/1"}
    old = {"toolName": "Bidirectional", "handles": {**ends, **across}, **image}
    place = {"metadata": {"FrameOfReferenceUID": "1.2"}}
    new = {"toolName": "Length", "points": [[1, 2, 3], [4, 5, 6]], **place}
    return as_json([old, new, {"measurements": [old]}])


def slicer():
    points = [{"position": [0, 0, 0]}, {"position": [9, 0.5, 0]}]
    line = {"type": "Line", "coordinateSystem": "LPS", "controlPoints": points}
    return as_json({"@schema": "markups", "markups": [line, {**line, "coordinateSystem": "RAS"}]})


def table():
    head = "sop_instance_uid,file,frame,x1,y1,x2,y2,x3,y3,x4,y4,origin,label,reader,long_mm"
    row = "1.2.3,a.png,1,1,2,30,4,15,1,15,9,0,nodule,R1,20.5"
    return "\n".join([head, row, row.replace("1.2.3", "1.2.4"), row]).encode()


def deeplesion():
    head = "File_name,Patient_index,Measurement_coordinates,Image_size,Spacing_mm_px_,DICOM_windows"
    row = 'a.png,1,"20, 30, 44, 30, 32, 22, 32, 38","64, 64","0.8, 0.7, 5","-1500, 500"'
    return "\n".join([head, row, row.replace("44", "45")]).encode()


def parquet():
    columns = {"file": ["a.png", "b.png"], "x1": [1.0, 2.0], "y1": [1.0, 2.0], "x2": [9.0, 8.0],
               "y2": [1.0, 2.0], "origin": [0.0, 0.5]}  # fmt: skip
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def npz():
    sink = io.BytesIO()
    gts = np.zeros((3, 12, 10), np.uint8)
    gts[1, 3:8, 2:7] = 1
    recist = np.zeros_like(gts)
    recist[1, 5, 2:7] = 1
    np.savez_compressed(
        sink, imgs=gts * 9, gts=gts, recist=recist, spacing=np.array([0.7, 0.7, 5.0])
    )
    return sink.getvalue()


FILES = {
    "sr.dcm": sr, "gsps.dcm": gsps, "aim3.xml": lambda: aim_v3(MARK, Image),
    "aim4.json": lambda: as_json(aim_v4(MARK, Image)),
    "aim4.xml": lambda: aim_v4_xml(aim_v4(MARK, Image)), "ohif.json": ohif,
    "slicer.mrk.json": slicer, "table.csv": table, "deeplesion.csv": deeplesion,
    "table.parquet": parquet, "flare.npz": npz,
}  # fmt: skip


def other_json(rng, data):
    whole = json.loads(data)
    for _ in range(rng.integers(1, 4)):
        holder = whole
        while True:
            names = sorted(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not names:
                break
            name = pick(rng, names)
            if isinstance(holder[name], dict | list) and holder[name] and rng.random() < 0.85:
                holder = holder[name]
                continue
            change = rng.integers(5)
            if change == 0:
                del holder[name]
            elif change == 1 and isinstance(holder, list):
                holder += [deepcopy(holder[name])] * int(pick(rng, [1, 2, 300]))
            else:
                holder[name] = deepcopy(pick(rng, [*ODD, *TEXTS]))
            break
    return json.dumps(whole).encode("utf-8", "surrogatepass")


def other_dicom(rng, data):
    """Values of elements that are others, also of another kind, or gone, or there again."""
    whole = pydicom.dcmread(io.BytesIO(data), force=True)
    for _ in range(rng.integers(1, 4)):
        holder = whole
        while True:
            elements = list(holder)
            if not elements:
                break
            element = pick(rng, elements)
            if element.VR == "SQ" and element.value and rng.random() < 0.85:
                holder = pick(rng, list(element.value))
                continue
            change = rng.integers(5)
            if change == 0:
                del holder[element.tag]
            elif change == 1 and element.VR == "SQ":
                element.value = [*element.value, *element.value][: rng.integers(5)]
            elif element.VR == "SQ":
                element.value = []
            elif element.VR in ("FL", "FD", "US", "UL", "DS", "IS"):
                odd = [0, 1, 65535, 7] if element.VR in ("US", "UL") else [0, -1, 1e30, 1e-30, 7]
                count = int(pick(rng, [0, 1, 1, 2, 3, 4, 5, 8]))
                element.value = [pick(rng, odd) for _ in range(count)]
            else:
                element.value = pick(rng, [t for t in TEXTS if t.isascii()])
            break
    try:
        return dicom_bytes(whole)
    except Exception:  # What pydicom does not write is nobody's file.
        return data


def other_xml(rng, data):
    """Attributes, texts and elements that are others, gone, or there again."""
    whole = ElementTree.fromstring(data)
    for _ in range(rng.integers(1, 4)):
        element = pick(rng, list(whole.iter()))
        change = rng.integers(5)
        if change == 0 and len(element):
            element.remove(pick(rng, list(element)))
        elif change == 1 and len(element):
            element.append(pick(rng, list(element)))
        elif change == 2:
            element.text = pick(rng, [text for text in TEXTS if "\x1b" not in text])
        elif element.attrib:
            name = pick(rng, sorted(element.attrib))
            if rng.random() < 0.3:
                del element.attrib[name]
            else:
                element.set(name, pick(rng, [text for text in TEXTS if "\x1b" not in text]))
    return ElementTree.tostring(whole)


def other_text(rng, data):
    """Words of XML or of a table that are others, gone, or there again."""
    text = data.decode()
    for _ in range(rng.integers(1, 4)):
        cuts = [at for at, c in enumerate(text) if c in '<>",= \n'] or [0]
        at, end = sorted((pick(rng, cuts), pick(rng, cuts)))
        change = rng.integers(4)
        if change == 0 and end - at < 400:
            text = text[:at] + text[end:]
        elif change == 1:
            text = text[:at] + text[at:end][:400] + text[at:]
        else:
            near = next((c for c in cuts if c > at), len(text))
            text = (
                text[: at + 1]
                + pick(rng, [*TEXTS, '"', "<a>", "</a>", "&#0;", "\0", ","])
                + text[near:]
            )
    return text.encode("utf-8", "surrogatepass")


def other(rng, name, data):
    if rng.random() < 0.3:
        return damaged(rng, data)
    if name.endswith(".json"):
        return other_json(rng, data)
    if name.endswith(".dcm"):
        return other_dicom(rng, data)
    if name.endswith(".xml") and rng.random() < 0.7:
        return other_xml(rng, data)
    return other_text(rng, data) if name.endswith((".xml", ".csv")) else damaged(rng, data)


def require_sound(found):
    for mark in found.marks:
        ends = [mark.long_axis, mark.short_axis, mark.world]
        assert mark.long_axis is not None or mark.world is not None
        for part, shape in zip(ends, [(2, 2), (2, 2), None], strict=True):
            if part is not None:
                assert np.isfinite(part).all() and part.dtype == np.float64
                assert part.shape == shape or (shape is None and part.shape in ((2, 3), (4, 3)))
        if mark.long_axis is not None:
            mark.recist()  # As labelling takes it.
        for value in (mark.long_mm, mark.short_mm):
            assert value is None or (np.isfinite(value) and value >= 0)
        assert mark.frame is None or (type(mark.frame) is int and mark.frame >= 1)
        for text in (mark.label, mark.tracking_id, mark.reader):
            assert text is None or len(text) <= LONGEST_TEXT
    for source, reason in [*found.refused, *found.empty, *found.other]:
        assert source and reason and len(reason) < 1000 and "\n" not in reason


def fuzz(name, seed, rows):
    whole = FILES[name]()
    assert read_marks(name, whole).marks
    for row in rows:
        rng = np.random.default_rng([seed, row])
        data = other(rng, name, whole)
        try:
            require_sound(read_marks(name, data))
        except Exception as error:
            raise AssertionError(f"{name}: seed {seed}, row {row}: {error!r}") from error


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FILES)
def test_random_files_of_marks(name):
    fuzz(name, 1, range(40))


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FILES)
def test_many_random_files_of_marks(name):
    fuzz(name, 2, range(ROWS))
