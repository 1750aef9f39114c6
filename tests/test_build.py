"""What was built, what sdist and wheel hold, and that the wheel works where nothing else is."""

import os
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

import dsnet
import emulation_module
from dsnet import _C
from dsnet.data.phantom import make_phantom
from dsnet.dependencies import EXTRAS

ROOT = Path(__file__).resolve().parents[1]
CUDA = os.environ.get("DSNET_CUDA") or ("ON" if shutil.which("nvcc") else "OFF")
# An installed dsnet is to be found, and no other one.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
SDIST_ROOT = {
    "ARCHITECTURE.md", "CHANGELOG.md", "CITATION.cff", "CMakeLists.txt", "LICENSE", "MANIFEST.in",
    "README.md", "pyproject.toml", "setup.py",
}  # fmt: skip


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


def test_headers_stay_the_same_files_until_they_change(monkeypatch, tmp_path):
    """Whatever includes a header that was written again is compiled again."""
    for name in ("pybind11", "setuptools"):
        pytest.importorskip(name, reason=f"building needs {name}: pip install {name}")
    monkeypatch.setattr("setuptools.setup", lambda **options: None)
    keep_folder = runpy.run_path(str(ROOT / "setup.py"))["keep_folder"]
    first, kept = tmp_path / "first", tmp_path / "kept" / "headers"
    (first / "detail").mkdir(parents=True)
    (first / "a.h").write_text("a")
    (first / "detail" / "b.h").write_text("b")
    keep_folder(first, kept)
    before = (kept / "a.h").stat()
    keep_folder(Path(shutil.copytree(first, tmp_path / "second")), kept)
    assert (kept / "a.h").stat() == before
    (first / "detail" / "b.h").rename(first / "detail" / "c.h")
    os.utime(first / "detail" / "c.h", (0, 0))  # as old as its archive says
    keep_folder(first, kept)
    assert [path.name for path in (kept / "detail").iterdir()] == ["c.h"]
    assert (kept / "detail" / "c.h").stat().st_mtime >= before.st_mtime
    (first / "a.h").write_text("changed")
    keep_folder(first, kept)
    assert (kept / "a.h").read_text() == "changed"


def test_unknown_attribute():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        dsnet.nothing  # noqa: B018


def run(*command, **options) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        **{"capture_output": True, "text": True, "env": ENVIRONMENT, **options},
    )
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-10_000:]
    return done.stdout


def tracked(*folders: str) -> set[str]:
    """The checkout's files in some folders, or all: what git has, or would not ignore."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("no git checkout: nothing says what belongs to it")
    command = ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = run(*command).split("\0")
    return {n for n in names if n and (ROOT / n).is_file() and n.startswith(folders or "")}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    """Made in a copy: setuptools remembers in a checkout what an earlier one had."""
    folder = tmp_path_factory.mktemp("sdist")
    for name in tracked():
        (folder / "checkout" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / "checkout" / name)
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", folder]
    run(*command, folder / "checkout")
    (path,) = folder.glob("dsnet-*.tar.gz")
    return path


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory) -> Path:
    """Built from what the sdist holds, with CUDA code where there is a compiler for it, unless
    DSNET_CUDA says otherwise."""
    folder = tmp_path_factory.mktemp("wheel")
    environment = {**ENVIRONMENT, "DSNET_CUDA": CUDA}
    environment.setdefault("CMAKE_ARGS", "-DCMAKE_CUDA_ARCHITECTURES=90")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    run(*command, "-w", folder, folder / f"dsnet-{dsnet.__version__}", env=environment)
    (path,) = folder.glob("dsnet-*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """The programs of an environment with the wheel, and what it depends on by itself."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", folder)
    run(
        folder / "bin" / "pip",
        "install",
        wheel,
        "pytest",
        "pytest-benchmark",
        "pytest-xdist",
        "hypothesis",
    )
    return folder / "bin"


def write_archives(folder: Path) -> None:
    """The same nodule as a slice with a mark, and as a picture that two raters outlined."""
    import cv2

    made = make_phantom("solid", 64, 0)
    nodule = folder / "raters" / "p1" / "nodule-0"
    mask = (made.alpha >= 0.5).astype(np.uint8) * 255
    pictures = {
        folder / "slices" / "000001_01_01" / "001.png": np.rint(made.hu + 32768).astype(np.uint16),
        nodule / "images" / "slice-0.png": np.rint(made.image * 255).astype(np.uint8),
        nodule / "mask-0" / "slice-0.png": mask,
        nodule / "mask-1" / "slice-0.png": mask,
    }
    for path, pixels in pictures.items():
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), pixels)
    mark = ", ".join(str(number) for number in made.mark.coordinates)
    columns = {"File_name": "000001_01_01_001.png", "Measurement_coordinates": f'"{mark}"'}
    (folder / "marks.csv").write_text(f"{','.join(columns)}\n{','.join(columns.values())}\n")


