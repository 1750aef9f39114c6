"""Selective fusion's kernels against the reference: values, gradients, sizes, NaN."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from compare import compare

KINDS = {
    "plain": {},
    "norm": {"norm": True},
    "norm-eval": {"norm": True, "training": False},
    "prologue": {"prologue": "uv"},
    "prologue of v": {"prologue": "v"},
    "all": {"norm": True, "prologue": "uv"},
}


def make_inputs(
    shape=(4, 16, 6, 8), dtype=torch.float32, channels_last=False, device="cpu", norm=False,
    training=True, prologue="", bias=True, hidden=5, seed=0,
) -> dict:  # fmt: skip
    generator = torch.Generator().manual_seed(seed)

    def normal(*sizes):
        return torch.randn(sizes, generator=generator).to(device)

    c, d = shape[1], hidden
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def image():
        # A mean of its own for each channel: else the pool of many pixels says nothing.
        return (
            (normal(*shape) + normal(*shape[:2], 1, 1)).to(dtype).contiguous(memory_format=layout)
        )

    inputs = {
        "u": image(), "v": image(),
        "fc_weight": normal(d, c) / c**0.5, "fc_bias": normal(d) / 4 if bias else None,
        "a_weight": normal(c, d) / d**0.5, "a_bias": normal(c) / 4 if bias else None,
        "b_weight": normal(c, d) / d**0.5, "b_bias": normal(c) / 4 if bias else None,
    }  # fmt: skip
    if norm:
        inputs |= {
            "norm_weight": normal(d).abs() + 0.5, "norm_bias": normal(d), "training": training,
            "running_mean": normal(d), "running_var": normal(d).abs() + 0.5,
        }  # fmt: skip
        if training:
            # Batch statistics take any bias away again: its gradient is rounding alone.
            inputs["fc_bias"] = None
    for branch in prologue:
        inputs |= {f"{branch}_scale": normal(c), f"{branch}_shift": normal(c)}
    return inputs


def gradient_for(inputs, seed=1):
    u = inputs["u"]
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(u.shape, generator=generator).to(u.device, u.dtype)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_matches_reference(ops, device, kind, channels_last):
    inputs = make_inputs(channels_last=channels_last, device=device, **KINDS[kind])
    compare(ops.selective_fusion, ops.selective_fusion_reference, inputs, gradient_for(inputs))
