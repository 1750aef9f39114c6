"""`python -m dsnet.label lidc`: DICOM and XML in, a store of nodules with their readers out."""

import re

import numpy as np
import pytest

from dicom_servers import SERVERS, started
from dicom_servers import store as send
from dsnet import label
from dsnet.data.crop_settings import of_store
from dsnet.data.patients import patient_of
from dsnet.data.store import open_store
from lidc_files import SERIES, nodule, non_nodule, place_of, reading, ring, roi, uid, write_ct

pytest.importorskip("pydicom")


@pytest.fixture
def archive(tmp_path):
    """A series of three slices with its XML beside it; one more XML without images."""
    generator = np.random.default_rng(3)
    folder = tmp_path / "LIDC-IDRI" / "LIDC-IDRI-0009" / "study" / "series"
    for number, z in enumerate((0.0, 2.5, 5.0)):
        write_ct(folder / f"{number:06d}.dcm", z, generator.integers(0, 1500, (64, 60)))
    (folder / "069.xml").write_bytes(
        reading(
            nodule("a", roi(0, ring(30, 30, 5)), roi(2.5, ring(30, 30, 6)), malignancy=4),
            nodule("b", roi(2.5, ring(31, 30, 6))) + nodule("c", roi(5, ring(10, 10, 3))),
            nodule("d", roi(2.5, ring(30, 31, 4))) + non_nodule("n", 5, 40, 40),
            nodule("e", roi(2.5, ring(30, 30, 5))),
        )
    )
    (tmp_path / "LIDC-IDRI" / "other.xml").write_bytes(reading("", series="9.9"))
    return tmp_path / "LIDC-IDRI"


def run(archive, out, *options):
    return label.main(
        ["lidc", "--images", str(archive), "--out", str(out), "--crop", "32", *options]
    )


def test_nodules_of_a_folder_become_a_store(archive, tmp_path, capsys):
    assert run(archive, tmp_path / "store") == 0
    told = capsys.readouterr().err
    assert "1 XML files whose series has no image" in told and "1 points of non-nodules" in told
    store = open_store(tmp_path / "store")
    records = {place_of(record): record for record in store.records()}
    assert list(records) == ["nodule-1/z+0.00", "nodule-1/z+2.50", "nodule-2/z+5.00"]
    record = records["nodule-1/z+2.50"]
    assert re.fullmatch(rf"{SERIES}/z\+2\.50#[0-9a-f]{{8}}", record.key)
    assert record.status == "ok" and record.spacing == (0.7, 0.5)
    assert record.metadata["patient"] == "LIDC-IDRI-0009"
    assert record.metadata["instance_uid"] == uid(2.5)
    assert record.metadata["outlined_by"] == [0, 1, 2, 3]
    # Squares of 11, 11, 7 and 9 pixels, two of them one pixel aside: two of four suffice.
    votes = np.zeros((64, 60), int)
    for x, y, half in ((30, 30, 5), (31, 30, 5), (30, 31, 3), (30, 30, 4)):
        votes[y - half : y + half + 1, x - half : x + half + 1] += 1
    x, y = (int(v) for v in record.offset)
    assert np.array_equal(record.truth, (votes >= 2)[y : y + 32, x : x + 32])
    # A network that learns from it is told how its crops were cut.
    made = of_store(tmp_path / "store")
    assert (made.size, made.window, made.isotropic_mm) == (32, (-1350.0, 150.0), None)
    # One reader of four is none; a reader's nodule of its own is there all the same.
    assert not records["nodule-2/z+5.00"].truth.any()


def test_the_paper_s_nodules_with_neighbours(archive, tmp_path, capsys):
    out = tmp_path / "store"
    given = ["--readers", "4", "--largest", "1", "--neighbours", "1", "--workers", "2"]
    assert run(archive, out, *given) == 0
    assert "1 nodules of fewer than 4 readers" in capsys.readouterr().err
    (key,) = open_store(out).keys
    record = open_store(out).read(key)
    assert place_of(record) == "nodule-1/z+2.50" and record.neighbours.shape == (2, 32, 32)
    assert not any("stands for it" in note for note in record.notes)
    # A resumed store goes on where the choice and the crops are the same.
    assert run(archive, out, *given, "--resume") == 0
    assert run(archive, out, *given, "--resume", "--window", "-1000", "400") == 2


