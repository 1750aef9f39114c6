"""Plain lines and numbers of tables, in compiled code: as `csv`, `float` and `repr` have them."""

import csv
import random

import pytest

from dsnet import _C

ODD_LINES = ["", '"', 'a"', '"a"b', '"a""b"', '"a', '"a" ,b', ' "a"', "a\n", "a\r", "\0", '"\n"']
ODD_NUMBERS = [
    "", " ", ",", "1,", ",1", "+1", "--1", "-", ".", "1.", ".5", "-.5", "01", "00", "1e5", "nan",
    "inf", "1_0", "0x1", "1 2", "1.2.3", "1\t", "\u0661", "1\u00a0", "0.00009", "-0.00001", "x",
    "1234567890123456", "1.234567890123456", "0.1234567890123456", "1\0", "1\n",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_plain_lines_are_taken_apart_as_by_csv(seed):
    draw = random.Random(seed)
    pieces = ["a", " ", "", "-1.5", "x y", "\x0b", "\t", "'", ";", "#", "0"]
    for _ in range(200):
        cells = ["".join(draw.choices(pieces, k=draw.randint(0, 3))) for _ in range(9)]
        line = ",".join(f'"{c},{c}"' if draw.random() < 0.3 else c for c in cells)
        assert _C.plain_cells(line) == next(csv.reader([line], strict=True))
    for _ in range(2000):
        line = "".join(draw.choices(['"', '""', ",", "a", " ", '","', "\u00e9"], k=6))
        found = _C.plain_cells(line)
        try:
            (wanted,) = csv.reader([line], strict=True)
        except csv.Error:
            wanted = None
        assert found in (None, wanted) and (found is not None or set(line) & {'"', "\u00e9"})


@pytest.mark.parametrize("line", [*ODD_LINES, "\u00e9,1", "a" * 4097])
def test_odd_lines_are_left_to_csv(line):
    assert _C.plain_cells(line) is None


def test_commas_alone_are_empty_cells():
    assert _C.plain_cells(",") == ["", ""] and _C.plain_cells('"",') == ["", ""]
    assert _C.plain_cells('""') == [""] and _C.plain_cells("a" * 4096) == ["a" * 4096]


@pytest.mark.parametrize("seed", range(4))
def test_plain_numbers_are_those_of_float_and_repr(seed):
    draw, plain = random.Random(seed), 0
    for _ in range(4000):
        digits = draw.randint(1, 16)
        text = str(draw.randrange(10**digits)).zfill(draw.choice([1, digits]))
        at = draw.randint(0, len(text))
        text = draw.choice([text, f"{text[:at]}.{text[at:]}", f"0.{text}", f"{text}.000"])
        text = draw.choice(["", "-"]) + text
        found, number = _C.plain_numbers(f"7,{text} "), float(text)
        if found is None:
            whole, _, fraction = text.strip("-").partition(".")
            small = 0 < abs(number) < 1e-4
            long = len(whole + fraction.rstrip("0")) > 15
            odd = not whole or (whole != "0" and whole[0] == "0") or text[-1] == "."
            assert small or long or odd
            continue
        plain += 1
        assert repr(found) == repr(((7.0, number), repr([7.0, number])[1:-1]))
    assert plain > 1000


@pytest.mark.parametrize("text", ODD_NUMBERS)
def test_odd_numbers_are_left_to_float(text):
    assert _C.plain_numbers(text) is None
    assert _C.plain_numbers(f"1, {text}") is None and _C.plain_numbers(f"{text}, 1") is None


def test_known_numbers():
    said = "0.0, -0.0, 1.0, 0.0001, 100000.0, 999999999999999.0, 0.1, -94.5221"
    text = "0,-0, 1.000,0.00010, 100000, 999999999999999,0.10,  -94.5221 "
    numbers, found = _C.plain_numbers(text)
    assert found == said and repr(list(numbers)) == f"[{said}]"
    for wrong in (None, b"1", 1.0):
        with pytest.raises(TypeError):
            _C.plain_numbers(wrong)
