"""A store of keyed hashes, exported by who has the secret and the images.

Public
------
``require_key(store, naming)``
``Unhashed``: its rows, with the UIDs of the images that they were made of
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dsnet.console import UserError

if TYPE_CHECKING:
    from dsnet.archive.naming import Naming
    from dsnet.data.dicom.index import SeriesIndex
    from dsnet.data.store.reader import LabelStore
    from dsnet.data.store.record import LabelRecord


def require_key(store: LabelStore, naming: Naming) -> None:
    """UserError where the store's hashes are of another secret than `naming` has."""
    made_with = store.manifest["settings"].get("hash_key")
    given = naming.settings.get("hash_key")
    if made_with and not given:
        raise UserError(
            "--hash-key must be the file that the store was made with: its UIDs are keyed hashes"
        )
    if given and not made_with:
        raise UserError("--hash-key must be left out: the store was made without one")
    if given != made_with:
        raise UserError("--hash-key must be the secret that the store was made with, got another")


class Unhashed:
    """The rows of a store of keyed hashes under the UIDs of the images; elsewhere it is the store.

    A row whose slice is not among the images keeps its hashes.

    Parameters
    ----------
    store : LabelStore
    naming : Naming
        With the secret that it was made with.
    images : SeriesIndex
    """

    def __init__(self, store: LabelStore, naming: Naming, images: SeriesIndex) -> None:
        self._store, self._naming, self._images = store, naming, images
        self._series = {naming.uid(uid): uid for uid in images}

    @property
    def path(self) -> Path:
        """The store's."""
        return self._store.path

    def records(self, status: str | None = None) -> Iterator[LabelRecord]:
        """As `LabelStore.records`."""
        for record in self._store.records(status):
            told = record.metadata
            series = self._series.get(told.get("series_uid"))
            if series is not None:
                instances = self._instances(series)
                instance = told.get("instance_uid")
                told["series_uid"] = series
                told["instance_uid"] = instances.get(instance, instance)
            yield record

    @functools.lru_cache(maxsize=16)  # noqa: B019
    def _instances(self, series: str) -> dict[str | None, str]:
        uids = {entry.instance_uid for entry in self._images.series(series)}
        return {self._naming.uid(uid): uid for uid in uids}
