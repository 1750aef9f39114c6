"""What the page asks: queue, labels, planes, verdicts, undo; several readers; hostile texts."""

import numpy as np
import pytest

from dsnet.data.store import open_store
from dsnet.data.store.decisions import read_decisions
from review_desk import labelled, planes


@pytest.fixture
def ann(open_review):
    return open_review()[1]("Ann")


def test_the_worst_comes_first_and_what_was_decided_no_more(ann, store):
    # What has no score is before all: index 10 has no label.
    assert ann.indices(count=4) == [10, 9, 8, 7]
    items = ann.ask("queue", count=2)["items"]
    assert items[0] == {"key": "failed", "index": 10, "position": 0, "expected_dice": None}
    assert items[1] == {"key": "k9", "index": 9, "position": 1, "expected_dice": 0.9}
    assert ann.indices(after=8, count=50) == [7, 6, 5, 4, 3, 2, 1, 0]
    assert ann.indices(after=0) == []
    told = ann.tell("label/9/verdict", verdict="accept", seconds=2.0)
    assert (told["reviewed"], told["mine"], told["left"], told["count"]) == (1, 1, 10, 11)
    assert (told["rate_per_hour"], told["seconds_left"]) == (1800.0, 20.0)
    assert ann.indices(count=3) == [10, 8, 7]
    (row,) = read_decisions(store).rows
    assert (row.key, row.reader, row.verdict, row.seconds) == ("k9", "Ann", "accept", 2.0)


def test_a_label_in_words(ann):
    told = ann.ask("label/3")
    record = labelled("k3", 3)
    assert told["key"] == "k3" and told["index"] == 3 and told["status"] == "ok"
    assert (told["height"], told["width"]) == (48, 48) and told["spacing"] == [0.7, 0.7]
    assert np.allclose(told["mark"], record.mark) and told["scores"]["expected_dice"] == 0.96
    assert told["type"] == "lung" and ["dice", "0.5"] in told["metadata"]
    assert [v["version"] for v in told["versions"]] == ["made"] and told["version"] == "made"
    assert told["decisions"] == [] and not told["has_source"]
    assert told["slices"] == {"below": 0, "above": 0}
    ann.ask("label/11", 404)
    failed = ann.ask("label/10")
    assert (failed["status"], failed["error"], failed["mark"]) == ("failed", "no mark", None)
    assert not failed["has_mask"]


def test_planes_are_the_stores(ann, store):
    record = open_store(store).read(2)
    found = planes(ann.ask("label/2/planes"))
    assert list(found) == ["image", "alpha", "trimap", "binary"]
    for name, plane in (("image", record.image), ("alpha", record.alpha)):
        most = 65535 if name == "image" else 255
        assert np.abs(found[name] / most - plane).max() <= 0.5 / most + 1e-6
    assert np.array_equal(found["alpha"] >= 128, record.binary)
    assert np.array_equal(found["binary"], record.binary)
    assert np.array_equal(found["trimap"], record.trimap)
    assert list(planes(ann.ask("label/10/planes"))) == ["image"]
    ann.ask("label/2/planes", 400, version="0" * 16)


def test_truth_has_a_plane(open_review, write_store):
    truth = np.zeros((48, 48), bool)
    truth[3:9, 4:7] = True
    _, reader = open_review(write_store([labelled("k", truth=truth)], "masks"))
    assert np.array_equal(planes(reader().ask("label/0/planes"))["truth"], truth)


def test_a_label_is_lent_to_one_reader_at_a_time(open_review):
    now = [0.0]
    _, reader = open_review(clock=lambda: now[0])
    ann, bob = reader("Ann"), reader("Bob")
    assert ann.indices(count=3) == [10, 9, 8] and bob.indices(count=3) == [7, 6, 5]
    assert ann.indices(count=3) == [10, 9, 8]  # Asked again: still before her.
    assert bob.ask("label/9")["lent_to"] == "Ann"
    now[0] = 60.0
    assert ann.tell("lease", indices=[10, 9, 7, 99])["held"] == [10, 9]
    assert ann.tell("lease", keys=["k9", "none", 3])["held"] == [9]
    now[0] = 100.0  # Ann's 8 and Bob's ran out.
    assert bob.indices(count=2) == [8, 7]
    ann.tell("release", keys=["k9"])
    assert bob.indices(count=2) == [9, 8]
    # What is decided counts, whoever holds the label.
    bob.tell("label/10/verdict", verdict="unsure")
    assert 10 not in ann.indices(count=50)


