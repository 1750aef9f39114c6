"""nnU-Net itself takes the export, and the trainer of its how-to learns from the soft masks."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from dsnet.data.store import open_store
from reader import ROOT, fences

HAS_NNUNET = importlib.util.find_spec("nnunetv2") is not None
DOCUMENT = ROOT / "docs" / "how-to" / "nnunet.md"

# In an interpreter of its own: nnU-Net reads its folders from the environment when it is imported.
STEPS = """
import json, sys
import numpy as np
import torch
from skimage.io import imread
from nnunetv2.run.run_training import get_trainer_from_args

torch.manual_seed(0)
torch.set_num_threads(1)
trainer = get_trainer_from_args("501", "2d", 0, "nnUNetTrainerSoft", device=torch.device("cpu"))
trainer.num_iterations_per_epoch = trainer.num_val_iterations_per_epoch = 1
trainer.batch_size = 2
trainer.initialize()
trainer.on_train_start()

def check(batch):
    image, targets = batch["data"], batch["target"]
    assert image.shape[1] == 1 and image.dtype == torch.float32
    for target, scale in zip(targets, trainer._get_deep_supervision_scales()):
        assert target.dtype == torch.float32 and 0 <= target.min() <= target.max() <= 1
    assert ((targets[0] > 0.05) & (targets[0] < 0.95)).any(), "no soft value is left"
    return batch

first = check(next(trainer.dataloader_train))
losses = [float(trainer.train_step({**first})["loss"]) for _ in range(8)]
assert losses[-1] < losses[0], losses
held = check(next(trainer.dataloader_val))
found = trainer.validation_step(held)
assert np.isfinite(found["loss"]) and found["tp_hard"].shape == (1,)

# What a loader gives without augmentation is the stored soft mask, where the label is too.
_, validation = trainer.get_tr_and_val_datasets()
for case in validation.identifiers:
    data, seg, _, properties = validation.load_case(case)
    (top, bottom), (left, right) = properties["bbox_used_for_cropping"][1:]
    soft = imread(sys.argv[1] + "/softTr/" + case + ".png")[top:bottom, left:right] / 65535
    assert np.allclose(data[-1, 0], soft, atol=1e-6)
    assert (seg[:][0, 0] == (soft >= 0.5)).all(), case
folds = json.loads(open(sys.argv[1] + "/splits_final.json").read())
assert sorted(validation.identifiers) == folds[0]["val"]
print("val", len(validation.identifiers))
"""


def lines_of_the_document():
    for info, text in fences(DOCUMENT):
        if info == "sh nnunet":
            yield from (line for line in text.splitlines() if line)


def test_the_document_names_what_the_export_writes(tmp_path):
    lines = list(lines_of_the_document())
    ((_, trainer),) = [fence for fence in fences(DOCUMENT) if fence[0] == "python nnunet"]
    compile(trainer, str(DOCUMENT), "exec")
    for key in ("folder", "file_ending", "one"):
        assert f'soft["{key}"]' in trainer or f"soft['{key}']" in trainer
    assert any("--format nnunet" in line for line in lines)
    assert any("-tr nnUNetTrainerSoft" in line for line in lines)


@pytest.mark.long
@pytest.mark.skipif(not HAS_NNUNET, reason="nnunetv2 is not installed (pip install nnunetv2)")
def test_nnunet_plans_and_learns_from_the_export(tmp_path):
    paths = [str(ROOT), str(ROOT / "kernels"), *filter(None, sys.path)]
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(paths),
        "nnUNet_n_proc_DA": "1",
        "OMP_NUM_THREADS": "1",
    }
    ((_, trainer),) = [fence for fence in fences(DOCUMENT) if fence[0] == "python nnunet"]
    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "nnUNetTrainerSoft.py").write_text(trainer)
    lines = [line for line in lines_of_the_document() if not line.startswith("nnUNetv2_train")]
    # The steps load in their own process; the planner wants one thread at least.
    lines.append('nnUNet_n_proc_DA=0 python steps.py "$nnUNet_raw/Dataset501_Lesion"')
    script = "\n".join(["set -e", *lines])
    (tmp_path / "steps.py").write_text(STEPS)
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "val 4" in done.stdout or "val 3" in done.stdout
    # nnU-Net's own reading of the grey values and of the names.
    prepared = tmp_path / "preprocessed" / "Dataset501_Lesion"
    fingerprint = json.loads((prepared / "dataset_fingerprint.json").read_text())
    store = open_store(tmp_path / "demo" / "store")
    assert len(fingerprint["shapes_after_crop"]) == len(store)
    assert "soft_labels" in json.loads((prepared / "dataset.json").read_text())
    greys = []
    for record in store.records("ok"):
        label = cv2.imread(
            str(tmp_path / "raw/Dataset501_Lesion/labelsTr" / f"{record.key}.png"), -1
        )
        greys.append(record.image[label == 1].mean())
    measured = fingerprint["foreground_intensity_properties_per_channel"]["0"]
    # It draws as many pixels from every case, at random.
    assert measured["mean"] == pytest.approx(65535 * np.mean(greys), rel=0.02)
