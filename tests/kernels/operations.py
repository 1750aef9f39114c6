"""What the tests give the operations: arguments of every kind, and memory of every kind."""

import torch

CBAM_KINDS = {
    "plain": {},
    "norm": {"norm": True},
    "norm-eval": {"norm": True, "training": False},
    "residual": {"residual": True},
    "prologue": {"prologue": True},
    "all": {"norm": True, "residual": True, "prologue": True},
}


def cbam_inputs(
    shape=(2, 16, 6, 8), dtype=torch.float32, channels_last=False, device="cpu", norm=False,
    training=True, residual=False, prologue=False, bias=True, kernel=3, hidden=None, seed=0,
) -> dict:  # fmt: skip
    generator = torch.Generator().manual_seed(seed)

    def normal(*sizes):
        return torch.randn(sizes, generator=generator).to(device)

    c = shape[1]
    r = hidden or max(1, c // 4)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = normal(*shape).to(dtype).contiguous(memory_format=layout)
    inputs = {
        "x": x, "fc1_weight": normal(r, c) / c**0.5, "fc1_bias": normal(r) / 4 if bias else None,
        "fc2_weight": normal(c, r) / r**0.5, "fc2_bias": normal(c) / 4 if bias else None,
        "conv_weight": normal(1, 2, kernel, kernel) / 4,
    }  # fmt: skip
    if norm:
        inputs |= {
            "norm_weight": normal(1).abs() + 0.5, "norm_bias": normal(1), "training": training,
            "running_mean": normal(1), "running_var": normal(1).abs() + 0.5,
        }  # fmt: skip
    else:
        inputs["conv_bias"] = normal(1) if bias else None
    if residual:
        inputs["residual"] = normal(*shape).to(dtype).contiguous(memory_format=layout)
    if prologue:
        inputs |= {"scale": normal(c), "shift": normal(c)}
    return inputs


FUSION_KINDS = {
    "plain": {},
    "norm": {"norm": True},
    "norm-eval": {"norm": True, "training": False},
    "prologue": {"prologue": "uv"},
    "prologue of v": {"prologue": "v"},
    "all": {"norm": True, "prologue": "uv"},
    "all-eval": {"norm": True, "training": False, "prologue": "uv"},
}


def fusion_inputs(
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
    """A gradient of the operation's result, which has its first argument's shape."""
    first = next(iter(inputs.values()))
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(first.shape, generator=generator).to(first.device, first.dtype)


STRIDED = {
    "batch step": lambda x: x.repeat(2, 1, 1, 1)[::2],
    "channel slice": lambda x: torch.cat([x, x], 1)[:, x.shape[1] :],
    "cropped": lambda x: torch.nn.functional.pad(x, (1, 2, 1, 1))[:, :, 1:-1, 1:-2],
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "channels_last slice": lambda x: torch.cat([x, x], 1).contiguous(
        memory_format=torch.channels_last
    )[:, : x.shape[1]],
    "expanded": lambda x: x[:1].expand(x.shape),
}

HUGE = 2**30 + 16
LAYOUTS_BEYOND_32_BITS = {
    "samples": ((3, 4, 5, 8), (HUGE, 40, 8, 1)),
    "channels": ((1, 4, 5, 8), (HUGE, HUGE, 8, 1)),
    "samples, 64-bit stride": ((2, 4, 5, 8), (2**31 + 64, 40, 8, 1)),
    "samples, channels last": ((3, 4, 5, 8), (HUGE, 1, 32, 4)),
}