def test_of_several_readings_each_reader_gets_the_label(open_review):
    review, reader = open_review(readings=2)
    ann, bob, eve = reader("Ann"), reader("Bob"), reader("Eve")
    ann.tell("label/9/verdict", verdict="accept")
    assert 9 not in ann.indices() and 9 in bob.indices(count=50)
    told = bob.tell("label/9/verdict", verdict="reject", reason="leaks")
    assert told["reviewed"] == 1 and review.verdicts.state("k9") == "rejected"
    bob.tell("release", indices=list(range(11)))
    assert 9 not in eve.indices(count=50)
    names = {r["name"]: r["decided"] for r in ann.ask("session")["readers"]}
    assert names == {"Ann": 1, "Bob": 1}


def test_undo_has_no_limit_and_goes_over_sessions(open_review, store):
    ann = open_review()[1]("Ann")
    for index in (10, 9, 8):
        ann.tell(f"label/{index}/verdict", verdict="reject", reason="too-small", comment="c")
    version = ann.tell("label/7/mend", threshold=0.3)["version"]
    ann = open_review()[1]("Ann")
    bob = open_review()[1]("Bob")
    told = ann.tell("undo")
    assert (told["index"], told["kind"]) == (7, "mend")
    assert [ann.tell("undo", decision=None)["index"] for _ in range(3)] == [8, 9, 10]
    assert ann.tell("undo", 404) == {"error": "nothing is left to undo"}
    assert bob.tell("undo", 404)
    assert ann.ask("session")["reviewed"] == 0
    label = ann.ask("label/9")
    assert [d["kind"] for d in label["decisions"]] == ["undone"]
    assert [v["version"] for v in ann.ask("label/7")["versions"]] == ["made"]
    # Nothing is erased: the version's planes are still to be had.
    assert planes(ann.ask("label/7/planes", version=version))
    assert [row.kind for row in read_decisions(store).rows].count("undo") == 4


def test_a_row_of_ones_own_is_undone_by_its_id(open_review):
    _, reader = open_review()
    ann, bob = reader("Ann"), reader("Bob")
    first = ann.tell("label/9/verdict", verdict="accept")["decision"]
    ann.tell("label/8/verdict", verdict="accept")
    assert "own" in bob.tell("undo", 409, decision=first)["error"]
    told = ann.tell("undo", decision=first)
    assert told["index"] == 9 and told["undone"] == first and told["decision"]["kind"] == "undone"
    assert ann.tell("undo", decision=first)["undone"] == first  # Again: nothing more happens.
    assert ann.tell("undo")["index"] == 8
    assert ann.tell("undo", 404, decision="nobody-s")


def test_what_is_sent_twice_counts_once(open_review, store):
    _, reader = open_review()
    ann = reader("Ann")
    for _ in range(3):
        told = ann.tell("label/9/verdict", verdict="accept", id="one-1")
        assert told["decision"] == "one-1" and told["reviewed"] == 1
    for _ in range(3):
        mended = ann.tell("label/8/mend", threshold=0.4, id="two-2")
    assert len(mended["versions"]) == 2
    for _ in range(3):
        assert ann.tell("undo", decision="one-1", id="three-3")["undone"] == "one-1"
    assert [row.id for row in read_decisions(store).rows] == ["one-1", "two-2", "three-3"]
    # Also by a server that was started anew.
    again = open_review()[1]("Ann")
    assert again.tell("label/9/verdict", verdict="accept", id="one-1")["decision"] == "one-1"
    assert len(read_decisions(store).rows) == 3
    for path, body in (
        ("label/8/verdict", {"verdict": "accept"}),
        ("label/9/mend", {"threshold": 0.4}),
        ("undo", {}),
    ):
        assert "id must be new" in ann.tell(path, 409, id="one-1", **body)["error"]
    assert (
        "id must be new"
        in reader("Bob").tell("label/9/verdict", 409, verdict="accept", id="one-1")["error"]
    )


def test_a_verdict_with_a_mend_is_on_what_was_mended(open_review, store):
    review, reader = open_review()
    ann = reader("Ann")
    told = ann.tell("label/9/verdict", verdict="accept", mend={"threshold": 0.25}, id="v")
    assert review.verdicts.version("k9") == told["version"] != "made"
    again = ann.tell("label/9/verdict", verdict="accept", mend={"threshold": 0.25}, id="v")
    assert again["version"] == told["version"]
    assert [row.kind for row in read_decisions(store).rows] == ["mend", "verdict"]
    alpha = open_store(store).read("k9").alpha
    binary = planes(ann.ask("label/9/planes", version=told["version"]))["binary"]
    assert np.array_equal(binary, alpha >= np.float32(0.25))
    assert [ann.tell("undo")["kind"] for _ in range(2)] == ["verdict", "mend"]


