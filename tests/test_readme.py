"""What the pages for people say is there, is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
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


def test_modules_run_on_contributings_page_are_there():
    """Those of the README and of docs/ are run by tests/docs."""
    modules = set(re.findall(r"python -m ((?:dsnet|bench)[\w.]*)", read("CONTRIBUTING.md")))
    assert modules
    for module in modules:
        assert ROOT.joinpath(*module.split(".")).with_suffix(".py").is_file(), module
