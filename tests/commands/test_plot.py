"""`rayrml plot`, from its arguments to its plot and its table."""

import pytest

from rayrml import cli
from rayrml.reporting import history


def run(folder, losses, accuracy=None):
    folder.mkdir(parents=True)
    rows = [
        {"epoch": e, "train_loss": loss, **({} if accuracy is None else {"accuracy": accuracy[e - 1]})}
        for e, loss in enumerate(losses, 1)
    ]
    (folder / "history.csv").write_bytes(history.to_csv(rows))
    return str(folder)


def test_runs_are_compared_in_a_picture_and_a_table(tmp_path, capsys):
    first = run(tmp_path / "a" / "model", [2.0, 1.0, 0.5], [0.25, 0.75, 0.5])
    second = run(tmp_path / "b" / "model", [3.0])
    output = tmp_path / "both.png"
    assert cli.main(["plot", first, second, "--output", str(output)]) == 0
    assert output.read_bytes().startswith(b"\x89PNG")
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["Run", "Epochs", "Best", "epoch", "Best", "metric", "Last", "loss"],
        ["a/model", "3", "2", "accuracy", "0.7500", "0.5000"],
        ["b/model", "1", "1", "-", "3.0000"],
        ["Saved", "plot:", str(output)],
    ]


@pytest.mark.parametrize(("ending", "start"), [("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_the_ending_says_what_kind_of_picture_it_is(tmp_path, ending, start):
    output = tmp_path / f"one.{ending}"
    assert cli.main(["plot", run(tmp_path / "a", [2.0]), "--output", str(output)]) == 0
    assert output.read_bytes().startswith(start)


def test_a_folder_without_a_run_is_one_line(tmp_path, capsys):
    assert cli.main(["plot", str(tmp_path)]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"rayrml: {tmp_path}: is not a run. Expected a folder with the file history.csv")


def test_a_picture_of_an_unknown_kind_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        cli.main(["plot", str(tmp_path), "--output", "x.gif"])
    assert "expected a file that ends with one of .png, .svg, .pdf, got 'x.gif'" in capsys.readouterr().err
