"""LIDC-IDRI's DICOM and XML: rows of nodules on slices, cropped, with a mask of each reader."""

import pickle

import numpy as np
import pytest

from dsnet.data.datasets.lidc_idri.find import Chosen, find_outlined_slices
from lidc_files import (
    SERIES,
    FoundSlice,
    nodule,
    non_nodule,
    place_of,
    read_found,
    reading,
    ring,
    roi,
    uid,
    write_ct,
)
from shared_data import shared

pytest.importorskip("pydicom")

SIDE = 60
LEVELS = (-5.0, -2.5, 0.0, 2.5)


@pytest.fixture
def scan(tmp_path):
    """Four slices of noise, and what an index would find."""
    generator = np.random.default_rng(1)
    stored, found = {}, {}
    for number, z in enumerate(LEVELS):
        stored[z] = generator.integers(0, 1500, (SIDE, SIDE + 4))
        path = write_ct(tmp_path / "ct" / f"{number}.dcm", z, stored[z])
        found[uid(z)] = FoundSlice(str(path))
    return stored, found


def write(tmp_path, *sessions, name="069.xml", **options):
    path = tmp_path / "xml" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(reading(*sessions, **options))
    return tmp_path / "xml"


def find(xml, found, chosen=None, **options):
    return find_outlined_slices(xml, found.get, read_found, chosen, **options)


def four_readers(tmp_path):
    """Nodule 1 of three readers on three slices, nodule 2 of one; points beside and within."""
    one = (30, 20)
    return write(
        tmp_path,
        nodule("a", roi(-2.5, ring(*one, 4)), roi(0, ring(*one, 6)), malignancy=4),
        nodule("b", roi(0, ring(*one, 5))) + nodule("lone", roi(0, ring(50, 50, 3))),
        nodule("c", roi(0, ring(*one, 5)), roi(2.5, ring(*one, 3)), malignancy=2)
        + non_nodule("n", 0, 50, 50),
        nodule("small", roi(0, [(31, 21)])) + nodule("other", roi(0, [(5, 5)])),
    )


def test_rows_are_nodules_on_slices_with_a_mask_of_each_reader(tmp_path, scan):
    stored, found = scan
    rows = find(four_readers(tmp_path), found, Chosen(crop=32, window=(-1000, 500)))
    assert [place_of(row) for row in rows] == [
        "nodule-1/z-2.50", "nodule-1/z+0.00", "nodule-1/z+2.50",
        "nodule-2/z+0.00",
    ]  # fmt: skip
    assert rows.left_out == {"points of nodules under 3 mm": 2, "points of non-nodules": 1}
    assert len(rows.readings) == 1 and len(rows.readings[0].points) == 3
    # All outlines of nodule 1 lie within 24..36 and 14..26: 32 pixels around (30, 20).
    crop = pickle.loads(pickle.dumps(rows[1])).read()
    hu = stored[0.0][4:36, 14:46] - 1024
    assert crop.image.dtype == np.float32
    assert np.allclose(crop.image, np.clip((hu + 1000) / 1500, 0, 1), atol=1e-6)
    assert crop.offset == (14.0, 4.0) and crop.scale == (1.0, 1.0)
    assert crop.spacing == (0.7, 0.5) and crop.source == found[uid(0)].source
    assert crop.masks.shape == (4, 32, 32) and crop.masks.dtype == bool
    for mask, half in zip(crop.masks, (5, 4, 4, None), strict=True):
        wanted = np.zeros((32, 32), dtype=bool)
        if half:
            wanted[16 - half : 17 + half, 16 - half : 17 + half] = True
        assert np.array_equal(mask, wanted)
    assert crop.notes == (
        "reader 4 marked it as a nodule under 3 mm, by a point: counts as having outlined nothing",
    )
    told = crop.metadata
    assert (told["series_uid"], told["study_uid"], told["instance_uid"]) == (
        SERIES,
        "1.2.3",
        uid(0),
    )
    assert (told["nodule"], told["raters"], told["z"]) == (1, 4, 0.0)
    assert told["outlined_by"] == [0, 1, 2] and told["drawn_by"] == [0, 1, 2]
    assert told["scores"] == {"malignancy": [[0, 4], [2, 2]]}
    assert told["pointed_at"] == [[3, "nodule under 3 mm"]]
    # Squares of 13, 11 and 11 pixels of line: their diagonals, less a pixel of 0.6 mm.
    diagonals = [np.hypot(0.7 * side, 0.5 * side) - 0.6 for side in (12, 10, 10)]
    assert told["diameter_mm"] == pytest.approx(np.mean(diagonals))
    assert (told["window_low"], told["window_high"]) == (-1000, 500)
    lower = rows[0].read()
    assert lower.masks.sum(axis=(1, 2)).tolist() == [49, 0, 0, 0]
    assert lower.metadata["drawn_by"] == [0] and lower.offset == crop.offset
    assert rows[3].read().metadata["pointed_at"] == [[2, "non-nodule"]]


