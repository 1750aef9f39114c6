"""Tests here run what was compiled for a GPU."""

import pytest

import dsnet


@pytest.fixture(autouse=True)
def compiled_for_a_gpu():
    if not dsnet.build_info()["cuda"]:
        pytest.skip("dsnet was built without CUDA")
