"""Decisions: lines that are whole or do not count, and what rows come to."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from dsnet.data.store.decisions import (
    MADE,
    Decision,
    DecisionLog,
    decision_files,
    new_id,
    read_decisions,
)
from dsnet.data.store.verdicts import Verdicts
from fresh_interpreter import PLACES

HOSTILE = [
    "<script>alert(1)</script>",
    "../../etc",
    "\x1b[31mred",
    "a\0b",
    "\u202egpj",
    "a\nb",
    "ä",
]


def verdict(key="k", reader="Ann", said="accept", time="2026-01-01T00:00:00.000+00:00", **rest):
    return Decision(new_id(), "verdict", key, reader, time, verdict=said, **rest)


def undo(row, time="2026-01-02T00:00:00.000+00:00"):
    return Decision(new_id(), "undo", row.key, row.reader, time, undoes=row.id)


def at(minute):
    return f"2026-01-01T00:{minute:02d}:00.000+00:00"


def test_rows_come_back_as_they_were_written(tmp_path):
    log = DecisionLog(tmp_path)
    rows = [
        verdict(key, "Dr. Ö", "reject", log.time(), reason="leaks", comment=key * 3, seconds=1.25)
        for key in HOSTILE
    ]
    for row in rows:
        log.append(row)
    log.append(undo(rows[0], log.time()))
    found = read_decisions(tmp_path)
    assert found.rows[:-1] == rows and found.rows[-1].undoes == rows[0].id
    assert found.torn == found.damaged == []
    (file,) = decision_files(tmp_path)
    lines = file.read_bytes().splitlines()
    assert len(lines) == len(rows) + 1 and file.read_bytes().isascii()
    # The sum is the SHA-256 of the line without it.
    told = json.loads(lines[0])
    rest = lines[0].replace(b'"sum": "%s", ' % told["sum"].encode(), b"")
    assert told["sum"] == hashlib.sha256(rest).hexdigest()[:16]
    assert json.loads(lines[0])["key"] == HOSTILE[0]


def test_nothing_is_made_before_something_is_decided(tmp_path):
    DecisionLog(tmp_path)
    assert list(tmp_path.iterdir()) == [] and read_decisions(tmp_path).rows == []
    assert read_decisions(tmp_path / "none").rows == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"verdict": "maybe"}, "verdict must be one of"),
        ({"reason": "leaks"}, "reason must be one of .* of a reject"),
        ({"verdict": "reject", "reason": "ugly"}, "reason must be one of"),
        ({"version": "../x"}, "version must be 'made' or 16"),
        ({"seconds": -1}, "seconds must be a number"),
        ({"seconds": float("nan")}, "seconds must be a number"),
        ({"seconds": True}, "seconds must be a number"),
        ({"seconds": 10**5000}, "seconds must be a number"),
        ({"comment": "x" * 4001}, "comment must be of at most 4000"),
        ({"comment": 3}, "comment must be a text"),
        ({"id": "a b"}, "id must be 1 to 64"),
        ({"id": "a" * 65}, "id must be 1 to 64"),
        ({"reader": ""}, "reader must not be empty"),
        ({"time": "yesterday"}, "time must be UTC"),
    ],
)
def test_a_row_that_is_none_is_not_written(tmp_path, wrong, told):
    given = {"id": "a", "kind": "verdict", "key": "k", "reader": "r", "time": at(0)}
    row = Decision(**{**given, "verdict": "accept", **wrong})
    with pytest.raises(ValueError, match=told):
        DecisionLog(tmp_path).append(verdict(), row)
    assert decision_files(tmp_path) == []


def test_a_torn_last_line_is_passed_over_and_told(tmp_path):
    log = DecisionLog(tmp_path)
    rows = [verdict(f"k{i}") for i in range(3)]
    log.append(*rows)
    (file,) = decision_files(tmp_path)
    whole = file.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    for cut in (1, 2, len(last) // 2, len(last) - 1):
        file.write_bytes(whole[:-cut])
        found = read_decisions(tmp_path)
        assert [row.key for row in found.rows] == ["k0", "k1"]
        assert len(found.torn) == 1 and str(file) in found.torn[0] and not found.damaged


def test_every_flipped_byte_costs_its_own_line(tmp_path):
    log = DecisionLog(tmp_path)
    log.append(*[verdict(f"k{i}") for i in range(3)])
    (file,) = decision_files(tmp_path)
    whole = file.read_bytes()
    first = whole.index(b"\n") + 1
    second = whole.index(b"\n", first)
    for place in range(first, second):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        file.write_bytes(bytes(damaged))
        found = read_decisions(tmp_path)
        assert {row.key for row in found.rows} == {"k0", "k2"}
        assert found.damaged and all("line" in text for text in found.damaged)


def test_a_row_of_a_later_format_is_told(tmp_path):
    log = DecisionLog(tmp_path)
    log.append(verdict())
    (file,) = decision_files(tmp_path)
    text = b'{"format": 2, "kind": "dance"}'
    digest = hashlib.sha256(text).hexdigest()[:16].encode()
    file.write_bytes(b'{"sum": "%s", %s\n' % (digest, text[1:]))
    assert "its format must be 1" in read_decisions(tmp_path).damaged[0]


def test_a_write_that_fails_does_not_spoil_the_next_row(tmp_path, monkeypatch):
    log = DecisionLog(tmp_path)
    log.append(verdict("a"))
    real = os.write

    def half(descriptor, data):
        if len(data) < 40:
            raise OSError(28, "No space left on device")
        return real(descriptor, data[: len(data) - 30])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", half)
        with pytest.raises(OSError, match=r"No space left on device: '.*/decisions-.*\.jsonl'"):
            log.append(verdict("b"))
    log.append(verdict("c"))
    found = read_decisions(tmp_path)
    # What was written of it is taken back.
    assert {row.key for row in found.rows} == {"a", "c"} and found.torn == []


def test_two_processes_and_many_threads_lose_nothing(tmp_path):
    code = f"""