def test_a_failed_row_is_rejected_or_drawn_and_not_accepted(ann):
    assert "no mask" in ann.tell("label/10/verdict", 400, verdict="accept")["error"]
    ann.tell("label/10/verdict", verdict="reject", reason="no-lesion")
    mark = labelled("k", 11).mark.tolist()
    told = ann.tell("label/10/verdict", verdict="accept", mend={"mark": mark})
    label = ann.ask("label/10")
    assert label["status"] == "ok" and label["version"] == told["version"]
    assert np.allclose(label["mark"], mark) and label["has_mask"]


def test_a_blind_review_tells_no_score(open_review):
    _, reader = open_review(order="random", blind=True, sample=5, seed=4)
    ann = reader("Ann")
    session = ann.ask("session")
    assert session["blind"] and session["count"] == 5 and session["histogram"] is None
    assert "expected-dice" not in session["orders"]
    assert {item["expected_dice"] for item in ann.ask("queue")["items"]} == {None}
    assert {item["expected_dice"] for item in ann.ask("list")["items"]} == {None}
    for index in ann.indices():
        label = ann.ask(f"label/{index}")
        assert label["scores"] == {} and "dice" not in dict(label["metadata"])
    assert ann.ask("queue", 400, order="expected-dice")
    told = ann.tell(f"label/{ann.indices()[0]}/verdict", verdict="accept")
    assert told["histogram"] is None


def test_a_sample_is_the_same_ones_again(open_review):
    chosen = [open_review(sample=4, seed=s)[0].view().order.tolist() for s in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2] and len(chosen[0]) == 4
    assert open_review(sample=400)[0].count == 11


def test_the_list_goes_through_the_order(ann):
    ann.tell("label/9/verdict", verdict="reject", reason="leaks")
    told = ann.ask("list", start=1, count=3)
    assert told["count"] == 11
    assert [item["index"] for item in told["items"]] == [9, 8, 7]
    assert [item["position"] for item in told["items"]] == [1, 2, 3]
    assert told["items"][0]["verdict"] == "rejected" and told["items"][0]["mine"] == "reject"
    assert told["items"][1]["verdict"] is None and told["items"][1]["mine"] is None
    assert ann.ask("list", start=11)["items"] == []


def test_of_a_type_alone(open_review, write_store):
    types = ["lung", "liver", "lung", "bone"]
    records = [
        labelled(f"k{i}", i, metadata={"lesion_type": name}, source=f"s{i % 2}.png")
        for i, name in enumerate(types)
    ]
    _, reader = open_review(write_store(records, "types"))
    ann = reader("Ann")
    session = ann.ask("session")
    assert session["types"][0] == {"name": "lung", "count": 2} and len(session["types"]) == 3
    assert sorted(ann.indices(type="lung")) == [0, 2]
    assert sorted(ann.indices(source="s1.png")) == [1, 3]
    assert ann.indices(type="lung", source="s1.png") == [] == ann.indices(type="kidney")
    by_type = ann.ask("list", order="type")["items"]
    assert [item["index"] for item in by_type][:2] == [3, 1]
    assert ann.ask("list", 400, order="by size")


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("label/1/verdict", {"verdict": "yes"}, "verdict must be one of"),
        ("label/1/verdict", {}, "verdict must be one of"),
        ("label/1/verdict", {"verdict": "reject", "reason": "ugly"}, "reason must be one of"),
        ("label/1/verdict", {"verdict": 3}, "verdict must be a text"),
        ("label/1/verdict", {"verdict": "accept", "seconds": "2"}, "seconds must be a number"),
        ("label/1/verdict", {"verdict": "accept", "age": -1}, "age must be"),
        ("label/1/verdict", {"verdict": "accept", "version": "../x"}, "version must be"),
        ("label/1/verdict", {"verdict": "reject", "version": "0" * 16}, "version must be"),
        ("label/1/verdict", {"verdict": "accept", "id": "a/b"}, "id must be"),
        ("label/1/verdict", {"verdict": "accept", "comment": "x" * 4001}, "comment must be"),
        ("label/1/verdict", {"verdict": "accept", "mend": []}, "mend must be a JSON object"),
        ("label/1/mend", {}, "must be given"),
        ("label/1/mend", {"mark": [1, 2, 3]}, "mark must be 8 numbers"),
        ("label/1/mend", {"mark": [1, 2, 3, "4", 5, 6, 7, 8]}, "mark must be finite numbers"),
        (
            "label/1/mend",
            {"mark": [900, 900, 950, 950, 925, 900, 925, 950]},
            "mark must touch the image",
        ),
        ("label/1/preview", {"mark": [10**400] * 8}, "mark must be finite numbers"),
        ("label/1/preview", {"threshold": 1}, "threshold must be"),
        ("label/1/preview", {"threshold": 0.5, "base": "0" * 16}, "version must be"),
        ("label/10/preview", {"threshold": 0.5}, "no soft mask"),
        ("label/1/preview", {"strokes": []}, "strokes must be"),
        ("label/1/preview", {"strokes": [{"add": 1}]}, "add"),
        (
            "label/1/preview",
            {"strokes": [{"add": True, "radius": 0, "points": [[1, 1]]}]},
            "radius must be",
        ),
        (
            "label/1/preview",
            {"strokes": [{"add": True, "radius": 2, "points": [[1, None]]}]},
            "points must be",
        ),
        (
            "label/1/preview",
            {"strokes": [{"add": True, "radius": 2, "points": [[1, 10**400]]}]},
            "points must be",
        ),
    ],
)
def test_what_is_wrong_is_told_in_a_line_and_kept_nowhere(ann, store, path, body, told):
    error = ann.tell(path, 400, **body)["error"]
    assert told in error and "\n" not in error
    assert read_decisions(store).rows == []


