"""`dsnet.inference` and `dsnet.predict`: crops as in training, masks back where they came from."""

import csv

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from dsnet import predict as command
from dsnet.data.crop import cut_crop
from dsnet.data.crop_settings import CropSettings
from dsnet.data.ct_image import apply_window
from dsnet.data.datasets.boxes import read_boxes
from dsnet.data.datasets.deeplesion import read_annotations, read_crops
from dsnet.inference import segment, segment_slice, slices
from dsnet.labeling import RecistMark
from dsnet.models import SRResNet, build, load_model, mark_plane, save_model
from shared_data import shared

BOX = (40, 30, 52, 46)


class Echo(nn.Module):
    """Answers with the crop itself, on a grid that is `scale` times finer; keeps what it saw."""

    def __init__(self, scale=4):
        super().__init__()
        self.scale, self.seen = scale, []

    def forward(self, image):
        assert not self.training
        self.seen.append(image.clone())
        return image.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)


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


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "best.pt"
    torch.manual_seed(1)
    save_model(path, build("unet", width=4, depth=2), CropSettings(64, "auto").to_dict())
    return str(path)


def table(path, header, *rows):
    path.write_text("\n".join([header, *rows]) + "\n")
    return str(path)


def lesions(out):
    with open(out / "lesions.csv", newline="") as file:
        return {row["key"]: row for row in csv.DictReader(file)}