import sys; sys.path[:0] = {PLACES!r}
from dsnet.data.store.decisions import Decision, DecisionLog, new_id
log = DecisionLog({str(tmp_path)!r})
for i in range(40):
    log.append(Decision(new_id(), "verdict", f"k{{i}}", "Bob", log.time(), verdict="unsure"))
"""
    other = subprocess.Popen([sys.executable, "-c", code])
    log = DecisionLog(tmp_path)

    def write(name):
        for i in range(20):
            log.append(verdict(f"k{i}", name, time=log.time()))

    threads = [threading.Thread(target=write, args=(f"reader {n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert other.wait(timeout=300) == 0
    found = read_decisions(tmp_path)
    assert len(found.rows) == 120 and len({row.id for row in found.rows}) == 120
    assert len(decision_files(tmp_path)) == 2 and not found.damaged and not found.torn


@pytest.mark.parametrize("times", range(3))
def test_killed_at_any_moment_what_was_confirmed_is_there(tmp_path, times):
    """A process tells each row after `append` returned, and is killed somewhere."""
    code = f"""
import sys; sys.path[:0] = {PLACES!r}
from dsnet.data.store.decisions import Decision, DecisionLog
log = DecisionLog({str(tmp_path)!r})
for i in range(10**6):
    log.append(Decision(f"id-{{i}}", "verdict", "k", "Bob", log.time(), verdict="unsure",
                        comment="x" * 3000))
    print(i, flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    confirmed = [int(process.stdout.readline()) for _ in range(20 + 30 * times)]
    os.kill(process.pid, signal.SIGKILL)
    confirmed += [int(line) for line in process.stdout.read().splitlines()]
    process.wait()
    found = read_decisions(tmp_path)
    assert not found.damaged
    assert {f"id-{i}" for i in confirmed} <= {row.id for row in found.rows}


def test_a_clock_that_is_put_back_turns_no_rows_round(tmp_path, monkeypatch):
    from datetime import datetime, timezone

    from dsnet.data.store import decisions

    now = [datetime(2026, 5, 5, 12, tzinfo=timezone.utc)]

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return now[0]

    monkeypatch.setattr(decisions, "datetime", Clock)
    log = DecisionLog(tmp_path)
    first = log.time()
    now[0] = datetime(2026, 5, 5, 11, tzinfo=timezone.utc)
    assert first == "2026-05-05T12:00:00.000+00:00" and log.time() == first
    assert log.time(age=90.0) == "2026-05-05T10:58:30.000+00:00"


def test_what_verdicts_come_to():
    rows = [
        verdict("one", "Ann", "accept", at(0)),
        verdict("one", "Ann", "reject", at(1), reason="leaks"),
        verdict("two", "Ann", "accept", at(2)),
        verdict("two", "Bob", "accept", at(3)),
        verdict("three", "Ann", "accept", at(4)),
        verdict("three", "Bob", "unsure", at(5)),
        verdict("four", "Ann", "accept", at(6)),
        verdict("four", "Bob", "reject", at(7)),
    ]
    found = Verdicts(rows)
    assert [found.state(k) for k in ("one", "two", "three", "four", "five")] == [
        "rejected", "accepted", "unsure", "rejected", "",
    ]  # fmt: skip
    assert found.readers() == ["Ann", "Bob"] and found.standing("one")["Ann"] is rows[1]
    found.take(undo(rows[1]))
    assert found.state("one") == "accepted" and found.is_undone(rows[1])
    assert found.last("Ann") is rows[6] and found.last("Bob") is rows[7]
    found.take(undo(rows[7]))
    assert found.state("four") == "accepted" and found.last("Bob") is rows[5]
    assert found.counts() == {"accepted": 3, "unsure": 1}


def test_a_late_verdict_stands_by_its_time_and_not_by_its_coming():
    late = verdict("k", "Ann", "reject", at(1))
    now = verdict("k", "Ann", "accept", at(5))
    for rows in ([late, now], [now, late]):
        assert Verdicts(rows).state("k") == "accepted"
        assert Verdicts(rows).last("Ann") is now


def test_the_version_of_the_last_accept_counts():
    mend = [
        Decision(
            new_id(), "mend", "k", "Ann", at(i), version=f"{i:016x}", mended_by="brush", base=MADE
        )
        for i in (1, 2)
    ]
    found = Verdicts(mend)
    assert found.version("k") == MADE and found.state("k") == ""
    found.take(verdict("k", "Ann", "accept", at(3), version=mend[0].version))
    assert found.version("k") == mend[0].version
    bob = verdict("k", "Bob", "accept", at(4), version=mend[1].version)
    found.take(bob)
    assert found.version("k") == mend[1].version
    found.take(undo(bob))
    assert found.version("k") == mend[0].version
    found.take(undo(mend[0]))
    assert [row.version for row in found.mended("k")] == [mend[1].version]
    assert found.made("k", mend[0].version) is mend[0]


def test_undoing_everything_at_random_is_as_if_nothing_was():
    found, standing, rng = Verdicts(), [], np.random.default_rng(3)
    for minute in range(50):
        if standing and rng.random() < 0.4:
            row = found.last("Ann")
            assert row is standing.pop()
            found.take(undo(row))
        else:
            row = verdict(f"k{rng.integers(5)}", "Ann", "accept", at(minute))
            standing.append(row)
            found.take(row)
        assert set(found.counts()) <= {"accepted", ""}
        assert {k for k in found.keys if found.state(k)} == {row.key for row in standing}
    while standing:
        found.take(undo(found.last("Ann")))
        standing.pop()
    assert found.last("Ann") is None and not any(found.state(k) for k in found.keys)
