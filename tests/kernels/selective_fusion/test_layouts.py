"""Selective fusion's kernels on memory of every kind."""

import sys

import torch

import suites
from compare import run
from operations import FUSION, fusion_inputs, gradient_for


class TestLayouts(suites.Layouts):
    operation = FUSION

    @suites.any_case
    def test_any_shape_any_options(self, ops, launch, device, data):
        self.check_any_shape(ops, launch, device, data)


def test_fast_layouts_are_read_where_they_lie(ops, launch, device, monkeypatch):
    """Contiguous or channels_last, and slices of them: nothing of u's size is copied."""
    folder = ops.__name__ + ".selective_fusion"
    copies = []

    def dense(x, channels_last):
        result = launch.dense(x, channels_last)
        copies.append(result.data_ptr() != x.data_ptr())
        return result

    for name in ("forward", "backward"):
        monkeypatch.setattr(sys.modules[f"{folder}.{name}"], "dense", dense)
    for channels_last in (False, True):
        inputs = fusion_inputs((3, 8, 5, 6), channels_last=channels_last, device=device)
        gradient = gradient_for(inputs)
        if channels_last:
            gradient = gradient.contiguous(memory_format=torch.channels_last)
        for name in "uv":
            inputs[name] = inputs[name][1:]
        run(ops.selective_fusion, inputs, gradient[1:])
    assert copies == [False] * 10
