"""Lines on the screen: for people at terminals, for files and notebooks."""

import builtins
import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console as Terminal

from rayrml.reporting.console import Console

STAMP = r"\[[-\d]{10} [:\d]{8}\] ?"


def test_sentences_have_the_time_of_day_only_if_they_are_a_log(capsys):
    for console in (Console(), Console(stamped=False)):
        console.section("Title", {"Name": 1, "Nothing": None})
        console.table([(1, "x")], ("Number", "Letter"))
        console.lines(["a line", "", "x\ny"])
    lines = capsys.readouterr().out.splitlines()
    stamped, plain = lines[:8], lines[8:]
    table = ["Number  Letter", "1            x"]
    assert plain == ["", f"{' Title ':_^78}", "* Name                        : 1", *table, "a line", "", r"x\ny"]
    assert [re.fullmatch(rf"({STAMP})?(.*)", line)[2] for line in stamped] == plain
    assert [line for line in stamped if re.match(STAMP, line)] == [stamped[5], stamped[7]], "no headings and tables"


def terminal(width, **options):
    """A console on a terminal of this width, and what is written there."""
    console, text = Console(**options), io.StringIO()
    console.is_live, console._stamped = True, False
    console.terminal = Terminal(file=text, width=width, force_terminal=True, color_system=None, soft_wrap=True)
    return console, text


LONG = f"/data/{'a long folder name/' * 4}{'x' * 90}/image.png"


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_is_wider_than_a_terminal(width):
    console, text = terminal(width)
    console.line(f"Saved predictions: {LONG}")
    console.line("A sentence of many words, " * 10)
    console.section("Dataset (training)", {"Location": LONG, "Classes": "cat, dog, " * 20})
    console.table([(LONG, "cat" * 30, 0.5)], ("Path", "Class", "Probability"))
    console.table([("\u732b" * 80, 1)], ("Class", "Samples"))
    console.commands("Next:", ["rayrml predict --checkpoint model/best.pt 'a b' " + "--set a=1 " * 12])
    lines = text.getvalue().splitlines()
    assert max(map(cell_len, lines)) <= width
    assert not re.search(STAMP, text.getvalue())
    assert sum(line.endswith("\\") for line in lines) >= 1, "a command is continued as a shell wants it"


def test_a_log_holds_what_was_shown_in_full_before_and_after_it_was_opened(tmp_path):
    console, text = terminal(80)
    console.line("before")
    with console.recording(str(tmp_path / "run.log"), append=False):
        console.table([("a" * 90, 1)], ("Name", "Size"))
        console.note("not shown")
        console.begin("Starting")
    console.line("after")
    with pytest.raises(KeyboardInterrupt), console.recording(str(tmp_path / "run.log"), append=True):
        raise KeyboardInterrupt
    console.stop_waiting()
    log = (tmp_path / "run.log").read_text().splitlines()
    assert all(re.match(STAMP, line) for line in log)
    lines = [re.sub(STAMP, "", line) for line in log]
    table = [f"{'Name':90}  Size", f"{'a' * 90}     1"]
    assert lines == ["before", *table, "not shown", "Starting", "after", "rayrml: interrupted"]
    assert "not shown" not in text.getvalue()


def test_a_log_that_cannot_be_written_is_reported_and_ends_no_run(tmp_path, capsys):
    (tmp_path / "file").touch()
    console = Console(stamped=False)
    with console.recording(str(tmp_path / "file" / "run.log"), append=False):
        console.line("a line")
    line, warning = capsys.readouterr().out.splitlines()
    assert line == "a line"
    assert warning.startswith(f"Warning: {tmp_path / 'file' / 'run.log'}: cannot be written")


def test_a_quiet_console_records_its_lines(tmp_path, capsys):
    console = Console(quiet=True)
    with console.recording(str(tmp_path / "run.log"), append=False):
        console.line("a line")
    assert capsys.readouterr().out == ""
    assert (tmp_path / "run.log").read_text().endswith("] a line\n")


def test_a_quiet_console_prints_nothing(capsys):
    console = Console(quiet=True)
    console.section("Title", {"Name": 1})
    assert capsys.readouterr().out == ""
    assert not console.is_live


def test_a_notebook_gets_plain_lines(monkeypatch, capsys):
    class ZMQInteractiveShell:
        """The class by which rich recognizes a notebook."""

    monkeypatch.setattr(builtins, "get_ipython", ZMQInteractiveShell, raising=False)
    Console().line("a line")
    assert capsys.readouterr().out.endswith("a line\n")
