"""Which room of csrc may include which, read from the #include lines."""

import re
from pathlib import Path

import pytest

CSRC = Path(__file__).resolve().parents[2] / "csrc"
# From the lowest room to the highest: what each may include besides its own files, by room or file.
ROOMS = {
    "base": "",
    "gpu": "base",
    "mark": "base",
    "masks": "base gpu",
    "trimap": "base gpu mark masks",
    "edge": "base gpu mark masks",
    "cut": "base gpu mark masks trimap edge",
    "matting": "base gpu trimap/numbers.h",
    "quality": "base gpu mark masks trimap",
    "png": "base",
    "codes": "base",
    "crop": "base mark codes",
    "files": "",
    "table": "",
    "label": "base gpu mark masks trimap edge cut matting quality",
    "python": "base gpu mark masks trimap edge cut matting quality"
    " png codes crop files table label",
}
SOURCES = sorted(path for path in CSRC.rglob("*") if path.suffix in (".h", ".cuh", ".cpp", ".cu"))


def name_of(path):
    return path.relative_to(CSRC).as_posix()


def includes(path):
    """(bracket, file) of each #include line."""
    return re.findall(r'^\s*#\s*include\s*(["<])([^">]+)[">]', path.read_text(), re.MULTILINE)


def is_of_a_gpu(path):
    return path.name.startswith("gpu") or path.parts[-2] == "gpu" or path.suffix in (".cu", ".cuh")


def test_rooms_look_down_alone():
    order = list(ROOMS)
    for room, lower in ROOMS.items():
        for name in lower.split():
            assert order.index(name.split("/")[0]) < order.index(room)
            assert (CSRC / name).exists()


def test_every_source_has_a_room():
    assert len(SOURCES) > 50
    assert [name_of(path) for path in SOURCES if path.parent.name not in ROOMS] == []
    assert {path.parent.name for path in SOURCES} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_includes_what_it_may(room):
    wrong = []
    for path in SOURCES:
        if path.parent.name != room:
            continue
        for bracket, name in includes(path):
            if bracket == "<":
                continue
            ours = (CSRC / name).is_file() and ".." not in name  # from csrc's root
            if not ours or not {name, name.split("/")[0]} & {room, *ROOMS[room].split()}:
                wrong.append(f"{name_of(path)} includes {name}")
    assert wrong == []


def test_python_alone_knows_pybind11():
    known = {path.parent.name for path in SOURCES if "pybind11" in path.read_text()}
    assert known == {"python"}


def test_plain_sources_do_without_a_gpu():
    for path in SOURCES:
        if is_of_a_gpu(path):
            continue
        for _, name in includes(path):
            assert not re.search("cuda|cooperative", name), f"{name_of(path)} includes {name}"
            assert not Path(name).name.startswith("gpu_"), f"{name_of(path)} includes {name}"
