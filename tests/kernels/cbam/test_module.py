"""CBAM's module: the authors' parameters, initialisation, forward, compile, data parallel."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import hosts
from compare import relative_rms
from dsnet_kernels import CBAM, cbam, cbam_reference
from hosts import LinearCBAM, randomised


def image(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_cbam_has_the_authors_parameters():
    shapes = {key: tuple(value.shape) for key, value in CBAM(64).state_dict().items()}
    assert shapes == {
        "ChannelGate.mlp.1.weight": (4, 64),
        "ChannelGate.mlp.1.bias": (4,),
        "ChannelGate.mlp.3.weight": (64, 4),
        "ChannelGate.mlp.3.bias": (64,),
        "SpatialGate.spatial.conv.weight": (1, 2, 7, 7),
        "SpatialGate.spatial.bn.weight": (1,),
        "SpatialGate.spatial.bn.bias": (1,),
        "SpatialGate.spatial.bn.running_mean": (1,),
        "SpatialGate.spatial.bn.running_var": (1,),
        "SpatialGate.spatial.bn.num_batches_tracked": (),
    }


@pytest.mark.parametrize("training", [False, True])
def test_a_checkpoint_of_the_authors_layout_loads(training):
    theirs = randomised(LinearCBAM(32, 2)).train(training)
    ours = CBAM(32).train(training)
    ours.load_state_dict(theirs.state_dict())
    x = image(2, 32, 9, 7)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-6)
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value)


def test_cbam_starts_as_the_authors_network_does():
    torch.manual_seed(0)
    module = CBAM(64)
    conv = module.SpatialGate["spatial"]["conv"].weight
    # Kaiming, fan out: variance 2 / (7 * 7), here from 98 numbers.
    assert float(conv.detach().std()) == pytest.approx((2 / 49) ** 0.5, rel=0.25)
    assert all(not p.any() for name, p in module.named_parameters() if name.endswith("bias"))
    assert not module.SpatialGate["spatial"]["bn"].weight.any()
    x = image(1, 64, 5, 6)
    channel = CBAM(64, norm=False)
    with torch.no_grad():
        channel.SpatialGate["spatial"]["conv"].weight.zero_()
    channel.ChannelGate.load_state_dict(module.ChannelGate.state_dict())
    torch.testing.assert_close(module(x), channel(x))


def test_few_channels_keep_a_hidden_unit():
    assert CBAM(8).ChannelGate["mlp"][1].out_features == 1
    assert CBAM(8, hidden=5).ChannelGate["mlp"][1].out_features == 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reduction": 0}, "reduction must be at least 1, got 0"),
        ({"hidden": 0}, "hidden must be at least 1, got 0"),
        ({"kernel_size": 4}, "kernel_size must be odd, got 4"),
    ],
)
def test_bad_sizes_are_named(options, words):
    with pytest.raises(ValueError, match=f"^{words}$"):
        CBAM(8, **options)


def test_a_cumulative_average_is_refused():
    module = CBAM(8)
    module.SpatialGate["spatial"]["bn"].momentum = None
    with pytest.raises(ValueError, match=r"norm\.momentum must be a number, got None"):
        module(image(1, 8, 4, 4))


def test_residual_and_prologue_reach_the_operation():
    module = randomised(CBAM(16, 4)).eval()
    x, residual, scale, shift = image(2, 16, 6, 7), image(2, 16, 6, 7, seed=2), image(16), image(16)
    got = module(x, residual, scale=scale, shift=shift)
    folded = x * scale[:, None, None] + shift[:, None, None]
    torch.testing.assert_close(got, torch.relu(module(folded) + residual))


def test_modules_run_the_kernels(ops, device):
    module = randomised(ops.CBAM(16, 4)).to(device)
    x = image(2, 16, 6, 8).to(device)
    got = module(x)
    wide = randomised(CBAM(16, 4)).double().to(device)
    fc1, fc2 = wide.ChannelGate["mlp"][1], wide.ChannelGate["mlp"][3]
    conv, norm = wide.SpatialGate["spatial"]["conv"], wide.SpatialGate["spatial"]["bn"]
    want = cbam_reference(
        x.double(), fc1.weight, fc1.bias, fc2.weight, fc2.bias, conv.weight,
        norm_weight=norm.weight, norm_bias=norm.bias, running_mean=norm.running_mean,
        running_var=norm.running_var, training=True,
    )  # fmt: skip
    assert relative_rms(got.detach(), want.detach()) < 1e-5
    ours = module.SpatialGate["spatial"]["bn"]
    assert relative_rms(ours.running_var, norm.running_var) < 1e-5
    assert int(ours.num_batches_tracked) == 1


def test_one_graph_forward_and_backward():
    module = randomised(CBAM(16, 4))
    x = image(2, 16, 6, 7)
    results = []
    for function in (module, torch.compile(module, fullgraph=True, backend="aot_eager")):
        leaf = x.clone().requires_grad_()
        randomised(module)
        y = function(leaf)
        y.square().sum().backward()
        results.append((y, leaf.grad))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want)


def test_state_survives_saving_and_copying(tmp_path):
    module = randomised(CBAM(16, 4)).eval()
    torch.save(module, tmp_path / "module.pt")
    again = torch.load(tmp_path / "module.pt", weights_only=False)
    x = image(1, 16, 6, 6)
    assert torch.equal(again(x), module(x))


def test_the_operation_is_the_functions():
    module = randomised(CBAM(16, 4, norm=False)).eval()
    fc1, fc2 = module.ChannelGate["mlp"][1], module.ChannelGate["mlp"][3]
    x = image(1, 16, 6, 6)
    conv = module.SpatialGate["spatial"]["conv"]
    want = cbam(x, fc1.weight, fc1.bias, fc2.weight, fc2.bias, conv.weight)
    assert torch.equal(module(x), want)


def test_under_autocast_the_input_decides_the_dtype(ops, device):
    """A convolution before it gives half precision; the weights stay float32 and get gradients."""
    module = randomised(ops.CBAM(16, 4)).to(device)
    conv = randomised(torch.nn.Conv2d(3, 16, 3, padding=1)).to(device)
    x = image(2, 3, 6, 7).to(device)
    with torch.autocast(device, dtype=torch.bfloat16):
        y = module(conv(x))
    assert y.dtype == torch.bfloat16
    y.float().square().mean().backward()
    want = randomised(CBAM(16, 4)).to(device)(conv(x))
    assert relative_rms(y.detach(), want.detach()) < 2e-2
    for parameter in module.parameters():
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all()


DATA_PARALLEL = """
import copy, os, sys
import torch
from dsnet_kernels import CBAM
from hosts import randomised