def test_crops_past_the_border_and_of_large_nodules(tmp_path, scan):
    stored, found = scan
    xml = write(
        tmp_path, nodule("a", roi(0, ring(3, 57, 2))) + nodule("b", roi(0, ring(30, 28, 25)))
    )
    edge, large = find(xml, found, Chosen(crop=22))
    crop = edge.read()
    assert crop.offset == (-8.0, 46.0) and crop.image.shape == (22, 22)
    x, y = np.clip(np.arange(22) - 8, 0, None), np.clip(np.arange(22) + 46, None, SIDE - 1)
    shown = np.clip((stored[0.0][np.ix_(y, x)] - 1024 + 1350) / 1500, 0, 1)
    assert np.allclose(crop.image, shown, atol=1e-6)
    assert sorted(zip(*np.nonzero(crop.masks[0]), strict=True)) == [
        (y, x) for y in (10, 11, 12) for x in (10, 11, 12)
    ]
    # 51 pixels and a quarter of them on either side.
    crop = large.read()
    assert crop.image.shape == (77, 77) and crop.masks[0].sum() == 49**2


def test_the_paper_s_choice(tmp_path, scan):
    _, found = scan
    xml = four_readers(tmp_path)
    three = find(xml, found, Chosen(least_readers=3))
    assert {row.metadata["nodule"] for row in three} == {1} and len(three) == 3
    assert three.left_out["nodules of fewer than 3 readers"] == 1
    # Two of four readers are needed: on the slice where three drew there is most.
    assert [row.metadata["z"] for row in find(xml, found, Chosen(largest=1))] == [0.0, 0.0]
    assert [row.metadata["z"] for row in find(xml, found, Chosen(largest=2))] == [-2.5, 0.0, 0.0]
    # Nodule 2: a line of 7 pixels' side.
    small = np.hypot(0.7 * 6, 0.5 * 6) - 0.6
    assert len(find(xml, found, Chosen(most_mm=small + 1e-6))) == 1
    assert len(find(xml, found, Chosen(least_mm=small + 1e-6))) == 3
    assert find(xml, found, Chosen(least_mm=99)).left_out["nodules of another size"] == 2
    unknown = {key: FoundSlice(value.source, None) for key, value in found.items()}
    with pytest.raises(ValueError, match=r"069\.xml: no slice of it tells its spacing"):
        find(xml, unknown, Chosen(least_mm=1))[0].read()
    for bad in (
        {"least_readers": 0}, {"largest": 0}, {"crop": 0}, {"least_mm": -1.0}, {"window": (1, 0)},
        {"least_mm": 3.0, "most_mm": 2.0}, {"most_mm": float("nan")},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=rf"\b{next(iter(bad))}\b"):
            Chosen(**bad)


