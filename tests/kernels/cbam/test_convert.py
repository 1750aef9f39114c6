"""CBAMs written elsewhere become ours: equal outputs, equal gradients, or a clear error."""

import pytest
import torch
from torch import nn

from dsnet_kernels import CBAM
from dsnet_kernels.cbam.convert import find_gates, from_module, replace
from hosts import ConvCBAM, ConvChannelAttention, LinearCBAM, randomised

HOSTS = {
    "linear": lambda: LinearCBAM(32, 2),
    "linear, no bias": lambda: LinearCBAM(32, 4, bias=False),
    "linear, no norm": lambda: LinearCBAM(32, 2, norm=False, size=3),
    "conv": lambda: ConvCBAM(32, 2),
    "conv, biases": lambda: ConvCBAM(32, 8, bias=True, conv_bias=True),
    "conv, 3x3": lambda: ConvCBAM(32, 2, size=3),
    "as many hidden units as channels": lambda: ConvCBAM(8, 8),
}


def image(channels, seed=1, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((2, channels, 9, 11), generator=generator, dtype=dtype)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("host", HOSTS)
def test_output_and_gradients_are_kept(host, training):
    """In float64: the convolution's gradient is a sum that cancels."""
    host = randomised(HOSTS[host]()).double().train(training)
    ours = from_module(host)
    assert isinstance(ours, CBAM)
    assert ours.training == training
    results = []
    for module in (host, ours):
        channels = find_gates(host).fc1.weight.shape[1]
        x = image(channels, dtype=torch.float64).requires_grad_()
        y = module(x)
        y.square().sum().backward()
        fc1, fc2, conv, norm = find_gates(module)
        weights = [fc1.weight.grad.flatten(1), fc2.weight.grad.flatten(1)]
        weights.append(conv.weight.grad)
        if isinstance(host, ConvCBAM) and module is host:
            weights[-1] = weights[-1].flip(1)
        statistics = [] if norm is None else [norm.running_mean, norm.running_var]
        results.append([y, x.grad, *weights, *statistics])
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-11)


def test_order_is_found_or_checked():
    for host, order in ((LinearCBAM(8, 2), "max"), (ConvCBAM(8, 2), "mean")):
        from_module(host, order)
        other = "mean" if order == "max" else "max"
        words = f"order must be '{order}' or None .* concatenates {order} first, got '{other}'"
        with pytest.raises(ValueError, match=words):
            from_module(host, other)
    with pytest.raises(ValueError, match="order must be 'max', 'mean' or None, got 'first'"):
        from_module(LinearCBAM(8, 2), "first")


def test_conversion_leaves_the_host_alone():
    host = randomised(LinearCBAM(8, 2))
    before = {key: value.clone() for key, value in host.state_dict().items()}
    from_module(host)
    assert all(torch.equal(before[key], value) for key, value in host.state_dict().items())
    assert host.training


def test_dtype_and_frozen_weights_are_kept():
    host = ConvCBAM(8, 2).to(torch.bfloat16)
    host.ca.fc1.weight.requires_grad_(False)
    ours = from_module(host)
    assert {p.dtype for p in ours.parameters()} == {torch.bfloat16}
    frozen = [name for name, p in ours.named_parameters() if not p.requires_grad]
    assert frozen == ["ChannelGate.mlp.1.weight"]


def test_ours_converts_to_itself():
    ours = randomised(CBAM(16, 4)).eval()
    again = from_module(ours)
    assert torch.equal(ours(image(16)), again(image(16)))


class GeluCBAM(LinearCBAM):
    def __init__(self):
        super().__init__(8, 2)
        self.ChannelGate.mlp[2] = nn.GELU()


class SquashedCBAM(LinearCBAM):
    def __init__(self):
        super().__init__(8, 2)
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return super().forward(x) * self.gain


class TwoInputs(LinearCBAM):
    def forward(self, x, y):
        return super().forward(x + y)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.Conv2d(3, 8, 3), "2 dense layers.*, got 0 dense layers, 1 convolutions"),
        (ConvChannelAttention(8, 2), "1 convolution .*, got 2 dense layers, 0 convolutions"),
        (
            nn.Sequential(nn.Linear(8, 2), nn.Linear(2, 4), nn.Conv2d(2, 1, 7)),
            r"MLP's weights, got \[2, 8\] and",
        ),
        (GeluCBAM(), "got something else from GeluCBAM"),
        (SquashedCBAM(), "no parameter but those of a CBAM's parts, got gain in"),
        (TwoInputs(8, 2), "module must take one tensor .*, got TypeError"),
    ],
)
def test_what_is_no_cbam_is_refused(module, words):
    with pytest.raises(ValueError, match=words):
        from_module(module)


def test_replace_keeps_a_models_output_and_its_sharing():
    class Host(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.Sequential(ConvCBAM(8, 2), nn.ReLU(), ConvCBAM(8, 4))
            self.again = self.blocks[0]

        def forward(self, x):
            return self.again(self.blocks(x))

    model = randomised(Host()).eval()
    want = model(image(8))
    assert replace(model, ConvCBAM) == 2
    assert model.again is model.blocks[0]
    assert not any(isinstance(module, ConvCBAM) for module in model.modules())
    torch.testing.assert_close(model(image(8)), want)
