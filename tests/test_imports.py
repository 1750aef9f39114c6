"""What an import costs and what it loads, each in a fresh interpreter."""

import subprocess
import sys

import pytest


def run(code: str) -> str:
    # -I: neither the current folder nor PYTHONPATH decides which dsnet is found.
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_dsnet_is_fast():
    code = "import time; t = time.perf_counter(); import dsnet; print(time.perf_counter() - t)"
    # The best of three: the first may read from a cold disk.
    assert min(float(run(code)) for _ in range(3)) < 0.1


def test_import_dsnet_loads_nothing_heavy():
    code = (
        "import sys, dsnet; print(*{'torch', 'cv2', 'numpy', 'numba', 'scipy'} & set(sys.modules))"
    )
    assert run(code) == ""


@pytest.mark.parametrize("package", ["dsnet.labeling", "dsnet._C"])
def test_labeling_loads_neither_torch_nor_opencv(package):
    code = f"import sys, {package}; print(*{{'torch', 'triton', 'cv2'}} & set(sys.modules))"
    assert run(code) == ""


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
    assert run(code) == ""


def test_kernel_package_is_importable_by_its_own_name():
    assert run("import dsnet_kernels; print(dsnet_kernels.__name__)") == "dsnet_kernels"
