"""The label command on pictures that somebody has outlined, on the CPU and with a device."""

from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from dsnet import label
from dsnet.archive import gpu as archive_gpu
from dsnet.archive import label_archive, phantom_jobs
from dsnet.archive.jobs import label_crop
from dsnet.data.crop import Crop
from dsnet.data.phantom import make_phantom
from dsnet.data.store import open_store, validate_store
from host_engine import has_device, stand_in
from label_command import assert_close, content
from meta_images import prostate, write_meta


@pytest.fixture
def drawn(tmp_path):
    """Arguments of `masks` and of `raters`: two pictures, for `masks` a third without a mask."""
    for number in range(2):
        made = make_phantom("solid", 64, number)
        lesion = (made.alpha >= 0.5).astype(np.uint8) * 255
        grey = np.rint(made.image * 255).astype(np.uint8)
        folders = {"images": grey, "mask-0": lesion, "mask-1": cv2.dilate(lesion, None)}
        for folder, picture in folders.items():
            path = tmp_path / "data/LIDC-IDRI-0001" / f"nodule-{number}" / folder / "slice-0.png"
            path.parent.mkdir(parents=True)
            cv2.imwrite(str(path), picture)
            flat = tmp_path / folder / f"{number}.png"
            flat.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(flat), picture)
    (tmp_path / "images/unmasked.png").write_bytes((tmp_path / "images/0.png").read_bytes())
    (tmp_path / "data/nodules.csv").write_text(
        "patient,nodule,spacing_mm\nLIDC-IDRI-0001,nodule-0,0.7\nLIDC-IDRI-0001,nodule-1,0.55\n"
    )
    return {
        "masks": ["--images", str(tmp_path / "images"), "--masks", str(tmp_path / "mask-0")],
        "raters": ["--data", str(tmp_path / "data")],
    }


@pytest.fixture
def volumes(tmp_path):
    """Arguments of `volumes`: two cases, a third without a segmentation."""
    for case in range(3):
        image, outline = prostate(3, 40, 32, seed=case)
        write_meta(tmp_path / "mr" / f"Case{case:02d}.mhd", image, compressed=case == 1)
        if case < 2:
            write_meta(tmp_path / "mr" / f"Case{case:02d}_segmentation.mhd", outline)
    return ["volumes", "--data", str(tmp_path / "mr"), "--out"]


def test_volumes_are_labelled_slice_by_slice(volumes, tmp_path, capsys):
    out = tmp_path / "store"
    assert label.main([*volumes, str(out), "--workers", "2"]) == 0
    store = open_store(out)
    assert len(store) == 9 and store.manifest["settings"] == {"strategy": "masks"}
    for case in range(2):
        _, outline = prostate(3, 40, 32, seed=case)
        for k in range(3):
            record = store.read(f"Case{case:02d}/slice-{k:03d}")
            assert record.status == "ok" and np.array_equal(record.truth, outline[k] == 1)
            assert record.spacing == (0.625, 0.625) and record.metadata["patient"][-1] == str(case)
            # As good as what was drawn, and soft at the edge.
            assert (record.binary == record.truth).mean() > 0.95
            assert ((record.alpha > 0) & (record.alpha < 1)).any()
    failed = list(store.records("failed"))
    assert [r.key for r in failed] == [f"Case02/slice-{k:03d}" for k in range(3)]
    assert all("no segmentation Case02_segmentation" in r.error for r in failed)
    # One process gives the same, and what is resumed is not labelled twice.
    again = tmp_path / "again"
    assert label.main([*volumes, str(again), "--limit", "4"]) == 0
    assert label.main([*volumes, str(again), "--resume"]) == 0
    by_key = [{row[0]: row for row in content(path)} for path in (out, again)]
    assert by_key[0] == by_key[1]
    assert label.main([*volumes, str(tmp_path / "s"), "--strict"]) == 1
    capsys.readouterr()
    assert label.main(["volumes", "--data", str(tmp_path / "none"), "--out", "x"]) == 2
    assert "--data" in capsys.readouterr().err


def test_masks_and_raters(drawn, tmp_path):
    for name, score in (("masks", "mask_agreement"), ("raters", "rater_agreement")):
        assert label.main([name, *drawn[name], "--out", str(tmp_path / name)]) == 0
        records = list(open_store(tmp_path / name).records("ok"))
        assert len(records) == 2
        assert all(r.quality[score] > 0.7 for r in records)
        # Of two raters one suffices: the consensus is the wider mask.
        folder = "mask-0" if name == "masks" else "mask-1"
        for number, record in enumerate(records):
            picture = cv2.imread(str(tmp_path / folder / f"{number}.png"), cv2.IMREAD_UNCHANGED)
            assert np.array_equal(record.truth, picture > 0)
    (failed,) = open_store(tmp_path / "masks").records("failed")
    assert failed.key == "unmasked" and "no mask" in failed.error


