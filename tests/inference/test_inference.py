"""`dsnet.inference`: crops as in training, masks back where they came from."""

import numpy as np
import pytest
import torch
from torch import nn

from dsnet.data.crop import cut_crop
from dsnet.data.ct_image import apply_window
from dsnet.inference import segment_slice
from dsnet.labeling import RecistMark
from dsnet.models import SRResNet, build, mark_plane
from echo_network import Echo

BOX = (40, 30, 52, 46)


def noise(height=96, width=120):
    # Sixteenths of these are exact, so that a mean of equal values is that value.
    levels = np.random.default_rng(3).integers(0, 4097, (height, width))
    return (levels / 4096).astype(np.float32)


@pytest.mark.parametrize("scale", [1, 4])
@pytest.mark.parametrize("box", [BOX, (-3, -4, 6, 5), (110, 85, 125, 99)])
def test_a_native_crop_goes_back_bit_for_bit(scale, box):
    image, model = noise(), Echo(scale).train()
    found = segment_slice(model, image, [box])
    (lesion,) = found.lesions
    x0, y0, x1, y1 = lesion.crop_box
    seen = np.zeros(image.shape, bool)
    seen[y0 : y1 + 1, x0 : x1 + 1] = True
    expected = np.where(seen, image, 0)
    assert np.array_equal(found.soft, expected) and np.array_equal(lesion.soft, expected)
    assert np.array_equal(found.binary, expected >= 0.5) and found.soft.dtype == np.float32
    assert 64 > x1 - x0 >= 30 and model.training
    rows, columns = np.nonzero(lesion.binary)
    assert lesion.box == (columns.min(), rows.min(), columns.max(), rows.max())
    assert lesion.area_pixels == len(rows) and lesion.area_mm2 is None


def test_the_network_sees_what_it_was_trained_on():
    hu = noise(200, 200) * 900 - 700
    mark = RecistMark.from_coordinates([60, 70, 90, 80, 72, 80, 78, 66])
    settings = {"spacing": (0.7, 0.9), "isotropic_mm": 0.8}
    model = Echo()
    segment_slice(model, hu, [mark], size=64, window=(-600, 100), **settings)
    crop = cut_crop(hu, mark, 64, **settings)
    expected = apply_window(crop.image, -600, 100)
    assert np.array_equal(model.seen[0][0, 0].numpy(), expected)
    # A box with the mark's bounds is the same crop.
    segment_slice(model, hu, [mark.bounds()], size=64, window=(-600, 100), **settings)
    assert np.array_equal(model.seen[1][0, 0].numpy(), expected)


def test_a_long_axis_alone_is_cut_as_with_the_assumed_one():
    image = noise()
    mark = RecistMark.from_long_axis([40, 30, 60, 50])
    found = segment_slice(Echo(), image, [mark, mark.coordinates, mark.assumed(), (40, 30, 60, 50)])
    one, same, assumed, box = found.lesions
    for lesion in (one, same):
        assert lesion.mark == mark and lesion.notes == assumed.notes
        assert lesion.crop_box == assumed.crop_box == (18, 8, 81, 71)
        assert np.array_equal(lesion.soft, assumed.soft)
    assert box.mark.long_diameter == 20  # four numbers are a box


def test_a_resampled_disc_keeps_its_place_and_area():
    y, x = np.mgrid[:300, :280]
    disc = ((x - 150) ** 2 + (y - 140) ** 2 <= 60**2).astype(np.float32)
    box = (90, 80, 210, 200)
    for options in (
        {},  # Shrunk, as it is larger than the crop.
        {"size": 160, "network_size": 96},
        {"size": 200, "spacing": (0.8, 0.8), "isotropic_mm": 0.7},
    ):
        found = segment_slice(Echo(), disc, [box], **options)
        (lesion,) = found.lesions
        assert found.soft.sum() == pytest.approx(disc.sum(), rel=0.01)
        assert np.abs(found.soft - disc).mean() < 0.01
        assert np.abs(np.subtract(lesion.box, box)).max() <= 1
    assert lesion.area_mm2 == pytest.approx(lesion.area_pixels * 0.64)


