"""Slices along the normal of their series, and what is told of places that are no volume."""

import numpy as np
import pytest

from dsnet.data.dicom.entry import SliceEntry
from dsnet.data.dicom.order import order_slices

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def entry(number, position, orientation=AXIAL, **others):
    fields = dict.fromkeys(SliceEntry._fields, "")
    fields |= {
        "source": f"{number}", "instance_uid": f"1.{number}", "series_uid": "1", "frame": None,
        "frame_of_reference_uid": None, "rows": 8, "columns": 8, "frames": 1, "number": number,
        "spacing": (0.5, 0.5), "position": position, "orientation": orientation, "tilt": None,
    }  # fmt: skip
    return SliceEntry(**{**fields, **others})


def stack(places, orientation=AXIAL, **others):
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    normal = np.cross(row, column)
    return [
        entry(n, tuple(place * normal), orientation, **others) for n, place in enumerate(places)
    ]


def numbers(slices):
    return [None if s is None else s.number for s in slices]


def test_a_stack_is_in_order_whatever_its_numbers_and_its_plane():
    rng = np.random.default_rng(2)
    for orientation in (AXIAL, (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1), (0, 1, 0, 1, 0, 0)):
        places = rng.permutation(20) * 1.25 - 7
        found = order_slices(stack(places, orientation))
        assert numbers(found.slices) == np.argsort(places).tolist()
        assert found.notes == () and found.step == pytest.approx(1.25)
        assert np.allclose(found.along, np.sort(places))


def test_neighbours_end_at_a_gap_and_at_the_end():
    slices = stack([0, 1, 2, 3, 6, 7])
    found = order_slices(slices[::-1])
    assert found.notes == ("1 gaps of up to 3 mm between slices 1 mm apart",)
    near = [numbers(found.neighbours(s, 2)) for s in slices]
    assert near == [
        [None, 1, None, 2], [0, 2, None, 3], [1, 3, 0, None], [2, None, 1, None],
        [None, 5, None, None], [4, None, None, None],
    ]  # fmt: skip
    assert found.neighbours(entry(99, (0, 0, 0)), 1) == [None, None]
    assert found.neighbours(slices[0], 0) == []


def test_slices_of_another_size_are_no_neighbours():
    slices = stack([0, 1, 2])
    slices[2] = slices[2]._replace(rows=9)
    found = order_slices(slices)
    assert numbers(found.neighbours(slices[1], 1)) == [0, None]
    assert found.notes == ("its slices are of several sizes: 8x8, 9x8",)


TILT = np.tan(np.radians(20))
TOLD = (
    (stack([0, 1, 1, 2]), "1 slices lie where another one does"),
    (stack([0, 1, 2.2, 3.2]), "its slices are 1 to 1.2 mm apart"),
    (stack([0, 1, 2], tilt=-18.5), "GantryDetectorTilt -18.5"),
    (
        [entry(n, (0.0, n * TILT, float(n))) for n in range(4)],
        "its slices are shifted by 20.0 degrees: a tilted gantry",
    ),
    (
        [entry(n, (0.0, n * n * TILT, float(n))) for n in range(4)],
        "its slices are shifted by up to 61.2 degrees: no volume",
    ),
    (
        [*stack([0, 1]), *stack([5], (0, 1, 0, 0, 0, -1))],
        "its slices are not parallel, no volume: ordered by number",
    ),
    ([*stack([0, 1]), entry(7, None)], "1 of 3 slices have no place: ordered by number"),
    (stack([0, 1], (1, 0, 0, 1, 0, 0)), "its orientation is none: ordered by number"),
    (
        [*stack([0]), entry(5, (0, 0, 1.0), spacing=(0.5, 0.6))],
        "its slices are of several spacings",
    ),
    ([*stack([0]), entry(5, (0, 0, 1.0), spacing=None)], "1 of 2 slices have no PixelSpacing"),
)


@pytest.mark.parametrize("slices, told", TOLD, ids=[told for _, told in TOLD])
def test_what_is_no_plain_stack_is_told(slices, told):
    found = order_slices(slices)
    assert found.notes == (told,)
    assert sorted(numbers(found.slices)) == sorted(numbers(slices))


def test_one_slice_and_none():
    found = order_slices(stack([3]))
    assert (numbers(found.slices), found.step, found.notes) == ([0], None, ())
    assert found.neighbours(found.slices[0], 1) == [None, None]
    assert order_slices([]).slices == () == order_slices([]).notes


def test_real_series_with_tilts_gaps_and_no_volume():
    pytest.importorskip("pydicom")
    from dsnet.data.dicom.index import index_series
    from shared_data import shared

    place = shared("dicom_ct_zoo")
    told = {}
    for folder in sorted(place.glob("series_*")) + sorted(place.glob("series_bad_geometry/*")):
        if folder.name != "series_bad_geometry":
            index = index_series(folder)
            (uid,) = index
            told[folder.name] = index.order(uid).notes
    assert told == {
        "gantrytilting_001": ("its slices are shifted by 14.0 degrees: a tilted gantry",),
        "notavolume_001": ("3 slices lie where another one does",),
        "series_ge_16x16": ("1 gaps of up to 202.5 mm between slices 1.25 mm apart",),
        "series_tilt_ge_18.5_813892": (
            "2 gaps of up to 6.99863 mm between slices 4.00193 mm apart",
            "its slices are 1.08109 to 4.00193 mm apart",
            "its slices are shifted by 18.5 degrees: a tilted gantry",
            "GantryDetectorTilt 18.5",
        ),
        "series_tilt_philips_-18.5_865648": (
            "its slices are shifted by 18.5 degrees: a tilted gantry", "GantryDetectorTilt -18.5",
        ),
        "series_tilt_philips_16.5_003033": (
            "its slices are shifted by 16.5 degrees: a tilted gantry", "GantryDetectorTilt 16.5",
        ),
        "sliceincrement_002": (
            "1 gaps of up to 1.49941 mm between slices 0.749704 mm apart",
            "its slices are shifted by 15.5 degrees: a tilted gantry",
        ),
        "sliceincrement_001": ("1 gaps of up to 10 mm between slices 5 mm apart",),
    }  # fmt: skip
