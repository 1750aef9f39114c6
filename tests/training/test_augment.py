"""Augmentation moves image, soft and binary mask alike, and depends on nothing but the seed."""

import pytest
import torch
import torch.nn.functional as F

from dsnet.training import augment
from dsnet.training.augment import Augmentation, apply, draw, symmetry


def smooth(count=6, side=24):
    x = torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(0))
    return F.avg_pool2d(x, 7, 1, 3)


GEOMETRY = Augmentation(contrast=0, brightness=0, noise=0)


@pytest.mark.parametrize("mode", ["none", "symmetry", "full"])
def test_all_three_move_alike(mode):
    x = smooth()
    setting = Augmentation(mode, contrast=0, brightness=0, noise=0)
    image, soft, binary = apply(setting, draw(setting, 6, 0, 0), x, x, x >= x.median())
    torch.testing.assert_close(image, soft, atol=1e-6, rtol=0)
    # A mask resampled and cut at a half can differ from the cut image at its border alone.
    assert ((image >= x.median()) == binary).float().mean() > 0.9
    assert torch.equal(image, x) == (mode == "none")


def test_same_seed_same_result_and_epochs_differ():
    setting, x = Augmentation(), smooth()

    def run(seed, epoch):
        return apply(setting, draw(setting, 6, seed, epoch), x, x, x >= 0.5)[0]

    assert torch.equal(run(1, 2), run(1, 2))
    assert not torch.equal(run(1, 2), run(1, 3)) and not torch.equal(run(1, 2), run(2, 2))


def test_a_sample_does_not_depend_on_its_batch():
    setting, x = Augmentation(), smooth()
    draws = draw(setting, 6, 0, 0)
    whole = apply(setting, draws, x, x, x >= 0.5)[0]
    part = apply(setting, draws.part(slice(4, 5)), x[4:5], x[4:5], x[4:5] >= 0.5)[0]
    torch.testing.assert_close(whole[4:5], part, atol=1e-6, rtol=0)


def test_known_matrix_is_the_known_turn():
    x = smooth(1)
    draws = draw(GEOMETRY, 1, 0, 0)
    quarter = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]])
    out = apply(GEOMETRY, draws._replace(matrix=quarter), x, x, x >= 0.5)[0]
    torch.testing.assert_close(out, x.rot90(1, (2, 3)), atol=1e-5, rtol=0)


def test_intensity_changes_the_image_alone_and_stays_in_range():
    x = smooth()
    setting = Augmentation(rotation=0, scale=0, shift=0, brightness=0.5, noise=0.2)
    draws = draw(setting, 6, 0, 0)
    identity = torch.eye(3)[:2].expand(6, 2, 3)
    image, soft, _ = apply(setting, draws._replace(matrix=identity), x, x, x >= 0.5)
    torch.testing.assert_close(soft, x, atol=1e-5, rtol=0)
    assert (image - x).abs().max() > 0.1 and image.min() >= 0 and image.max() <= 1


def test_noise_is_normal_and_differs_by_seed():
    seeds = torch.arange(32)
    noise = augment._normal(seeds, torch.empty(32, 1, 64, 64))
    assert abs(noise.mean()) < 0.01 and abs(noise.std() - 1) < 0.01
    assert abs((noise**4).mean() - 3) < 0.1
    assert abs((noise[0] * noise[1]).mean()) < 0.1
    assert abs((noise[..., 1:] * noise[..., :-1]).mean()) < 0.02


def test_the_eight_symmetries_are_exact_and_different():
    x = smooth(1).expand(8, -1, -1, -1)
    views = symmetry(x, torch.arange(8))
    assert torch.equal(views[0], x[0])
    assert torch.equal(views[3], x[0].rot90(2, (1, 2)))
    for i in range(8):
        assert torch.equal(views[i].flatten().sort()[0], x[0].flatten().sort()[0])
        assert all(not torch.equal(views[i], views[j]) for j in range(i))


def test_what_the_teacher_cache_may_rely_on():
    assert Augmentation("none").views == 1 and Augmentation("symmetry").views == 8
    assert Augmentation("none").cacheable and Augmentation("symmetry").cacheable
    assert not Augmentation("full").cacheable


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="mode must be one of none, symmetry, full, got 'mirror'"):
        Augmentation("mirror")
    with pytest.raises(ValueError, match=r"scale must be 0 or more, .*got 1\.5"):
        Augmentation(scale=1.5)
    x = smooth()
    with pytest.raises(ValueError, match="image, soft and binary must have one shape"):
        apply(GEOMETRY, draw(GEOMETRY, 5, 0, 0), x, x, x)
    with pytest.raises(ValueError, match="equal sides"):
        symmetry(torch.zeros(1, 1, 4, 6), torch.zeros(1, dtype=torch.long))


def test_a_turn_of_an_oblong_crop_keeps_lengths():
    """A round blob stays round: in pixels the map is a turn, whatever the crop's sides."""
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(72.0), indexing="ij")
    blob = torch.exp(-((rows - 19.5).square() + (columns - 35.5).square()) / 50)[None, None]
    how = Augmentation("full", scale=0, shift=0, contrast=0, brightness=0, noise=0)
    draws = draw(how, 16, 0, 0)
    many = blob.expand(16, -1, -1, -1)
    _, soft, _ = apply(how, draws, many, many, many > 0.5)
    # Beyond the middle square a turn reflects the picture at its edge.
    assert float((soft - blob)[..., 22:50].abs().max()) < 0.02
