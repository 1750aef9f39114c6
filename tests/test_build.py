"""What was built, and that its wheel works in an environment of its own."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import dsnet
from dsnet import _C

ROOT = Path(__file__).resolve().parents[1]


def test_build_info_tells_what_was_compiled():
    info = dsnet.build_info()
    assert info["version"] == dsnet.__version__
    assert info["cplusplus"] == 201703
    assert info["cuda"] is False or info["cuda"] is True
    assert info["compiler"].startswith(("GCC", "Clang"))
    assert info["vector_unit"] == _C.vector_units()[-1]


def test_vector_units_can_be_chosen():
    units = _C.vector_units()
    assert units == [unit for unit in ("baseline", "avx2", "avx512") if unit in units]
    try:
        for unit in units:
            _C.use_vector_unit(unit)
            assert dsnet.build_info()["vector_unit"] == unit
    finally:
        _C.use_vector_unit(units[-1])
    with pytest.raises(ValueError, match=r"name must be one of \['baseline'.*got 'mmx'"):
        _C.use_vector_unit("mmx")


def test_missing_module_is_told_in_words(tmp_path):
    shutil.copy(ROOT / "dsnet" / "__init__.py", tmp_path)
    package = tmp_path / "dsnet"
    package.mkdir()
    (tmp_path / "__init__.py").rename(package / "__init__.py")
    for statement in ("from dsnet import _C", "import dsnet; dsnet.build_info()"):
        code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {statement}"
        # -S: an editable installation's finder would bring the real package.
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True
        )
        assert "ImportError: the compiled module dsnet._C is not in" in done.stderr
        assert "pip install -e ." in done.stderr


def test_unknown_attribute():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        dsnet.nothing  # noqa: B018


def run(*command, **options) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, **options
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.long
def test_wheel_in_a_clean_environment(tmp_path):
    checkout = tmp_path / "checkout"
    shutil.copytree(
        ROOT,
        checkout,
        ignore=shutil.ignore_patterns(".git", ".venv", ".ci-venv", "build", "*.so", "__pycache__"),
    )
    environment = {**os.environ, "DSNET_CUDA": "OFF"}
    wheels = tmp_path / "wheels"
    run(
        *(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", wheels, checkout),
        env=environment,
    )
    (wheel,) = wheels.glob("dsnet-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert sum(name.startswith("dsnet/_C.") and name.endswith(".so") for name in names) == 1
    assert "dsnet_kernels/__init__.py" in names
    for source in (ROOT / "dsnet").rglob("*.py"):
        assert str(source.relative_to(ROOT)) in names, "not listed in setup.py's packages"
    assert not [name for name in names if name.startswith(("tests", "bench", "csrc", "kernels/"))]

    run(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--no-deps", wheel, "numpy")
    code = (
        "import dsnet, numpy as np; from dsnet import _C;"
        "print(_C.distance_squared(np.array([[True, True, False]])).tolist());"
        "print(dsnet.build_info()['version'], dsnet.__file__)"
    )
    distances, where = run(python, "-I", "-c", code, cwd=tmp_path).splitlines()
    assert distances == "[[4.0, 1.0, 0.0]]"
    assert where.startswith(f"{dsnet.__version__} {tmp_path}")
