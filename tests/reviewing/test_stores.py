"""Stores of masks, of raters and of DICOM: the layers that the page gets are the store's."""

import csv

import cv2
import numpy as np
import pytest

from dsnet import label
from dsnet.data.phantom import make_phantom
from dsnet.data.store import open_store
from review_desk import planes

SIDE = 64


@pytest.fixture
def masks(tmp_path):
    """Two pictures, and masks of two readers who differ."""
    for number in range(2):
        made = make_phantom("solid", SIDE, number)
        lesion = (made.alpha >= 0.5).astype(np.uint8) * 255
        grey = np.rint(made.image * 255).astype(np.uint8)
        folders = {"images": grey, "mask-0": lesion, "mask-1": cv2.dilate(lesion, None)}
        for folder, picture in folders.items():
            place = tmp_path / "data/LIDC-IDRI-0001" / f"nodule-{number}" / folder / "slice-0.png"
            for file in (place, tmp_path / folder / f"{number}.png"):
                file.parent.mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(file), picture)
    (tmp_path / "data/nodules.csv").write_text(
        "patient,nodule,spacing_mm\nLIDC-IDRI-0001,nodule-0,0.7\nLIDC-IDRI-0001,nodule-1,0.55\n"
    )
    return tmp_path


@pytest.fixture
def dicom(tmp_path):
    """Three slices of a series, a mark on the middle one."""
    pytest.importorskip("pydicom")
    from dicom_files import slice_of

    mark = make_phantom("solid", SIDE, 2, diameter_mm=9.0).mark.coordinates + 0.5
    for number in (1, 2, 3):
        hu = np.rint(make_phantom("solid", SIDE, number, diameter_mm=9.0).image * 1500 - 1350)
        slice_of(
            tmp_path / "ct" / f"{number}.dcm", number, signed=1, Rows=SIDE, Columns=SIDE,
            PixelData=hu.astype(np.int16).tobytes(), RescaleIntercept=0, PixelSpacing=[0.7, 0.7],
        )  # fmt: skip
    columns = ["sop_instance_uid", "x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4", "origin"]
    (tmp_path / "marks").mkdir()
    with open(tmp_path / "marks" / "marks.csv", "w", newline="") as file:
        csv.writer(file).writerows([columns, ["1.2.3.2", *mark, 0.5]])
    return tmp_path


def layers_are_the_stores(path, open_review, truth):
    """Every label's planes beside its row; the answers that told of the labels."""
    _, reader = open_review(path)
    ann, told = reader("Ann"), []
    for index, record in enumerate(open_store(path).records("ok")):
        found = planes(ann.ask(f"label/{index}/planes"))
        assert ("truth" in found) == truth
        assert np.abs(found["image"] / 65535 - record.image).max() <= 0.5 / 65535 + 1e-9
        assert np.abs(found["alpha"] / 255 - record.alpha).max() <= 0.5 / 255 + 1e-6
        for name in ("binary", "trimap", *(["truth"] if truth else [])):
            assert np.array_equal(found[name], getattr(record, name).astype(np.uint8))
        told.append(ann.ask(f"label/{index}"))
        # A threshold moves the label; what people drew is then what the reader drew.
        ann.tell(f"label/{index}/verdict", verdict="accept", mend={"threshold": 0.3})
        mended = planes(ann.ask(f"label/{index}/planes"))
        assert np.array_equal(mended["binary"], record.alpha >= np.float32(0.3))
    assert told
    return ann, told


@pytest.mark.parametrize("command", ["masks", "raters"])
def test_labels_of_masks(masks, open_review, command):
    given = {
        "masks": ["--images", str(masks / "images"), "--masks", str(masks / "mask-0")],
        "raters": ["--data", str(masks / "data")],
    }
    out = masks / "labelled"
    assert label.main([command, *given[command], "--out", str(out)]) == 0
    ann, told = layers_are_the_stores(out, open_review, truth=True)
    assert len(told) == 2
    assert all("expected_dice" not in each["scores"] and each["scores"]["overall"] for each in told)
    # Pictures of 8 bits have no HU.
    assert [each["hu"] for each in told] == [None, None]
    assert ann.ask("session")["histogram"]["decided"] != [0] * 20


def test_labels_of_dicom_with_neighbours_and_surroundings(dicom, open_review):
    out = dicom / "labelled"
    arguments = ["--images", str(dicom / "ct"), "--marks", str(dicom / "marks")]
    options = ["--neighbours", "1", "--crop", "32", "--keep-identifiers"]
    assert label.main(["dicom", *arguments, "--out", str(out), *options]) == 0
    ann, (told,) = layers_are_the_stores(out, open_review, truth=False)
    record = open_store(out).read(0)
    assert told["slices"] == {"below": 1, "above": 1}
    for step, plane in ((-1, record.neighbours[0]), (1, record.neighbours[1])):
        (image,) = planes(ann.ask("label/0/neighbour", step=step)).values()
        assert np.abs(image / 65535 - plane).max() <= 0.5 / 65535 + 1e-9
    low, high = record.metadata["window_low"], record.metadata["window_high"]
    assert told["hu"] == [low, high]
    if told["has_source"]:
        (image,) = planes(ann.ask("label/0/surroundings", margin=0)).values()
        assert np.abs(image / 65535 - record.image).max() < 1e-3
    else:
        ann.ask("label/0/surroundings", 404, margin=8)
