"""A store that is resumed after its table or folders have changed."""

import csv

import cv2
import numpy as np
import pytest

from dsnet import label
from dsnet.archive import label_archive, picture_jobs, slice_jobs
from dsnet.data.datasets.deeplesion import read_annotations
from dsnet.data.datasets.folders import find_image_mask_pictures
from dsnet.data.store import LabelRecord, StoreWriter, open_store

LESIONS = {"a": (40, 40, 8), "b": (110, 50, 10), "c": (60, 115, 12)}


def coordinates(name):
    x, y, r = LESIONS[name]
    return f"{x - r}, {y}, {x + r}, {y}, {x}, {y - r}, {x}, {y + r}"


@pytest.fixture
def archive(tmp_path):
    """Writes a table of the lesions of one slice; the arguments of the command."""
    y, x = np.mgrid[:160, :160]
    hu = np.random.default_rng(0).normal(-850, 20, (160, 160))
    for at_x, at_y, r in LESIONS.values():
        hu[(x - at_x) ** 2 + (y - at_y) ** 2 < r * r] = 40
    (tmp_path / "img/1_1_1").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "img/1_1_1/020.png"), (hu + 32768).astype(np.uint16))

    def write(*rows, window="-1500, 500"):
        with open(tmp_path / "t.csv", "w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["File_name", "Measurement_coordinates", "DICOM_windows"])
            for row in rows:
                table.writerow(
                    ["1_1_1_020.png", coordinates(row) if row in LESIONS else row, window]
                )
        table = ["--annotations", str(tmp_path / "t.csv"), "--images", str(tmp_path / "img")]
        return ["recist", *table, "--out", str(tmp_path / "s")]

    return write


def lesions(path):
    """Which lesion each good row of a store shows."""
    found = []
    for record in open_store(path).records("ok"):
        x, y = record.mark.reshape(4, 2)[:2].mean(0) / record.scale + record.offset
        found.append(min(LESIONS, key=lambda n: np.hypot(LESIONS[n][0] - x, LESIONS[n][1] - y)))
    return sorted(found)


def test_rows_in_front_sorted_and_taken_out(archive, tmp_path, capsys):
    assert label.main(archive("a", "b")) == 0
    assert label.main([*archive("c", "b", "a"), "--resume"]) == 0
    assert lesions(tmp_path / "s") == ["a", "b", "c"]
    assert "not in the table" not in capsys.readouterr().out
    assert label.main([*archive("c"), "--resume"]) == 0
    assert "2 rows are in the store and not in the table: 1_1_1_020#" in capsys.readouterr().out
    assert lesions(tmp_path / "s") == ["a", "b", "c"]
    # A selection of the table is no change of it.
    assert label.main([*archive("a", "b", "c"), "--resume", "--limit", "1"]) == 0
    assert "not in the table" not in capsys.readouterr().out


def test_a_failed_row_that_is_taken_out_is_told(archive, tmp_path, capsys):
    assert label.main(archive("1, 2, 3", "a", "b")) == 0
    assert label.main([*archive("a", "b"), "--retry-failed"]) == 0
    assert "1 row is in the store and not in the table: 1_1_1_020#" in capsys.readouterr().out
    assert lesions(tmp_path / "s") == ["a", "b"] and len(open_store(tmp_path / "s")) == 2


def test_other_columns_that_changed_are_told(archive, tmp_path, capsys):
    assert label.main(archive("a", "b")) == 0
    assert label.main([*archive("a", "b", window="-175, 275"), "--resume"]) == 0
    told = capsys.readouterr().out
    assert "2 rows are labelled from other columns of the table than it has now" in told
    assert "not in the table" not in told


def test_keys_of_older_versions_are_told_apart(archive, tmp_path, capsys):
    annotations = read_annotations(archive("a", "b")[2])
    for keys in (["1_1_1_020"], ["x", "1_1_1_020#2"]):
        path = tmp_path / keys[-1]
        with StoreWriter(path, {}) as writer:
            for key in keys:
                writer.append(LabelRecord.from_error(key, "s", "old"))
        before = sorted(p.name for p in path.iterdir())
        for how in ({"resume": True}, {"retry_failed": True}):
            with pytest.raises(ValueError, match=rf"keys of an older version.*first '{keys[-1]}'"):
                label_archive(slice_jobs(annotations, tmp_path / "img"), path, **how)
        assert open_store(path).keys == keys
        assert sorted(p.name for p in path.iterdir()) == before


def test_pictures_of_other_folders_are_told(tmp_path):
    for folder in ("images", "masks", "other"):
        (tmp_path / folder).mkdir()
        for name in ("a", "b"):
            pixels = np.zeros((9, 9), np.uint8)
            pixels[3:6, 3:6] = 200
            cv2.imwrite(str(tmp_path / folder / f"{name}.png"), pixels)
    found = find_image_mask_pictures(tmp_path / "images", tmp_path / "masks")
    label_archive(picture_jobs(found), tmp_path / "s", settings={})
    review = picture_jobs(found[:1], listed=found).review
    assert review(open_store(tmp_path / "s")) == []
    (gone,) = picture_jobs(found[:1]).review(open_store(tmp_path / "s"))
    assert gone == "1 row is in the store and not in the folders: b"
    moved = find_image_mask_pictures(tmp_path / "other", tmp_path / "masks")
    (told,) = picture_jobs(moved).review(open_store(tmp_path / "s"))
    assert told == (
        "2 rows are labelled from other files than there are now; they stay as they are: a from"
        f" {tmp_path / 'images/a.png'}, now {tmp_path / 'other/a.png'}"
    )


class Odd:
    """A job whose records the store refuses."""

    rows = (("a", "s"), ("caf\udce9", "s"))

    def run(self):
        wrong = LabelRecord.from_error("a", "s", "x")
        wrong.mark = np.full(8, np.nan)
        return [wrong, LabelRecord.from_error("caf\udce9", "s", "y")]


def test_a_record_that_cannot_be_stored_costs_its_row(tmp_path):
    summary = label_archive([Odd()], tmp_path / "s")
    assert (summary.rows, summary.added) == (2, 2)
    first, second = open_store(tmp_path / "s")
    assert first.error.startswith("cannot be stored: mark must be finite")
    assert (second.key, second.error) == ("caf\\udce9", "y")
