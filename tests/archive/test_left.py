"""Which items are left: by a set, or by a store that is asked for many at once."""

from collections.abc import Set
from operator import itemgetter

import pytest

from dsnet.archive import left
from dsnet.archive.left import items_left


class Known(Set):
    """A set that is asked for many keys at once, as a store's is, and counts how often."""

    def __init__(self, keys):
        self.keys, self.asked = set(keys), []

    def __contains__(self, key):
        raise AssertionError("one key is asked for")

    def __iter__(self):
        return iter(self.keys)

    def __len__(self):
        return len(self.keys)

    def known(self, keys):
        self.asked.append(len(keys))
        return self.keys & set(keys)


@pytest.mark.parametrize("count", [0, 1, 6, 7, 8, 20])
@pytest.mark.parametrize("there", [[], ["k0"], ["k3", "k19", "x"], [f"k{n}" for n in range(30)]])
def test_items_whose_keys_are_not_there_are_left_in_their_order(count, there, monkeypatch):
    monkeypatch.setattr(left, "ASKED_ROWS", 7)
    items = [(f"k{n % 13}", n) for n in range(count)]
    want = [item for item in items if item[0] not in there]
    done = Known(there)
    assert list(items_left(iter(items), itemgetter(0), done)) == want
    assert list(items_left(items, itemgetter(0), set(there))) == want
    assert sum(done.asked) == (count if there else 0) and max(done.asked, default=0) <= 7


def test_no_more_are_asked_for_than_are_wanted(monkeypatch):
    monkeypatch.setattr(left, "ASKED_ROWS", 7)
    done = Known(["k0"])
    found = items_left((f"k{n}" for n in range(10**9)), str, done)
    assert [next(found) for _ in range(8)] == [f"k{n}" for n in range(1, 9)]
    assert done.asked == [7, 7]
