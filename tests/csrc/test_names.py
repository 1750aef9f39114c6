"""The compiled module's names: those that the product calls, and no other."""

import re
from pathlib import Path

from dsnet import _C

ROOT = Path(__file__).resolve().parents[2]
# For users, and for tests that compare vector units.
DIRECT = {"build_info", "use_vector_unit", "vector_units"}


def text_of(folder, pattern="*.py"):
    return "\n".join(path.read_text() for path in sorted((ROOT / folder).rglob(pattern)))


def bound_names():
    """Of this build, and of one with CUDA."""
    sources = text_of("csrc/python", "*.cpp") + text_of("csrc/python", "*.h")
    found = re.findall(r'module\.(?:def|attr)\(\s*"(\w+)"', sources)
    found += re.findall(r'py::(?:class_|exception)<[^;]*?\(\s*module,\s*"(\w+)"', sources)
    return set(found) | {name for name in dir(_C) if not name.startswith("__")}


def test_the_product_calls_every_name():
    names, product = bound_names(), text_of("dsnet")
    assert {"label_batch", "cuda_cut", "CutBatch", "MATTING_RESULT", "OutOfDeviceMemory"} <= names
    assert set(dir(_C)) >= DIRECT
    called = {name for name in names if re.search(rf"\b_C\.{name}\b|[\"']{name}[\"']", product)}
    assert names - called - DIRECT == set()


def test_every_name_that_is_called_is_there():
    for folder in ("dsnet", "bench"):
        called = set(re.findall(r"(?<![\w.])_C\.(\w+)", text_of(folder)))
        assert called - bound_names() == set(), folder


def test_every_name_says_what_it_is():
    for name in dir(_C):
        value = getattr(_C, name)
        if callable(value):
            assert (value.__doc__ or "").strip(), name
