"""CBAMs written elsewhere become ours: equal outputs, equal gradients, or a clear error."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from dsnet_kernels import CBAM, SelectiveFusion
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


class AmaxGate(nn.Module):
    """The authors' spatial gate with amax, which shares a gradient among equal maxima."""

    def __init__(self, gate):
        super().__init__()
        self.spatial = gate.spatial

    def forward(self, x):
        maps = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.spatial(maps))


def amax_host():
    host = LinearCBAM(8, 2)
    host.SpatialGate = AmaxGate(host.SpatialGate)
    return host


class DropoutCBAM(LinearCBAM):
    """Random in training, by a function that no module shows."""

    def forward(self, x):
        return super().forward(nn.functional.dropout(x, 1e-9, self.training))


class OtherInTraining(LinearCBAM):
    def forward(self, x):
        return super().forward(x) * (1.001 if self.training else 1)


class OtherWhenLarge(LinearCBAM):
    def forward(self, x):
        return super().forward(x) * (1.001 if x.shape[-1] > 64 else 1)


class DetachedCBAM(LinearCBAM):
    def forward(self, x):
        gated = self.ChannelGate(x)
        return gated * (self.SpatialGate(gated) / gated.where(gated != 0, 1)).detach()


class CountsTwice(LinearCBAM):
    """Counts every batch twice."""

    def forward(self, x):
        y = super().forward(x)
        if self.training:
            self.SpatialGate.spatial.bn.num_batches_tracked.add_(1)
        return y


class UltralyticsCBAM(nn.Module):
    """ultralytics.nn.modules.conv.CBAM: a channel gate of one layer over the mean alone."""

    def __init__(self, channels):
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1, bias=True)
        self.cv1 = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x):
        x = x * torch.sigmoid(self.fc(x.mean((2, 3), keepdim=True)))
        maps = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True)[0]], 1)
        return x * torch.sigmoid(self.cv1(maps))


class TimmSelectiveKernel(nn.Module):
    """timm.layers.SelectiveKernel of two paths."""

    def __init__(self, channels, hidden=4):
        super().__init__()
        self.paths = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=k, dilation=k) for k in (1, 2)
        )
        self.fc_reduce = nn.Conv2d(channels, hidden, 1, bias=False)
        self.bn = nn.BatchNorm2d(hidden)
        self.fc_select = nn.Conv2d(hidden, 2 * channels, 1, bias=False)

    def forward(self, x):
        split = torch.stack([path(x) for path in self.paths], 1)
        pooled = split.sum(1).mean((2, 3), keepdim=True)
        select = self.fc_select(torch.relu(self.bn(self.fc_reduce(pooled))))
        attention = select.view(len(x), 2, -1, 1, 1).softmax(1)
        return (split * attention).sum(1)


def changed(host, change):
    change(host)
    return host


def hooked(where):
    def change(host):
        where(host).register_forward_hook(lambda module, x, y: y)

    return changed(LinearCBAM(8, 2), change)


def with_dropout():
    def change(host):
        host.ChannelGate.mlp.insert(3, nn.Dropout(0.1))

    return changed(LinearCBAM(8, 2), change)


REFUSED = [
    (DropoutCBAM(8, 2), "must draw no random numbers, got DropoutCBAM in training mode"),
    (with_dropout(), r"must have no dropout, got Dropout\(p=0.1.*\) at ChannelGate.mlp.3"),
    (OtherInTraining(8, 2), r"another value as the output in training mode, of \[2, 8, 9, 10\]"),
    (OtherWhenLarge(8, 2), r"another value as the output in evaluation mode, of \[2, 8, 72, 136\]"),
    (DetachedCBAM(8, 2), "another value as a gradient in evaluation mode"),
    (CountsTwice(8, 2), "another value as the statistics in training mode"),
    (amax_host(), 'equal maxima to the first .* \\(amax shares it among them\\): ties="first"'),
    (UltralyticsCBAM(8), "one layer, over the mean alone .* is another operation"),
    (TimmSelectiveKernel(8), "a selective kernel unit's, .* copy fc_reduce, bn and fc_select"),
    (hooked(lambda host: host), "must have no hooks, got some on LinearCBAM"),
    (hooked(lambda host: host.SpatialGate.spatial.conv), "no hooks in its parts, got some at Spat"),
    (
        changed(LinearCBAM(8, 2), lambda h: parametrizations.weight_norm(h.ChannelGate.mlp[1])),
        "must not be parametrized, got ChannelGate.mlp.1 in LinearCBAM",
    ),
]


@pytest.mark.parametrize(("module", "words"), REFUSED, ids=[words[:40] for _, words in REFUSED])
def test_what_would_be_other_numbers_is_refused(module, words):
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match=words):
        from_module(module.eval())
    assert torch.equal(torch.get_rng_state(), state)


def test_equal_maxima_that_are_accepted_go_to_the_first():
    host = randomised(amax_host()).double()
    ours = from_module(host, ties="first")
    x = image(8, dtype=torch.float64)
    torch.testing.assert_close(ours(x), host(x))
    with pytest.raises(ValueError, match="ties must be 'first' or None, got 'amax'"):
        from_module(host, ties="amax")
    model = nn.Sequential(host)
    with pytest.raises(ValueError, match="equal maxima"):
        replace(model, LinearCBAM)
    assert replace(model, LinearCBAM, ties="first") == 1


def test_timms_selecting_layers_load_into_ours_by_hand():
    """As the error says."""
    host = randomised(TimmSelectiveKernel(8)).double().eval()
    ours = SelectiveFusion(8, hidden=4).double().eval()
    ours.conv_fc1.load_state_dict(host.fc_reduce.state_dict())
    ours.bn_fc1.load_state_dict(host.bn.state_dict())
    ours.conv_fc2.load_state_dict(host.fc_select.state_dict())
    x = image(8, dtype=torch.float64)
    torch.testing.assert_close(ours(*(path(x) for path in host.paths)), host(x))


def test_no_grad_and_inference_mode_do_not_change_what_is_found():
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            assert isinstance(from_module(ConvCBAM(8, 2)), CBAM)
            with pytest.raises(ValueError, match="a gradient"):
                from_module(DetachedCBAM(8, 2))


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
