"""`rayrml runs`: runs below a folder, with their figures and states."""

import json
import os

import pytest

from rayrml.cli import main
from rayrml.saving.run_lock import locked


def write_run(folder, *rows, num_epochs=3, unfinished=False, at=1_000_000):
    folder.mkdir(parents=True)
    config = {"neural_network": {"num_epochs": num_epochs, "optimizer": {"type": "Adam", "learning_rate": 0.1}}}
    (folder / "config.resolved.json").write_text(json.dumps(config))
    lines = ["epoch,seconds,learning_rate,train_loss,test_loss,accuracy", *rows]
    (folder / "history.csv").write_text("\n".join(lines) + "\n")
    os.utime(folder / "history.csv", (at, at))
    (folder / "best.pt").touch()
    (folder / ("last_epoch.pt" if unfinished else "metrics.json")).touch()


def table(capsys, *words):
    assert main(["runs", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    return [line.split() for line in lines]


def test_runs_are_listed_with_the_figures_of_their_best_epoch(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "deep" / "first", "1,1,0.1,0.9,0.8,0.5", "2,2,0.1,0.5,0.6,0.75", "3,3,0.1,0.4,0.7,0.7")
    write_run(tmp_path / "second", "1,1,0.1,0.9,0.8,0.5", unfinished=True, at=2_000_000)
    (tmp_path / ".hidden").mkdir()
    heading, first, second = table(capsys)
    assert heading[:2] == ["Run", "Ended"]
    assert first[0] == "deep/first"
    assert first[3:] == ["done", "3/3", "2", "accuracy", "0.7500", "0.6"]
    assert second[0] == "second"
    assert second[3:6] == ["stopped", "1/3", "1"]
    assert table(capsys, str(tmp_path / "second"))[1][0] == str(tmp_path / "second")


def test_a_run_that_is_still_writing_is_running(tmp_path, capsys):
    write_run(tmp_path / "run", "1,1,0.1,0.9,0.8,0.5")
    with locked(str(tmp_path / "run"), print):
        assert table(capsys, str(tmp_path))[1][3] == "running"
    assert table(capsys, str(tmp_path))[1][3] == "done"


def test_runs_that_cannot_be_read_are_named_beside_the_others(tmp_path, capsys):
    write_run(tmp_path / "good", "1,1,0.1,0.9,0.8,0.5")
    write_run(tmp_path / "bad", "not a number,,,,,")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.resolved.json").write_text("[]")
    assert main(["runs", str(tmp_path)]) == 0
    output = capsys.readouterr()
    assert len(output.out.splitlines()) == 2
    assert f"{tmp_path}/bad/history.csv: is not a run's history" in output.err
    assert f"{tmp_path}/odd/config.resolved.json: is not the configuration of a run" in output.err


@pytest.mark.parametrize("name", ["nothing", "file"])
def test_what_is_no_folder_is_refused(tmp_path, capsys, name):
    (tmp_path / "file").touch()
    assert main(["runs", str(tmp_path / name)]) == 3
    assert "does not exist, or is not a folder" in capsys.readouterr().err


def test_a_folder_without_runs_says_so(tmp_path, capsys):
    assert main(["runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"No runs below {tmp_path}\n"


def test_programs_get_one_document(tmp_path, capsys):
    write_run(tmp_path / "run", "1,1,0.1,0.9,0.8,0.5", "2,1,0.1,0.7,,0.25")
    assert main(["runs", str(tmp_path), "--json"]) == 0
    (run,) = json.loads(capsys.readouterr().out)
    assert (run["folder"], run["state"], run["epochs"], run["num_epochs"]) == (str(tmp_path / "run"), "done", 2, 3)
    assert (run["metric"], run["best"]["epoch"], run["last"]["epoch"]) == ("accuracy", 1, 2)
    assert run["settings"]["learning_rate"] == 0.1
