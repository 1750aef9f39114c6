"""Who may import whom, what an import loads, and what it costs. ARCHITECTURE.md draws the table."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from fresh_interpreter import printed

ROOT = Path(__file__).resolve().parents[1]

COMMANDS = ("label", "review", "train", "train_sr", "evaluate", "predict")
GROUND = ("files", "arguments", "console", "streams", "signals", "devices", "dependencies")
WITHOUT_TORCH = ("labeling", "drawing", "data", "archive", "reviewing")
NETWORKS = ("losses", "metrics", "models")
LIBRARIES = (
    *GROUND, *NETWORKS, "labeling", "drawing", "data", "archive", "reviewing", "training",
    "inference", "evaluation",
)  # fmt: skip
# Of each room: the rooms below that it may import, and packages from outside. Any may import
# `dsnet` itself, which holds the version.
ALLOWED: dict[str, tuple[set[str], set[str]]] = {
    "dsnet": ({"_C"}, set()),
    "files": (set(GROUND), {"numpy", "cv2"}),
    "arguments": (set(), set()),
    "console": (set(GROUND), {"rich"}),
    "streams": (set(GROUND), set()),
    "signals": (set(), set()),
    "devices": ({*GROUND, "_C"}, {"torch"}),
    "dependencies": (set(), set()),
    "labeling": ({*GROUND, "_C"}, {"numpy", "scipy", "numba", "pyamg"}),
    "drawing": (set(GROUND), {"numpy", "cv2"}),
    "losses": (set(), {"torch"}),
    "metrics": (set(GROUND), {"numpy", "torch", "monai"}),
    "models": (
        {*GROUND, "losses", "dsnet_kernels"},
        {
            "numpy", "torch", "torchvision", "onnx", "onnxscript", "monai", "einops",
            "safetensors", "segmentation_models_pytorch",
        },
    ),
    "torch_ops": ({*GROUND, "labeling", "_C"}, {"torch"}),
    "data": (
        {*GROUND, "labeling", "_C"},
        {
            "numpy", "scipy", "cv2", "pyarrow", "pydicom", "highdicom", "httpx", "isal", "fsspec",
        },
    ),
    "archive": ({*GROUND, "labeling", "drawing", "data"}, {"numpy", "pyarrow", "ray", "rich"}),
    "reviewing": (
        {*GROUND, "labeling", "drawing", "data"},
        {"numpy", "pyarrow", "starlette", "uvicorn", "h11"},
    ),
    "inference": ({*GROUND, "labeling", "drawing", "models", "data"}, {"numpy", "torch"}),
    "training": ({*GROUND, *NETWORKS, "labeling", "drawing", "data"}, {"numpy", "torch"}),
    "evaluation": (set(LIBRARIES), {"numpy", "torch", "monai"}),
    **dict.fromkeys(COMMANDS, (set(LIBRARIES), {"torch"})),
    **dict.fromkeys(("label", "review"), ({*GROUND, *WITHOUT_TORCH}, set())),
    "dsnet_kernels": (set(), {"torch", "triton"}),
}  # fmt: skip
BENCH_ROOMS = {
    "common": set(), "speed": {"common", "studies"}, "studies": {"common"}, "fits": {"common"},
    "test_benchmarks": {"common", "speed"},
}  # fmt: skip
# What namedtuples and enums call public in spite of the underscore.
PUBLIC = {"_C", "_asdict", "_fields", "_replace"}


class Import(NamedTuple):
    """One module that another one imports."""

    importer: str
    imported: str
    place: str


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[parts[0] == "kernels" :]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def sources() -> dict[str, Path]:
    """Every module of the product and of the benches, by name."""
    folders = ("dsnet", "kernels/dsnet_kernels", "bench")
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 100
    return {module_name(path): path for path in files}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(sources()[module].read_text(encoding="utf-8"))


def package(module: str) -> str:
    """The folder that a module stands in; one beside the commands is alone."""
    path = sources().get(module)
    if path is None or path.name == "__init__.py" or module.count(".") == 1:
        return module
    return module.rpartition(".")[0]


def base_of(node: ast.ImportFrom, module: str) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    if sources()[module].name != "__init__.py":
        parts = parts[:-1]
    parts = parts[: len(parts) - node.level + 1]
    return ".".join([*parts, node.module] if node.module else parts)


def names_of(node: ast.AST, module: str) -> Iterator[tuple[str, str]]:
    """Dotted name of what is imported, and the name that it is bound to."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.name, alias.asname or alias.name.partition(".")[0]
    elif isinstance(node, ast.ImportFrom):
        base = base_of(node, module)
        for alias in node.names:
            yield f"{base}.{alias.name}", alias.asname or alias.name
    elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func
        called = called.id if isinstance(called, ast.Name) else called
        if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
            yield node.args[0].value, ""


def is_ours(name: str) -> bool:
    return name.partition(".")[0] in ("dsnet", "dsnet_kernels", "bench")


@cache
def imports() -> tuple[Import, ...]:
    """All of them, those inside of functions and for annotations included."""
    found = []
    for module, path in sources().items():
        for node in ast.walk(tree(module)):
            for name, _ in names_of(node, module):
                place = f"{path.relative_to(ROOT)}:{node.lineno}"
                found.append(Import(module, name, place))
    return tuple(found)


def room(name: str) -> str:
    """`labeling` of `dsnet.labeling.recist.RecistMark`; `dsnet` of what stands in its root."""
    first, _, rest = name.partition(".")
    second = rest.partition(".")[0]
    if first != "dsnet":
        return first
    return second if f"dsnet.{second}" in sources() or second == "_C" else "dsnet"


