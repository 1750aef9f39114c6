"""The package inside someone else's project: through Hugging Face `kernels`, with the real one."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

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
