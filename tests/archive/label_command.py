"""The label command as its tests run it, and what they compare."""

import subprocess
import sys

from dsnet.archive.processes import Stop, run_jobs
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


def command(*arguments, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "dsnet.label", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def outcomes(jobs, workers):
    with Stop() as stop:
        return [(r.key, r.error) for records in run_jobs(jobs, workers, stop) for r in records]