def test_each_room_has_a_row_and_each_row_a_room():
    found = {room(module) for module in sources() if not module.startswith("bench")}
    assert found == set(ALLOWED)
    assert set(BENCH_ROOMS) == {m.split(".")[1] for m in sources() if m.startswith("bench.")}


@pytest.mark.parametrize("importer", ALLOWED)
def test_a_room_imports_what_the_table_allows(importer):
    rooms, packages = ALLOWED[importer]
    allowed = {*rooms, *packages, *sys.stdlib_module_names, importer, "dsnet"}
    wrong = [
        f"{each.place}: {importer} imports {each.imported}"
        for each in imports()
        if room(each.importer) == importer and room(each.imported) not in allowed
    ]
    assert not wrong, "\n".join(wrong)


def test_the_table_has_no_torch_where_none_may_be():
    for importer in (*WITHOUT_TORCH, "label", "review"):
        rooms, packages = ALLOWED[importer]
        assert not packages & {"torch", "triton", "monai"}
        # `devices` asks torch only for the commands that have it.
        assert rooms <= {*GROUND, *WITHOUT_TORCH, "_C"}


def test_benches_import_rooms_below_them_and_no_test():
    helpers = {path.stem for path in (ROOT / "tests").rglob("*.py")} | {"tests", "dsnet_emulation"}
    wrong = []
    for each in imports():
        first, *rest = each.imported.split(".")
        if not each.importer.startswith("bench."):
            continue
        own = each.importer.split(".")[1]
        if first in helpers - {"conftest", "__init__"}:
            wrong.append(f"{each.place} imports {each.imported} of the tests")
        elif first == "bench" and rest and rest[0] not in {own, *BENCH_ROOMS[own]}:
            wrong.append(f"{each.place}: bench.{own} imports {each.imported}")
    assert not wrong, "\n".join(wrong)


def test_nothing_imports_a_command():
    wrong = [
        f"{each.place} imports {each.imported}"
        for each in imports()
        if room(each.imported) in COMMANDS and room(each.importer) != room(each.imported)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_product_does_not_use_the_references():
    reference = "dsnet.labeling.reference"
    assert reference in sources()
    wrong = [
        f"{each.place} imports {each.imported}"
        for each in imports()
        if f"{each.imported}.".startswith(f"{reference}.")
        and not each.importer.startswith((reference, "bench."))
    ]
    assert not wrong, "\n".join(wrong)


def private_part(name: str, importer: str) -> str | None:
    """The first private name in a dotted one that another package than the importer's owns."""
    parts = name.split(".")
    for i, part in enumerate(parts):
        owner = ".".join(parts[:i])
        hidden = part.startswith("_") and not part.endswith("__") and part not in PUBLIC
        if hidden and package(owner) != package(importer):
            return part
    return None


def test_nobody_reaches_into_another_packages_private_names():
    wrong = []
    for module, path in sources().items():
        bound: dict[str, str] = {}
        for node in ast.walk(tree(module)):
            for name, alias in names_of(node, module):
                if is_ours(name):
                    whole = isinstance(node, ast.Import) and alias == name.partition(".")[0]
                    bound[alias] = alias if whole else name
                    if private_part(name, module):
                        wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} imports {name}")
        for node in ast.walk(tree(module)):
            chain, at = [], node
            while isinstance(at, ast.Attribute):
                chain.insert(0, at.attr)
                at = at.value
            if chain and isinstance(at, ast.Name) and at.id in bound:
                name = ".".join([bound[at.id], *chain])
                if private_part(name, module):
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} uses {name}")
    assert not wrong, "\n".join(wrong)


def test_import_dsnet_is_fast():
    code = "import time; t = time.perf_counter(); import dsnet; print(time.perf_counter() - t)"
    # The best of several: the first may read from a cold disk, and others may work beside it.
    assert min(float(printed(code)) for _ in range(7)) < 0.1


def test_import_dsnet_loads_nothing_heavy():
    code = (
        "import sys, dsnet; print(*{'torch', 'cv2', 'numpy', 'numba', 'scipy'} & set(sys.modules))"
    )
    assert printed(code) == ""


@pytest.mark.parametrize("package", ["dsnet.labeling", "dsnet._C"])
def test_labeling_loads_neither_torch_nor_opencv(package):
    code = f"import sys, {package}; print(*{{'torch', 'triton', 'cv2'}} & set(sys.modules))"
    assert printed(code) == ""


@pytest.mark.parametrize("name", [*GROUND, *WITHOUT_TORCH])
def test_no_module_of_a_room_without_torch_loads_it(name):
    modules = [module for module in sources() if room(module) == name]
    assert modules
    code = f"import sys, {', '.join(modules)}; print(*{{'torch', 'triton'}} & set(sys.modules))"
    assert printed(code) == ""


def test_labelling_a_mask_does_not_load_torch():
    code = """
import sys
import numpy as np
from dsnet.labeling import label_mask
image = np.tile(np.linspace(0, 1, 24, dtype=np.float32), (24, 1))
mask = np.zeros((24, 24), bool)
mask[8:16, 8:16] = True
label_mask(image, mask)
print(*{"torch", "triton"} & set(sys.modules))
"""
    assert printed(code) == ""


def test_kernel_package_is_importable_by_its_own_name():
    assert printed("import dsnet_kernels; print(dsnet_kernels.__name__)") == "dsnet_kernels"
