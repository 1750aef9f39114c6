"""One chooser of devices, for labelling and for torch, and what it says of those that lack."""

import os

import pytest
import torch

from dsnet import _C, devices
from fresh_interpreter import printed

CHOOSERS = [devices.device_index, devices.torch_device]


@pytest.mark.parametrize("choose", CHOOSERS)
@pytest.mark.parametrize("device", ["tpu", "cuda:", "cuda:-1", "CUDA", "cuda0", "", 0, None])
def test_other_names_are_refused(choose, device):
    with pytest.raises(ValueError, match="device must be 'cpu', 'cuda', 'cuda:N' or 'auto', got"):
        choose(device)


def without(monkeypatch, count):
    """As many GPUs, for both."""

    def counted():
        if not count:
            raise RuntimeError("no NVIDIA driver was found: install one, or use device='cpu'")
        return count

    monkeypatch.setattr(_C, "cuda_device_count", counted)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def test_two_gpus(monkeypatch):
    without(monkeypatch, 2)
    names = ("cpu", "cuda", "cuda:0", "cuda:1", "auto")
    assert [devices.device_index(name) for name in names] == [None, 0, 0, 1, 0]
    found = [str(devices.torch_device(name)) for name in names]
    assert found == ["cpu", "cuda:0", "cuda:0", "cuda:1", "cuda:0"]
    assert [devices.labelling_device(name) for name in names] == [*names[:4], "cuda"]
    for choose in CHOOSERS:
        with pytest.raises(devices.NoDevice, match="there is no cuda:2: this machine has 2 CUDA"):
            choose("cuda:2")


def test_no_gpu(monkeypatch):
    without(monkeypatch, 0)
    assert devices.device_index("auto") is None and devices.device_index("cpu") is None
    assert devices.labelling_device("auto") == "cpu"
    assert devices.torch_device("auto") == devices.torch_device("cpu") == torch.device("cpu")
    for choose in CHOOSERS:
        with pytest.raises(RuntimeError, match=r"^no [^\n]+ or use device='cpu'$"):
            choose("cuda")


def test_a_torch_without_cuda(monkeypatch):
    without(monkeypatch, 0)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    with pytest.raises(devices.NoDevice, match="this torch was built without CUDA"):
        devices.torch_device("cuda:1")
    assert devices.torch_device("auto").type == "cpu"


def test_labelling_asks_no_torch():
    code = "import sys; from dsnet import devices; devices.device_index('auto');"
    assert printed(code + "print('torch' in sys.modules)") == "False"


def test_full_memory_is_told_of_every_device():
    def fill():
        torch.empty(1 << 60)

    with pytest.raises(RuntimeError) as full:
        fill()
    assert "memory is full" in devices.out_of_memory(full.value)
    assert "memory is full" in devices.out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert "memory is full" in devices.out_of_memory(MemoryError())
    assert not devices.out_of_memory(RuntimeError("a size does not fit"))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="there is no affinity here")
def test_threads_are_those_that_the_process_may_use():
    before, threads = os.sched_getaffinity(0), torch.get_num_threads()
    try:
        os.sched_setaffinity(0, {min(before)})
        assert devices.usable_cores() == 1
        devices.use_threads(10**9)
        assert torch.get_num_threads() == 1
    finally:
        os.sched_setaffinity(0, before)
        torch.set_num_threads(threads)
