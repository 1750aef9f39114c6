"""Files of a store that are no files, that were changed, or that point out of it."""

import hashlib
import json
import os

import pytest
from store_rows import keys_of, rows_of, write

from dsnet import label
from dsnet.data.store import StoreWriter, open_store, repair_store, validate_store
from dsnet.data.store.decisions import REVIEW, read_decisions
from dsnet.data.store.entries import describe
from dsnet.data.store.journal import JOURNAL, JournalWriter
from dsnet.data.store.manifest import MANIFEST, digest_of, read_state


def changed(file, old, new):
    data = file.read_bytes()
    assert old in data and len(old) == len(new)
    file.write_bytes(data.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"crop": 64', b'"crop": 65'),
        (b'"alpha_bits": 16', b'"alpha_bits":  8'),
        (b'"rows": 9', b'"rows": 8'),
    ],
)
def test_a_changed_manifest_is_told_and_made_anew(tmp_path, old, new):
    path = tmp_path / "s"
    with StoreWriter(path, {"crop": 64}) as writer:
        for record in open_store(write(tmp_path / "t", range(9)).path).records():
            writer.append(record)
    before = rows_of(path)
    changed(path / MANIFEST, old, new)
    (problem,) = validate_store(path)
    assert problem.endswith("_manifest.parquet is damaged: its text is not what was written")
    with pytest.raises(ValueError, match=r"not what was written.*check STORE --repair"):
        open_store(path)
    repair_store(path)
    assert rows_of(path) == before and validate_store(path) == []
    assert open_store(path).manifest["settings"] == {"crop": 64}
    assert open_store(path).alpha_bits == 16


@pytest.mark.parametrize("staged", ["../theirs", "/etc/theirs", ".merge-../../theirs", None, 7])
def test_a_journal_moves_no_file_from_elsewhere(tmp_path, staged):
    path = write(tmp_path / "s", range(2)).path
    theirs = tmp_path / "theirs"
    theirs.write_bytes((path / "shard-00000.parquet").read_bytes())
    entry = describe(theirs, keys_of([0]), ["ok"], "shard-00000.parquet")
    state = read_state(path)
    journal = JournalWriter(path, state.base)
    counts = state.manifest["counts"]
    journal.append([{"shard": entry, "gone": [], "staged": staged, "counts": counts}])
    journal.close()
    with pytest.raises(ValueError, match=f"{JOURNAL} is damaged: line 2 is none"):
        StoreWriter(path, {}, resume=True)
    assert theirs.exists() and validate_store(path)


def test_a_line_of_a_journal_that_is_no_json_is_told(tmp_path):
    path = write(tmp_path / "s", range(2)).path
    journal = JournalWriter(path, read_state(path).base)
    journal.append([{"counts": {}}])
    journal.close()
    data = (path / JOURNAL).read_bytes()
    text = b'{"counts":{}}'
    for wrong in (b"[" * len(text), b"{" * len(text), b"9" * len(text)):
        sums = [hashlib.sha256(t).hexdigest()[:16].encode() for t in (text, wrong)]
        (path / JOURNAL).write_bytes(data.replace(sums[0], sums[1]).replace(text, wrong))
        (problem,) = validate_store(path)
        assert f"{JOURNAL} is damaged" in problem


ODD = ["shard-00001.parquet", JOURNAL, "_keys-00000.parquet", f"{REVIEW}/decisions-1-a.jsonl"]


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_told_and_never_waited_for(tmp_path, name, kind, capsys):
    path = write(tmp_path / "s", range(2)).path
    (path / REVIEW).mkdir()
    file = path / name
    file.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    else:
        file.mkdir()
    problems = validate_store(path)
    if name.startswith("_keys"):  # A copy of what the shards say.
        assert not problems and open_store(path).keys == keys_of(range(2))
        return
    assert any(file.name in problem for problem in problems)
    assert label.main(["check", str(path)]) == 1
    if name.startswith(REVIEW):
        assert read_decisions(path).damaged == [f"{file}: must be a regular file"]
    if kind == "folder":
        return
    assert label.main(["check", str(path), "--repair"]) in (0, 1)
    assert validate_store(path) == []
    kept = keys_of([0] if name.startswith("shard") else range(2))
    assert open_store(path).keys == kept
    assert "Traceback" not in capsys.readouterr().err


def test_a_manifest_of_an_older_version_has_no_sum(tmp_path):
    path = write(tmp_path / "s", range(3)).path
    text = json.dumps(read_state(path).manifest, indent=1)
    digest = digest_of(text).encode()
    assert digest in (path / MANIFEST).read_bytes()
    changed(path / MANIFEST, b"dsnet.sum", b"dsnet.xxx")
    assert validate_store(path) == [] and open_store(path).keys == keys_of(range(3))
