"""Launches that are repeated reach Triton's launcher with what Triton itself gave it first.

The kernels are compiled for a GPU that need not be there, by a driver that keeps what it is to
launch; a process of its own, since a driver is a process'.
"""

import os
import subprocess
import sys

from operations import CBAM, FUSION

PROGRAM = """
import sys
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

import dsnet_kernels
from operations import CBAM, FUSION, gradient_for, tensors_of

calls = []


class Launcher:
    def __init__(self, source, metadata):
        # All that is launched has arguments as they stand here.
        self.names = list(source.signature)

    def __call__(self, x, y, z, stream, function, packed, metadata, enter, leave, *args):
        assert len(args) == len(self.names), (function, self.names, args)
        calls.append((function, (x, y, z), stream, args))


class Utils:
    def load_binary(self, name, kernel, shared, device):
        return (None, name, 0, 0, 1024)[: 5 if hasattr(triton, "knobs") else 4]

    def unload_module(self, module):
        pass

    def get_device_properties(self, device):
        return {"max_shared_mem": 227 * 1024}


class Driver:
    utils, launcher_cls = Utils(), Launcher

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 5

    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)


driver.set_active(Driver())
for operation in (CBAM, FUSION):
    calls.clear()
    module = sys.modules[f"dsnet_kernels.{operation.name}.op"]
    module.runs_kernels = lambda *_: True
    inputs = operation.inputs((2, 8, 6, 8), **operation.kinds["all"])
    given = tensors_of(inputs)
    leaves = [t.requires_grad_() for name, t in given.items() if not name.startswith("running")]
    gradient = gradient_for(inputs)
    for _ in range(2):
        out = operation.fused(dsnet_kernels)(**inputs)
        torch.autograd.grad(out, leaves, gradient)
    count = operation.kernels
    assert len(calls) == 2 * count, len(calls)
    known = {t.data_ptr() for t in (*given.values(), gradient)}
    pointers = 0
    for first, again in zip(calls[:count], calls[count:], strict=True):
        assert first[:3] == again[:3], (first, again)
        for one, other in zip(first[3], again[3], strict=True):
            if not isinstance(one, torch.Tensor):
                assert one == other and type(one) is type(other), (first[0], one, other)
                continue
            pointers += 1
            assert type(other) is int and other % 16 == one.data_ptr() % 16 == 0, first[0]
            assert one.data_ptr() == other or not {one.data_ptr(), other} & known, first[0]
    print(operation.name, len(calls), "launches,", pointers, "pointers")
"""


def test_repeated_launches_are_given_what_triton_gives():
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    path = [os.path.dirname(__file__), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment | {"PYTHONPATH": os.pathsep.join(path), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    for operation, line in zip((CBAM, FUSION), done.stdout.splitlines(), strict=True):
        assert line.startswith(f"{operation.name} {2 * operation.kernels} launches, ")
