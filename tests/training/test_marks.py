"""Marks that a network sees in training: whose they are, which is shown, and what moves with it."""

import numpy as np
import pytest
import torch

from dsnet.data.store import StoreWriter
from dsnet.data.store.record import LabelRecord
from dsnet.labeling import RecistMark, draw_mark
from dsnet.models import mark_plane
from dsnet.training.augment import Augmentation, apply, draw
from dsnet.training.dataset import DeviceDataset
from dsnet.training.marks import DRAWS, marks_of


def disc(side=24):
    y, x = np.mgrid[:side, :side]
    return ((x - 11) / 7) ** 2 + ((y - 13) / 5) ** 2 <= 1


def test_marks_are_replayed_over_the_truth_and_follow_from_key_and_number():
    truth = disc()
    marks, replayed = marks_of(None, truth, truth.astype(float), "a", DRAWS)
    assert replayed and marks.shape == (8, 8) and len(np.unique(marks, axis=0)) > 4
    fewer, _ = marks_of(None, truth, truth.astype(float), "a", 2)
    assert np.array_equal(fewer, marks[:2])
    other, _ = marks_of(None, truth, truth.astype(float), "b", 2)
    assert not np.array_equal(other, fewer)
    # As `draw_mark` draws them, with the seed of crc32("a") = 0xE8B7BE43 and the number.
    drawn = draw_mark(truth, np.random.default_rng([0xE8B7BE43, 1]))
    assert np.array_equal(marks[1], drawn.coordinates)


def test_a_person_s_mark_is_every_draw():
    mark = RecistMark.from_long_axis([3, 4, 13, 4])
    marks, replayed = marks_of(mark, disc(), disc().astype(float), "a", 3)
    assert not replayed
    # Its unknown short axis is assumed: 0.75 of the long one, across its middle.
    assert np.allclose(marks, [[3, 4, 13, 4, 8, 0.25, 8, 7.75]] * 3) or np.allclose(
        marks, [[3, 4, 13, 4, 8, 7.75, 8, 0.25]] * 3
    )


def test_an_empty_truth_is_marked_over_the_soft_mask_or_not_at_all():
    soft = 0.4 * disc() + 0.1
    nothing = np.zeros((24, 24), bool)
    marks, replayed = marks_of(None, nothing, soft, "a", 1)
    expected, _ = marks_of(None, disc(), soft, "a", 1)
    assert replayed and np.array_equal(marks, expected)
    marks, replayed = marks_of(None, nothing, 0 * soft, "a", 2)
    assert marks.shape == (2, 8) and np.isnan(marks).all() and not replayed


@pytest.fixture
def data():
    return DeviceDataset.phantoms(5, 20).with_marks(3)


def test_what_the_network_sees_of_a_case(data):
    assert data.marks.shape == (5, 3, 8) and data.replayed == [True] * 5
    seen = data.inputs()
    assert seen.shape == (5, 2, 20, 20) and torch.equal(seen[:, :1], data.image)
    assert torch.equal(seen[:, 1:], mark_plane(data.marks[:, 0], (20, 20)))
    index, which = torch.tensor([4, 0, 4]), torch.tensor([2, 4, 2**31 - 1])
    some = data.inputs(index, which)
    for row, (case, number) in enumerate([(4, 2), (0, 1), (4, (2**31 - 1) % 3)]):
        expected = mark_plane(data.marks[case, number][None], (20, 20))
        assert torch.equal(some[row, :1], data.image[case])
        assert torch.equal(some[row, 1:], expected[0])
    # Inside of most lesions, outside of most of the rest.
    inside = data.inputs()[:, 1:] < 0
    assert ((inside == data.binary).float().mean((1, 2, 3)) > 0.9).all()


def test_parts_and_digests_have_the_marks(data):
    part = data.subset([3, 1])
    assert torch.equal(part.marks, data.marks[[3, 1]]) and part.replayed == [True] * 2
    assert torch.equal(data.to("cpu").inputs(), data.inputs())
    plain = DeviceDataset.phantoms(5, 20)
    assert plain.inputs() is not None and torch.equal(plain.inputs(), plain.image)
    # Scoring needs one draw of what training has more of: the same data.
    assert data.digest() == plain.with_marks(1).digest() != plain.digest()


def test_a_store_s_own_marks_are_brought_to_the_network_s_grid(tmp_path):
    soft = disc().astype(np.float32)
    row = {"image": soft, "alpha": soft, "binary": disc(), "trimap": np.zeros((24, 24), np.uint8)}
    mark = np.array([4.0, 13, 18, 13, 11, 8, 11, 18])
    with StoreWriter(tmp_path, {}) as writer:
        writer.append(LabelRecord("drawn", mark=mark, **row))
        writer.append(LabelRecord("not", **row))
    data = DeviceDataset.from_store(tmp_path, size=48).with_marks(2)
    expected = torch.tensor(2 * (mark + 0.5) - 0.5).float()
    assert torch.equal(data.marks[0], expected.expand(2, 8)) and data.replayed == [False, True]
    drawn, _ = marks_of(None, data.binary[1, 0].numpy(), soft, "not", 2)
    assert torch.equal(data.marks[1], torch.from_numpy(drawn).float())


@pytest.mark.parametrize("mode", ["none", "symmetry", "full"])
def test_all_planes_move_alike_and_the_mark_keeps_its_values(mode):
    """Of three equal planes two are grey values; the third only moves, as the soft mask does."""
    generator = torch.Generator().manual_seed(0)
    x = torch.nn.functional.avg_pool2d(torch.rand(6, 1, 24, 24, generator=generator), 7, 1, 3)
    setting = Augmentation(mode)
    draws = draw(setting, 6, 0, 0)
    image, soft, _ = apply(setting, draws, x.expand(-1, 3, -1, -1), x, x > 0.5, grey=2)
    assert image.shape == (6, 3, 24, 24)
    torch.testing.assert_close(image[:, 2:], soft, atol=1e-6, rtol=0)
    alone, soft_alone, _ = apply(setting, draws, x, x, x > 0.5)
    assert torch.equal(image[:, :1], alone) and torch.equal(soft, soft_alone)
    noise = image[:, 0] - image[:, 1]
    assert bool(noise.abs().max() > 0.01) == (mode == "full")
    # Values below 0 and above 1 stay what they are.
    image, soft, _ = apply(setting, draws, torch.cat([x, 3 * x - 1], 1), x, x > 0.5, grey=1)
    torch.testing.assert_close(image[:, 1:], 3 * soft - 1, atol=1e-5, rtol=0)


def test_which_mark_is_shown_is_drawn_anew_and_moves_no_other_number():
    setting = Augmentation()
    one, other = draw(setting, 64, 3, 0), draw(setting, 64, 3, 1)
    assert torch.equal(one.mark, draw(setting, 64, 3, 0).mark)
    assert not torch.equal(one.mark, other.mark)
    assert (torch.bincount(one.mark % DRAWS, minlength=DRAWS) > 0).all()
