"""Bars of what readers said, by the score."""

import itertools

import cv2

from dsnet.drawing.calibration import COLOURS, write_calibration


def test_bars_are_the_shares(tmp_path):
    counts = [[3, 1, 0, 0], [0, 0, 1, 3], [2, 0, 0, 2]]
    path = tmp_path / "a.png"
    parts, names = ("a", "b", "c", "d"), ("x", "y", "z")
    write_calibration(path, names, counts, parts, [(0.2, 0.9), (0.0, 0.1), (0.3, 0.7)])
    picture = cv2.imread(str(path))
    for i, of_bin in enumerate(counts):
        x = 64 + 28 + i * 92
        column = picture[64:364, x + 10]  # Beside the interval's line.
        for colour, count in zip(COLOURS, of_bin, strict=True):
            assert (column == colour).all(1).sum() == 300 * count / 4
    pairs = itertools.combinations(COLOURS, 2)
    # Apart for those who see no red or no green: in blue, or in what both make.
    assert all(abs(a[0] - b[0]) + abs(a[1] + a[2] - b[1] - b[2]) / 2 > 40 for a, b in pairs)
