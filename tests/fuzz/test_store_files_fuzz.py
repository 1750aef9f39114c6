"""Every file of a store damaged: what is read is what was written, or something is told.

Journals, files of keys, what a killed compaction left, decisions and mended labels. `pytest
tests/fuzz --long` tries a tenth of DSNET_FUZZ_ROWS of each. A failure names the seed and the row
that make the same case again.
"""

import logging
import os
import shutil

import numpy as np
import pytest
from fuzz import random_stores as stores
from fuzz.random_stores import one_thread  # noqa: F401

from dsnet.data.store import StoreWriter, open_store, repair_store, validate_store
from dsnet.data.store.decisions import read_decisions
from dsnet.data.store.manifest import read_state
from dsnet.data.store.record import encode
from dsnet.data.store.reviewed import open_reviewed

ROWS = int(os.environ.get("DSNET_FUZZ_ROWS", 100_000)) // 10
COLUMNS = ["key", "status", "error", "mark", "quality_overall", "metadata"]


class Whole:
    """What a store held before it was damaged."""

    def __init__(self, path):
        store = open_store(path)
        self.rows = {found.key: encode(found, 16) for found in store.records()}
        self.table = {row["key"]: str(row) for row in store.table(COLUMNS).to_pylist()}
        state = read_state(path)
        self.replaced = state.gone | state.moved.keys()  # a killed compaction's parts
        self.settings = store.manifest["settings"]
        self.decisions = {row.id: row for row in read_decisions(path).rows}
        self.reviewed = {found.key: encode(found, 16) for found in open_reviewed(path).records()}


def attempt(call, *arguments, **options):
    """What comes, or the error in words that may come instead."""
    try:
        return call(*arguments, **options)
    except (ValueError, OSError) as error:
        assert type(error) in (ValueError, FileNotFoundError, OSError), repr(error)
        assert str(error)
        return error


def require_right(path, whole, told):
    """What is read is what was written; what is not there is told."""
    found = attempt(read_decisions, path)
    if not isinstance(found, Exception):
        assert all(whole.decisions[row.id] == row for row in found.rows)
        assert len(found.rows) == len(whole.decisions) or found.torn or told
    store = attempt(open_store, path)
    if isinstance(store, Exception):
        assert told
        return
    assert store.alpha_bits == 16 and store.manifest["settings"] == whole.settings
    read = {key: attempt(store.read, key) for key in attempt_keys(store)}
    good = {key: row for key, row in read.items() if not isinstance(row, Exception)}
    assert all(encode(row, 16) == whole.rows[key] for key, row in good.items())
    assert good.keys() == whole.rows.keys() or told
    records = attempt(lambda: list(store.records()))
    if not isinstance(records, Exception):
        of_row = {
            found.key: found for found in records if "damaged in the store" not in found.error
        }
        assert all(encode(row, 16) == whole.rows[key] for key, row in of_row.items())
        assert of_row.keys() == whole.rows.keys() or told
    table = attempt(lambda: store.table(COLUMNS).to_pylist())
    if not isinstance(table, Exception):
        assert all(whole.table[row["key"]] == str(row) for row in table)
        assert len(table) == len(whole.table) or told
    left = attempt(lambda: list(open_reviewed(path).records()))
    for label in [] if isinstance(left, Exception) else left:
        if "damaged in the store" not in label.error and not found.damaged and not found.torn:
            assert encode(label, 16) == whole.reviewed[label.key]


def attempt_keys(store):
    keys = attempt(lambda: store.keys)
    return [] if isinstance(keys, Exception) else keys


def go_on(path, whole, told):
    """A run that resumes: it knows the rows that are there, or refuses."""
    writer = attempt(StoreWriter, path, stores.SETTINGS, resume=True)
    if isinstance(writer, Exception):
        assert told
        return
    try:
        known = attempt(lambda: {key for key in [*whole.rows, "other"] if key in writer.done})
        if not isinstance(known, Exception):
            assert known <= whole.rows.keys()
            assert known == whole.rows.keys() or told
    finally:
        attempt(writer.close)


def mend(path, whole):
    """A repair leaves what is sound, of a row what was written; and a run goes on with it."""
    if isinstance(attempt(repair_store, path), Exception):
        return
    assert validate_store(path) == []
    for key in open_store(path).keys:
        assert encode(open_store(path).read(key), 16) == whole.rows[key]
    found = read_decisions(path)
    assert not found.damaged and all(whole.decisions[row.id] == row for row in found.rows)
    writer = attempt(StoreWriter, path, stores.SETTINGS, resume=True)
    if not isinstance(writer, Exception):
        assert set(writer.done) <= whole.rows.keys()
        writer.close()
        assert validate_store(path) == []


def bad_bytes(rng, path, whole, caplog):
    file = stores.pick(rng, stores.files_of(path))
    before = file.read_bytes()
    stores.damage(rng, file)
    caplog.clear()
    problems = validate_store(path)
    assert all(isinstance(problem, str) for problem in problems)
    told = bool(problems or caplog.messages)
    if file.name.startswith(("shard-", "version-")) and file.read_bytes() != before:
        assert told or file.name in whole.replaced
    require_right(path, whole, told or file.suffix == ".jsonl")
    if rng.random() < 0.5:
        go_on(path, whole, told)
    mend(path, whole)


def bad_words(rng, path, whole, caplog):
    names = ("_journal", "_keys-", "decisions-")
    files = [file for file in stores.files_of(path) if file.name.startswith(names)]
    stores.damage_in_words(rng, stores.pick(rng, files))
    assert all(isinstance(problem, str) for problem in validate_store(path))
    store = attempt(open_store, path)
    if not isinstance(store, Exception):
        for key in [*attempt_keys(store)[:3], "other"]:
            attempt(lambda key=key: key in store and store.read(key))
        attempt(lambda: list(store.records()))
        attempt(lambda: store.table(COLUMNS))
    attempt(lambda: list(open_reviewed(path).records()))
    if rng.random() < 0.5:
        writer = attempt(StoreWriter, path, stores.SETTINGS, resume=True)
        if not isinstance(writer, Exception):
            attempt(lambda: "other" in writer.done)
            attempt(writer.close)
    attempt(repair_store, path)


KINDS = {"bytes": bad_bytes, "words": bad_words}


@pytest.fixture(scope="module", params=stores.STATES)
def state(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param) / "store"
    stores.STATES[request.param](path)
    assert validate_store(path) == []
    return path


def fuzz(state, tmp_path, caplog, name, seed, count):
    caplog.set_level(logging.WARNING)
    whole = Whole(state)
    outside = tmp_path / "outside"
    outside.write_bytes(b"whose")
    for row in range(count):
        path = tmp_path / "work" / "store"
        shutil.copytree(state, path)
        try:
            KINDS[name](np.random.default_rng([seed, row]), path, whole, caplog)
            assert outside.read_bytes() == b"whose"
        except Exception as error:
            raise AssertionError(f"{name}: seed {seed}, row {row}: {error!r}") from error
        shutil.rmtree(path.parent)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", KINDS)
def test_random_damage(state, tmp_path, caplog, name):
    fuzz(state, tmp_path, caplog, name, seed=1, count=6)


@pytest.mark.long
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", KINDS)
def test_much_random_damage(state, tmp_path, caplog, name):
    fuzz(state, tmp_path, caplog, name, seed=2, count=-(-ROWS // len(stores.STATES)))