def test_the_finer_grid_is_used_where_the_crop_was_shrunk():
    class Checks(nn.Module):  # Detail that only the network's grid can hold.
        def forward(self, image):
            n, _, h, w = image.shape
            return (torch.arange(4 * w) % 8 >= 4).float().expand(n, 1, 4 * h, 4 * w)

    image = np.zeros((400, 400), np.float32)
    found = segment_slice(Checks(), image, [(72, 72, 326, 326)])
    stripes = found.soft[200, 60:340]
    # Four crop pixels wide, that is some eight slice pixels: neither grey nor lost.
    assert (stripes > 0.99).mean() > 0.3 and (stripes < 0.01).mean() > 0.3


def test_overlapping_lesions_merge_by_the_maximum_and_batches_do_not_matter():
    torch.manual_seed(0)
    model = build("unet", width=4, depth=2).eval()
    image = noise()
    boxes = [BOX, (50, 40, 66, 50), (20, 60, 30, 66)]
    found = segment_slice(model, image, boxes, threshold=0.05)
    alone = [segment_slice(model, image, [box]).soft for box in boxes]
    assert np.allclose(found.soft, np.max(alone, axis=0), atol=1e-6)
    assert np.allclose(segment_slice(model, image, boxes, batch=2).soft, found.soft, atol=1e-6)
    assert any("lesions overlap in" in note for note in found.notes)
    outside = np.ones(image.shape, bool)
    for lesion in found.lesions:
        x0, y0, x1, y1 = lesion.crop_box
        outside[y0 : y1 + 1, x0 : x1 + 1] = False
    assert outside.any() and not found.soft[outside].any()


def test_masks_are_cut_at_the_models_own_threshold():
    torch.manual_seed(0)
    model, image = build("unet", width=4, depth=2).eval(), noise()
    soft = segment_slice(model, image, [BOX]).soft
    values = np.sort(soft[soft > 0])
    model.threshold = float(values[len(values) // 2])
    for given, at in ((None, model.threshold), (0.5, 0.5), (model.threshold / 2,) * 2):
        found = segment_slice(model, image, [BOX], threshold=given)
        assert np.array_equal(found.binary, soft >= np.float32(at))
        assert np.array_equal(found.lesions[0].binary, found.binary)
    assert segment_slice(nn.DataParallel(model), image, [BOX]).binary.any()
    model.threshold = None
    assert np.array_equal(segment_slice(model, image, [BOX]).binary, soft >= 0.5)


def test_a_bad_prompt_costs_itself_alone():
    image = noise()
    image[:9, :9] = np.nan
    prompts = [
        BOX,
        (40, 30, 40, 46),
        (52, 30, 40, 46),
        (np.nan, 30, 40, 46),
        (300, 300, 320, 320),
        [1, 2, 3],
        (2, 2, 12, 12),
        ("a", 1, 2, 3),
        [0, 0, 9, np.inf, 1, 2, 3, 4],
        (-1e8, 0, 1e8, 5),
    ]
    words = ["", "x0 < x1", "x0 < x1", "x0 < x1", "outside the image", "got 3", "finite around"]
    words += ["4 numbers", "must be finite", "more than the image"]
    found = segment_slice(Echo(), image, prompts)
    assert found.lesions[0].area_pixels > 0 and len(found.notes) == 9
    for lesion, word in zip(found.lesions[1:], words[1:], strict=True):
        assert isinstance(lesion, ValueError) and word in str(lesion)
    empty = segment_slice(Echo(), image, [])
    assert not empty.soft.any() and empty.lesions == []


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"image": np.zeros((2, 3, 4))}, ValueError, r"image must be \[H, W\]"),
        ({"image": np.full((9, 9), -800.0)}, ValueError, "HU with a window"),
        ({"image": np.zeros((9, 9), complex)}, TypeError, "real numbers"),
        ({"prompts": BOX}, TypeError, "put a single one in a list"),
        ({"model": SRResNet(1, 1, 4)}, TypeError, "segmenting network"),
        ({"size": 4}, ValueError, "size must be at least 8"),
        ({"isotropic_mm": 1.0}, ValueError, "needs spacing"),
        ({"threshold": 0.0}, ValueError, "threshold"),
        ({"batch": 0}, ValueError, "batch must be at least 1"),
        ({"window": "lung"}, ValueError, "window must be"),
        ({"window": (1, 2, 3)}, ValueError, "window must be"),
        ({"spacing": (0.0, 1.0)}, ValueError, "spacing must be"),
        (
            {"model": nn.Sequential(nn.Conv2d(1, 2, 1))},
            ValueError,
            r"model must .*, got \[1, 2",
        ),
    ],
)
def test_bad_options_are_named(change, error, words):
    arguments = {"model": Echo(), "image": noise(), "prompts": [BOX], **change}
    with pytest.raises(error, match=words):
        segment_slice(arguments.pop("model"), arguments.pop("image"), **arguments)


