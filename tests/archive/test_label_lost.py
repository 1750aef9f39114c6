"""`label dicom` of a server that dies, and stopped while it looks for slices."""

import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("httpx")

from answering_server import INSTANCE, archive, listed, multipart, serving  # noqa: E402

from dicom_files import slice_of  # noqa: E402
from dsnet import label  # noqa: E402
from dsnet.data.dicom import attempts  # noqa: E402
from dsnet.data.dicom.index import index_series  # noqa: E402
from dsnet.data.phantom import make_phantom  # noqa: E402
from dsnet.data.store import open_store  # noqa: E402

NUMBERS, SIDE = range(1, 7), 48
AWAY = (503, {}, b"")
# Generous: a loaded machine starts a process slowly.
WITHIN_SECONDS = 300


def drawn(folder):
    """Slices with a mark each, and the table of the marks."""
    rows = ["sop_instance_uid,x1,y1,x2,y2,x3,y3,x4,y4,origin"]
    for number in NUMBERS:
        shown = make_phantom("solid", SIDE, number, diameter_mm=12.0)
        hu = np.rint(shown.image * 1500 - 1350).astype(np.int16)
        slice_of(
            folder / "images" / f"{number}.dcm", number, signed=1, Rows=SIDE, Columns=SIDE,
            PixelData=hu.tobytes(), RescaleIntercept=0, PixelSpacing=[0.7, 0.7],
        )  # fmt: skip
        rows.append(f"1.2.3.{number},{','.join(map(str, shown.mark.coordinates))},0")
    (folder / "marks.csv").write_text("\n".join(rows))
    return folder


def test_a_server_that_dies_fails_its_rows_at_once_and_is_told_once(tmp_path, monkeypatch, capsys):
    waits = []
    monkeypatch.setattr(attempts, "wait", waits.append)
    place = drawn(tmp_path)
    rows, columns = ({"vr": "US", "Value": [SIDE]} for _ in range(2))
    named = [
        {**INSTANCE, "00080018": {"vr": "UI", "Value": [f"1.2.3.{n}"]}, "00280010": rows,
         "00280011": columns}
        for n in NUMBERS
    ]  # fmt: skip
    files = {f"1.2.3.{n}": (place / "images" / f"{n}.dcm").read_bytes() for n in NUMBERS}
    answers = archive(instances=listed(*named))
    answers.update({uid: multipart(data) for uid, data in files.items()})
    # It dies after the first two slices.
    answers.update({f"1.2.3.{n}": AWAY for n in NUMBERS if n > 2})
    with serving(answers) as (root, asked):
        command = ["dicom", "--images", root, "--marks", str(place / "marks.csv")]
        command += ["--out", str(tmp_path / "store")]
        assert label.main(command) == 0
        told = "".join(capsys.readouterr())
        found = list(open_store(tmp_path / "store").records())
        assert [record.status for record in found] == ["ok"] * 2 + ["failed"] * 4
        lost = "the server does not answer any more"
        assert [lost in (record.error or "") for record in found] == [False] * 3 + [True] * 3
        assert told.count(f"{lost}: its other rows fail at once; --retry-failed") == 1
        # A header and a picture of the first, a header of the next: three requests in a row.
        assert len(waits) == 6 and sum("1.2.3.6" in path for path in asked) == 0
        assert root.split("//")[1] not in "".join(record.error or "" for record in found)
        for uid, data in files.items():
            answers[uid] = multipart(data)
        assert label.main([*command, "--retry-failed"]) == 0
        assert [r.status for r in open_store(tmp_path / "store").records()] == ["ok"] * 6
    assert lost not in "".join(capsys.readouterr())


# Where the tests run under nohup, or behind a shell's &, Ctrl-C is ignored, and stays so.
STOPPABLE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from dsnet import label
sys.exit(label.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_slices_are_looked_for(tmp_path, number):
    """Nothing is half written, the exit code tells the signal, and the next run goes on."""
    place = drawn(tmp_path)
    answered = threading.Event()
    named = [{**INSTANCE, "00080018": {"vr": "UI", "Value": [f"1.2.3.{n}"]}} for n in NUMBERS]
    for each in named:
        del each["00280010"]  # so that each header is asked for
    go_on = threading.Event()

    def hangs(handler):
        answered.set()
        go_on.wait(WITHIN_SECONDS)

    answers = archive(instances=listed(*named), metadata=(404, {}, b""))
    for n in NUMBERS:
        data = (place / "images" / f"{n}.dcm").read_bytes()
        answers[f"1.2.3.{n}"] = hangs if n == 4 else multipart(data)
    index = tmp_path / "index.parquet"
    with serving(answers) as (root, _):
        command = [sys.executable, "-c", STOPPABLE, "dicom", "--images", root]
        command += ["--marks", str(place / "marks.csv"), "--out", str(tmp_path / "store")]
        process = subprocess.Popen([*command, "--index", str(index)], stderr=subprocess.PIPE)
        try:
            assert answered.wait(WITHIN_SECONDS)
            process.send_signal(number)
            _, error = process.communicate(timeout=WITHIN_SECONDS)
        finally:
            process.kill()
            go_on.set()
        assert process.returncode == 128 + number
        assert error.decode() == "stopped\n"
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "images", "index.parquet", "marks.csv"
        ]  # fmt: skip
        answers["1.2.3.4"] = multipart((place / "images" / "4.dcm").read_bytes())
        assert len(index_series(root, index)) == 6
