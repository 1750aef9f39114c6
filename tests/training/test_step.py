"""One adversarial step: schedule, weights, accumulation, compile, and checkpoints bit for bit."""

import copy

import pytest
import torch

from dsnet.losses import (
    DICE_WEIGHT,
    GAN_WEIGHT,
    SOFT_WEIGHT,
    gan_discriminator_loss,
    segmentation_losses,
)
from dsnet.models import VARIANTS, build, interpolate, to_output_grid
from dsnet.training.checkpoint import load_checkpoint, save_checkpoint
from dsnet.training.dataset import DeviceDataset
from dsnet.training.step import (
    BETAS,
    AdversarialStep,
    Batch,
    compiled_graphs,
    compiler_options,
    learning_rate,
    make_optimizer,
)

TINY = {"width": 8, "depth": 2, "reduction": 4, "teacher_blocks": 1, "teacher_features": 8}


def batch(count=2, seed=0):
    data = DeviceDataset.phantoms(count, 16, seed)
    return Batch(data.image, data.soft, data.binary)


def tiny(variant="dsnet", **settings):
    torch.manual_seed(0)
    return AdversarialStep(build(variant, **TINY), **settings)


def test_poly_schedule():
    assert learning_rate(0, 100) == 2e-4
    assert learning_rate(50, 100) == pytest.approx(2e-4 * 0.5**0.9)
    assert [learning_rate(s, 10**9, 1.0, warmup=3) for s in range(4)] == pytest.approx(
        [0.25, 0.5, 0.75, 1.0]
    )
    with pytest.raises(ValueError, match="step must be 0 to total - 1, got 100 of 100"):
        learning_rate(100, 100)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_learns_by_its_own_losses(variant):
    step, rung = tiny(variant), VARIANTS[variant]
    frozen = copy.deepcopy(step.network.teacher.state_dict()) if step.network.teacher else {}
    losses = [step.run([batch()], 1e-3) for _ in range(4)]
    first = losses[0]
    expected = DICE_WEIGHT * first.dice + GAN_WEIGHT * first.gan
    torch.testing.assert_close(first.total, expected + rung.soft_loss * SOFT_WEIGHT * first.soft)
    assert losses[-1].dice < first.dice
    assert (step.discriminator is not None) == rung.gan_loss == bool(first.gan > 0)
    for name, value in frozen.items():
        assert torch.equal(value, step.network.teacher.state_dict()[name])


@pytest.mark.parametrize("variant", ("unet", "soft-loss", "monai-basic-unet"))
@pytest.mark.parametrize("counts", (True, False))
def test_the_soft_loss_counts_as_asked_whatever_the_variant(variant, counts):
    step = tiny(variant, soft_loss=counts, soft_weight=7.0)
    losses = step.run([batch()], 1e-3)
    expected = DICE_WEIGHT * losses.dice + 7.0 * counts * losses.soft
    torch.testing.assert_close(losses.total, expected)


def test_network_and_discriminator_train_alternately():
    step = tiny()
    before = copy.deepcopy(step.discriminator.state_dict())
    losses = [step.run([batch()], 1e-3) for _ in range(5)]
    assert losses[-1].discriminator < losses[0].discriminator
    assert not torch.equal(
        before["layers.0.weight"], step.discriminator.state_dict()["layers.0.weight"]
    )


def test_accumulated_batches_give_the_gradient_of_the_whole():
    # Batch norm's statistics would differ between batches of 4 and of 2: the stored ones are used.
    whole, halves = tiny("unet"), tiny("unet", accumulate=2)
    for step in (whole, halves):
        step.network.eval()
        step.network.train = lambda mode=True, net=step.network: net
    both = batch(4)
    parts = [Batch(*(t[i : i + 2] for t in both[:3])) for i in (0, 2)]
    a, b = whole.run([both]), halves.run(parts)
    torch.testing.assert_close(a.total, b.total)
    for p, q in zip(whole.network.parameters(), halves.network.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, atol=1e-6, rtol=1e-4)
    with pytest.raises(ValueError, match="batches must be 2, as accumulate is, got 1"):
        halves.run([both])


def test_cached_teacher_outputs_change_nothing():
    a, b = tiny(), tiny()
    one = batch()
    cached = one._replace(teacher_outputs=b.network.teach(one.image))
    for x, y in zip(a.run([one]), b.run([cached]), strict=True):
        assert torch.equal(x, y)


def test_fused_adam_is_adam():
    torch.manual_seed(0)
    ours = torch.nn.Parameter(torch.randn(5, 7))
    theirs = torch.nn.Parameter(ours.detach().clone())
    fused = make_optimizer([ours], 1e-2, ours.device)
    plain = torch.optim.Adam([theirs], lr=1e-2, betas=BETAS, fused=False)
    assert fused.defaults["fused"]
    for _ in range(5):
        ours.grad = torch.randn(5, 7)
        theirs.grad = ours.grad.clone()
        fused.step()
        plain.step()
    torch.testing.assert_close(ours, theirs)


