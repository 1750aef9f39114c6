"""Commands whose standard output ends before they do."""

import os
import subprocess
import sys

import pytest

from dsnet.data.store import open_store
from dsnet.streams import command

DEMO = [sys.executable, "-m", "dsnet.label", "demo", "--count", "3", "--size", "24", "--out"]
# Prints more than a pipe holds, then ends as it was told.
CHATTY = """
import sys
from dsnet.streams import command
@command
def main(argv):
    for _ in range(100_000):
        print("a line")
    print("said", file=sys.stderr)
    return 0
sys.exit(main([]))
"""


def test_a_reader_that_goes_leaves_the_exit_code(tmp_path):
    run = subprocess.Popen(
        [sys.executable, "-c", CHATTY], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert run.stdout.readline() == "a line\n"
    run.stdout.close()
    assert run.stderr.read() == "said\n" and run.wait() == 0
    run.stderr.close()


@pytest.mark.parametrize("redirection", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_cost_nothing(tmp_path, redirection):
    words = " ".join([*DEMO, str(tmp_path / "demo")])
    done = subprocess.run(["sh", "-c", f"{words} {redirection}"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(open_store(tmp_path / "demo/store")) == 3


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_disk_is_told(tmp_path):
    with open("/dev/full", "w") as full:
        done = subprocess.run([*DEMO, str(tmp_path / "demo")], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr.decode() == "standard output: [Errno 28] No space left on device\n"
    assert len(open_store(tmp_path / "demo/store")) == 3


def test_a_name_that_the_encoding_lacks_is_escaped():
    code = CHATTY.replace("a line", "结节 ü").replace("100_000", "1")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONIOENCODING": "latin-1"}, capture_output=True,
    )  # fmt: skip
    assert done.stdout == "\\u7ed3\\u8282 ü\n".encode("latin-1") and done.returncode == 0


def test_the_streams_are_as_before(capsys):
    before = sys.stdout, sys.stderr

    @command
    def main(argv):
        print("told")
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        main([])
    assert (sys.stdout, sys.stderr) == before and capsys.readouterr().out == "told\n"
