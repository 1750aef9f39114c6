"""Builds dsnet._C with CMake. Everything else about the package stands in pyproject.toml.

Environment: ``DSNET_CUDA`` (AUTO, ON, OFF) and ``DSNET_SANITIZE`` (for example
``address,undefined``) are handed to CMake; ``CMAKE_ARGS`` is appended as it is.
"""

import fcntl
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pybind11
from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()


class CMakeBuild(build_ext):
    """One extension, built by CMakeLists.txt in the checkout's build folder.

    What tests build later (tests/emulation) finds the core compiled there.
    """

    def build_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        build = ROOT / "build" / f"cmake-{sys.implementation.cache_tag}"
        build.mkdir(parents=True, exist_ok=True)
        # An isolated build environment is gone at the next build: what CMake caches from it is
        # given anew each time, and the headers are kept, since whatever includes them from a new
        # place is compiled again.
        options = {
            "CMAKE_BUILD_TYPE": "Debug" if self.debug else "Release",
            "CMAKE_LIBRARY_OUTPUT_DIRECTORY": build / "out",
            "CMAKE_MAKE_PROGRAM": find_program("ninja"),
            "Python_EXECUTABLE": sys.executable,
            "pybind11_DIR": build / "pybind11" / "share" / "cmake" / "pybind11",
            "DSNET_CUDA": os.environ.get("DSNET_CUDA", "AUTO"),
            "DSNET_EMULATION": "OFF",
            "DSNET_SANITIZE": os.environ.get("DSNET_SANITIZE", ""),
        }
        cmake = find_program("cmake")
        with open(build / "lock", "w") as lock:
            # Another build of the checkout may be at work in that folder.
            fcntl.flock(lock, fcntl.LOCK_EX)
            keep_folder(Path(pybind11.get_cmake_dir()), options["pybind11_DIR"])
            headers = Path(pybind11.get_include(), "pybind11")
            keep_folder(headers, build / "pybind11" / "include" / "pybind11")
            subprocess.run(
                [cmake, "-S", ROOT, "-B", build, "-G", "Ninja"]
                + [f"-D{name}={value}" for name, value in options.items()]
                + shlex.split(os.environ.get("CMAKE_ARGS", "")),
                check=True,
            )
            subprocess.run([cmake, "--build", build], check=True)
            built = build / "out" / target.name
            replace_file(built, target)
            # `python -m dsnet.label` started in the checkout imports the folder ./dsnet, not the
            # installed package, and needs the module there too.
            replace_file(built, ROOT / "dsnet" / target.name)


def find_program(name: str) -> str:
    """The program's path: beside this Python, then on PATH."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    # In an isolated build the required version comes first on PATH.
    path = shutil.which(name) or shutil.which(name, path=places)
    if path is None:
        raise RuntimeError(f"building dsnet needs {name}: pip install {name}")
    return path


def keep_folder(source: Path, target: Path) -> None:
    """Copy a folder, unless its files are there already with the same bytes."""
    paths = [path for path in source.rglob("*") if path.is_file()]
    if all(same_file(path, target / path.relative_to(source)) for path in paths):
        return
    shutil.rmtree(target, ignore_errors=True)
    # Without their times: what is newly here is newer than what was compiled before.
    shutil.copytree(source, target, copy_function=shutil.copyfile)


def same_file(one: Path, other: Path) -> bool:
    return other.is_file() and one.read_bytes() == other.read_bytes()


def replace_file(source: Path, target: Path) -> None:
    """Copy, then rename: a process that has the old module mapped keeps the old one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(target.name + ".new")
    shutil.copy2(source, temporary)
    os.replace(temporary, target)


setup(
    packages=find_packages(include=["dsnet", "dsnet.*"])
    + find_packages("kernels", include=["dsnet_kernels", "dsnet_kernels.*"]),
    package_dir={"dsnet_kernels": "kernels/dsnet_kernels"},
    ext_modules=[Extension("dsnet._C", sources=[])],
    cmdclass={"build_ext": CMakeBuild},
    zip_safe=False,
)
