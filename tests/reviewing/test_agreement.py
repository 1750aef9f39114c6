"""The report: kappa, Dice, times and calibration, each against numbers by hand."""

from statistics import NormalDist

import cv2
import numpy as np
import pytest

from dsnet import review
from dsnet.data.store import open_store
from dsnet.data.store.verdicts import Verdicts
from dsnet.reviewing.agreement import agreement, kappa, wilson


def of(review_and_reader):
    opened = review_and_reader[0]
    return agreement(opened.store, opened.verdicts)


def test_kappa_of_a_table_by_hand():
    # 20 both accept, 5 + 10 differ, 15 both reject: observed 0.7, by chance 0.5.
    first = ["accept"] * 25 + ["reject"] * 25
    second = ["accept"] * 20 + ["reject"] * 5 + ["accept"] * 10 + ["reject"] * 15
    assert kappa(first, second) == pytest.approx(0.4)
    assert kappa(first, first) == 1.0 and kappa([], []) is None
    assert kappa(["accept"] * 3, ["accept"] * 3) is None
    assert kappa(["accept", "reject"], ["reject", "accept"]) == -1.0


def test_kappa_is_that_of_the_confusion_matrix():
    random, names = np.random.default_rng(0), ("accept", "reject", "unsure")
    for count in (1, 2, 7, 200):
        a, b = random.integers(0, 3, (2, count))
        matrix = np.zeros((3, 3))
        np.add.at(matrix, (a, b), 1)
        expected = np.outer(matrix.sum(1), matrix.sum(0)) / count
        off = 1 - np.eye(3)  # As scikit-learn: 1 - disagreement seen / expected.
        if (expected * off).sum() == 0:
            assert kappa([names[i] for i in a], [names[i] for i in b]) is None
            continue
        wanted = 1 - (matrix * off).sum() / (expected * off).sum()
        assert kappa([names[i] for i in a], [names[i] for i in b]) == pytest.approx(wanted)


def test_wilsons_interval_solves_its_equation():
    z = NormalDist().inv_cdf(0.975)
    for count in (1, 5, 40):
        for successes in range(count + 1):
            share = successes / count
            for end in wilson(successes, count):
                if 0 < end < 1:
                    assert abs(share - end) == pytest.approx(z * (end * (1 - end) / count) ** 0.5)
    low, high = wilson(0, 10)
    assert low == 0 and high == pytest.approx(0.27753, abs=1e-5)
    assert wilson(0, 0) == (None, None)


def test_two_readers(open_review):
    opened = open_review(readings=2)
    ann, bob = opened[1]("Ann"), opened[1]("Bob")
    said = {
        "Ann": ["accept", "accept", "reject", "unsure", "accept"],
        "Bob": ["accept", "reject", "reject", "accept"],
    }
    for reader, verdicts in ((ann, said["Ann"]), (bob, said["Bob"])):
        for index, verdict in enumerate(verdicts):
            reason = "leaks" if verdict == "reject" else None
            reader.tell(
                f"label/{index}/verdict", verdict=verdict, reason=reason, seconds=1.0 + index
            )
    told = of(opened)
    assert told["labels"] == {"all": 11, "accepted": 2, "rejected": 2, "unsure": 1, "left": 6}
    (pair,) = told["pairs"]
    assert pair["readers"] == ["Ann", "Bob"] and pair["labels"] == 4 and pair["agreed"] == 0.5
    # By chance: accept 2/4 * 2/4, reject 1/4 * 2/4.
    assert pair["kappa"] == pytest.approx((0.5 - 0.375) / (1 - 0.375))
    names = ("name", "verdicts", "accept", "median_seconds")
    rows = [[row[name] for name in names] for row in told["readers"]]
    assert rows == [["Ann", 5, 3, 3.0], ["Bob", 4, 2, 2.5]]
    assert told["reasons"] == {"leaks": 3}
    # What is undone counts no more.
    bob.tell("undo")
    assert of(opened)["pairs"][0]["labels"] == 3
    assert of(opened) == ann.ask("report")


