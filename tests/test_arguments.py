"""What an option, a setting or a file's entry may be."""

import argparse
import importlib

import pytest

from dsnet import arguments


def test_a_number_must_be_finite():
    assert arguments.Range(float)("-1.5e3") == -1500
    for text in ("nan", "inf", "-inf", "x", ""):
        with pytest.raises(argparse.ArgumentTypeError, match=f"finite number, got {text}"):
            arguments.Range(float)(text)


@pytest.mark.parametrize(
    "kind, good, bad", [(int, "3", ["0", "-1", "x", "1.5"]), (float, "0.5", ["0", "nan", "inf"])]
)
def test_numbers_above_zero(kind, good, bad):
    parse = arguments.above_zero(kind)
    assert parse(good) == kind(good)
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError, match=f"above 0, got {text}"):
            parse(text)


def test_a_number_is_within_its_bounds_and_of_its_kind():
    sides = arguments.Range(int, 8, 16)
    assert [value in sides for value in (7, 8, 16, 17)] == [False, True, True, False]
    assert True not in arguments.Range(int) and 8.0 not in sides and "8" not in sides
    above = arguments.above_zero(float)
    assert 0.0 not in above and 1e-300 in above and 10**400 in above
    with pytest.raises(ValueError, match=r"^side must be a whole number in 8\.\.16, got 17$"):
        sides.check("side", 17)


def test_a_huge_value_is_told_in_short():
    assert arguments.brief("x" * 200) == "'" + "x" * 76 + "..."
    assert arguments.brief(10**10_000) == "one of thousands of digits"


def test_what_names_something_is_not_empty():
    assert arguments.given(" ") == " "
    with pytest.raises(argparse.ArgumentTypeError, match="must not be empty"):
        arguments.given("")


def parsers(parser):
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from parsers(below)


@pytest.mark.parametrize("name", ["label", "review", "train", "train_sr", "evaluate", "predict"])
def test_no_option_of_a_command_takes_an_empty_text(name):
    """Of a shell's variable that is not set: nobody asked for phantoms, or all hosts."""
    if name in ("train", "evaluate"):
        pytest.importorskip("torch")
    module = "training.settings" if name == "train" else name
    parser = importlib.import_module(f"dsnet.{module}")._parser()
    taken = [a for p in parsers(parser) for a in p._actions if a.nargs != 0 and not a.choices]
    assert len(taken) > 8
    for action in taken:
        with pytest.raises((argparse.ArgumentTypeError, ValueError)):
            (action.type or str)("")


def test_an_empty_name_is_told_by_its_option(capsys):
    from dsnet import predict

    with pytest.raises(SystemExit) as ended:
        predict.main(["dsnet-lidc", "--images", "", "--boxes", "b.csv", "--out", "o"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith("argument --images: must not be empty\n")
