"""Validation after an epoch: the best threshold, the same on any number of processes."""

import pytest
import torch
from torch import nn

import torch_jobs
from dsnet.metrics import THRESHOLD_GRID, dice
from dsnet.training.dataset import DeviceDataset
from dsnet.training.settings import Settings
from dsnet.training.validation import validate


class Tight(nn.Module):
    """Answers with the true soft mask's square, on the input's grid."""

    def __init__(self, data):
        super().__init__()
        self.data = data
        self.config = type("Config", (), {"scale": 1})

    def forward(self, image):
        assert not self.training
        same = (image[:, None] == self.data.image[None]).flatten(2).all(2)
        assert (same.sum(1) == 1).all()
        return self.data.soft[same.int().argmax(1)] ** 2


@pytest.mark.parametrize("batch", [1, 5, 9])
def test_the_best_threshold_and_its_dice(tmp_path, batch):
    data = DeviceDataset.phantoms(9, 24, 3)
    found = validate(Tight(data), data, Settings(batch=batch), 0, 1, tmp_path / "panel.png")
    soft = data.soft**2
    means = {at: float(dice(soft >= at, data.binary).mean()) for at in THRESHOLD_GRID}
    assert found.dice == pytest.approx(max(means.values()), abs=1e-12)
    assert means[found.threshold] == pytest.approx(found.dice, abs=1e-12)
    assert found.dice_half == pytest.approx(means[0.5], abs=1e-12)
    # 0.5 ** 2 is where the square crosses the truth's border; no pixel need lie just there.
    assert found.dice == 1 and found.dice_half < 0.98 and 0.24 < found.threshold < 0.28
    assert (tmp_path / "panel.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("world", "cases"), [(2, 7), pytest.param(3, 2, marks=pytest.mark.long)])
def test_processes_agree_with_one_to_the_bit(tmp_path, world, cases):
    ranks = [(0, 1), *((rank, world) for rank in range(world))]
    meeting = str(tmp_path / "meeting")
    calls = [(rank, of, cases, meeting, str(tmp_path / f"{rank}-{of}")) for rank, of in ranks]
    torch_jobs.run_together(torch_jobs.validation_of_a_network, calls)
    alone, *others = (torch.load(tmp_path / f"{rank}-{of}") for rank, of in ranks)
    assert len(others) == world and all(other == alone for other in others)
    assert 0 < alone[0] <= 1 and alone[1] in THRESHOLD_GRID
