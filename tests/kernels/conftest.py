"""The package as these tests see it: on the GPU where there is one, else interpreted.

Triton reads TRITON_INTERPRET when it is first imported, at each kernel's definition and when an
interpreted kernel runs. The variable is set at those times only, and the interpreted copy of the
package has a name of its own, so that other tests in this process find `dsnet_kernels` as users
do.
"""

import importlib.util
import os
import sys
from types import ModuleType

import pytest
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
INTERPRETED_NAME = "dsnet_kernels_interpreted"


def load_interpreted() -> ModuleType:
    if INTERPRETED_NAME in sys.modules:
        return sys.modules[INTERPRETED_NAME]
    os.environ["TRITON_INTERPRET"] = "1"
    try:
        from triton.language import sum as reduction
        from triton.runtime.interpreter import InterpretedFunction

        if not isinstance(reduction, InterpretedFunction):
            raise RuntimeError("Triton was imported before tests/kernels; run these tests alone")
        origin = importlib.util.find_spec("dsnet_kernels").origin
        spec = importlib.util.spec_from_file_location(INTERPRETED_NAME, origin)
        module = importlib.util.module_from_spec(spec)
        sys.modules[INTERPRETED_NAME] = module
        spec.loader.exec_module(module)
    finally:
        del os.environ["TRITON_INTERPRET"]
    return module


if DEVICE == "cpu":
    load_interpreted()


@pytest.fixture(scope="session")
def device() -> str:
    return DEVICE


@pytest.fixture(scope="session")
def ops() -> ModuleType:
    """The package whose operations run kernels on `device`."""
    if DEVICE == "cpu":
        return load_interpreted()
    import dsnet_kernels

    return dsnet_kernels


@pytest.fixture(scope="session")
def launch(ops) -> ModuleType:
    return sys.modules[ops.__name__ + ".launch"]


@pytest.fixture(autouse=True)
def interpreting(monkeypatch):
    if DEVICE == "cpu":
        monkeypatch.setenv("TRITON_INTERPRET", "1")


@pytest.fixture(autouse=True)
def one_thread():
    """Threads only wait for each other on tensors this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def reference_in_float32():
    """A GPU's convolutions round their operands to TensorFloat-32 unless told not to."""
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = allowed


@pytest.fixture(autouse=True)
def unwritten_memory_is_nan():
    """Deterministic mode fills torch.empty with NaN: what a kernel forgets to write shows."""
    torch.use_deterministic_algorithms(True, warn_only=DEVICE == "cuda")
    yield
    torch.use_deterministic_algorithms(False)
