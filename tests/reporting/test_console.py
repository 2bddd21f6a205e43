"""Lines on the screen: for people at terminals, for files and notebooks."""

import builtins
import re

from rayrml.reporting.console import Console


def test_lines_have_the_time_of_day_only_if_they_are_a_log(capsys):
    for console in (Console(), Console(stamped=False)):
        console.section("Title", {"Name": 1, "Nothing": None})
        console.lines(["a line", "", "x\ny"])
    lines = capsys.readouterr().out.splitlines()
    stamped, plain = lines[:6], lines[6:]
    assert plain == ["", f"{' Title ':_^78}", "* Name                        : 1", "a line", "", r"x\ny"]
    assert [re.fullmatch(r"\[[-\d]{10} [:\d]{8}\] ?(.*)", line)[1] for line in stamped] == plain


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