def test_what_is_missing_costs_its_own_rows(tmp_path, scan):
    _, found = scan
    xml = four_readers(tmp_path)
    write(tmp_path, "", series="9.9", name="no_images.xml")
    write(tmp_path, "", root="IdriReadMessage", name="radiograph.xml")
    write(tmp_path, "", name="twice.xml")
    (xml / "broken.XML").write_bytes(reading("")[:-9])
    (xml / "deep").mkdir()
    (xml / "deep" / "broken.XML").write_bytes(b"")
    (xml / ".hidden.xml").write_bytes(b"")
    (xml / "note.txt").write_bytes(b"")
    del found[uid(0)]
    rows = find(xml, found)
    assert rows.left_out == {
        "points of nodules under 3 mm": 2, "points of non-nodules": 1, "hidden": 1,
        "XML files of another format": 1, "further XML files of a series": 1,
        "XML files whose series has no image": 1,
    }  # fmt: skip
    told = {}
    for row in rows:
        try:
            row.read()
        except ValueError as error:
            told[place_of(row) if row.metadata else row.key] = str(error)
    assert sorted(told) == sorted([
        "nodule-1/z+0.00", "nodule-2/z+0.00", "broken.XML", "broken.XML#2",
    ])  # fmt: skip
    assert f"069.xml: no image of SOP instance UID {uid(0)}" in told["nodule-1/z+0.00"]
    assert "broken.XML: XML is not well formed" in told["broken.XML"]
    assert len(rows) == 6


def test_nothing_to_read_is_said_at_once(tmp_path, scan):
    _, found = scan
    xml = four_readers(tmp_path)
    with pytest.raises(ValueError, match=r"images must have slices that .*none of its 1 series"):
        find(xml, {})
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="xml must hold LIDC's readings"):
        find(tmp_path / "empty", found)
    with pytest.raises(ValueError, match="neighbours must be 0 without beside"):
        find(xml, found, Chosen(neighbours=1))
    assert len(find(xml / "069.xml", found)) == 4


def test_an_outline_outside_of_the_slice_is_refused(tmp_path, scan):
    _, found = scan
    xml = write(tmp_path, nodule("a", roi(0, ring(61, 30, 4))))
    with pytest.raises(ValueError, match=r"within the slice of 64x60 pixels, got one up to 65, 34"):
        find(xml, found)[0].read()


def test_two_slices_of_one_height_are_two_rows(tmp_path, scan):
    _, found = scan
    twin = roi(0, ring(20, 20, 3)).replace(uid(0), uid(2.5))
    rows = find(write(tmp_path, nodule("a", roi(0, ring(20, 20, 3)), twin)), found)
    assert [place_of(row) for row in rows] == [
        "nodule-1/z+0.00", "nodule-1/z+0.00",
    ]  # fmt: skip
    assert len({row.key for row in rows}) == 2
    assert {row.metadata["instance_uid"] for row in rows} == {uid(0), uid(2.5)}


def test_whose_a_slice_is(tmp_path, scan):
    from dsnet.data.dicom.slices import hashed_patient
    from dsnet.data.patients import patient_of

    _, found = scan
    body = nodule("a", roi(0, ring(20, 20, 3)), roi(2.5, ring(20, 20, 3)))
    first, second = find(write(tmp_path, body), found)
    assert first.read().metadata["patient"] == hashed_patient("P-1")
    assert patient_of(first.key, first.metadata) == patient_of(second.key, second.metadata)
    (tmp_path / "xml" / "069.xml").unlink()
    named = write(tmp_path, body, name="LIDC-IDRI-0007__185_071.xml")
    assert find(named, found)[0].read().metadata["patient"] == "LIDC-IDRI-0007"
    rule = find(named, found, patients=r"([^/]+)/ct/")
    assert rule[0].read().metadata["patient"] == tmp_path.name
    with pytest.raises(ValueError, match="names no patient"):
        find(named, found, patients=r"nobody")[0].read()