def test_flips_give_the_mean_over_the_crop_s_mirror_images():
    torch.manual_seed(0)
    model, image = build("unet", width=4, depth=2).eval(), noise()
    (plain,) = segment_slice(model, image, [BOX]).lesions
    (mean,) = segment_slice(model, image, [BOX], flips=True).lesions
    x0, y0, x1, y1 = mean.crop_box
    crop = torch.from_numpy(image[y0 : y1 + 1, x0 : x1 + 1])[None, None]
    expected, _ = model.predict(crop, flips=True)
    found = mean.soft[y0 : y1 + 1, x0 : x1 + 1]
    np.testing.assert_allclose(found, expected[0, 0].numpy(), atol=1e-6)
    assert not np.array_equal(mean.soft, plain.soft)


def seen_by(model):
    seen = []
    model.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    return seen


def test_a_network_of_marks_and_neighbours_sees_them_cut_like_the_slice():
    torch.manual_seed(0)
    model = build("unet", width=4, depth=1, neighbours=1, mark_input=True).eval()
    seen, image = seen_by(model), noise()
    below, above = np.roll(image, 3, 0), np.roll(image, 5, 1)
    mark = RecistMark.from_coordinates([40, 30, 60, 36, 51, 24, 48, 42])
    found = segment_slice(model, image, [mark, BOX], size=48, neighbours=[below, above])
    for lesion, planes in zip(found.lesions, seen[0], strict=True):
        crops = [cut_crop(one, lesion.mark, 48) for one in (image, below, above)]
        for plane, crop in zip(planes, crops, strict=False):
            assert np.array_equal(plane.numpy(), crop.image)
        drawn = torch.tensor(crops[0].mark.coordinates).float()[None]
        assert torch.equal(planes[3:], mark_plane(drawn, (48, 48))[0])
    assert ["its middle lines" in str(lesion.notes) for lesion in found.lesions] == [False, True]
    # Brought to another size, the mark is brought there too.
    segment_slice(model, image, [mark], size=48, network_size=24, neighbours=[below, above])
    drawn = torch.tensor(cut_crop(image, mark, 48).mark.scaled(0.5, 0.5).coordinates).float()
    assert torch.equal(seen[1][0, 3:], mark_plane(drawn[None], (24, 24))[0])


def test_a_neighbour_that_is_not_there_is_the_slice_itself_and_told():
    torch.manual_seed(0)
    model = build("unet", width=4, depth=1, neighbours=1).eval()
    seen, image = seen_by(model), noise()
    above = np.roll(image, 5, 1)
    (lesion,) = segment_slice(model, image, [BOX], neighbours=[ValueError("torn"), above]).lesions
    assert "no slice below (torn): the slice itself stands for it" in lesion.notes
    middle, below, higher = seen[0][0]
    assert torch.equal(below, middle) and not torch.equal(higher, middle)
    (lesion,) = segment_slice(model, image, [BOX]).lesions
    assert sum("no slice" in note for note in lesion.notes) == 2
    for given, words in (
        ([above], "neighbours must be 2 slices, .* got 1"),
        ([above, above[1:]], r"neighbours must be of the image's \(96, 120\), got \(95, 120\)"),
    ):
        with pytest.raises(ValueError, match=words):
            segment_slice(model, image, [BOX], neighbours=given)
    with pytest.raises(ValueError, match="neighbours must be 0 slices"):
        segment_slice(Echo(), image, [BOX], neighbours=[above, above])
