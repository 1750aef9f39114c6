"""Every variant compiles to one graph, forward and backward, and gives what eager gives."""

import copy

import pytest
import torch
import torch._dynamo.testing

from dsnet.losses import gan_discriminator_loss, segmentation_losses
from dsnet.models import VARIANTS, PixelDiscriminator, SRResNet, build, interpolate

pytestmark = pytest.mark.long


@pytest.fixture
def pair(settle):
    def make(variant: str):
        torch._dynamo.reset()
        torch.manual_seed(0)
        model = build(variant, width=4, depth=1, teacher_blocks=1, teacher_features=8)
        settle(model, torch.rand(2, 1, 8, 8))
        return model, copy.deepcopy(model)

    return make


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float, name: str) -> None:
    a, b = a.detach().double(), b.detach().double()
    error = (a - b).norm() / b.norm().clamp(min=1e-6)
    assert error < tolerance, f"{name}: {error:.2e}"


@pytest.mark.parametrize("variant", VARIANTS)
def test_training_step(variant, pair):
    # In float64: sums that cancel are as good as noise in float32.
    compiled, eager = (model.double() for model in pair(variant))
    image, soft = torch.rand(2, 1, 8, 8).double(), torch.rand(2, 1, 32, 32).double()

    def step(model):
        return segmentation_losses(model(image), soft).total

    for model, run in ((compiled, torch.compile(step, fullgraph=True)), (eager, step)):
        run(model).backward()
    for (name, a), b in zip(compiled.named_parameters(), eager.parameters(), strict=True):
        if a.requires_grad and b.grad.norm() > 1e-4:
            close(a.grad, b.grad, 1e-6, name)
    for (name, a), b in zip(
        compiled.state_dict().items(), eager.state_dict().values(), strict=True
    ):
        close(a, b, 1e-6, name)


@pytest.mark.parametrize("variant", ["unet", "dsnet"])
def test_inference(variant, pair):
    compiled, eager = pair(variant)
    compiled.eval()
    eager.eval()
    run = torch.compile(compiled, fullgraph=True)
    with torch.no_grad():
        image = torch.rand(2, 1, 8, 8)
        close(run(image), eager(image), 1e-5, variant)
        cached = eager.teach(image)
        if cached is not None:
            close(run(image, cached), eager(image), 1e-5, variant)


def test_adversarial_step_is_one_graph(pair):
    compiled, eager = pair("dsnet")
    judge = PixelDiscriminator(width=4)
    image, soft = torch.rand(2, 1, 8, 8), torch.rand(2, 1, 32, 32)

    def step(model, judge):
        condition, mask = interpolate(image), model(image)
        real, fake = judge(condition, soft), judge(condition, mask.detach())
        verdict = judge(condition, mask)
        total = segmentation_losses(mask, soft, fake_logits=verdict).total
        return total, gan_discriminator_loss(real, fake)

    ours = torch.compile(step, fullgraph=True)(compiled, copy.deepcopy(judge))
    theirs = step(eager, judge)
    for name, a, b in zip(("generator", "discriminator"), ours, theirs, strict=True):
        close(a, b, 1e-5, name)


def test_teacher():
    torch._dynamo.reset()
    torch.manual_seed(0)
    net = SRResNet(blocks=1, features=8).eval()
    image = torch.rand(1, 1, 8, 8)
    ours, theirs = torch.compile(net, fullgraph=True)(image), net(image)
    close(ours.image, theirs.image, 1e-5, "image")
    close(ours.features, theirs.features, 1e-5, "features")


def test_training_step_under_autocast(pair):
    compiled, eager = pair("dsnet")
    image, soft = torch.rand(2, 1, 8, 8), torch.rand(2, 1, 32, 32)

    def step(model):
        with torch.autocast("cpu", torch.bfloat16):
            mask = model(image)
        return segmentation_losses(mask, soft).total

    ours, theirs = torch.compile(step, fullgraph=True)(compiled), step(eager)
    close(ours, theirs, 0.02, "loss")
    ours.backward()
    assert all(p.grad.isfinite().all() for p in compiled.trainable_parameters())


def test_batch_sizes_do_not_recompile_forever(pair):
    model, _ = pair("dsnet")
    graphs = torch._dynamo.testing.CompileCounter()
    run = torch.compile(model, fullgraph=True, backend=graphs)
    for n in (2, 3, 5, 4, 6, 7):
        run(torch.rand(n, 1, 8, 8))
    assert graphs.frame_count == 2  # The first size, then any.
