"""The options of the commands that take a configuration, or settings for one."""

import pytest

from rayrml import cli
from rayrml.commands import VERBS

SHORT = ("--epochs", "--lr")
RAY = ("--num-workers", "--use-gpu", "--device", "--address", "--verbose")


def help_of(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([verb, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_every_command_can_be_printed(verb, capsys):
    assert f"usage: rayrml {verb}" in help_of(verb, capsys)


@pytest.mark.parametrize(
    ("verb", "listed", "unlisted"),
    [
        ("run", (*SHORT, *RAY, "--batch-size"), ()),
        ("tune", (*SHORT, *RAY, "--batch-size"), ()),
        ("find-lr", (*RAY, "--batch-size"), SHORT),
        ("look", ("--batch-size", "--set"), (*SHORT, *RAY)),
        ("predict", (*RAY, "data.test_batch_size=N"), SHORT),
        ("evaluate", (*RAY, "data.test_batch_size=N"), SHORT),
        ("explain", ("--set", "--quiet"), (*SHORT, *RAY, "--batch-size")),
    ],
)
def test_help_lists_the_options_that_a_command_honours(verb, listed, unlisted, capsys):
    shown = help_of(verb, capsys)
    assert all(option in shown for option in listed)
    assert not any(option in shown for option in unlisted)


@pytest.mark.parametrize(
    "words",
    [
        ["explain", "model", "image.jpg", "--lr", "1"],
        ["explain", "model", "image.jpg", "--device", "cuda"],
        ["predict", "--checkpoint", "model", "image.jpg", "--epochs", "3"],
        ["evaluate", "model", "images", "--lr", "1"],
    ],
)
def test_without_a_configuration_an_option_that_changes_nothing_is_refused(words, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert f"unrecognized arguments: {' '.join(words[-2:])}" in capsys.readouterr().err


def test_the_command_line_of_a_training_can_be_looked_at(tmp_path, capsys):
    missing = str(tmp_path / "none.json")
    for verb in ("look", "find-lr", "check"):
        assert cli.main([verb, missing, "--epochs", "3", "--lr", "0.1", "--workers", "2", "--no-use-gpu"]) == 3
        assert "No such file" in capsys.readouterr().err
