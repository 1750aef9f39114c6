"""A real DICOMweb server gives the slices that its files give."""

import numpy as np
import pytest

from dsnet.data.dicom.index import index_series, read_slice
from shared_data import shared

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("httpx")
from dicom_files import slice_of  # noqa: E402
from dicom_servers import SERVERS, started, store  # noqa: E402


@pytest.fixture(scope="module", params=SERVERS)
def server(request, tmp_path_factory):
    """An address, and the folder of what it holds."""
    folder = tmp_path_factory.mktemp(request.param)
    for number in (1, 2, 3):
        slice_of(folder / "files" / f"{4 - number}.dcm", number, PatientName="Doe^Jane")
    slice_of(folder / "files" / "other.dcm", 9, series="1.2.4", StudyInstanceUID="1.7")
    with started(request.param, folder) as root:
        store(root, sorted((folder / "files").iterdir()))
        yield root, folder / "files"


def same(one, other):
    """Whether two entries are of one slice; a server may not tell the syntax that it stores."""
    plain = {"source": "", "transfer_syntax": ""}
    return one._replace(**plain) == other._replace(**plain)


def test_a_server_has_the_slices_of_its_files(server):
    root, folder = server
    by_file, by_web = index_series(folder), index_series(root)
    assert list(by_web) == list(by_file) == ["1.2.3", "1.2.4"] and by_web.problems == []
    for uid in by_file:
        for one, other in zip(by_file.series(uid), by_web.series(uid), strict=True):
            assert same(one, other)
            assert other.source.startswith(f"{root}/studies/{one.study_uid}/series/{uid}/instances")
            found, wanted = read_slice(other), read_slice(one)
            assert np.array_equal(found.hu, wanted.hu) and found[1:] == wanted[1:]
    assert by_web.header("1.2.3.2").PatientName == "Doe^Jane"
    assert "Doe" not in repr(by_web.slice("1.2.3.2"))
    middle = by_web.slice("1.2.3.2")
    assert [s.number for s in by_web.neighbours(middle, 1)] == [1, 3]


def test_an_address_names_a_part_of_a_server(server):
    root, _ = server
    for place, uids in (
        (f"{root}/", ["1.2.3", "1.2.4"]),
        (f"{root}/studies", ["1.2.3", "1.2.4"]),
        (f"{root}/studies/1.7", ["1.2.4"]),
        (f"{root}/studies/1.2/series/1.2.3/", ["1.2.3"]),
        (f"{root}/studies?StudyInstanceUID=1.7", ["1.2.4"]),
        (f"{root}/studies/1.99", []),
    ):
        assert list(index_series(place)) == uids, place


def test_what_a_server_does_not_have_is_told(server):
    root, _ = server
    entry = index_series(root).slice("1.2.3.1")
    missing = entry._replace(source=entry.source[:-1] + "8")
    with pytest.raises(ValueError, match=r"instances/1\.2\.3\.8: answers 404"):
        read_slice(missing)


def test_a_series_with_as_many_instances_is_not_asked_for_again(server, tmp_path, monkeypatch):
    from dsnet.data.dicom.web import WebServer

    root, _ = server
    asked = []
    really = WebServer.json
    monkeypatch.setattr(
        WebServer, "json", lambda self, path, *more: asked.append(path) or really(self, path, *more)
    )
    first = index_series(root, tmp_path / "a.parquet")
    begin = len(asked)
    again = index_series(root, tmp_path / "a.parquet")
    assert [again.series(uid) for uid in again] == [first.series(uid) for uid in first]
    counted = any(path.endswith("/instances") for path in asked[begin:])
    # Not every server tells how many there are.
    assert not counted or "dicomweb" in root


def test_real_files_come_as_they_are(server):
    root, _ = server
    zoo = shared("dicom_ct_zoo")
    files = sorted((zoo / "series_tilt_philips_16.5_003033").iterdir())
    files.append(zoo / "fragments_and_frames" / "CT0012.not_fragmented_bot_jpeg_ls.80.dcm")
    store(root, files)
    index = index_series(root)
    for path in files:
        found = pydicom.dcmread(path, stop_before_pixels=True)
        frames = range(1, int(found.get("NumberOfFrames", 1)) + 1)
        by_file = index_series(path.parent)
        for frame in frames:
            uid = str(found.SOPInstanceUID)
            one, other = by_file.slice(uid, frame), index.slice(uid, frame)
            assert same(one, other)
            assert np.array_equal(read_slice(one).hu, read_slice(other).hu)
    order = index.order(other.series_uid)
    assert len(order.slices) == 2
