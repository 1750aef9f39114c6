"""What lies around a crop and beside it, from the file that it was cut from."""

import cv2
import numpy as np
import pytest

from dsnet import label
from dsnet.data.store import open_store
from dsnet.data.store.record import LabelRecord
from dsnet.reviewing.surroundings import NotAtHand, Surroundings
from meta_images import prostate, write_meta
from review_desk import labelled, planes

LOW, HIGH = -1350.0, 150.0


@pytest.fixture
def slices(tmp_path):
    """Three slices of one series in DeepLesion's layout, HU."""
    random, made = np.random.default_rng(0), {}
    for number in (4, 5, 6):
        smooth = cv2.GaussianBlur(random.normal(0, 3000, (96, 120)), (0, 0), 3) - 700
        hu = np.rint(np.clip(smooth, -1000, 100)).astype(np.int32)
        hu[30:42, 50:66] += 500
        path = tmp_path / "Images_png" / "000001_01_01" / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), (hu + 32768).astype(np.uint16))
        made[number] = np.clip((hu - LOW) / (HIGH - LOW), 0, 1)
    return made


@pytest.fixture
def labels(slices, tmp_path):
    """Writes a store of the middle slice's mark; its only record, and the store's path."""

    def make(mark, *options):
        marks = ", ".join(str(m + 0.5) for m in mark)
        (tmp_path / "DL_info.csv").write_text(
            "File_name,Measurement_coordinates,Spacing_mm_px_,DICOM_windows\n"
            f'000001_01_01_005.png,"{marks}","0.7, 0.7, 5","{LOW}, {HIGH}"\n'
        )
        out = tmp_path / "recist-store"
        arguments = ["recist", "--annotations", str(tmp_path / "DL_info.csv"), "--images"]
        arguments += [str(tmp_path / "Images_png"), "--out", str(out), "--crop", "32"]
        assert label.main([*arguments, "--window", str(LOW), str(HIGH), *options]) == 0
        (record,) = open_store(out).records()
        assert record.status == "ok", record.error
        return record, out

    return make


MIDDLE = (50, 36, 66, 36, 58, 30, 58, 42)


def test_around_a_crop_is_the_slice(labels, slices):
    record, _ = labels(MIDDLE)
    x, y = (int(o) for o in record.offset)
    view = Surroundings().view(record, 20)
    # As far as asked, or as the slice goes.
    x0, y0 = max(x - 20, 0), max(y - 20, 0)
    assert view.offset == (x0 - x, y0 - y) and view.name == "005.png"
    expected = slices[5][y0 : y + 52, x0 : x + 52]
    assert view.image.shape == expected.shape and np.abs(view.image - expected).max() < 1e-5
    whole = Surroundings().view(record, 512)
    assert whole.image.shape == (96, 120) and whole.offset == (-x, -y)
    assert np.abs(whole.image - slices[5]).max() < 1e-5
    assert np.abs(Surroundings().view(record).image - record.image).max() < 1e-4


def test_beside_a_slice_are_the_next_numbers(labels, slices):
    record, _ = labels(MIDDLE)
    around = Surroundings()
    assert around.slices(record) == {"below": 1, "above": 1}
    x, y = (int(o) for o in record.offset)
    for step, number in ((-1, 4), (1, 6)):
        view = around.view(record, 0, step)
        assert view.name == f"{number:03d}.png" and view.offset == (0, 0)
        assert np.abs(view.image - slices[number][y : y + 32, x : x + 32]).max() < 1e-5
    with pytest.raises(NotAtHand):
        around.view(record, 0, 2)
    for wrong in ({"margin": -1}, {"margin": 513}, {"step": 9}):
        with pytest.raises(ValueError, match="must be"):
            around.view(record, **wrong)


