"""What each command says without the packages that it needs, and that labelling needs none."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dsnet.dependencies import EXTRAS, MissingDependency, needed
from fresh_interpreter import Absent, run_fresh

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
OPTIONAL = sorted({package for packages in EXTRAS.values() for package in packages})


def make_absent(package: str, monkeypatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Absent(package), *sys.meta_path])


def run_command(name: str, *arguments, without) -> subprocess.CompletedProcess[str]:
    code = f"import runpy; runpy.run_module({name!r}, run_name='__main__', alter_sys=True)"
    return run_fresh(code, without=without, arguments=arguments)


def test_the_extras_are_those_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert not {re.match(r"[\w-]+", line)[0] for line in project["dependencies"]} & {*OPTIONAL}
    # The test extra has tools besides.
    assert set(extras) == {*EXTRAS, "test"}

    def packages(extra: str) -> set[str]:
        found = set()
        for line in extras[extra]:
            if match := re.match(r"dsnet\[(.*)\]", line):
                found.update(*(packages(other) for other in match[1].split(",")))
            else:
                found.add(re.match(r"[\w-]+", line)[0].replace("-", "_"))
        return found

    for extra, expected in EXTRAS.items():
        assert packages(extra) == set(expected)
    # A torchvision that fits is not everywhere to be had, and a package of smp's demands it.
    assert packages("test") >= set(OPTIONAL) - {"segmentation_models_pytorch"}


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_missing_package_is_told_with_its_extra(extra, monkeypatch):
    for package in EXTRAS[extra]:
        make_absent(package, monkeypatch)
        with pytest.raises(MissingDependency) as no, needed(extra, "this"):
            __import__(package)
        assert re.fullmatch(rf"this needs \w+: pip install 'dsnet\[{extra}\]'", str(no.value))
        assert (no.value.package, no.value.extra, no.value.name) == (package, extra, package)


def test_another_failure_stays_as_it_is():
    with pytest.raises(ModuleNotFoundError, match="no_such_package"), needed("train", "this"):
        import no_such_package  # noqa: F401
    with pytest.raises(ImportError, match=r"^broken$"), needed("train", "this"):
        raise ImportError("broken", name="torch")


PREDICT = ["best.pt", "--images", "slices", "--boxes", "boxes.csv", "--out", "masks"]


@pytest.mark.parametrize(
    ("command", "arguments", "what", "extra"),
    [
        ("train", ["--help"], "training", "train"),
        ("train", ["--out", "nowhere"], "training", "train"),
        ("train_sr", ["--out", "nowhere.pt"], "training", "train"),
        ("evaluate", ["nowhere"], "scoring", "evaluate"),
        (
            "predict",
            ["m.pt", *("--images", ".", "--boxes", "b.csv", "--out", "o")],
            "segmenting",
            "train",
        ),
    ],
)
def test_without_torch_a_command_says_what_to_install(command, arguments, what, extra):
    done = run_command(f"dsnet.{command}", *arguments, without=["torch"])
    expected = f"dsnet.{command}: {what} needs PyTorch: pip install 'dsnet[{extra}]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)


def test_predict_tells_its_options_without_torch():
    done = run_command("dsnet.predict", "--help", without=OPTIONAL)
    assert done.returncode == 0 and "--annotations" in done.stdout


def test_labelling_needs_no_extra(tmp_path):
    demo, store = tmp_path / "demo", tmp_path / "demo" / "store"
    for arguments in (
        ("demo", "--out", demo, "--count", 3, "--size", 32),
        ("show", store),
        ("export", store, "--format", "png", "--out", tmp_path / "pictures"),
        *((name, "--help") for name in ("recist", "masks", "raters")),
    ):
        done = run_command("dsnet.label", *arguments, without=OPTIONAL)
        assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "pictures").rglob("*.png"))) >= 3


def test_without_tensorboard_a_training_goes_on(tmp_path):
    code = f"from dsnet.training.report import Log; Log({str(tmp_path)!r}, 1).close()"
    done = run_fresh(code, without=["tensorboard"])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "the TensorBoard log needs TensorBoard: pip install 'dsnet[train]'; losses go to log.csv\n"
    )


def test_without_pydicom_and_monai_the_networks_commands_say_what_to_install(
    tmp_path, monkeypatch, capsys
):
    from dsnet.evaluate import main as evaluate
    from dsnet.predict import main as predict
    from dsnet.train import main as train

    small = "--variant unet --width 4 --depth 2 --size 16 --phantoms 12 --epochs 1 --threads 1"
    assert train([*small.split(), "--device", "cpu", "--out", str(tmp_path / "run")]) == 0
    (tmp_path / "slice.dcm").touch()
    (tmp_path / "boxes.csv").write_text("file,x0,y0,x1,y1\nslice.dcm,4,4,9,9\n")
    capsys.readouterr()

    make_absent("pydicom", monkeypatch)
    arguments = [tmp_path / "run" / "best.pt", "--images", tmp_path]
    arguments += ["--boxes", tmp_path / "boxes.csv", "--out", tmp_path / "out"]
    assert predict([str(each) for each in arguments]) == 2
    told = capsys.readouterr().err
    assert told == "dsnet.predict: reading DICOM needs pydicom: pip install 'dsnet[dicom]'\n"

    make_absent("monai", monkeypatch)
    arguments = [str(tmp_path / "run"), "--device", "cpu"]
    assert evaluate(arguments) == 2
    told = capsys.readouterr().err
    assert (
        told == "dsnet.evaluate: the surface distance needs MONAI: pip install 'dsnet[evaluate]'\n"
    )
    assert evaluate([*arguments, "--no-surface"]) == 0
