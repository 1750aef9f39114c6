"""Many small shards of a store made few; killed at any moment, it has every row once.

    1. the merged shard is written as `.merge-...`, synced
    2. a line of the journal says that it stands for its parts: from here on the rows are in it
    3. it gets the name of its first part, the other parts are removed
    4. the manifest is written, the journal removed

Killed before 2, the next writer removes it; after 2, that writer does 3 and 4 (`roll_forward`), and
whoever reads until then takes the merged file and passes over the parts.
"""

from __future__ import annotations

import os
from pathlib import Path

from dsnet.data.store.manifest import State, read_state, write_manifest
from dsnet.data.store.record import usual_score_columns
from dsnet.files import sync

MERGE = ".merge-"


def roll_forward(path: Path) -> None:
    """Finish what a killed compaction has begun; for the one that holds the lock.

    Raises
    ------
    OSError
        When a file cannot be renamed or removed.
    """
    try:
        state = read_state(path)
    except ValueError:
        return  # Whoever opens the store says what is wrong.
    if state.moved or state.gone:
        finish(path, state)
    for name in os.listdir(path):
        if name.startswith(MERGE):
            Path(path, name).unlink(missing_ok=True)


def finish(path: Path, state: State) -> None:
    """Give merged shards their names, remove their parts, and say so in the manifest."""
    for name, moved in state.moved.items():
        if (path / moved).exists():
            os.replace(path / moved, path / name)
    for name in state.gone - state.moved.keys():
        (path / name).unlink(missing_ok=True)
    sync(path)
    write_manifest(path, state.manifest, usual_score_columns())
    state.moved, state.gone = {}, set()
