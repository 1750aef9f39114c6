"""The package inside someone else's project: through Hugging Face `kernels`, with the real one."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from fresh_interpreter import printed
from hosts import ConvCBAM, LinearCBAM, randomised

FOLDER = Path(__file__).parents[2] / "kernels"

kernels = pytest.importorskip("kernels", reason="needs Hugging Face kernels: pip install kernels")
if not hasattr(kernels, "get_local_kernel"):
    pytest.skip("the folder kernels/ hides the package `kernels`", allow_module_level=True)


@pytest.fixture(scope="module")
def loaded(device):
    """The folder as `kernels` loads it; without a GPU its Triton kernels run interpreted."""
    with pytest.MonkeyPatch.context() as patch:
        if device == "cpu":
            patch.setenv("TRITON_INTERPRET", "1")
        return kernels.get_local_kernel(FOLDER)


def image(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def kernelize(model, layer, device, mode):
    repository = kernels.LocalLayerRepository(FOLDER, layer_name=layer)
    for kind in (LinearCBAM, ConvCBAM):
        kernels.replace_kernel_forward_from_hub(kind, "HostCBAM")
    with kernels.use_kernel_mapping({"HostCBAM": {device: repository}}):
        return kernels.kernelize(model, mode=mode, device=device, use_fallback=False)


@pytest.fixture(autouse=True)
def hosts_as_they_were():
    yield
    for kind in (LinearCBAM, ConvCBAM):
        for name in ("kernel_layer_name", "kernel_condition"):
            if name in vars(kind):
                delattr(kind, name)


def test_the_folder_loads_beside_the_installed_package(loaded):
    import dsnet_kernels

    assert Path(loaded.__file__) == FOLDER / "dsnet_kernels" / "__init__.py"
    assert loaded is not dsnet_kernels
    assert loaded.cbam is not dsnet_kernels.cbam
    assert not (FOLDER / "__init__.py").exists()


HOSTS = {
    "CBAM": lambda: LinearCBAM(16, 4),
    "CBAMMeanFirst": lambda: ConvCBAM(16, 4),
}


@pytest.mark.parametrize("layer", HOSTS)
def test_kernelize_swaps_a_hosts_forward(loaded, layer, device):
    host = randomised(nn.Sequential(nn.Conv2d(3, 16, 3), HOSTS[layer]())).to(device)
    swapped = kernelize(copy.deepcopy(host), layer, device, kernels.Mode.TRAINING)
    assert swapped[1].forward.__func__ is getattr(loaded.layers, layer).forward
    assert list(swapped.state_dict()) == list(host.state_dict())
    x = image(2, 3, 8, 9).to(device)
    results = []
    for model in (swapped, host):
        y = model(x)
        y.square().mean().backward()
        results.append([y, *(parameter.grad for parameter in model.parameters())])
        results[-1] += model.buffers()
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-5)


def test_a_kernelized_host_compiles_in_one_graph(loaded, device):
    mode = kernels.Mode.TRAINING | kernels.Mode.TORCH_COMPILE
    host = kernelize(randomised(LinearCBAM(16, 4)).to(device), "CBAM", device, mode)
    x = image(2, 16, 6, 7).to(device)
    compiled = torch.compile(copy.deepcopy(host), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), host(x))


def test_a_host_that_is_no_cbam_says_so(loaded, device):
    host = LinearCBAM(16, 4)
    host.ChannelGate.mlp[1] = nn.Identity()
    kernelize(host, "CBAM", device, kernels.Mode.INFERENCE)
    with pytest.raises(ValueError, match="1 dense layers"):
        host.to(device)(image(1, 16, 5, 5).to(device))


class Scaled(LinearCBAM):
    """Computes something else in training alone."""

    def forward(self, x):
        return super().forward(x) * (1.001 if self.training else 1)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("host", "layer", "words"),
    [
        (lambda: Scaled(16, 4), "CBAM", "another value as the output in training mode"),
        (lambda: LinearCBAM(16, 4), "CBAMMeanFirst", "pooled maps mean first .*, got max first"),
        (lambda: ConvCBAM(16, 4), "CBAM", "pooled maps max first .*, got mean first"),
    ],
)
def test_a_host_that_computes_something_else_is_refused(
    loaded, device, host, layer, words, compiled
):
    mode = kernels.Mode.TRAINING | kernels.Mode.TORCH_COMPILE
    host = kernelize(host().to(device), layer, device, mode)
    if compiled:
        host = torch.compile(host, fullgraph=True, backend="aot_eager")
    for _ in range(2):
        # By the compiler as an error of its own, with this text.
        with pytest.raises(Exception, match=words):
            host(image(2, 16, 6, 7).to(device))


class AmaxCBAM(LinearCBAM):
    def forward(self, x):
        x = self.ChannelGate(x)
        maps = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.SpatialGate.spatial(maps))


def test_a_host_of_other_gradients_at_ties_is_for_inference_unless_it_says_so(loaded, device):
    host = kernelize(AmaxCBAM(16, 4).to(device), "CBAM", device, kernels.Mode.TRAINING)
    x = image(2, 16, 6, 7).to(device)
    with torch.no_grad():
        torch.testing.assert_close(host(x), AmaxCBAM.forward(host, x), rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match="its attribute ties = 'first' accepts ours"):
        host(x)
    host.ties = "first"
    host(x)


class SkHost(nn.Module):
    """The selecting part of implus/PytorchInsight's SK bottleneck."""

    def __init__(self, channels=8, hidden=4, activation=None):
        super().__init__()
        self.conv_fc1 = nn.Conv2d(channels, hidden, 1, bias=False)
        self.bn_fc1 = nn.BatchNorm2d(hidden)
        self.conv_fc2 = nn.Conv2d(hidden, 2 * channels, 1, bias=False)
        self.activation = activation or nn.ReLU()

    def forward(self, u, v):
        pooled = (u + v).mean((2, 3), keepdim=True)
        logits = self.conv_fc2(self.activation(self.bn_fc1(self.conv_fc1(pooled))))
        gate = logits.view(len(u), 2, -1, 1, 1).softmax(1)
        return gate[:, 0] * u + gate[:, 1] * v


def test_a_selecting_host_is_checked_too(loaded, device):
    def swapped(host):
        host = host.to(device)
        host.forward = loaded.layers.SelectiveFusion.forward.__get__(host)
        return host

    u, v = (image(2, 8, 5, 6, seed=seed).to(device) for seed in (1, 2))
    host = randomised(SkHost()).to(device)
    want = copy.deepcopy(host)(u, v)
    torch.testing.assert_close(swapped(host)(u, v), want, rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match="another value as the output in evaluation mode"):
        swapped(SkHost(activation=nn.GELU()))(u, v)
    with pytest.raises(ValueError, match="must have the layer conv_fc1, got none in ReLU"):
        swapped(nn.ReLU())(u, v)


def test_triton_before_its_knobs_is_read_by_its_variable():
    """Each time in a process that has no triton yet."""
    code = """
import os, sys, torch
assert "triton" not in sys.modules
for interpret in "01":
    if (child := os.fork()) == 0:
        os.environ["TRITON_INTERPRET"] = interpret
        import triton
        vars(triton).pop("knobs", None)
        from dsnet_kernels import launch
        print(launch.INTERPRETED, flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""
    assert printed(code).split() == ["False", "True"]