def test_neither_loss_moves_the_other_s_weights():
    step, one = tiny(), batch()
    network, judge = copy.deepcopy(step.network).train(), copy.deepcopy(step.discriminator)
    step.run([one])
    image, soft = interpolate(one.image), to_output_grid(one.soft)
    binary = to_output_grid(one.binary.float()) >= 0.5
    prediction = network(one.image)
    segmentation_losses(prediction, soft, binary, judge(image, prediction)).total.backward()
    judge.zero_grad()
    judged = gan_discriminator_loss(judge(image, soft), judge(image, prediction.detach()))
    judged.backward()
    for net, other in ((step.network, network), (step.discriminator, judge)):
        for (name, p), q in zip(net.named_parameters(), other.parameters(), strict=True):
            if q.requires_grad:
                assert torch.equal(p.grad, q.grad), name


def test_a_step_is_one_graph_and_none_is_made_later():
    before = compiled_graphs()
    eager, step = tiny(), tiny(compile="eager")
    for k in range(3):
        x, y = eager.run([batch(seed=k)], 1e-3), step.run([batch(seed=k)], 1e-3)
        torch.testing.assert_close(torch.stack(x), torch.stack(y), atol=1e-5, rtol=1e-5)
    assert compiled_graphs() - before == 1


def test_the_compiler_keeps_the_layout_of_the_weights():
    network = build("dsnet", **TINY)
    assert compiler_options(network) == {
        "force_layout_optimization": False,
        "triton.cudagraphs": False,
    }
    options = compiler_options(network.to(memory_format=torch.channels_last), cuda_graphs=True)
    assert all(options.values()) and set(options) <= set(torch._inductor.list_options())


@pytest.mark.long
def test_compiled_matches_eager():
    eager, step = tiny(), tiny(compile=True)
    for k in range(3):
        x, y = eager.run([batch(seed=k)], 1e-3), step.run([batch(seed=k)], 1e-3)
        torch.testing.assert_close(torch.stack(x), torch.stack(y), atol=1e-4, rtol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("how", [{}, {"compile": True}, {"compile": True, "cuda_graphs": True}])
def test_on_the_gpu_every_way_agrees_and_none_waits(how, accumulate, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    batches = [Batch(*(t.cuda() for t in batch(seed=k)[:3])) for k in range(accumulate)]
    losses = []
    for settings in ({}, how):
        torch.manual_seed(0)
        network = build("dsnet", **TINY).cuda()
        step = AdversarialStep(network, accumulate=accumulate, **settings)
        assert all(optimizer.defaults["fused"] for optimizer in step.optimizers)
        kept = [step.run(batches, 1e-3) for _ in range(4)]
        torch.cuda.set_sync_debug_mode("error")
        try:
            kept.append(step.run(batches, 1e-3))
        finally:
            torch.cuda.set_sync_debug_mode("default")
        losses.append(torch.stack([torch.stack(each) for each in kept]))
    torch.testing.assert_close(*losses, atol=1e-3, rtol=1e-2)


LONG_FP16 = pytest.param("fp16", marks=pytest.mark.long)  # slow on a CPU


@pytest.mark.parametrize("precision", ["bf16", LONG_FP16])
def test_lower_precision_is_near_and_finite(precision):
    exact, step = tiny(), tiny(precision=precision)
    x, y = torch.stack(exact.run([batch()])), torch.stack(step.run([batch()]))
    torch.testing.assert_close(x, y, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("precision", ["fp32", LONG_FP16])
def test_a_checkpoint_goes_on_bit_for_bit(tmp_path, precision):
    step = tiny(precision=precision)
    for k in range(2):
        step.run([batch(seed=k)], 1e-3)
    save_checkpoint(tmp_path / "c.pt", step, {"step": 2}, {"seed": 0})
    expected = [step.run([batch(seed=k)], 1e-3) for k in (2, 3)]
    random = torch.rand(3)
    other = AdversarialStep(build("dsnet", **TINY), precision=precision)
    assert load_checkpoint(tmp_path / "c.pt", other) == ({"step": 2}, {"seed": 0})
    for k in (2, 3):
        for x, y in zip(expected[k - 2], other.run([batch(seed=k)], 1e-3), strict=True):
            assert torch.equal(x, y)
    assert torch.equal(random, torch.rand(3))
    for name, value in step.network.state_dict().items():
        assert torch.equal(value, other.network.state_dict()[name]), name


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    (tmp_path / "x.pt").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"must be a checkpoint of dsnet\.train"):
        load_checkpoint(tmp_path / "x.pt", tiny())
    save_checkpoint(tmp_path / "u.pt", tiny("unet"), {}, {})
    with pytest.raises(ValueError, match="another"):
        load_checkpoint(tmp_path / "u.pt", tiny())
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "none.pt", tiny())
