"""A server that dies is asked a few times, not for every slice; an index goes on where it ended."""

import json

import numpy as np
import pytest

from dsnet.data.dicom import attempts
from dsnet.data.dicom.index import index_series, read_slice
from dsnet.data.marks.match import match_marks
from dsnet.data.marks.record import FoundMark

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("httpx")
from answering_server import INSTANCE, JSON, SERIES, STUDY, archive, listed, multipart, serving  # noqa: E402

from dicom_files import STORED, slice_of  # noqa: E402

AWAY, FAULT = (503, {}, b""), (500, {}, b"")
NUMBERS = range(1, 8)


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    waited = []
    monkeypatch.setattr(attempts, "wait", waited.append)
    return waited


def named(tag, uid, base):
    return {**base, tag: {"vr": "UI", "Value": [uid]}}


def instances(tmp_path, answer):
    """A series of seven slices; of each `answer` comes after its first answer."""
    listing = [named("00080018", f"1.2.3.{n}", INSTANCE) for n in NUMBERS]
    data = {f"1.2.3.{n}": slice_of(tmp_path / f"{n}.dcm", n).read_bytes() for n in NUMBERS}
    return archive(instances=listed(*listing), **{k: answer(multipart(v)) for k, v in data.items()})


def outcome(entry):
    try:
        return bool((read_slice(entry).hu == STORED - 1024).all())
    except ValueError as error:
        return str(error)


def times(asked, number):
    return sum(path.endswith(f"/instances/1.2.3.{number}") for path in asked)


def test_a_lost_server_is_asked_for_three_slices_and_no_more(tmp_path, waits):
    answers = instances(tmp_path, lambda right: AWAY)
    with serving(answers) as (root, asked):
        index = index_series(root)
        entries = [index.slice(f"1.2.3.{n}") for n in NUMBERS]
        found = [outcome(entry) for entry in entries]
        assert [times(asked, n) for n in NUMBERS] == [3, 3, 3, 0, 0, 0, 0]
        assert all("answers 503 Service Unavailable (3 times)" in each for each in found[:3])
        lost = "not asked: the server does not answer any more"
        assert found[3:] == [f"{entry.source}: {lost}" for entry in entries[3:]]
        # What lies elsewhere is read, and who begins anew asks anew.
        assert outcome(index_series(tmp_path).slice("1.2.3.5")) is True
        answers["1.2.3.5"] = multipart((tmp_path / "5.dcm").read_bytes())
        assert outcome(index_series(root).slice("1.2.3.5")) is True
    assert waits == [0.5, 2.0] * 3


def test_a_server_that_nobody_runs_any_more(tmp_path, waits):
    with serving(instances(tmp_path, lambda right: right)) as (root, _):
        index = index_series(root)
    found = [outcome(index.slice(f"1.2.3.{n}")) for n in NUMBERS]
    assert [each.split(": ")[1] for each in found] == ["cannot be reached"] * 3 + ["not asked"] * 4
    assert len(waits) == 6


def test_faults_of_some_instances_are_theirs_alone(tmp_path):
    answers = instances(tmp_path, lambda right: right)
    for number in (1, 2, 3, 4):  # the server's word that it cannot give this one
        answers[f"1.2.3.{number}"] = FAULT
    answers["1.2.3.6"] = AWAY
    with serving(answers) as (root, asked):
        index = index_series(root)
        for order in (NUMBERS, [6, 6, 5, 6, 6, 7]):
            found = [outcome(index.slice(f"1.2.3.{n}")) for n in order]
            assert not [each for each in found if "not asked" in str(each)]
            assert found[-1] is True
        assert times(asked, 6) == 15


