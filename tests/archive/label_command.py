"""The label command as its tests run it, and what they compare."""

import subprocess
import sys
import threading

import numpy as np

from dsnet.data.store import open_store


def content(path) -> list[tuple]:
    """What must not depend on the number of workers: all but times."""
    rows = []
    for record in open_store(path).records():
        arrays = [getattr(record, name) for name in ("image", "alpha", "binary", "trimap")]
        rows.append(
            (
                record.key,
                record.status,
                record.error,
                record.notes,
                record.quality,
                record.metadata,
                [None if a is None else a.tobytes() for a in arrays],
            )
        )
    return rows


def write_slice(images, name, hu) -> None:
    """HU as one of DeepLesion's pictures."""
    import cv2

    path = images / name[:-8] / name[-7:]
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), (np.rint(hu).astype(np.int32) + 32768).astype(np.uint16))


def assert_close(found, expected):
    """Whether a device's store, as `content` gives it, is near the CPU's."""
    for row, want in zip(found, expected, strict=True):
        assert row[:4] == want[:4] and row[5] == want[5]
        (image, alpha, *_, trimap), (same_image, wanted, *_, same_trimap) = row[6], want[6]
        assert image == same_image and trimap == same_trimap
        if alpha is not None:
            difference = np.frombuffer(alpha, np.float32) - np.frombuffer(wanted, np.float32)
            assert np.abs(difference).max() < 1e-3


# Seconds after which a run hangs; a loaded machine is slow.
LIMIT = 600

# The command, telling each row as soon as it is stored.
# Where the tests run under nohup, or behind a shell's &, signals are ignored, and stay so.
TELLING = """
import signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
from dsnet import label
from dsnet.archive import report
report.LINE_SECONDS = 0
sys.exit(label.main(sys.argv[1:]))
"""


def telling_command(*arguments, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", TELLING, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def wait_for_line(run: subprocess.Popen, part: str) -> None:
    """Return once the run has printed a line with `part`."""
    told = []
    watch = threading.Timer(LIMIT, run.kill)
    watch.start()
    try:
        for line in run.stdout:
            told.append(line)
            if part in line:
                return
    finally:
        watch.cancel()
    _, complaint = run.communicate()
    raise AssertionError(f"no line with {part!r}: {''.join(told)}{complaint}")


def outcomes(jobs, executor):
    return [(r.key, r.error) for records in executor.run(jobs, False) for r in records]
