"""The label command on folders and tables as they lie about: nothing lost, nothing wrong unsaid."""

import json
import os

import cv2
import numpy as np
import pytest

from dsnet import label
from dsnet.data.store import open_store
from dsnet.data.store.record import LabelRecord


def nodule(side=64, radius=9, at=(0, 0)):
    """HU with a soft rim, and the mask."""
    y, x = np.mgrid[:side, :side]
    distance = np.hypot(x - side // 2 - at[0], y - side // 2 - at[1]) - radius
    alpha = np.clip(0.5 - distance / 3, 0, 1)
    hu = -850 + 890 * alpha + np.random.default_rng(0).normal(0, 20, alpha.shape)
    return hu, (alpha >= 0.5).astype(np.uint8) * 255


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    ok, data = cv2.imencode(".png", pixels)
    assert ok
    path.write_bytes(data.tobytes())


def folders(root, *names):
    hu, mask = nodule()
    grey = np.rint(255 * np.clip((hu + 1350) / 1500, 0, 1)).astype(np.uint8)
    for name in names:
        write(root / "images" / name, grey)
        write(root / "masks" / name, mask)
    return ["masks", "--images", str(root / "images"), "--masks", str(root / "masks")]


def stored(path):
    return {record.key: record for record in open_store(path).records()}


def test_unknown_patients_are_told_and_known_ones_are_not(tmp_path, capsys):
    flat = folders(tmp_path / "flat", "a.png", "b.png")
    assert label.main([*flat, "--out", str(tmp_path / "s")]) == 0
    told = capsys.readouterr().err
    assert told.startswith("warning: nothing tells the patients of 2 of 2 labels") and (
        "--patients REGEX|CSV" in told and told.count("\n") == 1
    )
    npz = ["--format", "npz", "--out", str(tmp_path / "npz")]
    assert label.main(["export", str(tmp_path / "s"), *npz]) == 0
    assert "nothing tells the patients of 2 of 2" in capsys.readouterr().err
    assert label.main([*flat, "--out", str(tmp_path / "t"), "--patients", r"^(\w)"]) == 0
    assert capsys.readouterr().err == ""
    assert {k: r.metadata["patient"] for k, r in stored(tmp_path / "t").items()} == {
        "a": "a", "b": "b",
    }  # fmt: skip
    # The rule is a setting of the store.
    assert label.main([*flat, "--out", str(tmp_path / "t"), "--resume"]) == 2
    assert "'patients' differs" in capsys.readouterr().err
    assert label.main([*flat, "--out", str(tmp_path / "u"), "--patients", "("]) == 2
    assert capsys.readouterr().err.startswith("dsnet.label: --patients must be")


def test_the_npz_parts_share_no_patient(tmp_path, capsys):
    names = [f"p{p}/{s}.png" for p in range(6) for s in range(4)]
    arguments = folders(tmp_path, *names)
    assert label.main([*arguments, "--out", str(tmp_path / "s")]) == 0
    npz = ["--format", "npz", "--out", str(tmp_path / "npz"), "--split", "4", "1", "1"]
    assert label.main(["export", str(tmp_path / "s"), *npz]) == 0
    assert "warning" not in capsys.readouterr().err
    whose = {}
    for part in ("train", "test", "val"):
        with np.load(tmp_path / "npz" / f"{part}.npz") as file:
            whose[part] = {key.split("/")[0] for key in file["keys"].tolist()}
    assert [len(whose[part]) for part in ("train", "test", "val")] == [4, 1, 1]
    assert len(set.union(*whose.values())) == 6


def test_marks_take_patients_too(tmp_path, capsys):
    hu, _ = nodule(128)
    for name in ("A1.png", "B1.png"):
        write(tmp_path / "images" / name, (hu + 32768).astype(np.uint16))
    mark = '"55, 64, 73, 64, 64, 55, 64, 73"'
    table = tmp_path / "t.csv"
    table.write_text(
        "File_name,Measurement_coordinates\n" + "".join(f"{n}1.png,{mark}\n" for n in "AAB")
    )
    arguments = ["recist", "--annotations", str(table), "--images", str(tmp_path / "images")]
    assert label.main([*arguments, "--out", str(tmp_path / "s")]) == 0
    assert "nothing tells the patients of 3 of 3" in capsys.readouterr().err
    # The marks of one slice stay together all the same.
    slices = [record.metadata["slice_file"] for record in open_store(tmp_path / "s").records()]
    assert slices == ["A1.png", "A1.png", "B1.png"]
    assert label.main([*arguments, "--out", str(tmp_path / "t"), "--patients", "^[A-Z]"]) == 0
    assert "patients" not in capsys.readouterr().err
    whose = [record.metadata["patient"] for record in open_store(tmp_path / "t").records()]
    assert whose == ["A", "A", "B"]


def test_a_picture_of_another_size_than_the_tables_fails(tmp_path):
    hu, _ = nodule(128)
    write(tmp_path / "images/s_1.png", (hu + 32768).astype(np.uint16))
    row = 's_1.png,"55, 64, 73, 64, 64, 55, 64, 73","{}"\n'
    sizes = ("128, 128", "", "256x256", "128, 256")
    table = tmp_path / "t.csv"
    table.write_text(
        "File_name,Measurement_coordinates,Image_size\n" + "".join(map(row.format, sizes))
    )
    arguments = ["recist", "--annotations", str(table), "--images", str(tmp_path / "images")]
    assert label.main([*arguments, "--out", str(tmp_path / "s")]) == 0
    records = list(open_store(tmp_path / "s").records())
    assert [record.status for record in records] == ["ok", "ok", "failed", "failed"]
    assert records[2].error == (
        "picture must be of the table's Image_size 256x256, got 128x128 pixels: its marks would "
        "lie elsewhere"
    )


def test_hu_is_windowed_where_asked_and_told_where_not(tmp_path, capsys):
    hu, mask = nodule()
    write(tmp_path / "images/a.png", np.rint(hu + 32768).astype(np.uint16))
    write(tmp_path / "masks/a.png", mask)
    arguments = ["masks", "--images", str(tmp_path / "images"), "--masks", str(tmp_path / "masks")]
    assert label.main([*arguments, "--out", str(tmp_path / "s")]) == 0
    assert "1 of 1 pictures look like HU + 32768" in capsys.readouterr().err
    (record,) = stored(tmp_path / "s").values()
    assert any("--window LOW HIGH reads HU" in note for note in record.notes)
    window = ["--window", "-1350", "150"]
    assert label.main([*arguments, "--out", str(tmp_path / "t"), *window]) == 0
    assert "HU" not in capsys.readouterr().err
    (record,) = stored(tmp_path / "t").values()
    expected = np.clip((np.rint(hu) + 1350) / 1500, 0, 1)
    assert np.allclose(record.image, expected, atol=1e-4) and record.notes == ()
    assert (record.metadata["window_low"], record.metadata["window_high"]) == (-1350, 150)
    out = [*arguments, "--out", str(tmp_path / "u"), "--window"]
    assert label.main([*out, "150", "-1350"]) == 2
    assert "window must have low < high" in capsys.readouterr().err
    for bad in (["nan", "nan"], ["0", "inf"]):
        with pytest.raises(SystemExit, match="2"):
            label.main([*out, *bad])
        assert "--window: must be a finite number" in capsys.readouterr().err


def test_grey_masks_do_not_grow(tmp_path):
    arguments = folders(tmp_path, "clean.png", "jpeg.png", "colours.png")
    _, mask = nodule()
    jpeg = cv2.imdecode(cv2.imencode(".jpg", mask)[1], cv2.IMREAD_GRAYSCALE)
    write(tmp_path / "masks/jpeg.png", jpeg)
    write(tmp_path / "masks/colours.png", np.where(mask, np.arange(64, 128), 0).astype(np.uint8))
    assert label.main([*arguments, "--out", str(tmp_path / "s")]) == 0
    records = stored(tmp_path / "s")
    drawn = np.count_nonzero(mask)
    assert records["clean"].truth.sum() == records["jpeg"].truth.sum() == drawn
    assert records["clean"].notes == () and "at least 128" in records["jpeg"].notes[0]
    assert "mask must be of two values" in records["colours"].error


def test_whatever_a_row_is_it_costs_its_row(tmp_path, capsys):
    arguments = folders(tmp_path, "a.png", "e.png", "z.png")
    images, masks = tmp_path / "images", tmp_path / "masks"
    data = (images / "a.png").read_bytes()
    os.mkfifo(images / "pipe.png")
    (images / "zero.png").symlink_to("/dev/zero")
    (images / "lost.png").symlink_to("/nowhere")
    (images / "folder.png").mkdir()
    for name in (b"caf\xe9.png", b"\xff\xfe.png", "line\u2028break.png".encode()):
        for folder in (images, masks):
            with open(os.path.join(os.fsencode(folder), name), "wb") as file:
                file.write(data if folder == images else (masks / "a.png").read_bytes())
    for name in ("pipe", "zero", "lost"):
        (masks / f"{name}.png").write_bytes((masks / "a.png").read_bytes())
    (masks / "e.png").unlink()
    os.mkfifo(masks / "e.png")
    (images / "notes.txt").write_text("x")
    (images / "._a.png").write_bytes(b"x")
    for workers in ("1", "2"):
        out = tmp_path / f"s{workers}"
        assert label.main([*arguments, "--out", str(out), "--workers", workers]) == 0
        assert "left out: 1 hidden, 1 of ending .txt\n" in capsys.readouterr().err
        failed = {key: r.error for key, r in stored(out).items() if r.status == "failed"}
        assert sorted(failed) == ["e", "lost", "pipe", "zero"]
        assert "regular file" in failed["pipe"] and "regular file" in failed["zero"]
        good = sorted(stored(out).keys() - failed.keys())
        assert good == sorted(["a", "caf\\udce9", "\\udcff\\udcfe", "line\u2028break", "z"])
        assert label.main([*arguments, "--out", str(out), "--resume"]) == 0
        assert len(stored(out)) == 9


def test_a_picture_beyond_the_bound_costs_its_row(tmp_path):
    arguments = folders(tmp_path, "a.png", "b.png")
    grey = cv2.imread(str(tmp_path / "images/a.png"), cv2.IMREAD_GRAYSCALE)
    write(tmp_path / "images/b.png", np.pad(grey, 1))
    bound = ["--max-pixels", str(grey.size)]
    assert label.main([*arguments, "--out", str(tmp_path / "s"), *bound]) == 0
    records = stored(tmp_path / "s")
    assert records["a"].status == "ok"
    assert "states 66x66 pixels, more than the 4096 allowed" in records["b"].error


@pytest.mark.parametrize(
    "spacing, told",
    [
        # At 0.7 mm a pixel the crop would be millions of pixels wide.
        ("1e-5, 1e-5, 1", "would cover 4.48e+06 pixels of the image along x"),
        ("0.7, 1e-30, 1", "would cover 4.48e+31 pixels of the image along y"),
        ("1e30, 1e30, 1", "coordinates must be within"),
        ("1e4, 1e4, 1", ""),  # shrunk, as a large lesion is
    ],
)
def test_spacings_that_are_none_cost_their_row(tmp_path, spacing, told):
    hu, _ = nodule(128)
    write(tmp_path / "images/s_1.png", (hu + 32768).astype(np.uint16))
    table = tmp_path / "t.csv"
    rows = (f's_1.png,"55, 64, 73, 64, 64, 55, 64, 73","{s}"\n' for s in (spacing, "0.7, 0.7, 1"))
    table.write_text("File_name,Measurement_coordinates,Spacing_mm_px_\n" + "".join(rows))
    arguments = ["recist", "--annotations", str(table), "--images", str(tmp_path / "images")]
    arguments += ["--isotropic", "0.7", "--out", str(tmp_path / "s")]
    assert label.main(arguments) == 0
    first, second = open_store(tmp_path / "s").records()
    assert second.status == "ok"
    assert (first.status == "failed") == bool(told) and told in first.error


def test_a_stray_quote_swallows_no_row(tmp_path):
    hu, _ = nodule(128)
    write(tmp_path / "images/s_1.png", (hu + 32768).astype(np.uint16))
    rows = ['s_1.png,"55, 64, 73, 64, 64, 55, 64, 73"\n'] * 40
    rows[10] = '"' + rows[10]
    table = tmp_path / "t.csv"
    table.write_text("File_name,Measurement_coordinates\n" + "".join(rows))
    arguments = ["recist", "--annotations", str(table), "--images", str(tmp_path / "images")]
    assert label.main([*arguments, "--out", str(tmp_path / "s")]) == 0
    records = list(open_store(tmp_path / "s").records())
    assert len(records) == 40
    (failed,) = (record for record in records if record.status == "failed")
    assert failed.error.startswith("row 12: cannot be taken apart")


def test_notes_of_a_failed_crop_are_kept(tmp_path):
    from dsnet.data.crop import Crop

    crop = Crop(np.zeros((4, 4), np.float32), key="a", notes=("decided",))
    record = LabelRecord.from_error("a", "x", "why", crop=crop)
    assert record.notes == ("decided",) and json.dumps(record.metadata) == "{}"
