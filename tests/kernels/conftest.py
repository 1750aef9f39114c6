"""The package as these tests see it: on the GPU where there is one, else interpreted.

Triton reads TRITON_INTERPRET when it is first imported, at each kernel's definition and when an
interpreted kernel runs. The variable is set at those times only, and the interpreted copy of the
package has a name of its own, so that other tests in this process find `dsnet_kernels` as users
do.
"""

import dataclasses
import importlib.util
import os
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

pytest.register_assert_rewrite("compare", "suites")

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


@pytest.fixture(autouse=True, scope="module")
def interpreter_without_waste():
    """Triton's language is replaced once for a file of tests, and integers are not checked.

    The interpreter looks through all of the language at every launch, and again at every call of
    a device function, `tl.sum` among them; it computes every index again in 64 bits to see
    whether it fits. That is half of the time of kernels as small as these. Where an index may be
    large, `overflow_is_an_error` has the second back.
    """
    if DEVICE == "cuda":
        yield
        return
    from triton.runtime import interpreter

    patch_language, scopes = interpreter._patch_lang, {}

    def patch(function):
        # What is to be replaced is what the function's module knows of the language.
        module = id(function.__globals__)
        if module not in scopes:
            scopes[module] = patch_language(function)
        return SimpleNamespace(restore=lambda: None)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(interpreter, "_patch_lang", patch)
        builder = interpreter.interpreter_builder
        unchecked = dataclasses.replace(builder.options, sanitize_overflow=False)
        monkeypatch.setattr(builder, "options", unchecked)
        yield
    for scope in reversed(scopes.values()):
        if scope is not None:  # Triton 3.2 leaves the language as it replaced it
            scope.restore()


@pytest.fixture
def overflow_is_an_error(monkeypatch):
    """The interpreter stops where an integer does not fit its type."""
    if DEVICE == "cuda":
        pytest.skip("a GPU's kernels do not check their integers")
    from triton.runtime import interpreter

    builder = interpreter.interpreter_builder
    checked = dataclasses.replace(builder.options, sanitize_overflow=True)
    monkeypatch.setattr(builder, "options", checked)


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