def test_a_key_of_another_label_is_refused(ann, store):
    assert "key must be" in ann.tell("label/1/verdict", 409, verdict="accept", key="k2")["error"]
    assert ann.tell("label/1/mend", 409, threshold=0.4, key="k2")
    assert ann.tell("label/1/verdict", verdict="accept", key="k1")


def test_hostile_texts_come_back_as_they_are_and_name_no_file(open_review, write_store):
    keys = [
        "<script>alert(1)</script>",
        "../../../etc/passwd",
        "\x1b]0;own\x07",
        "a\0b",
        "\u202egpj",
    ]
    records = [
        labelled(key, i, source=key, notes=(key,), metadata={key: key, "lesion_type": key})
        for i, key in enumerate(keys)
    ]
    path = write_store(records, "hostile")
    ann = open_review(path)[1]("Ann")
    for index, key in enumerate(keys):
        label = ann.ask(f"label/{index}")
        assert label["key"] == label["source"] == key and label["notes"] == [key]
        assert label["type"] == key and [key, key] in label["metadata"]
        assert not label["has_source"]
        ann.ask(f"label/{index}/surroundings", 404)
        ann.tell(f"label/{index}/mend", threshold=0.4, comment=key)
        ann.tell(f"label/{index}/verdict", verdict="unsure", comment=key, key=key)
        ann.tell("lease", keys=[key])
    names = sorted(p.name for p in (path / "_review").iterdir())
    assert len(names) == 6 and all(n.startswith(("decisions-2", "version-")) for n in names)
    again = open_review(path)[1]("Ann")
    assert [again.ask(f"label/{i}")["decisions"][0]["comment"] for i in range(5)] == keys
    assert {item["key"] for item in again.ask("list")["items"]} == set(keys)


@pytest.mark.parametrize("name", ["", " ", "a\0b", "\x1b[1m", "a\u202eb", "x" * 81, "%ff"])
def test_a_reader_has_a_name_that_can_be_shown(open_review, name):
    _, reader = open_review()
    someone = reader("Ann")
    from urllib.parse import quote

    someone.headers["X-DSNet-Reader"] = name if name == "%ff" else quote(name)
    assert "X-DSNet-Reader" in someone.ask("queue", 400)["error"]
    assert "X-DSNet-Reader" in someone.tell("label/1/verdict", 400, verdict="accept")["error"]


def test_a_full_disk_is_told_and_the_verdict_does_not_count(ann, store, monkeypatch):
    import os

    def full(descriptor, data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        error = ann.tell("label/9/verdict", 507, verdict="accept", id="x")["error"]
    assert error.startswith("not kept:") and "No space left" in error
    assert ann.ask("session")["reviewed"] == 0
    assert list((store / "_review").iterdir()) == []
    ann.tell("label/9/verdict", verdict="accept", id="x")
    assert [row.id for row in read_decisions(store).rows] == ["x"]


def test_a_disk_that_fills_in_the_middle_of_a_row_leaves_the_rows_before(ann, store, monkeypatch):
    import os

    write = os.write

    def fills(descriptor, data):
        if len(data) < 40:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:30])

    ann.tell("label/9/verdict", verdict="accept", id="x")
    (file,) = (store / "_review").iterdir()
    before = file.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", fills)
        for _ in range(3):
            ann.tell("label/8/verdict", 507, verdict="accept", id="y")
    assert list((store / "_review").iterdir()) == [file] and file.read_bytes() == before
    ann.tell("label/8/verdict", verdict="accept", id="y")
    found = read_decisions(store)
    assert [row.id for row in found.rows] == ["x", "y"] and found.torn == found.damaged == []


def test_a_store_that_cannot_be_read_is_told_so(ann, store):
    for file in store.glob("shard-*"):
        file.unlink()
    assert ann.ask("label/9", 507)["error"].startswith("cannot be read:")