@pytest.mark.long
def test_the_sdist_holds_all_that_a_build_needs_and_no_test(sdist):
    with tarfile.open(sdist) as archive:
        members = [member.name for member in archive.getmembers() if member.isfile()]
    names = {name.partition("/")[2] for name in members}
    sources = tracked("csrc/", "dsnet/", "kernels/dsnet_kernels/")
    assert {Path(name).suffix for name in sources} >= {".cpp", ".cu", ".cuh", ".h", ".json", ".py"}
    assert sources | SDIST_ROOT <= names
    made = {name for name in names if name.startswith("dsnet.egg-info/")} | {
        "PKG-INFO",
        "setup.cfg",
    }
    assert names - made <= tracked(), "built or ignored files"
    assert not [name for name in names if name.startswith(("tests/", "bench/", "docs/", "."))]


@pytest.mark.long
def test_the_wheel_holds_the_packages_and_the_module_and_nothing_else(wheel):
    names = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    modules = {name for name in names if name.startswith("dsnet/_C.") and name.endswith(".so")}
    assert len(modules) == 1
    kernels = {name.removeprefix("kernels/") for name in tracked("kernels/dsnet_kernels/")}
    assert names - modules == tracked("dsnet/") | kernels
    assert {"dsnet/py.typed", "dsnet_kernels/py.typed"} <= names


@pytest.mark.long
def test_the_wheel_works_in_a_clean_environment(environment, tmp_path):
    code = (
        "import dsnet, numpy as np; from dsnet import _C;"
        "print(_C.distance_squared(np.array([[True, True, False]])).tolist());"
        "built = dsnet.build_info();"
        "print(built['version'], built['cuda'], dsnet.__file__)"
    )
    distances, where = run(environment / "python", "-I", "-c", code, cwd=tmp_path).splitlines()
    assert distances == "[[4.0, 1.0, 0.0]]"
    assert where.startswith(f"{dsnet.__version__} {CUDA == 'ON'} {environment.parent}")


@pytest.mark.long
def test_labelling_works_without_any_extra(environment, tmp_path):
    """As the README's first command installs it: no torch."""
    installed = run(environment / "pip", "list", "--format", "freeze").lower()
    assert "numba==" in installed and "pyarrow==" in installed
    for name in (*sum(EXTRAS.values(), ()), "nvidia"):
        assert f"\n{name}" not in installed

    def label(*arguments) -> str:
        return run(environment / "python", "-m", "dsnet.label", *arguments, cwd=tmp_path)

    write_archives(tmp_path)
    label("demo", "--out", "demo", "--count", 6)
    for name, *arguments in (
        ("recist", "--annotations", "marks.csv", "--images", "slices"),
        ("masks", "--images", "raters/p1/nodule-0/images", "--masks", "raters/p1/nodule-0/mask-0"),
        ("raters", "--data", "raters"),
    ):
        label(name, *arguments, "--strict", "--out", f"{name}-store")
        label("show", f"{name}-store")
        label("export", f"{name}-store", "--format", "nnunet", "--out", f"{name}-dataset")
    rooms = ("labeling", "drawing", "data.store", "archive.run", "files", "console", "devices")
    code = "import sys; " + "; ".join(f"import dsnet.{room}" for room in rooms)
    run(environment / "python", "-I", "-c", code, cwd=tmp_path)


@pytest.mark.long
def test_the_tests_of_labelling_pass_without_any_extra(environment):
    # Not `python -m pytest`: the checkout's dsnet would come before the installed one.
    command = [environment / "pytest", "-q", "-p", "no:cacheprovider"]
    variables = {**ENVIRONMENT, "DSNET_EMULATION_DIR": str(emulation_module.build())}
    # Commands and whole labels; matting's own tests ask for nothing that an extra could bring.
    labels = [f"tests/labeling/test_{name}.py" for name in ("soft_mask", "trimap", "morphology")]
    told = run(*command, "tests/archive", *labels, cwd=ROOT, env=variables)
    assert " passed" in told
