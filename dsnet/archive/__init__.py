"""Label a whole archive into a store: the library under `python -m dsnet.label`.

    from dsnet.archive import label_archive, picture_jobs
    from dsnet.data.datasets.folders import find_image_mask_pictures

    pictures = find_image_mask_pictures("images", "masks")
    summary = label_archive(picture_jobs(pictures), "store", settings={"strategy": "masks"})

`jobs` holds what is labelled, `run` the loop that stores it, `processes` and `gpu` the executors,
`report` what is told of a run and its store. Importing this package loads none of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dsnet.archive.gpu import GpuExecutor
    from dsnet.archive.jobs import (
        DeviceFailure,
        Job,
        PhantomJob,
        PictureJob,
        ReadableJob,
        SliceJob,
        VolumeJob,
        phantom_jobs,
        picture_jobs,
        slice_jobs,
        volume_jobs,
    )
    from dsnet.archive.processes import ProcessExecutor
    from dsnet.archive.run import ArchiveSummary, Executor, Observer, label_archive

__all__ = [
    "ArchiveSummary",
    "DeviceFailure",
    "Executor",
    "GpuExecutor",
    "Job",
    "Observer",
    "PhantomJob",
    "PictureJob",
    "ProcessExecutor",
    "ReadableJob",
    "SliceJob",
    "VolumeJob",
    "label_archive",
    "phantom_jobs",
    "picture_jobs",
    "slice_jobs",
    "volume_jobs",
]

_HOMES = {
    "ArchiveSummary": "run",
    "Executor": "run",
    "GpuExecutor": "gpu",
    "Observer": "run",
    "ProcessExecutor": "processes",
    "label_archive": "run",
}


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'jobs')}"), name)
