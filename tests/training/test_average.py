"""The exponential average of the weights: its values, what is kept of it, and resuming."""

import pytest
import torch

from dsnet import train as command
from dsnet.console import Stop
from dsnet.models import build, load_model
from dsnet.models.tensor_file import save_tensors
from dsnet.training.average import Average
from dsnet.training.dataset import DeviceDataset
from dsnet.training.step import AdversarialStep, Batch

TINY = {"width": 4, "depth": 1, "reduction": 2, "teacher_blocks": 1, "teacher_features": 4}
RUN = [
    "--phantoms", "8", "--size", "16", "--width", "4", "--depth", "1", "--reduction", "2",
    "--variant", "unet", "--epochs", "3", "--batch", "2", "--device", "cpu", "--threads", "1",
    "--shares", "4", "2", "2",
]  # fmt: skip


def trained(average, variant="dsnet", steps=4, **settings):
    torch.manual_seed(0)
    step = AdversarialStep(build(variant, **TINY), average=average, **settings)
    data = DeviceDataset.phantoms(4, 16)
    seen = []
    for k in range(steps):
        part = slice(k % 2 * 2, k % 2 * 2 + 2)
        step.run([Batch(data.image[part], data.soft[part], data.binary[part])], 1e-3)
        seen.append({n: v.clone() for n, v in step.network.state_dict().items()})
    return step, seen


@pytest.mark.parametrize("decay", [0.15, 0.999])
def test_the_average_is_the_recursion(decay):
    torch.manual_seed(0)
    expected = {n: v.double() for n, v in build("dsnet", **TINY).state_dict().items()}
    step, seen = trained(decay)
    for k, weights in enumerate(seen):
        kept = min(decay, (1 + k) / (10 + k))
        expected = {n: kept * v + (1 - kept) * weights[n] for n, v in expected.items()}
    found = step.average.network.state_dict()
    assert found.keys() == expected.keys() == seen[-1].keys()
    counts = 0
    for name, value in expected.items():
        if found[name].is_floating_point():
            torch.testing.assert_close(found[name].double(), value, atol=1e-6, rtol=1e-5, msg=name)
        else:
            counts += 1
            assert torch.equal(found[name], seen[-1][name]), name
    assert counts > 3 and not torch.equal(
        found["network.head.weight"], seen[0]["network.head.weight"]
    )


def test_the_average_changes_nothing_of_the_training_and_shares_the_teacher():
    step, seen = trained(0.9)
    plain, without = trained(0.0)
    assert all(torch.equal(seen[-1][n], v) for n, v in without[-1].items())
    assert plain.average is None and plain.result is plain.network
    assert step.result is step.average.network and not step.result.training
    assert step.result.teacher is step.network.teacher
    own = {p.data_ptr() for p in step.network.trainable_parameters()}
    assert not own & {p.data_ptr() for p in step.result.trainable_parameters()}


def test_a_compiled_step_has_the_same_average():
    eager, _ = trained(0.9, "unet")
    compiled, _ = trained(0.9, "unet", compile="aot_eager")
    for name, value in eager.result.state_dict().items():
        torch.testing.assert_close(compiled.result.state_dict()[name], value, atol=1e-4, rtol=1e-3)


def test_a_decay_out_of_range_is_named(capsys):
    with pytest.raises(ValueError, match=r"average must be a number in 0\.\.0\.9999, got 1\.0"):
        Average(build("unet", **TINY), 1.0)
    with pytest.raises(SystemExit):
        command.main([*RUN, "--average", "1"])
    assert "--average" in capsys.readouterr().err


def content(out):
    return torch.load(out / "checkpoint.pt", weights_only=True)


def test_what_is_saved_is_the_average_and_a_stopped_run_resumes_bit_for_bit(tmp_path, monkeypatch):
    arguments = [*RUN, "--average", "0.9"]
    assert command.main([*arguments, "--out", str(tmp_path / "a")]) == 0
    monkeypatch.setattr(Stop, "__bool__", lambda self: True)
    assert command.main([*arguments, "--out", str(tmp_path / "b")]) == 0
    monkeypatch.undo()
    assert content(tmp_path / "b")["average"]["updates"] == 1
    assert command.main([*arguments, "--out", str(tmp_path / "b"), "--resume"]) == 0
    a, b = content(tmp_path / "a"), content(tmp_path / "b")
    assert a["average"]["updates"] == b["average"]["updates"] == 6
    saved = load_model(tmp_path / "a" / "last.pt").state_dict()
    for name, value in a["average"]["network"].items():
        assert torch.equal(value, b["average"]["network"][name])
        assert torch.equal(value, saved[name])
    assert not torch.equal(saved["network.head.weight"], a["network"]["network.head.weight"])
    for name in ("best.pt", "last.pt"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_checkpoint_with_another_average_is_told(tmp_path, capsys):
    assert command.main([*RUN, "--out", str(tmp_path)]) == 0
    assert content(tmp_path)["average"] is None
    capsys.readouterr()
    assert command.main([*RUN, "--out", str(tmp_path), "--average", "0.9", "--resume"]) == 2
    assert "average must be 0.0, as in the run to resume, got 0.9" in capsys.readouterr().err


def test_a_checkpoint_of_before_goes_on(tmp_path):
    assert command.main([*RUN, "--out", str(tmp_path)]) == 0
    old = content(tmp_path)
    del old["average"], old["settings"]["average"]
    with open(tmp_path / "checkpoint.pt", "wb") as file:
        torch.save({**old, "version": 1}, file)
    assert command.main([*RUN, "--out", str(tmp_path), "--resume"]) == 0


def test_an_average_that_is_not_finite_is_refused(tmp_path, capsys):
    arguments = [*RUN, "--average", "0.9", "--out", str(tmp_path)]
    assert command.main(arguments) == 0
    spoilt = content(tmp_path)
    weights = spoilt["average"]["network"]
    name = next(name for name, part in weights.items() if part.is_floating_point())
    weights[name] = torch.full_like(weights[name], float("nan"))
    save_tensors(tmp_path / "checkpoint.pt", spoilt)
    capsys.readouterr()
    assert command.main([*arguments, "--resume"]) == 2
    told = capsys.readouterr().err
    assert f"average must be finite, '{name}' is not" in told and told.count("\n") == 1