def test_boxes_of_pictures_give_masks_an_overlay_and_a_row_each(tmp_path, model, capsys):
    images, out = tmp_path / "images", tmp_path / "out"
    (images / "a").mkdir(parents=True)
    cv2.imwrite(str(images / "a" / "s.png"), (noise() * 255).astype(np.uint8))
    boxes = table(
        tmp_path / "boxes.csv",
        "File,x0,y0,x1,y1,spacing_mm,key",
        "a/s.png,40,30,52,46,0.5 0.8,",
        "a/s.png,50,40,66,50,0.5 0.8,second",
        "a/s.png,5,5,5,9,,",
        "none.png,1,1,5,9,,",
        "../s.png,1,1,5,9,,",
        "a/s.png,nan,1,5,9,,",
        ",1,1,5,9,,",
        "a/s.png,1,1",
    )
    arguments = [model, "--images", str(images), "--boxes", boxes, "--out", str(out)]
    assert command.main([*arguments, "--pictures", "--threshold", "0.05"]) == 0
    rows = lesions(out)
    reasons = [
        ("a/s#", ""),
        ("second", ""),
        ("a/s#", "x0 < x1"),
        ("none#", "No such file"),
        ("../s#", "below --images"),
        ("a/s#", "x0 < x1"),
        ("nameless#", "file is empty"),
        ("a/s#", "must be 4 numbers"),
    ]
    assert len(rows) == len(reasons)
    # In the table's order within a slice, slices in the order of their first rows.
    by_line = [rows[a.key] for a in read_boxes(boxes)]
    for row, (start, word) in zip(by_line, reasons, strict=True):
        assert row["key"].startswith(start) and word in row["reason"]
        assert row["status"] == ("failed" if word else "ok")
    soft = cv2.imread(str(out / "soft/a/s.png"), -1)
    binary = cv2.imread(str(out / "binary/a/s.png"), -1)
    expected = segment_slice(
        load_model(model),
        (noise() * 255).astype(np.uint8) / np.float32(255),
        [BOX, (50, 40, 66, 50)],
        threshold=0.05,
    )
    assert soft.dtype == np.uint16 and np.abs(soft / 65535 - expected.soft).max() < 1e-4
    assert np.array_equal(binary > 0, expected.binary)
    first, area = by_line[0], expected.lesions[0].area_pixels
    assert int(first["area_px"]) == area and float(first["area_mm2"]) == pytest.approx(0.4 * area)
    assert float(first["mean_alpha"]) == pytest.approx(expected.lesions[0].mean_alpha, abs=1e-3)
    overlay = cv2.imread(str(out / "overlay/a/s.png"))
    assert overlay.shape[0] >= 800 and len(np.unique(overlay.reshape(-1, 3), axis=0)) > 256
    assert command.main([*arguments, "--pictures", "--threshold", "0.05"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert command.main([*arguments, "--pictures", "--overwrite", "--strict"]) == 1
    # Without --pictures 8 bits are no HU: every row says so.
    (out / "s.png").write_bytes(b"where ../s.png leads")
    assert command.main([*arguments, "--overwrite"]) == 1
    assert "--pictures" in lesions(out)["second"]["reason"]
    # No mask of the run before stands for one that failed now.
    assert [path.name for path in out.rglob("*.png")] == ["s.png"]


def test_predict_takes_the_threshold_that_the_model_has(tmp_path, model, capsys):
    images = tmp_path / "images"
    images.mkdir()
    cv2.imwrite(str(images / "s.png"), (noise() * 255).astype(np.uint8))
    boxes = table(tmp_path / "boxes.csv", "file,x0,y0,x1,y1", "s.png,40,30,52,46")
    chosen = str(tmp_path / "chosen.pt")
    crop = CropSettings(64, "auto").to_dict()
    picture = (noise() * 255).astype(np.uint8) / np.float32(255)
    soft = segment_slice(load_model(model), picture, [BOX]).soft
    middle = round(float(np.median(soft[soft > 0])), 5)
    save_model(chosen, load_model(model), crop, threshold=middle)
    for file, options, at, says in (
        (chosen, [], middle, f"from {middle:g} on, as "),
        (chosen, ["--threshold", "0.05"], 0.05, "from 0.05 on, as given"),
        (model, [], 0.5, "model has no threshold of its own"),
    ):
        out = tmp_path / f"out-{at}"
        arguments = [file, "--images", str(images), "--boxes", boxes, "--out", str(out)]
        assert command.main([*arguments, "--pictures", *options]) == 0
        told = capsys.readouterr().out
        assert says.replace("model has", f"{model} has") in told
        soft, binary = (cv2.imread(str(out / kind / "s.png"), -1) for kind in ("soft", "binary"))
        # The picture's soft mask is rounded.
        sure = np.abs(soft / 65535 - at) > 1e-5
        assert at != middle or 0 < (binary > 0).sum() < (soft > 0).sum()
        assert np.array_equal((binary > 0)[sure], (soft / 65535 >= at)[sure])


def test_deeplesions_marks_are_cut_as_for_training(tmp_path, model, monkeypatch):
    images, out = shared("deeplesion", "Images_png"), tmp_path / "out"
    rows = read_annotations(shared("deeplesion", "DL_info.csv"), origin=0)[:4]
    crops = [crop.image for _, crop in read_crops(rows, images)]
    echo = Echo()
    real = segment._answers
    monkeypatch.setattr(
        segment, "_answers", lambda model, *rest: (real(echo, *rest), real(model, *rest))[1]
    )
    marks = str(shared("deeplesion", "DL_info.csv"))
    arguments = [model, "--images", str(images), "--annotations", marks, "--out", str(out)]
    assert command.main([*arguments, "--limit", "4", "--origin", "0"]) == 0
    assert np.array_equal(torch.cat(echo.seen)[:, 0].numpy(), np.stack(crops))
    found = lesions(out)
    assert list(found) == [row.key for row in rows] and found[rows[0].key]["window_low"] == "-175.0"
    assert (out / "overlay" / rows[0].file_name).is_file()


def test_marks_of_a_table_count_from_its_origin(tmp_path, model, monkeypatch, capsys):
    cv2.imwrite(str(tmp_path / "s_1.png"), (noise() * 255).astype(np.uint8))
    marks = table(
        tmp_path / "marks.csv",
        "File_name,Measurement_coordinates",
        's_1.png,"40.5, 30.5, 60.5, 50.5"',
        's_1.png,"41, 31, 61, 51, 61, 31, 48, 44"',
    )
    seen, real = [], segment_slice
    monkeypatch.setattr(
        slices, "segment_slice", lambda m, i, p, **o: seen.append(p) or real(m, i, p, **o)
    )
    arguments = [model, "--images", str(tmp_path), "--annotations", marks, "--pictures"]
    for n, options in enumerate(([], ["--origin", "1"])):
        out = tmp_path / f"out{n}"
        assert command.main([*arguments, "--threshold", "0.05", "--out", str(out), *options]) == 0
        assert [row["status"] for row in lesions(out).values()] == ["ok", "ok"]
    (line, both), (_, shifted) = seen
    assert line == RecistMark.from_long_axis([40, 30, 60, 50])
    assert both == RecistMark.from_coordinates([40.5, 30.5, 60.5, 50.5, 60.5, 30.5, 47.5, 43.5])
    assert shifted == both.translated(-0.5, -0.5)
    assert command.main([*arguments, "--out", str(tmp_path / "o"), "--origin", "2"]) == 2
    assert "origin must be within 0 and 1 pixels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--images", "nowhere"], "--images must be a folder"),
        (["--boxes", "nowhere.csv"], "No such file"),
        (["--device", "cuda"], "or use device='cpu'"),
        (["--origin", "0.5"], "--origin is of --annotations"),
    ],
)
def test_wrong_use_is_told_in_one_line(tmp_path, model, capsys, change, words):
    if "cuda" in change and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    boxes = table(tmp_path / "b.csv", "file,x0,y0,x1,y1", "s.png,1,1,5,5")
    arguments = [model, "--images", str(tmp_path), "--boxes", boxes, "--out", str(tmp_path / "o")]
    assert command.main([*arguments, *change]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_a_table_without_its_columns_is_refused(tmp_path):
    with pytest.raises(ValueError, match="column y1 is missing"):
        read_boxes(table(tmp_path / "b.csv", "file,x0,y0,x1", "s.png,1,1,5"))
    with pytest.raises(ValueError, match="column file is missing"):
        read_boxes(table(tmp_path / "b.csv", "x0,y0,x1,y1", "1,1,5,5"))


def test_a_network_is_exported_for_other_runtimes(tmp_path, model, capsys):
    file = tmp_path / "new" / "net.pt2"
    assert command.main([model, "--export", str(file), "--size", "24"]) == 0
    assert "24 x 24 pixels" in capsys.readouterr().out
    assert [path.name for path in file.parent.iterdir()] == ["net.pt2"]
    image = torch.rand(3, 1, 24, 24)
    with torch.no_grad():
        expected = load_model(model)(image)
        assert torch.allclose(torch.export.load(file).module()(image), expected, atol=1e-5)
    assert command.main([model, "--export", str(tmp_path / "net.pth")]) == 2
    assert "--export must be a file NAME.onnx or NAME.pt2" in capsys.readouterr().err


def test_what_is_needed_to_segment_is_asked_for(tmp_path, model, capsys):
    for given, word in (([], "--annotations"), (["--boxes", "b.csv"], "--images, --out")):
        with pytest.raises(SystemExit) as exit:
            command.main([model, *given])
        assert exit.value.code == 2 and word in capsys.readouterr().err


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
