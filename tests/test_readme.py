"""What the pages for people say is there, is there."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from fresh_interpreter import run_fresh

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXTENSIONS = "py|md|h|cpp|cu|toml|json|sh|png|yml"


def read(*parts: str) -> str:
    return ROOT.joinpath(*parts).read_text(encoding="utf-8")


def test_ci_runs_the_readmes_test_command():
    lines = [line.strip() for line in read("README.md").splitlines()]
    tests = [line for line in lines if line.startswith("pip install") and "pytest" in line]
    assert len(tests) == 1, "the README names one test command"
    assert tests[0] in [line.strip() for line in read(".ci", "run").splitlines()]


def test_the_workflow_runs_ci():
    assert re.search(r"run: .*\.ci/run$", read(".github", "workflows", "ci.yml"), re.MULTILINE)


def test_architecture_draws_every_folder():
    block = read("ARCHITECTURE.md").split("```")[1]
    drawn = {line.split()[0] for line in block.strip().splitlines()}
    assert not {name for name in drawn if not (ROOT / name).exists()}
    folders = {
        f"{path.parent.relative_to(ROOT)}/"
        for room in ("csrc", "kernels/dsnet_kernels", "dsnet")
        for path in (ROOT / room).rglob("*")
        if path.suffix in (".py", ".h", ".cpp", ".cu")
    }
    folders |= {f"bench/{path.parent.name}/" for path in (ROOT / "bench").glob("*/*.py")}
    assert not folders - drawn
    modules = {f"dsnet/{path.name}" for path in (ROOT / "dsnet").glob("[a-z]*.py")}
    assert not modules - drawn


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"])
def test_paths_named_on_a_page_are_there(name):
    # NAME, VERB and KIND stand for what somebody adds.
    text = re.sub(r"\S*[A-Z]{4,}\S*/?\S*", "", read(name).replace("](", " "))
    paths = set(re.findall(rf"[\w.-]+/[\w./-]+\.(?:{EXTENSIONS})\b", text))
    outside = {path for path in paths if path.startswith(("../", "http"))}
    places = [ROOT, ROOT / "dsnet", ROOT / "bench", ROOT / "csrc"]
    missing = {p for p in paths - outside if not any((place / p).exists() for place in places)}
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_run_on_a_page_are_there(page):
    for module in set(re.findall(r"python -m ((?:dsnet|bench)[\w.]*)", page.read_text("utf-8"))):
        path = ROOT.joinpath(*module.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_imported_on_a_page_are_there(page):
    text = page.read_text("utf-8")
    statement = r"^\s*((?:from|import) (?:dsnet|dsnet_kernels)\b[\w. ,()]*)"
    lines = re.findall(statement, text, re.MULTILINE)
    if not lines:
        return
    if find_spec("torch") is None:
        pytest.skip("some of them need torch")
    done = run_fresh("\n".join(lines))
    assert done.returncode == 0, done.stderr