def test_slices_of_the_store_need_no_file(labels, slices, tmp_path):
    record, _ = labels(MIDDLE, "--neighbours", "1")
    for path in (tmp_path / "Images_png" / "000001_01_01").iterdir():
        path.unlink()
    around = Surroundings()
    assert not around.has_source(record) and around.slices(record) == {"below": 1, "above": 1}
    x, y = (int(o) for o in record.offset)
    for step, number in ((-1, 4), (1, 6)):
        view = around.view(record, 0, step)
        assert np.abs(view.image - slices[number][y : y + 32, x : x + 32]).max() < 1e-4
    with pytest.raises(NotAtHand):
        around.view(record, 0, 2)
    with pytest.raises(NotAtHand):
        around.view(record, 10)


def test_at_the_border_and_shrunk_pixels_lie_where_the_crops_do(labels, slices):
    """A lesion larger than the crop is shrunk; a mean over areas, as the crop is."""
    record, _ = labels((2, 40, 90, 44, 40, 10, 44, 80))
    assert record.scale[0] < 0.5
    view = Surroundings().view(record, 16)
    x, y = view.offset
    assert x <= 0 and y <= 0
    inside = view.image[-y : 32 - y, -x : 32 - x]
    assert np.abs(inside - record.image).max() < 1e-4
    # The mean of the slice below one pixel that the crop does not have.
    column, row = view.image.shape[1] - 1, 20
    edges = [
        (o + (p + d + [0, 1][k]) / record.scale[i])
        for i, (o, p, d) in enumerate(zip(record.offset, (column, row), (x, y), strict=True))
        for k in range(2)
    ]
    sample = np.kron(slices[5], np.ones((40, 40)))
    x0, x1, y0, y1 = (round(e * 40) for e in edges)
    assert abs(sample[y0:y1, x0:x1].mean() - view.image[row, column]) < 0.01


@pytest.mark.parametrize("damage", ["gone", "another", "no picture", "another size"])
def test_a_source_that_is_another_one_is_not_shown(labels, tmp_path, damage):
    record, _ = labels(MIDDLE)
    path = tmp_path / "Images_png" / "000001_01_01" / "005.png"
    if damage == "gone":
        path.unlink()
    elif damage == "another":
        path.write_bytes(path.with_name("004.png").read_bytes())
    elif damage == "no picture":
        path.write_text("root:x:0:0")
    else:
        assert cv2.imwrite(str(path), np.full((9, 9), 33000, np.uint16))
    with pytest.raises(NotAtHand):
        Surroundings().view(record, 20)


def test_a_slice_of_another_size_beside_is_not_shown(labels, tmp_path):
    record, _ = labels(MIDDLE)
    path = tmp_path / "Images_png" / "000001_01_01" / "006.png"
    assert cv2.imwrite(str(path), np.full((9, 9), 33000, np.uint16))
    with pytest.raises(NotAtHand, match="another size"):
        Surroundings().view(record, 0, 1)


def test_volumes_have_their_slices(tmp_path):
    image, outline = prostate(seed=0)
    data = tmp_path / "PROMISE12"
    write_meta(data / "Case00.mhd", image)
    write_meta(data / "Case00_segmentation.mhd", outline)
    out = tmp_path / "store"
    assert label.main(["volumes", "--data", str(data), "--out", str(out)]) == 0
    record = next(r for r in open_store(out).records("ok") if r.metadata["slice"] == 1)
    around = Surroundings()
    found = around.slices(record)
    assert found["below"] == 1 and found["above"] == record.metadata["slices"] - 2
    low, high = record.metadata["grey_low"], record.metadata["grey_high"]
    above = np.clip((image[2].astype(np.float64) - low) / (high - low), 0, 1)
    assert np.abs(around.view(record, 0, 1).image - above).max() < 1e-4
    assert np.abs(around.view(record, 0, 0).image - record.image).max() < 1e-3


@pytest.mark.parametrize(
    "source",
    ["", "phantom", "/etc/passwd", "../../x.png", "a\0.png", "/dev/zero", "x" * 5000 + ".png"],
)
def test_a_source_that_is_no_picture_is_not_at_hand(source):
    record = LabelRecord(
        "k", source=source, image=np.zeros((8, 8), np.float32), offset=(0, 0), scale=(1, 1)
    )
    around = Surroundings()
    assert not around.has_source(record) and around.slices(record) == {"below": 0, "above": 0}
    with pytest.raises(NotAtHand):
        around.view(record, 8)


