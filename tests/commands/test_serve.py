"""The options of `rayrml serve`; `tests/serving` has what it does."""

import pytest

from rayrml import cli
from rayrml.commands import serve


@pytest.mark.parametrize(("text", "expected"), [("1", (1, 1)), ("4", (4, 4)), ("1..4", (1, 4)), ("2..2", (2, 2))])
def test_replicas_are_a_number_or_two(text, expected):
    assert serve._replicas(text) == expected


@pytest.mark.parametrize(
    "options",
    [
        ("--replicas", "0"),
        ("--replicas", "4..1"),
        ("--replicas", "1..2..3"),
        ("--replicas", "-1"),
        ("--replicas", "1..∞"),
        ("--port", "65536"),
        ("--port", "http"),
        ("--gpus", "-1"),
        ("--gpus", "nan"),
        ("--max-request", "0"),
        ("--max-waiting", "many"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["serve", "model", *options])
    assert ended.value.code == 2
    assert f"argument {options[0]}: expected" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none"], 3, "no such file"),
        (["none", "data.grayscal=true"], 2, "unknown key"),
    ],
)
def test_mistakes_end_the_command_before_ray_starts(arguments, code, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["serve", *arguments]) == code
    assert message in capsys.readouterr().err
