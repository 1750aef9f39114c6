"""Skips long tests unless asked for, and gpu tests without a device."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The benches; last, so that the installed dsnet is found before the source folder.
sys.path.append(str(Path(__file__).resolve().parents[1]))

if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    # Before torch and OpenCV ask: the processes share the cores.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    share = max(1, (cores or 1) // int(workers))
    os.environ.setdefault("OMP_NUM_THREADS", str(share))

# A fixed sequence of examples and no time limit: the machines that run this are slow and shared.
settings.register_profile(
    "dsnet", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("dsnet")


def _import_triton_interpreted() -> None:
    """Triton reads TRITON_INTERPRET when it is first imported, by whichever test that is.

    Its own functions are then interpreted for tests/kernels; kernels defined later are not.
    """
    if importlib.util.find_spec("triton") is None or _has_gpu():
        return
    before = os.environ.get("TRITON_INTERPRET")
    os.environ["TRITON_INTERPRET"] = "1"
    try:
        import triton.language  # noqa: F401
    finally:
        if before is None:
            del os.environ["TRITON_INTERPRET"]
        else:
            os.environ["TRITON_INTERPRET"] = before


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run the tests marked long")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wants_long = config.getoption("--long") or "long" in config.getoption("markexpr")
    for item in items:
        if item.get_closest_marker("long") and not wants_long:
            item.add_marker(pytest.mark.skip(reason="long; run with --long"))
        if item.get_closest_marker("gpu") and not _has_gpu():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def _has_gpu() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def pytest_configure(config: pytest.Config) -> None:
    # Before anything of the tests is imported, in each process that runs them.
    if hasattr(config, "workerinput") or not getattr(config.option, "numprocesses", None):
        _import_triton_interpreted()


@pytest.fixture
def memory():
    """A bucket in memory; stores kept there last as long as the process unless it is emptied."""
    system = pytest.importorskip("fsspec").filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


@pytest.fixture
def waits(monkeypatch):
    """The seconds that were waited before asking a place again; none passes."""
    from dsnet.data import remote

    found: list[float] = []
    monkeypatch.setattr(remote.time, "sleep", found.append)
    return found
