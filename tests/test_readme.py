"""The README's commands are the ones that CI runs."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def commands(text: str) -> list[str]:
    """Every line of the text's shell blocks."""
    blocks = text.split("```")[1::2]
    lines = [
        line
        for block in blocks
        if block.split("\n", 1)[0].strip() in ("", "bash", "console", "sh", "shell")
        for line in block.split("\n")[1:]
    ]
    return [line.strip().removeprefix("$ ") for line in lines if line.strip()]


def test_ci_runs_the_readmes_test_command():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    tests = [line.split("  #")[0].strip() for line in commands(readme) if "pytest" in line]
    assert tests, "the README names no test command"
    ci = [line.strip() for line in (ROOT / ".ci" / "run").read_text().splitlines()]
    assert tests[0] in ci