def test_neighbours_come_in_the_same_window(tmp_path, scan):
    stored, found = scan
    order = [found[uid(z)] for z in LEVELS]

    def beside(image, count):
        place = order.index(image)
        steps = [s * k for k in range(1, count + 1) for s in (-1, 1)]
        return [order[place + s] if 0 <= place + s < len(order) else None for s in steps]

    xml = write(tmp_path, nodule("a", roi(2.5, ring(30, 20, 4))))
    row = find(xml, found, Chosen(crop=26, neighbours=1), beside=beside)[0]
    crop = row.read()
    below = np.clip((stored[0.0][7:33, 17:43] - 1024 + 1350) / 1500, 0, 1)
    assert crop.neighbours.shape == (2, 26, 26)
    assert np.allclose(crop.neighbours[0], below, atol=1e-6)
    assert np.array_equal(crop.neighbours[1], crop.image)
    assert crop.notes == (
        "no slice above (the series has none there): the slice itself stands for it",
    )


def test_rows_become_labels_with_the_consensus_of_all_readers(tmp_path, scan):
    from dsnet.archive import label_archive
    from dsnet.archive.jobs import picture_jobs
    from dsnet.data.store.reader import open_store

    _, found = scan
    rows = find(four_readers(tmp_path), found, Chosen(crop=32))
    summary = label_archive(picture_jobs(rows), tmp_path / "store", settings={})
    assert (summary.rows, summary.failed) == (4, 0)
    records = {place_of(record): record for record in open_store(tmp_path / "store").records()}
    record = records["nodule-1/z+0.00"]
    # 81 pixels by three of the four, 40 more by one alone.
    assert record.truth.sum() == 81
    votes, pixels = np.unique(np.rint(record.readers * 400), return_counts=True)
    assert dict(zip(votes, pixels, strict=True)) == {300: 81, 100: 40, 0: 32 * 32 - 121}
    assert record.offset == (14.0, 4.0)
    # One of four is no consensus, be there another nodule's reader or not.
    assert not records["nodule-1/z-2.50"].truth.any()
    assert np.isclose(records["nodule-1/z-2.50"].readers.max(), 0.25, atol=1e-4)


class Blank:
    """A slice without anything on it, as large as LIDC's."""

    source, spacing, patient = "blank.dcm", (0.7, 0.7), None
    hu = np.zeros((512, 512), np.float32)


def test_the_real_readings_become_rows():
    """Slices with an outline, nodule by nodule, counted in the files with ElementTree alone."""
    blank = Blank()
    read = lambda found: blank  # noqa: E731
    rows = find_outlined_slices(shared("lidc_xml"), lambda uid: blank, read)
    slices = {}
    for row in rows:
        slices.setdefault((row.metadata["patient"][-1], row.metadata["nodule"]), []).append(row)
    assert {name: len(of_nodule) for name, of_nodule in slices.items()} == {
        ("1", 1): 9, ("2", 1): 28, ("3", 1): 10, ("3", 2): 4, ("3", 3): 8, ("3", 4): 8,
        ("4", 1): 5, ("5", 1): 2, ("5", 2): 3, ("5", 3): 2, ("6", 1): 2, ("6", 2): 3, ("6", 3): 1,
        ("6", 4): 4,
    }  # fmt: skip
    assert rows.left_out == {
        "points of nodules under 3 mm": 84, "points of non-nodules": 194,
    }  # fmt: skip
    # The consensus of the four masks that circulate, of LIDC-IDRI-0001's slice at -117.5 mm.
    crop = next(row for row in rows if place_of(row) == "nodule-1/z-117.50").read()
    assert crop.masks.sum(axis=(1, 2)).tolist() == [929, 900, 895, 891]
    paper = find_outlined_slices(
        shared("lidc_xml"), lambda uid: blank, read, Chosen(least_readers=4, largest=1)
    )
    assert len(paper) == 8 and len({row.metadata["patient"] for row in paper}) == 5