device, store = sys.argv[1:]
backend = "nccl" if device == "cuda" else "gloo"
torch.distributed.init_process_group(backend, f"file://{store}", rank=0, world_size=1)
plain = randomised(CBAM(8, 4, kernel_size=3)).to(device)
wrapped = torch.nn.parallel.DistributedDataParallel(copy.deepcopy(plain))
x = torch.randn((2, 8, 3, 4), generator=torch.Generator().manual_seed(1)).to(device)
for model in (plain, wrapped):
    model(x).square().sum().backward()
for want, got in zip(plain.parameters(), wrapped.parameters(), strict=True):
    torch.testing.assert_close(got.grad, want.grad)
print("equal", flush=True)
# Taking the group down waits with the GIL held for Gloo's thread, which may want the GIL.
os._exit(0)
"""


def test_data_parallel_training(device, tmp_path):
    """One process of DistributedDataParallel: the same gradients, through its reducer."""
    if not torch.distributed.is_available():
        pytest.skip("torch is built without distributed")
    path = [str(Path(hosts.__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-c", DATA_PARALLEL, device, tmp_path / "store"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "equal\n", done.stderr[-2000:]


def test_torch_fx_traces_it_and_an_export_takes_any_size():
    module = CBAM(8, 2).eval()
    given = [torch.randn(3, 8, 5, 6) for _ in range(1)]
    assert torch.equal(torch.fx.symbolic_trace(module)(*given), module(*given))
    names = ("batch", "height", "width")
    axes = {
        axis: torch.export.Dim(name, min=1, max=4096)
        for axis, name in zip((0, 2, 3), names, strict=True)
    }
    program = torch.export.export(module, tuple(given), dynamic_shapes=(axes,) * 1).module()
    for shape in ((1, 8, 7, 4), (2, 8, 1, 9)):
        other = [torch.randn(shape) for _ in range(1)]
        torch.testing.assert_close(program(*other), module(*other))


@pytest.fixture
def two_processes(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda group=None: 2)


def test_statistics_of_several_processes_are_refused(two_processes):
    module = torch.nn.SyncBatchNorm.convert_sync_batchnorm(randomised(CBAM(8, 2)))
    plain = randomised(CBAM(8, 2))
    x = image(2, 8, 5, 6)
    words = "norm must take this process' statistics alone, got a SyncBatchNorm of 2 processes"
    with pytest.raises(ValueError, match=words):
        module(x)
    assert module.SpatialGate.spatial.bn.num_batches_tracked == 0
    # By the running statistics it is as any other.
    assert torch.equal(module.eval()(x), plain.eval()(x))


def test_a_synchronised_norm_of_one_process_is_a_local_one():
    module = torch.nn.SyncBatchNorm.convert_sync_batchnorm(randomised(CBAM(8, 2)))
    plain = randomised(CBAM(8, 2))
    x = image(2, 8, 5, 6)
    assert torch.equal(module(x), plain(x))
    for key, value in plain.state_dict().items():
        assert torch.equal(module.state_dict()[key], value)


def test_a_norm_of_another_forward_is_refused():
    class BatchNormAct(torch.nn.BatchNorm2d):
        def forward(self, x):
            return torch.relu(super().forward(x))

    module = CBAM(8, 2)
    module.SpatialGate.spatial.bn = BatchNormAct(1)
    with pytest.raises(TypeError, match="norm must be a batch norm of PyTorch, got a BatchNormAct"):
        module(image(2, 8, 5, 6))
