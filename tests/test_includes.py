"""Who may include whom in csrc. ARCHITECTURE.md draws the table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CSRC = Path(__file__).resolve().parents[1] / "csrc"

ALLOWED = {
    "base": set(),
    "gpu": {"base"},
    "mark": {"base"},
    "masks": {"base", "gpu"},
    "trimap": {"base", "gpu", "mark", "masks"},
    "edge": {"base", "gpu", "mark", "masks"},
    "cut": {"base", "gpu", "mark", "masks", "trimap", "edge"},
    "matting": {"base", "gpu", "trimap/numbers.h"},
    "quality": {"base", "gpu", "mark", "masks", "trimap"},
    "label": {"base", "gpu", "mark", "masks", "trimap", "edge", "cut", "matting", "quality"},
}
ALLOWED["python"] = {*ALLOWED, "pybind11", "Python.h"}
INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([^">]+)[">]', re.MULTILINE)


def files(room: str) -> list[Path]:
    return sorted(path for path in (CSRC / room).rglob("*") if path.is_file())


def test_every_file_stands_in_a_room_of_the_table():
    assert {path.name for path in CSRC.iterdir()} == set(ALLOWED)
    assert all(path.parent.parent == CSRC for room in ALLOWED for path in files(room))


@pytest.mark.parametrize("room", ALLOWED)
def test_includes_run_down(room):
    wrong = []
    for path in files(room):
        for name in INCLUDE.findall(path.read_text(encoding="utf-8")):
            first, _, rest = name.partition("/")
            where = f"{path.relative_to(CSRC.parent)} includes {name}"
            if rest and {first, name}.isdisjoint({room, *ALLOWED[room]}):
                wrong.append(where)
            elif first in ALLOWED and not (CSRC / name).is_file():
                wrong.append(f"{where}, which is not there")
            elif name == "Python.h" and room != "python":
                wrong.append(where)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", ALLOWED)
def test_the_name_tells_where_code_runs(room):
    for path in files(room):
        text = path.read_text(encoding="utf-8")
        assert path.suffix in (".h", ".cpp", ".cu", ".cuh"), path
        if path.suffix in (".cu", ".cuh") or re.search(r"include <cuda|include <coop", text):
            assert path.name.startswith("gpu") or room == "gpu", f"{path} is compiled by nvcc"
        if "simd" not in path.name and path.suffix == ".cpp":
            assert "immintrin.h" not in text, f"{path} has a vector unit's instructions"
