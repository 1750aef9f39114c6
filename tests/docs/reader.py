"""What a reader of the documents has at hand: small slices, marks, masks, names of snippets."""

import csv
import re
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import lidc_files as lidc
from dicom_files import slice_of
from dsnet.data.ct_image import HU_OFFSET
from dsnet.data.phantom import KINDS, make_phantom
from meta_images import prostate, write_meta

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# DeepLesion's.
COLUMNS = """
    File_name Patient_index Study_index Series_ID Key_slice_index Measurement_coordinates
    Bounding_boxes Lesion_diameters_Pixel_ Normalized_lesion_location Coarse_lesion_type
    Possibly_noisy Slice_range Spacing_mm_px_ Image_size DICOM_windows Patient_gender Patient_age
    Train_Val_Test
""".split()  # noqa: SIM905


def fences(document: Path) -> list[tuple[str, str]]:
    """(info string, text) of each fenced block, in order."""
    text = document.read_text(encoding="utf-8")
    return re.findall(r"^```([^\n]*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def write_archive(folder: Path) -> None:
    """The files that the documents name, in their layouts, of synthetic nodules."""
    rows, boxes = [], []
    for number, kind in enumerate(KINDS * 2, 1):
        phantom = make_phantom(kind, 96, number)
        series, key = f"{number:06d}_01_01", f"{number:03d}"
        hu = np.clip(np.rint(phantom.hu) + HU_OFFSET, 0, 65535).astype(np.uint16)
        grey = np.rint(phantom.image * 255).astype(np.uint8)
        outline = (phantom.alpha >= 0.5).astype(np.uint8) * 255
        _write(folder / "Images_png" / series / f"{key}.png", hu)
        _write(folder / "slices" / f"{number}.png", hu)
        _write(folder / "hu" / f"{number}.png", hu)
        _write(folder / "images" / f"{number}.png", grey)
        _write(folder / "masks" / f"{number}.png", outline)
        nodule = folder / "LIDC-IDRI-slices" / f"LIDC-{number:04d}" / "nodule-0"
        _write(nodule / "images" / "slice-0.png", grey)
        for rater in range(4):
            _write(nodule / f"mask-{rater}" / "slice-0.png", np.roll(outline, rater % 2, 0))
        low, high = np.array(phantom.mark.bounds()).reshape(2, 2)
        box = np.concatenate([low - 5, high + 5])
        boxes.append([f"{number}.png", *box.round(2)])
        rows.append(
            {
                "File_name": f"{series}_{key}.png",
                "Patient_index": number,
                "Study_index": 1,
                "Series_ID": 1,
                "Key_slice_index": int(key),
                # Counted from the corner of the first pixel.
                "Measurement_coordinates": _joined(phantom.mark.coordinates + 0.5),
                "Bounding_boxes": _joined(box + 0.5),
                "Lesion_diameters_Pixel_": _joined(
                    [phantom.mark.long_diameter, phantom.mark.short_diameter]
                ),
                "Normalized_lesion_location": "0.5, 0.5, 0.5",
                "Coarse_lesion_type": 5,
                "Possibly_noisy": 0,
                "Slice_range": "1, 9",
                "Spacing_mm_px_": "0.7, 0.7, 5",
                "Image_size": "96, 96",
                "DICOM_windows": "-1350, 150",
                "Train_Val_Test": 1 + number % 3,
            }
        )
    for case in range(2):
        image, outline = prostate(seed=case)
        write_meta(folder / "PROMISE12" / f"Case{case:02d}.mhd", image)
        write_meta(folder / "PROMISE12" / f"Case{case:02d}_segmentation.mhd", outline)
    for number, z in enumerate((0.0, 2.5)):
        stored = np.random.default_rng(number).integers(100, 1200, (96, 96))
        lidc.write_ct(folder / "LIDC-IDRI" / "LIDC-IDRI-0001" / f"{number}.dcm", z, stored)
    write_pacs(folder)
    outlines = []
    for radius in range(5, 9):
        line = lidc.ring(48, 40, radius)
        outlines.append(lidc.nodule("0", lidc.roi(0.0, line), lidc.roi(2.5, line)))
    (folder / "tcia-lidc-xml").mkdir()
    (folder / "tcia-lidc-xml" / "069.xml").write_bytes(lidc.reading(*outlines))
    with open(folder / "DL_info.csv", "w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, restval="")
        table.writeheader()
        table.writerows(rows)
    pq.write_table(pa.Table.from_pylist(rows), folder / "marks.parquet")
    with open(folder / "boxes.csv", "w", newline="") as file:
        csv.writer(file).writerows([["file", "x0", "y0", "x1", "y1"], *boxes])


def write_pacs(folder: Path) -> None:
    """CT slices of one series in `archive`, and the marks over them in `reports`."""
    reports = [["sop_instance_uid", "x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4", "origin"]]
    for number in (1, 2, 3):
        phantom = make_phantom("solid", 96, number)
        stored = np.clip(np.rint(phantom.hu), -1024, 3000).astype(np.int16)
        slice_of(
            folder / "archive" / f"{number}.dcm", number, signed=1, Rows=96, Columns=96,
            PixelData=stored.tobytes(), RescaleIntercept=0, PixelSpacing=[0.7, 0.7],
        )  # fmt: skip
        reports.append([f"1.2.3.{number}", *(phantom.mark.coordinates + 0.5), 0.5])
    (folder / "reports").mkdir()
    with open(folder / "reports" / "marks.csv", "w", newline="") as file:
        csv.writer(file).writerows(reports)


def names() -> dict:
    """What the snippets take as given."""
    phantoms = [make_phantom(kind, 64, 7) for kind in KINDS[:3]]
    first = phantoms[0]
    mask = first.alpha >= 0.5
    given = dict(
        zip(["x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4"], first.mark.coordinates, strict=True)
    )
    return given | {
        "image": first.image,
        "images": np.stack([p.image for p in phantoms]),
        "mark": first.mark,
        "marks": [p.mark for p in phantoms],
        "mask": mask,
        "masks": np.stack([mask, np.roll(mask, 1, 0), np.roll(mask, 1, 1)]),
        "trimap": np.where(first.alpha == 1, 255, np.where(first.alpha == 0, 0, 128)).astype("u1"),
        "hu_slice": first.hu,
    }


def _joined(values) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


def _write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
