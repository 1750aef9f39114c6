"""Whatever stands in the place of an array or a mark costs its row, and is told in words."""

import pytest

from dsnet.data.phantom import make_phantom
from dsnet.labeling import (
    RecistMark,
    SoftLabel,
    label_batch,
    label_mask_batch,
    label_raters_batch,
    label_recist,
)
from dsnet.labeling.prompts import as_mark

PHANTOM = make_phantom(size=32)
IMAGE, MARK, MASK = PHANTOM.image, PHANTOM.mark, PHANTOM.alpha >= 0.5


class Raising:
    """An array that cannot be read."""

    def __init__(self, error):
        self.error = error

    def __array__(self, dtype=None, copy=None):
        raise self.error

    def __len__(self):
        raise self.error

    def __repr__(self):
        raise self.error


ERRORS = [
    OSError("file is gone"),
    RuntimeError("no tensor of a gradient"),
    MemoryError("too much"),
    IndexError("nothing at 7"),
    OverflowError("too far"),
    KeyError("x"),
]
ODD = [
    *map(Raising, ERRORS),
    None,
    "1,2,3,4,5,6,7,8",
    {"x": 1},
    [None] * 8,
    [[1, 2], [3]],
    [10**400] * 8,
    [10**5000, *range(7)],
    [1j] * 8,
    [],
    [object()] * 8,
    b"12345678",
]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_an_odd_row_costs_itself(odd):
    batches = [
        label_batch([IMAGE, odd, IMAGE], [MARK] * 3, threads=1),
        label_batch([IMAGE] * 3, [MARK, odd, MARK], threads=1),
        label_mask_batch([IMAGE, odd, IMAGE], [MASK] * 3, threads=2),
        label_mask_batch([IMAGE] * 3, [MASK, odd, MASK], threads=1),
        label_raters_batch([IMAGE] * 3, [MASK[None], odd, MASK[None]], threads=1),
    ]
    for batch in batches:
        assert [type(label) for label in batch] == [SoftLabel, ValueError, SoftLabel]
        assert str(batch[1])
    want = label_recist(IMAGE, MARK).alpha.tobytes()
    assert all(batches[k][i].alpha.tobytes() == want for k in (0, 1) for i in (0, 2))


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_an_odd_mark_is_told(odd):
    for made in (RecistMark.from_coordinates, as_mark):
        with pytest.raises((ValueError, TypeError)) as caught:
            made(odd)
        assert len(str(caught.value)) < 400


def test_an_odd_row_tells_what_befell_it():
    rows = label_batch([Raising(error) for error in ERRORS], [MARK] * len(ERRORS))
    assert [str(row) for row in rows[:3]] == [
        "OSError: file is gone",
        "RuntimeError: no tensor of a gradient",
        "MemoryError: too much",
    ]
