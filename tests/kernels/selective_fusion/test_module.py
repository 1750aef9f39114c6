"""The module of selective fusion: the authors' parameters, initialisation, forward, embedding."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from compare import relative_rms
from dsnet_kernels import SelectiveFusion
from hosts import randomised


class HostSelection(nn.Module):
    """The selecting part of an SK bottleneck with PytorchInsight's layers, in plain operators."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.conv_fc1 = nn.Conv2d(channels, hidden, 1, bias=False)
        self.bn_fc1 = nn.BatchNorm2d(hidden)
        self.conv_fc2 = nn.Conv2d(hidden, 2 * channels, 1, bias=False)

    def forward(self, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        pooled = nn.functional.adaptive_avg_pool2d(u, 1) + nn.functional.adaptive_avg_pool2d(v, 1)
        logits = self.conv_fc2(torch.relu(self.bn_fc1(self.conv_fc1(pooled))))
        weights = torch.softmax(logits.unflatten(1, (2, -1)), 1)
        return weights[:, 0] * u + weights[:, 1] * v


def branches(shape=(3, 16, 6, 7), device="cpu"):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator).to(device) for _ in range(2)]


def test_it_has_the_authors_parameters():
    shapes = {key: tuple(value.shape) for key, value in SelectiveFusion(64).state_dict().items()}
    assert shapes == {
        "conv_fc1.weight": (32, 64, 1, 1),
        "bn_fc1.weight": (32,),
        "bn_fc1.bias": (32,),
        "bn_fc1.running_mean": (32,),
        "bn_fc1.running_var": (32,),
        "bn_fc1.num_batches_tracked": (),
        "conv_fc2.weight": (128, 32, 1, 1),
    }
    assert SelectiveFusion(1024).conv_fc1.out_channels == 64
    assert SelectiveFusion(8, hidden=5).conv_fc1.out_channels == 5


@pytest.mark.parametrize("training", [False, True])
def test_a_checkpoint_of_the_authors_layout_loads(ops, device, training):
    """Output, gradients and running statistics, with kernels."""
    theirs = randomised(HostSelection(16, 4)).to(device).train(training)
    ours = ops.SelectiveFusion(16, hidden=4).to(device).train(training)
    ours.load_state_dict(theirs.state_dict())
    results = []
    for module in (ours, theirs):
        leaves = [x.requires_grad_() for x in branches(device=device)]
        out = module(*leaves)
        out.square().sum().backward()
        gradients = [p.grad for _, p in sorted(module.named_parameters())]
        results.append([out.detach(), *(x.grad for x in leaves), *gradients])
    for got, want in zip(*results, strict=True):
        assert relative_rms(got, want) < 1e-4
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value)


def test_it_starts_as_the_authors_network_does():
    torch.manual_seed(0)
    module = SelectiveFusion(64, bias=True)
    # Kaiming, fan out: variance 2 over the outputs of a 1x1 convolution.
    assert float(module.conv_fc1.weight.detach().std()) == pytest.approx((2 / 32) ** 0.5, rel=0.1)
    assert float(module.conv_fc2.weight.detach().std()) == pytest.approx((2 / 128) ** 0.5, rel=0.1)
    assert not module.conv_fc1.bias.any()
    assert not module.conv_fc2.bias.any()
    assert torch.equal(module.bn_fc1.weight, torch.ones(32))


@pytest.mark.parametrize("name", ["channels", "reduction", "hidden"])
def test_bad_sizes_are_named(name):
    with pytest.raises(ValueError, match=f"^{name} must be at least 1, got 0$"):
        SelectiveFusion(**{"channels": 8} | {name: 0})


@pytest.mark.parametrize("options", [{}, {"norm": False, "bias": True}])
def test_prologue_reaches_the_operation(options):
    module = randomised(SelectiveFusion(16, **options)).eval()
    u, v = branches()
    scale, shift = torch.randn(2, 16, generator=torch.Generator().manual_seed(2))
    got = module(u, v, v_scale=scale, v_shift=shift, negative_slope=0.2)
    folded = nn.functional.leaky_relu(v * scale[:, None, None] + shift[:, None, None], 0.2)
    torch.testing.assert_close(got, module(u, folded))


def test_one_graph_forward_and_backward():
    results = []
    for compiled in (False, True):
        module = randomised(SelectiveFusion(16))
        leaves = [x.requires_grad_() for x in branches()]
        function = (
            torch.compile(module, fullgraph=True, backend="aot_eager") if compiled else module
        )
        out = function(*leaves)
        out.square().sum().backward()
        results.append([out, *(x.grad for x in leaves), module.bn_fc1.running_var])
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want)


def test_kernelize_swaps_a_hosts_forward(device):
    kernels = pytest.importorskip("kernels", reason="needs Hugging Face kernels")
    if not hasattr(kernels, "get_local_kernel"):
        pytest.skip("the folder kernels/ hides the package `kernels`")
    folder = Path(__file__).parents[3] / "kernels"
    loaded = kernels.get_local_kernel(folder)
    host = randomised(HostSelection(16, 4)).to(device)
    layer = kernels.LocalLayerRepository(folder, layer_name="SelectiveFusion")
    try:
        kernels.replace_kernel_forward_from_hub(HostSelection, "HostSelection")
        with kernels.use_kernel_mapping({"HostSelection": {device: layer}}):
            swapped = kernels.kernelize(
                copy.deepcopy(host), mode=kernels.Mode.TRAINING, device=device, use_fallback=False
            )
    finally:
        for name in ("kernel_layer_name", "kernel_condition"):
            if name in vars(HostSelection):
                delattr(HostSelection, name)
    assert swapped.forward.__func__ is loaded.layers.SelectiveFusion.forward
    u, v = branches(device=device)
    torch.testing.assert_close(swapped(u, v), host(u, v), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(swapped.bn_fc1.running_var, host.bn_fc1.running_var)


def test_torch_fx_traces_it_and_an_export_takes_any_size():
    module = SelectiveFusion(8).eval()
    given = [torch.randn(3, 8, 5, 6) for _ in range(2)]
    assert torch.equal(torch.fx.symbolic_trace(module)(*given), module(*given))
    names = ("batch", "height", "width")
    axes = {
        axis: torch.export.Dim(name, min=1, max=4096)
        for axis, name in zip((0, 2, 3), names, strict=True)
    }
    program = torch.export.export(module, tuple(given), dynamic_shapes=(axes,) * 2).module()
    for shape in ((1, 8, 7, 4), (2, 8, 1, 9)):
        other = [torch.randn(shape) for _ in range(2)]
        torch.testing.assert_close(program(*other), module(*other))
