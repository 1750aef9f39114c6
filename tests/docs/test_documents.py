"""Every command and every snippet of the README and of docs/ runs, in the order of its document."""

import importlib.util
import re
import runpy
import shlex
import shutil
import sys

import pytest
import torch
import yaml

from dsnet.models.pretrained import names as released_names
from dsnet.models.pretrained import path_of
from host_engine import has_device
from reader import DOCUMENTS, ROOT, fences, names, write_archive

# Options that make a long command short; nothing else of it is changed.
SHORTER = {
    "dsnet.train": "--no-compile --epochs 1 --width 4 --depth 2 --judge-width 4 --batch 2 --size 32"
    " --phantoms 12 --teacher-blocks 1 --teacher-features 4 --threads 1 --shares 2 1 1",
    "dsnet.train_sr": "--steps 2 --batch 1 --patch 16 --blocks 1 --features 4",
    "dsnet.evaluate": "--threads 1 --cases 2",
    "dsnet.predict": "--threads 1",
}
MARKS = "--annotations DL_info.csv --images Images_png"
IDS = [str(path.relative_to(ROOT)) for path in DOCUMENTS]


# Whatever names them waits until their files are in the checkout.
ABSENT = {name for name in released_names() if not path_of(name).is_file()}


def commands(text):
    lines = [line.split("  #")[0].strip() for line in text.splitlines()]
    return [line for line in lines if line]


@pytest.fixture
def run(monkeypatch, capfd):
    """Runs one command of a document in this process, as `python -m` would."""

    def run(line):
        words = shlex.split(line)
        assert words[:2] == ["python", "-m"], line
        module = words[2]
        if module.startswith("bench."):
            assert importlib.util.find_spec(module) is not None, line
            return
        if module == "dsnet.review" and "--report" not in words:
            words.append("--help")  # It would serve until somebody stops it.
        if "--ray" in words:
            words.remove("--ray")  # A cluster takes its time; tests/archive/test_ray.py has one.
        # A bucket that lasts as long as the process, unless it is emptied.
        words = [word.replace("s3://", "memory://") for word in words]
        if not {"--help", "--config"} & set(words):
            words += SHORTER.get(module, "").split()
        monkeypatch.setattr(sys, "argv", words[2:])
        threads = torch.get_num_threads()
        capfd.readouterr()
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as end:
            code = end.code or 0
        finally:
            torch.set_num_threads(threads)
        told = capfd.readouterr()
        if "cuda" in line and not has_device():
            assert code == 2 and re.search("CUDA|NVIDIA", told.err), f"{line}\n{told}"
            assert len(told.err.strip().splitlines()) == 1, told
        else:
            assert code == 0, f"{line}\n{told}"

    yield run
    if fsspec := sys.modules.get("fsspec"):
        fsspec.filesystem("memory").store.clear()


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    write_archive(folder)
    return folder


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_commands_and_snippets_run(document, archive, tmp_path, monkeypatch, run):
    waiting = []

    def waits(text):
        if found := ABSENT & set(re.findall(r"[\w-]+", text)):
            waiting.extend(found)
        return bool(found)

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    shutil.copytree(archive, tmp_path, dirs_exist_ok=True)
    given = names()
    text = document.read_text(encoding="utf-8")
    if "--data store" in text and "--out store" not in text:
        run(f"python -m dsnet.label recist {MARKS} --out store")
    for info, text in fences(document):
        if info == "sh":
            for line in commands(text):
                for part in line.split(" && "):
                    if part.startswith(("pip ", "pytest", "bench/gpu.sh")):
                        continue  # the environment's; CI runs the README's two
                    if not waits(part):
                        run(part)
        elif info == "python":
            if waits(text):
                compile(text, str(document), "exec")
                continue
            exec(compile(text, f"{document}: {text[:40]!r}", "exec"), given)
        elif info == "yaml":
            assert isinstance(yaml.safe_load(text), dict)
        elif info.endswith(" nnunet"):
            continue  # tests/data/test_nnunet.py runs them, where nnU-Net is installed
        else:
            assert info in ("python gpu", "python ray"), f"{document}: a block of {info!r}"
            compile(text, str(document), "exec")
            imports = [line for line in text.splitlines() if line.startswith(("from", "import"))]
            assert imports
    if waiting:
        lacking = ", ".join(sorted(set(waiting)))
        pytest.skip(f"all else ran; the weights {lacking} are not in this checkout")


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_links_lead_somewhere(document):
    text = document.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#\s]+)\)", text)
    for link in links:
        if not link.startswith("http"):
            assert (document.parent / link).exists(), f"{document}: {link}"


def test_the_readme_is_one_page_and_leads_to_every_document():
    text = DOCUMENTS[0].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 110
    for path in DOCUMENTS[1:]:
        assert str(path.relative_to(ROOT)) in text, f"the README does not lead to {path}"