def test_mended_labels_have_their_dice(open_review):
    opened = open_review()
    ann = opened[1]("Ann")
    told = ann.tell("label/3/verdict", verdict="accept", mend={"threshold": 0.9})
    ann.tell("label/4/verdict", verdict="accept", mend={"threshold": 0.1})
    ann.tell("label/5/mend", threshold=0.2)  # Kept, and not what was accepted.
    ann.tell("label/5/verdict", verdict="accept")
    mark = ann.ask("label/3")["mark"]
    ann.tell("label/10/verdict", verdict="accept", mend={"mark": mark})
    expected = []
    for index, level in ((3, 0.9), (4, 0.1)):
        alpha = opened[0].store.read(index).alpha
        a, b = alpha >= np.float32(level), alpha >= 0.5
        expected.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    found = of(opened)["mended"]
    assert found["labels"] == 2 and found["drawn_anew"] == 1 and found["damaged"] == 0
    assert found["dice_mean"] == pytest.approx(np.mean(expected))
    assert found["dice_least"] == pytest.approx(min(expected))
    assert told["version"] != "made"


def test_calibration_has_each_verdict_in_its_bin(open_review):
    opened = open_review()
    ann = opened[1]("Ann")
    # Of an expected Dice of 0.99, 0.98, 0.95 and 0.90.
    ann.tell("label/0/verdict", verdict="accept")
    ann.tell("label/1/verdict", verdict="accept", mend={"threshold": 0.4})
    ann.tell("label/4/verdict", verdict="reject", reason="leaks")
    ann.tell("label/9/verdict", verdict="unsure")
    ann.tell("label/10/verdict", verdict="reject", reason="no-lesion")  # No Dice is expected.
    bins = {b["low"]: b for b in of(opened)["calibration"]}
    last = bins[0.95]
    assert last["high"] == 1.0 and last["verdicts"] == 3
    counts = [last[n] for n in ("accepted", "mended", "unsure", "rejected")]
    assert counts == [1, 1, 0, 1] and last["share"] == pytest.approx(1 / 3)
    assert last["expected_dice"] == pytest.approx((0.99 + 0.98 + 0.95) / 3)
    assert bins[0.9]["unsure"] == 1 and bins[0.9]["share"] == 0
    assert all(b["verdicts"] == 0 and b["share"] is None for low, b in bins.items() if low < 0.9)


def test_of_no_verdict_nothing_is_known(store):
    told = agreement(open_store(store), Verdicts())
    assert told["readers"] == told["pairs"] == [] and told["labels"]["left"] == 11
    assert told["mended"]["dice_mean"] is None


def test_the_command_reports(open_review, store, capsys):
    assert review.main([str(store), "--report"]) == 0
    assert "nobody has decided" in capsys.readouterr().out
    opened = open_review(readings=2)
    for name in ("Ann", "B\u00f6b <b>"):
        reader = opened[1](name)
        reader.tell("label/0/verdict", verdict="accept", seconds=2.0)
        reader.tell("label/9/verdict", verdict="reject", reason="too-small", seconds=4.0)
    assert review.main([str(store), "--report"]) == 0
    told = capsys.readouterr().out
    for part in ("accepted: 1", "Ann and B\u00f6b <b>", "1.000", "too small", "0.95-1.00", "3.0"):
        assert part in told, told
    picture = store.parent / "store-review.png"
    assert f"look at {picture}" in told and cv2.imread(str(picture)) is not None
    assert review.main([str(store), "--report", "--out", str(store.parent / "x.png")]) == 0
    assert (store.parent / "x.png").is_file()


def test_a_damaged_line_is_told_and_is_no_success(open_review, store, capsys, caplog):
    from dsnet.data.store.decisions import decision_files

    open_review()[1]("Ann").tell("label/0/verdict", verdict="accept")
    (file,) = decision_files(store)
    file.write_bytes(file.read_bytes().replace(b"accept", b"reject"))
    assert review.main([str(store), "--report"]) == 1
    assert "is damaged" in caplog.text
