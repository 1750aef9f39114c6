"""CBAM's kernels on memory of every kind."""

import torch

import suites
from compare import relative_rms
from operations import CBAM, cbam_inputs


class TestLayouts(suites.Layouts):
    operation = CBAM

    @suites.any_case
    def test_any_shape_any_options(self, ops, launch, device, data):
        self.check_any_shape(ops, launch, device, data)


def test_the_fast_layouts_are_not_copied(launch, device):
    """Contiguous, channels_last and their slices over batch and channels are walked as is."""
    x = torch.randn(4, 16, 6, 8, device=device)
    last = x.contiguous(memory_format=torch.channels_last)
    for view in (x, x[::2], x[:, 4:], last, last[1:], last[:, :8]):
        dense = launch.dense(view, launch.is_channels_last(view))
        assert dense.data_ptr() == view.data_ptr()
    for view in (x[:, :, 1:], x[..., ::2], x.transpose(2, 3)):
        dense = launch.dense(view, launch.is_channels_last(view))
        assert dense.shape == view.shape


def test_an_expanded_parameter(ops, device):
    inputs = cbam_inputs(prologue=True, device=device)
    inputs["scale"] = torch.full((1,), 1.5, device=device).expand(8)
    got, want = ops.cbam(**inputs), ops.cbam_reference(**inputs)
    assert relative_rms(got, want) <= 1e-5


def test_what_is_too_large_goes_to_the_reference(launch, device):
    one = torch.zeros((), device=device)
    assert launch.runs_kernels(one.expand(1, 2**15 - 1, 2, 2))
    assert not launch.runs_kernels(one.expand(1, 2**15, 2, 2))
    assert launch.runs_kernels(one.expand(1, 2, 2**15, 2**15))
    assert not launch.runs_kernels(one.expand(1, 2, 2**15, 2**15 + 1))
    assert not launch.runs_kernels(one.double().expand(1, 2, 3, 3))