def test_a_resumed_store_follows_what_was_drawn(archive, tmp_path, capsys):
    """Nodules are numbered by the file: with one more in front each number means another."""
    out, xml = tmp_path / "store", archive / "LIDC-IDRI-0009" / "study" / "series" / "069.xml"
    assert run(archive, out) == 0
    before = xml.read_bytes()
    first = nodule("first", roi(0, ring(46, 40, 4))).encode()
    xml.write_bytes(before.replace(b"<unblindedReadNodule>", first + b"<unblindedReadNodule>", 1))
    capsys.readouterr()
    assert run(archive, out, "--resume") == 0
    assert "3 rows are in the store already" in capsys.readouterr().out
    # On the slice at 0 there are two nodules now, each labelled once.
    low, new = [r for r in open_store(out).records() if r.metadata["z"] == 0]
    x, y = (int(v) for v in new.offset)
    assert new.readers[40 - y, 46 - x] and not low.readers[40 - 14, 46 - 14 :].any()
    assert len(open_store(out)) == 4
    # A line that was drawn anew is a row of its own, and what the store has besides is told.
    xml.write_bytes(before.replace(b"<xCoord>25</xCoord>", b"<xCoord>24</xCoord>", 1))
    assert run(archive, out, "--resume") == 0
    assert "in the store and not in the folders" in capsys.readouterr().out
    assert len(open_store(out)) > 4


def test_a_patient_has_one_name_wherever_its_scans_lie(archive, tmp_path):
    """LIDC-IDRI has patients with two scans; of one the path may tell the patient, of one not."""
    other, pixels = "1.2.3.200", np.random.default_rng(4).integers(0, 1500, (64, 60))
    for number, patient in enumerate(("LIDC-IDRI-0009", "P-7")):
        series = f"{other}.{number}"
        write_ct(
            archive / "more" / f"{number}.dcm", 0.0, pixels, SeriesInstanceUID=series,
            SOPInstanceUID=f"{series}.1", PatientID=patient,
        )  # fmt: skip
        drawn = nodule("a", roi(0, ring(30, 30, 5)).replace(uid(0), f"{series}.1"))
        (archive / "more" / f"{number}.xml").write_bytes(reading(drawn, series=series))
    assert run(archive, tmp_path / "store") == 0
    records = list(open_store(tmp_path / "store").records("ok"))
    of_series = {r.metadata["series_uid"]: patient_of(r.key, r.metadata) for r in records}
    assert of_series[SERIES] == of_series[f"{other}.0"] == "LIDC-IDRI-0009"
    assert of_series[f"{other}.1"] not in ("LIDC-IDRI-0009", "P-7")


def test_a_slice_that_is_gone_costs_its_row(archive, tmp_path, capsys):
    next(archive.rglob("000001.dcm")).unlink()
    assert run(archive, tmp_path / "store") == 0
    store = open_store(tmp_path / "store")
    failed = [record for record in store.records() if record.status == "failed"]
    assert [record.key.split("#")[0] for record in failed] == [f"{SERIES}/z+2.50"]
    assert f"no image of SOP instance UID {uid(2.5)}" in failed[0].error
    capsys.readouterr()
    (archive / "empty").mkdir()
    assert label.main(["lidc", "--images", str(archive / "empty"), "--out", "x"]) == 2
    assert "xml must hold LIDC's readings" in capsys.readouterr().err


def test_what_is_wrong_is_told_before_the_headers_are_read(archive, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("dsnet.data.dicom.index.index_series", None)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    nowhere = str(tmp_path / "nowhere")
    there = ["lidc", "--images", str(archive), "--out", str(tmp_path / "store")]
    for given, told in (
        (["--images", nowhere], "images must be a folder, a zip or a DICOMDIR, there is none at"),
        (["--xml", nowhere], "xml must be a folder, there is none at"),
        (["--patients", "("], "--patients must be"),
        (["--out", str(tmp_path / "full")], "is not empty"),
    ):
        assert label.main([*there, *given]) == 2
        error = capsys.readouterr().err
        assert told in error and error.count("\n") == 1


@pytest.mark.parametrize("name", SERVERS)
def test_slices_of_a_server_give_the_same_labels(name, archive, tmp_path, capsys):
    files = sorted(archive.rglob("*.dcm"))
    (tmp_path / "server").mkdir()
    with started(name, tmp_path / "server") as root:
        send(root, files)
        assert label.main(["lidc", "--images", root, "--out", str(tmp_path / "none")]) == 2
        assert "xml must be the folder of the readers' XML files" in capsys.readouterr().err
        for place, out in ((root, "web"), (str(archive), "files")):
            arguments = ["lidc", "--images", place, "--xml", str(archive), "--crop", "32"]
            assert label.main([*arguments, "--out", str(tmp_path / out)]) == 0
    web, here = (list(open_store(tmp_path / out).records()) for out in ("web", "files"))
    assert [r.key for r in web] == [r.key for r in here] and len(web) == 3
    for one, other in zip(web, here, strict=True):
        assert one.status == "ok" and np.array_equal(one.alpha, other.alpha)
