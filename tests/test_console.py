"""What commands show, how they are stopped, and how they fail."""

import re
import signal
import sys
from types import SimpleNamespace

import pytest

from dsnet import console
from dsnet.console import Bar, Progress, Rate, Stop, UserError, complain, print_table


@pytest.fixture
def terminal(monkeypatch, capsys):
    """What a call shows where standard output is a terminal, without control codes."""

    def shown(call) -> str:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "120")
        # Not before: pytest changes the stream between a fixture and its test.
        with monkeypatch.context() as patch:
            patch.setattr(sys.stdout, "isatty", lambda: True)
            call()
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().out)

    return shown


@pytest.fixture
def at(monkeypatch):
    """A clock to set."""
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(console.time, "monotonic", lambda: now.seconds)
    return now


def test_the_first_signal_is_a_wish_and_ctrl_c_after_it_interrupts():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    for first in (signal.SIGTERM, signal.SIGINT):
        with Stop() as stop:
            assert not stop
            signal.raise_signal(first)
            signal.raise_signal(signal.SIGTERM)
            assert stop and stop.signal == first
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_rate_counts_what_this_run_did(at):
    rate = Rate(1000, done=400)
    assert str(rate) == "400 of 1000 rows, 0.0 rows/s" and rate.left == ""
    for status in ("ok", "failed"):
        rate.add(SimpleNamespace(status=status))
    at.seconds += 4
    assert rate.per_second == 0.5 and rate.left == "0:19:56"
    assert str(rate) == "402 of 1000 rows, 0.5 rows/s, 0:19:56 left, 1 failed"
    unknown = Rate(None)
    unknown.add(SimpleNamespace(status="ok"))
    at.seconds += 1
    assert str(unknown) == "1 rows, 1.0 rows/s" and unknown.left == ""


def test_progress_without_a_terminal_is_a_line_now_and_then(at, capsys):
    with Progress(4, line_seconds=10) as progress:
        for seconds in (1, 10, 1):
            at.seconds += seconds
            progress.add(SimpleNamespace(status="ok"))
        progress.say("[beside]")
    assert capsys.readouterr().out == "2 of 4 rows, 0.2 rows/s, 0:00:11 left\n[beside]\n"


def test_progress_on_a_terminal_is_a_bar(terminal):
    def run():
        with Progress(2) as progress:
            for status in ("ok", "failed"):
                progress.add(SimpleNamespace(status=status))
            progress.say("left out: [x/y] [1, 2]")

    text = terminal(run)
    assert "labelling" in text and "2/2" in text and "1 failed" in text
    assert "left out: [x/y] [1, 2]" in text


def test_several_bars_and_none_where_there_is_no_terminal(terminal, capsys):
    def run():
        with Bar() as bar:
            bar.show("one", 1, 3, "[a]")
            bar.show("two", 5, 5)
            bar.show("one", 2, 3, "[b]")
            assert bar.shown

    text = terminal(run)
    assert "2/3" in text and "5/5" in text and "[b]" in text
    with Bar(on_stderr=True) as bar:
        bar.show("one", 1, 3)
        assert not bar.shown
    assert capsys.readouterr() == ("", "")


def test_tables_are_plain_text_without_a_terminal(capsys):
    print_table([("rows", "3"), ("failed", "0")], title="store")
    print_table([("1", "x"), ("22", "[y]")], heads=("count", "why"))
    assert capsys.readouterr().out == "rows: 3\nfailed: 0\ncount  why\n1      x\n22     [y]\n"


def test_tables_on_a_terminal_show_every_cell(terminal):
    def run():
        print_table([("rows", "3")], title="store")
        print_table([("1", "[x/y] got [1, 2]")], heads=("count", "why"))

    text = terminal(run)
    for word in ("store", "rows", "3", "count", "why", "[x/y] got [1, 2]"):
        assert word in text


def test_errors_are_told_in_one_line(capsys):
    assert complain("dsnet.x", UserError("two\n  lines")) == 2
    assert complain("dsnet.x", ValueError()) == 2
    assert complain("dsnet.x", ModuleNotFoundError("No module named 'zz'", name="zz")) == 2
    assert capsys.readouterr().err.splitlines() == [
        "dsnet.x: two lines",
        "dsnet.x: ValueError",
        "dsnet.x: No module named 'zz'",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "früh 结节 [bold] \U0001f469\u200d\U0001f4bb",
            "früh 结节 [bold] \U0001f469\u200d\U0001f4bb",
        ),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("a\nb\rc\td\x85", "a\\nb\\rc\\td\\x85"),
        ("\u2028\u202egnp.exe", "\\u2028\\u202egnp.exe"),
        ("caf\udce9\x9b", "caf\\udce9\\x9b"),
    ],
)
def test_a_name_shows_itself_and_nothing_else(text, shown, capsys, caplog):
    assert console.printable(text) == shown
    complain("dsnet.x", UserError(f"no {text}"))
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "\x1b" not in told and "\u202e" not in told
    console.warn(text)
    assert caplog.messages[-1] == shown


def test_a_table_on_a_terminal_takes_no_name_for_markup(terminal):
    told = terminal(
        lambda: print_table(
            [("[bold]a[/bold]", "\x1b[31mb")], ("[red]h", "[/]"), title="x[/] [red]y"
        )
    )
    for part in ("x[/] [red]y", "[red]h", "[/]", "[bold]a[/bold]", "\\x1b[31mb"):
        assert part in told


@pytest.fixture
def hangup():
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


def test_a_terminal_that_is_gone_stops_but_under_nohup(hangup):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with Stop() as stop:
        signal.raise_signal(signal.SIGHUP)
        assert stop and stop.signal == signal.SIGHUP
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Stop() as stop:
        signal.raise_signal(signal.SIGHUP)
        assert not stop