@pytest.fixture
def on_host(monkeypatch):
    """What --device cuda asks for, on the CPU."""
    engine = stand_in(monkeypatch)
    yield engine
    engine.close()


@pytest.mark.parametrize("name", ["masks", "raters"])
def test_a_device_writes_the_same_trimaps(drawn, tmp_path, monkeypatch, on_host, name):
    monkeypatch.setattr(archive_gpu, "GROUP_ROWS", 8)
    arguments = [name, *drawn[name], "--out"]
    assert label.main([*arguments, str(tmp_path / "cpu")]) == 0
    assert label.main([*arguments, str(tmp_path / "cuda"), "--device", "cuda"]) == 0
    # A picture counts as four crops.
    assert on_host.launched == [(2, 64, 64)]
    assert_close(content(tmp_path / "cuda"), content(tmp_path / "cpu"))
    assert validate_store(tmp_path / "cuda") == []
    stored = open_store(tmp_path / "cuda").records("ok")
    assert all(r.seconds["cut"] == 0 and r.seconds["matting"] > 0 for r in stored)


def test_verbose_tells_the_stages(drawn, tmp_path, capsys, on_host):
    arguments = ["raters", *drawn["raters"], "--verbose", "--out"]
    assert label.main([*arguments, str(tmp_path / "cuda"), "--device", "cuda"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.rpartition(": ")[0] for line in told if ", GPU" in line] == [
        "trimap, GPU",
        "matting, GPU",
    ]
    assert label.main([*arguments, str(tmp_path / "cpu")]) == 0
    assert "GPU" not in capsys.readouterr().out


def test_a_device_that_fails_ends_the_run_and_resumes(
    drawn, tmp_path, monkeypatch, on_host, capsys
):
    out = ["raters", *drawn["raters"], "--out", str(tmp_path / "store"), "--device", "cuda"]
    monkeypatch.setattr(archive_gpu, "GROUP_ROWS", 1)
    on_host.faults, on_host.after = {"solve": RuntimeError("the GPU fell off the bus")}, 2
    assert label.main(out) == 2
    assert capsys.readouterr().err == "dsnet.label: the GPU fell off the bus\n"
    assert len(open_store(tmp_path / "store")) == 1
    assert label.main([*out, "--resume"]) == 0
    assert len(open_store(tmp_path / "store")) == 2


def test_jobs_without_read_are_named(tmp_path, on_host):
    with pytest.raises(TypeError, match=r"jobs must have read\(\) for a GPU, got PhantomJob"):
        label_archive(phantom_jobs(3), tmp_path / "s", executor="gpu")


@pytest.mark.skipif(has_device(), reason="there is a CUDA device")
@pytest.mark.parametrize("name", ["masks", "raters"])
def test_no_device_is_told_in_one_line(drawn, tmp_path, capsys, name):
    arguments = [name, *drawn[name], "--out", str(tmp_path / "store"), "--device"]
    assert label.main([*arguments, "cuda:1"]) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith("dsnet.label: ") and complaint.count("\n") == 1
    assert label.main([*arguments, "tpu"]) == 2
    assert "device must be 'cpu', 'cuda', 'cuda:N' or 'auto', got 'tpu'" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


@dataclass
class CropJob:
    """A crop that is there already."""

    crop: Crop

    @property
    def rows(self):
        return [(self.crop.key, "")]

    def read(self):
        return [self.crop]

    def run(self):
        return [label_crop(self.crop)]


def test_strategies_share_a_group(tmp_path, on_host):
    jobs = []
    for number in range(7):
        made = make_phantom("part-solid", 32, number)
        masks = np.stack([np.roll(made.alpha >= 0.5, k, axis=0) for k in range(max(number % 3, 1))])
        jobs.append(
            CropJob(
                Crop(
                    image=made.image,
                    mark=None if number % 3 else made.mark,
                    masks=masks if number % 3 else None,
                    spacing=(0.7, 0.7),
                    key=str(number),
                )
            )
        )
    jobs.insert(2, CropJob(Crop(image=jobs[0].crop.image, key="neither mark nor mask")))
    label_archive(jobs, tmp_path / "cpu")
    label_archive(jobs, tmp_path / "gpu", executor="gpu", device="cuda:0")
    assert on_host.launched == [(3, 32, 32), (2, 32, 32), (2, 32, 32)]
    found, expected = content(tmp_path / "gpu"), content(tmp_path / "cpu")
    assert expected[2][1] == found[2][1] == "failed"
    assert_close(found[:2] + found[3:], expected[:2] + expected[3:])
