"""Readers whose agreement is measured do not see what the others said; a blind one no score."""

import numpy as np
import pytest

from review_desk import planes


@pytest.mark.parametrize("plan", [{"readings": 2}, {"blind": True, "order": "random"}])
def test_readers_who_are_to_be_independent_do_not_see_one_another(open_review, plan):
    _, page = open_review(**plan)
    ann, bob = page("Ann"), page("Bob")
    made = planes(ann.ask("label/3/planes"))["alpha"]
    ann.tell("label/3/verdict", verdict="accept", mend={"threshold": 0.9}, comment="thin")
    mended = planes(ann.ask("label/3/planes"))["alpha"]
    assert not np.array_equal(mended, made)
    own, other = ann.ask("label/3"), bob.ask("label/3")
    assert len(own["versions"]) == 2 and own["version"] == own["versions"][1]["version"]
    assert [row["comment"] for row in own["decisions"]] == ["thin"]
    assert [v["version"] for v in other["versions"]] == ["made"] and other["version"] == "made"
    assert other["decisions"] == []
    assert np.array_equal(planes(bob.ask("label/3/planes"))["alpha"], made)
    listed = {item["index"]: item for item in bob.ask("list", count=50)["items"]}
    assert listed[3]["verdict"] is None and listed[3]["mine"] is None
    answer = bob.tell("label/3/mend", threshold=0.2)
    assert [v["made_by"] for v in answer["versions"]] == ["", "Bob"]
    assert "thin" not in str(bob.ask("session"))


def test_readers_who_work_together_see_one_another(open_review):
    _, page = open_review()
    page("Ann").tell("label/3/verdict", verdict="accept", mend={"threshold": 0.9}, comment="thin")
    told = page("Bob").ask("label/3")
    assert told["version"] == told["versions"][1]["version"] != "made"
    assert [row["comment"] for row in told["decisions"]] == ["thin"]


def test_the_report_of_a_blind_review_tells_no_score(open_review):
    for plan, bins in (({"blind": True, "order": "random"}, 0), ({}, 9)):
        ann = open_review(**plan)[1]("Ann")
        ann.tell("label/3/verdict", verdict="unsure")
        told = ann.ask("report")
        assert told["labels"]["unsure"] == 1 and len(told["calibration"]) == bins