def test_a_source_that_is_a_uid_has_none(write_store, open_review):
    uid = "1.2.826.0.1.3680043.8.498.1"
    metadata = {"sop_instance_uid": uid, "slice": 3, "slices": 9, "window_low": -1e3}
    place = {"offset": (3.0, 4.0), "scale": (1.0, 1.0)}
    records = [
        labelled(name, source=name, metadata=metadata, **place) for name in (uid, f"{uid}.dcm")
    ]
    ann = open_review(write_store(records, "dicom"))[1]("Ann")
    for index, name in enumerate((uid, f"{uid}.dcm")):
        told = ann.ask(f"label/{index}")
        assert told["source"] == name and ["sop_instance_uid", uid] in told["metadata"]
        assert not told["has_source"] and told["slices"] == {"below": 0, "above": 0}
        assert ann.ask(f"label/{index}/surroundings", 404, margin=8)
        assert ann.ask(f"label/{index}/neighbour", 404, step=1)


def test_the_page_gets_them(labels, open_review):
    record, store = labels(MIDDLE)
    ann = open_review(store)[1]("Ann")
    told = ann.ask("label/0")
    assert told["has_source"] and told["slices"] == {"below": 1, "above": 1}
    found = ann.ask("label/0/surroundings", margin=8)
    assert found.headers["X-DSNet-Offset"] == "-8,-8"
    assert found.headers["X-DSNet-Slice"] == "005.png"
    (image,) = planes(found).values()
    assert image.shape == (48, 48)
    assert np.abs(image[8:40, 8:40] / 65535 - record.image).max() < 1e-4
    assert planes(ann.ask("label/0/neighbour", step=-1))["image"].shape == (32, 32)
    assert ann.ask("label/0/neighbour", 404, step=2)
    for wrong in ("0", "9", "x"):
        assert "step must be" in ann.ask("label/0/neighbour", 400, step=wrong)["error"]


def test_the_source_tells_hu_beyond_the_stored_window(labels, open_review, slices, tmp_path):
    _, store = labels(MIDDLE)
    ann = open_review(store)[1]("Ann")
    told = ann.ask("label/0")
    assert told["hu"] == [LOW, HIGH]
    least, most = ann.ask("session")["hu_range"]
    file = tmp_path / "Images_png" / "000001_01_01" / "005.png"
    (x, y) = (int(o) for o in open_store(store).read(0).offset)
    for path, number, asked in (
        ("surroundings", 5, {"margin": 4}),
        ("neighbour", 4, {"step": -1, "margin": 0}),
    ):
        raw = cv2.imread(str(file.with_name(f"{number:03d}.png")), cv2.IMREAD_UNCHANGED)
        near, far = -asked["margin"], 32 + asked["margin"]
        hu = raw[y + near : y + far, x + near : x + far].astype(np.float64) - 32768
        (image,) = planes(ann.ask(f"label/0/{path}", hu=1, **asked)).values()
        assert np.abs(least + image / 65535 * (most - least) - hu).max() < 0.05
        # Of the stored window alone what lies beyond is cut off.
        (image,) = planes(ann.ask(f"label/0/{path}", **asked)).values()
        assert hu.max() > HIGH
        assert np.abs(image / 65535 * (HIGH - LOW) + LOW - hu.clip(LOW, HIGH)).max() < 0.05
    ann.ask("label/0/surroundings", 400, hu=2)


@pytest.mark.parametrize(
    "window", [{}, {"window_low": -160.0}, {"window_low": 240, "window_high": -160},
               {"window_low": float("nan"), "window_high": 3.0}, {"grey_low": 0, "grey_high": 900}],
)  # fmt: skip
def test_without_a_window_nothing_is_known_in_hu(write_store, open_review, window):
    ann = open_review(write_store([labelled("k", metadata=window)], "greys"))[1]("Ann")
    assert ann.ask("label/0")["hu"] is None
    assert "HU" in ann.ask("label/0/surroundings", 404, hu=1)["error"]
