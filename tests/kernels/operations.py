"""The operations as the suites see them: their arguments, of every kind, and how they are called.

Shapes are as small as a case allows: an interpreted program takes milliseconds an operator. The
defaults still have two blocks of channels in the contiguous layout and several samples.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import torch


@dataclass(frozen=True)
class Operation:
    """What the suites need to know of an operation; dicts are options of `inputs`.

    Attributes
    ----------
    name : str
    images : pair of str
        Its arguments of x's size; the result has the first one's shape, dtype and layout.
    inputs : function of a shape and options
        The arguments, in float32 but for the images.
    kinds : dict of dict
        By name, all the variants.
    forward : function of inputs
        The forward operator's arguments.
    backward : function of inputs, a gradient and the forward operator's results
        The backward operator's arguments.
    eager : function of the inputs of `half`
        The operation as people write it.
    half, odd, many_chunks, on_a_gpu, both_images, every_parameter, far, compiled : dict
        Inputs for halves, for odd sizes, for many chunks of a tile, for real shapes beside those
        of kind "all", with both images, with every parameter, for images that lie far apart, and
        for a compiled reference.
    tile : tuple
        Cuts ten channels and 253 pixels into several blocks.
    warmups : pair of dict
        Options of the warm-up: with every option, and of one that goes forward alone.
    narrow_error, any_error : float
        Of the gradient of a second image in bfloat16, and of any gradient at random sizes.
    any_options : function of a shape and three drawers
        Random options: an integer between two, a flag, one of some values.
    streams : dict of pairs
        Of each kernel that walks an image: how many it reads with every option and without, and
        whether it writes one.
    kernels : int
        How many a forward and a backward launch, with every option.
    """

    name: str
    images: tuple[str, str]
    inputs: Callable[..., dict]
    kinds: dict[str, dict]
    forward: Callable[[dict], tuple]
    backward: Callable[[dict, torch.Tensor, tuple], tuple]
    eager: Callable[..., torch.Tensor]
    half: dict
    odd: dict
    many_chunks: dict
    tile: tuple[int, int, int]
    warmups: tuple[dict, dict]
    on_a_gpu: dict
    both_images: dict
    every_parameter: dict
    far: dict
    narrow_error: float
    any_options: Callable[..., dict]
    any_error: float
    compiled: dict
    streams: dict[str, tuple[tuple[int, int], tuple[bool, bool]]]
    kernels: int

    def fused(self, ops: ModuleType) -> Callable[..., torch.Tensor]:
        return getattr(ops, self.name)

    def reference(self, ops: ModuleType) -> Callable[..., torch.Tensor]:
        return getattr(ops, f"{self.name}_reference")


def gradient_for(inputs: dict, seed: int = 1) -> torch.Tensor:
    """A gradient of the operation's result, which has its first argument's shape."""
    first = next(iter(inputs.values()))
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(first.shape, generator=generator).to(first.device, first.dtype)


def tensors_of(inputs: dict) -> dict[str, torch.Tensor]:
    return {name: value for name, value in inputs.items() if isinstance(value, torch.Tensor)}


def cbam_inputs(
    shape=(2, 8, 6, 8), dtype=torch.float32, channels_last=False, device="cpu", norm=False,
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


def cbam_forward_arguments(inputs: dict) -> tuple:
    names = (
        "x", "fc1_weight", "fc1_bias", "fc2_weight", "fc2_bias", "conv_weight", "conv_bias",
        "norm_weight", "norm_bias", "running_mean", "running_var",
    )  # fmt: skip
    batch_stats = "norm_weight" in inputs and inputs["training"]
    head, tail = (
        [inputs.get(name) for name in group] for group in (names, ("residual", "scale", "shift"))
    )
    return *head, batch_stats, 1e-5, *tail


def cbam_backward_arguments(inputs: dict, gradient: torch.Tensor, results: tuple) -> tuple:
    y, *saved = results
    x, *weights, norm_weight, _, _, _, batch_stats, _, residual, scale, shift = (
        cbam_forward_arguments(inputs)
    )
    dtype = None if residual is None else residual.dtype
    return gradient, x, y, saved, *weights, norm_weight, batch_stats, dtype, scale, shift


def eager_cbam(
    x, fc1_weight, fc1_bias, fc2_weight, fc2_bias, conv_weight, norm_weight, norm_bias, training,
    running_mean, running_var, residual,
):  # fmt: skip
    """The module as people write it, every step in x's dtype."""
    functional = torch.nn.functional

    def mlp(v):
        hidden = functional.relu(functional.linear(v, fc1_weight, fc1_bias))
        return functional.linear(hidden, fc2_weight, fc2_bias)

    gate = torch.sigmoid(mlp(x.mean((2, 3))) + mlp(x.amax((2, 3))))
    x = x * gate[:, :, None, None]
    maps = torch.cat([x.max(1, keepdim=True)[0], x.mean(1, keepdim=True)], 1)
    logit = functional.conv2d(maps, conv_weight, padding=conv_weight.shape[-1] // 2)
    logit = functional.batch_norm(
        logit, running_mean, running_var, norm_weight, norm_bias, training, 0.01
    )
    return functional.relu(x * torch.sigmoid(logit) + residual)


def any_cbam_options(shape: tuple, integer: Callable, flag: Callable, choose: Callable) -> dict:
    return {
        "norm": flag() and shape[0] * shape[2] * shape[3] > 1, "training": flag(),
        "residual": flag(), "prologue": flag(), "bias": flag(), "kernel": choose([1, 3, 5]),
        "hidden": integer(1, 9),
    }  # fmt: skip


CBAM = Operation(
    name="cbam",
    images=("x", "residual"),
    inputs=cbam_inputs,
    kinds={
        "plain": {},
        "norm": {"norm": True},
        "norm-eval": {"norm": True, "training": False},
        "residual": {"residual": True},
        "prologue": {"prologue": True},
        "all": {"norm": True, "residual": True, "prologue": True},
    },
    forward=cbam_forward_arguments,
    backward=cbam_backward_arguments,
    eager=eager_cbam,
    half={"norm": True, "residual": True},
    odd={"residual": True, "prologue": True},
    many_chunks={"norm": True},
    tile=(4, 16, 1),
    warmups=(
        {"kernel_size": 3, "norm": True, "residual": True, "prologue": True},
        {"kernel_size": 3, "bias": False},
    ),
    on_a_gpu={"kernel": 7},
    both_images={"residual": True},
    every_parameter={"norm": True, "prologue": True},
    far={"residual": True, "prologue": True},
    narrow_error=5e-3,
    any_options=any_cbam_options,
    any_error=2e-5,
    compiled={"norm": True, "residual": True},
    streams={
        "channel_pool_kernel": ((1, 1), (False, False)),
        "spatial_pool_kernel": ((1, 1), (False, False)),
        "apply_kernel": ((2, 1), (True, True)),
        "spatial_gradient_kernel": ((3, 2), (True, False)),
        "gate_gradient_kernel": ((1, 1), (False, False)),
        "input_gradient_kernel": ((2, 1), (True, True)),
    },
    kernels=16,
)


def fusion_inputs(
    shape=(4, 8, 6, 8), dtype=torch.float32, channels_last=False, device="cpu", norm=False,
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


def fusion_forward_arguments(inputs: dict) -> tuple:
    names = (
        "u", "v", "fc_weight", "fc_bias", "a_weight", "a_bias", "b_weight", "b_bias",
        "norm_weight", "norm_bias", "running_mean", "running_var",
    )  # fmt: skip
    prologue = ("u_scale", "u_shift", "v_scale", "v_shift")
    batch_stats = "norm_weight" in inputs and inputs["training"]
    head, tail = ([inputs.get(name) for name in group] for group in (names, prologue))
    return *head, batch_stats, 1e-5, *tail, 0.01


def fusion_backward_arguments(inputs: dict, gradient: torch.Tensor, results: tuple) -> tuple:
    weights = ("fc_weight", "a_weight", "b_weight", "norm_weight", "norm_bias")
    rest = fusion_forward_arguments(inputs)
    return (
        gradient, inputs["u"], inputs["v"], list(results[1:]),
        *(inputs.get(name) for name in weights), rest[12], *rest[14:],
    )  # fmt: skip


def eager_selective_fusion(
    u, v, fc_weight, fc_bias, a_weight, a_bias, b_weight, b_bias, u_scale, u_shift, v_scale, v_shift
):
    """The module as people write it, every step in u's dtype."""
    functional = torch.nn.functional
    u, v = (
        functional.leaky_relu(x * scale[:, None, None] + shift[:, None, None], 0.01)
        for x, scale, shift in ((u, u_scale, u_shift), (v, v_scale, v_shift))
    )
    z = functional.relu(functional.linear((u + v).mean((2, 3)), fc_weight, fc_bias))
    logits = [functional.linear(z, a_weight, a_bias), functional.linear(z, b_weight, b_bias)]
    a, b = torch.softmax(torch.stack(logits), 0)[..., None, None]
    return a * u + b * v


def any_fusion_options(shape: tuple, integer: Callable, flag: Callable, choose: Callable) -> dict:
    return {
        # Two samples' statistics make every unit 1 or -1, and its gradient rounding alone.
        "norm": flag(), "training": shape[0] > 2 and flag(),
        "prologue": choose(["", "u", "v", "uv"]), "bias": flag(), "hidden": integer(1, 40),
    }  # fmt: skip


FUSION = Operation(
    name="selective_fusion",
    images=("u", "v"),
    inputs=fusion_inputs,
    kinds={
        "plain": {},
        "norm": {"norm": True},
        "norm-eval": {"norm": True, "training": False},
        "prologue": {"prologue": "uv"},
        "prologue of v": {"prologue": "v"},
        "all": {"norm": True, "prologue": "uv"},
        "all-eval": {"norm": True, "training": False, "prologue": "uv"},
    },
    forward=fusion_forward_arguments,
    backward=fusion_backward_arguments,
    eager=eager_selective_fusion,
    half={"prologue": "uv"},
    odd={"norm": True, "training": False, "prologue": "uv"},
    many_chunks={"prologue": "uv"},
    tile=(4, 32, 1),
    warmups=({"hidden": 3, "bias": True, "prologue": True}, {"norm": False}),
    on_a_gpu={"hidden": 32},
    both_images={"prologue": "v"},
    every_parameter={"norm": True, "training": False, "prologue": "uv"},
    far={"prologue": "uv"},
    narrow_error=1e-2,
    any_options=any_fusion_options,
    any_error=5e-5,
    compiled={"norm": True, "prologue": "u"},
    streams={
        "fusion_pool_kernel": ((2, 2), (False, False)),
        "fusion_mix_kernel": ((2, 2), (True, True)),
        "fusion_gate_gradient_kernel": ((3, 3), (False, False)),
        "fusion_branch_gradient_kernel": ((3, 1), (True, True)),
    },
    kernels=12,
)