def test_an_index_of_a_server_that_dies_tells_what_it_lacks(tmp_path):
    """Of eight studies the first is there: a mark of another is not told to have no slice."""
    studies = [named("0020000D", f"1.{n}", STUDY) for n in range(2, 10)]
    answers = archive(studies=listed(*studies))
    answers["series"] = [listed(SERIES), listed(), AWAY]
    with serving(answers) as (root, asked):
        index = index_series(root)
    assert len(index) == 1
    assert sum(path.split("?")[0].endswith("/series") for path in asked) == 2 + 9
    reasons = [reason.rpartition(": ")[2] for _, reason in index.problems]
    lost = "the server does not answer any more"
    # Three studies, the other four, and the next page of studies.
    assert ["503" in each for each in reasons[:3]] == [True] * 3 and reasons[3:] == [lost] * 5
    mark = FoundMark(long_axis=np.array([[1.0, 2.0], [3.0, 4.0]]), instance_uid="1.9.9")
    (gone,) = match_marks([mark], index)
    told = "no slice of the instance that the mark names"
    assert gone.error == f"{told} (not all images are known of: their server was lost)"


def test_what_could_not_be_read_is_read_again(tmp_path):
    """A server's count of instances is the same, and so are a file's size and time."""
    poor = [{"00080018": {"vr": "UI", "Value": [f"1.2.3.{n}"]}} for n in (1, 2)]
    counted = {**SERIES, "00201209": {"vr": "IS", "Value": [2]}}
    answers = archive(series=listed(counted), instances=listed(*poor), metadata=(404, {}, b""))
    for n in (1, 2):
        answers[f"1.2.3.{n}"] = multipart(slice_of(tmp_path / f"{n}.dcm", n).read_bytes())
    right = answers["1.2.3.2"]
    cache = tmp_path / "index.parquet"
    with serving(answers) as (root, asked):
        answers["1.2.3.2"] = AWAY
        first = index_series(root, cache)
        assert len(first) == 1 and "503" in first.problems[0][1]
        answers["1.2.3.2"] = right
        assert len(index_series(root, cache)) == 2
        asked.clear()
        assert len(index_series(root, cache)) == 2 and times(asked, 1) == times(asked, 2) == 0


class Ended(BaseException):
    pass


def ending_after(count):
    def progress(done, total):
        if done == count:
            raise Ended

    return progress


def test_an_index_that_is_interrupted_goes_on_where_it_ended(tmp_path, monkeypatch):
    from dsnet.data.dicom import scan

    folder, cache = tmp_path / "files", tmp_path / "index.parquet"
    for n in NUMBERS:
        slice_of(folder / f"{n}.dcm", n)
    with pytest.raises(Ended):
        index_series(folder, cache, progress=ending_after(5))
    read = []
    really = scan.read_file
    monkeypatch.setattr(scan, "read_file", lambda file: read.append(file.path[-5]) or really(file))
    assert len(index_series(folder, cache)) == 7 and read == ["6", "7"]
    # One that ends before it has read anything leaves the older one as it is.
    before = cache.read_bytes()
    with pytest.raises(Ended):
        monkeypatch.setattr(scan, "read_file", lambda file: (_ for _ in ()).throw(Ended))
        slice_of(folder / "8.dcm", 8)
        index_series(folder, cache)
    assert cache.read_bytes() == before


def test_an_index_of_a_server_goes_on_where_it_ended(tmp_path):
    """Of three series the second has changed, and the end comes after it: the third is known."""
    counts = {"1.2.3": 1, "1.2.4": 1, "1.2.5": 1}

    def answers(name, of):
        if name == "series":
            return [
                {**named("0020000E", uid, SERIES), "00201209": {"vr": "IS", "Value": [count]}}
                for uid, count in counts.items()
            ]
        return [named("00080018", f"{of}.{n}", INSTANCE) for n in range(1, counts[of] + 1)]

    def answer(handler):
        *_, of, name = handler.path.partition("?")[0].split("/")
        body = json.dumps(answers(name, of) if "offset=0" in handler.path else []).encode()
        handler.send_response(200)
        handler.send_header("Content-Type", JSON)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    cache = tmp_path / "index.parquet"
    with serving(archive(series=answer, instances=answer)) as (root, asked):
        assert len(index_series(root, cache)) == 3
        counts["1.2.4"] = 2
        with pytest.raises(Ended):
            index_series(root, cache, progress=ending_after(2))
        asked.clear()
        index = index_series(root, cache)
        assert not [path for path in asked if "/instances" in path]
    assert index.problems == [] and [len(index.series(uid)) for uid in counts] == [1, 2, 1]
