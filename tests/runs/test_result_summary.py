"""The last lines of a run: its results, their places, and commands that work exactly as shown."""

import shlex
import subprocess
import sys

import h5py
import pytest
import torch

from rayrml import cli
from rayrml.cluster.allocation import Allocation
from rayrml.metrics import PartNames
from rayrml.planning.preparation import prepare
from rayrml.reporting.console import Console
from rayrml.reporting.messages import BatchesTrained, BatchRow, EpochDone, Interrupted, Saved, Started
from rayrml.reporting.run_files import Record
from rayrml.reporting.run_state import RunState
from rayrml.runs import result_summary
from rayrml.runs.context import Context
from rayrml.saving import checkpoints
from tests.conftest import training_config

COMMAND = ("rayrml", "my config.json", "--set", "data.batch_size=4")


@pytest.fixture
def plan_in(tmp_path, write_digits, monkeypatch):
    """A function that plans a training run, or what remains of it after some keys have changed."""
    for part in ("training", "testing"):
        write_digits(tmp_path / part, part, (1, 4, 7), 2)
    monkeypatch.chdir(tmp_path)

    def plan(**changed):
        return prepare(training_config(tmp_path, tmp_path), changed)

    return plan


def figures(epoch, accuracy):
    return {
        "epoch": epoch,
        "train_loss": 1.5,
        "learning_rate": 0.1,
        "seconds": 40.0,
        "test_loss": 1.25,
        "accuracy": accuracy,
    }


def ended(plan, messages, capsys, command=COMMAND, resume_from=()):
    state = RunState()
    for message in messages:
        state.receive(message)
    capsys.readouterr()
    record = Record(plan.config.neural_network.checkpoints.save, state, PartNames(plan.classes))
    context = Context(
        plan=plan,
        allocation=Allocation(1, True, False, {"CPU": 1.0}, 0.5, 1),
        console=Console(stamped=False),
        state=state,
        record=record,
        tracking=(),
        emit=state.receive,
        resolved={},
        lines=(),
        resume_from=resume_from,
        command=command,
    )
    result_summary.show(context)
    return capsys.readouterr().out.splitlines()


def test_the_last_and_the_best_epoch_are_shown_and_the_best_checkpoint_is_the_one_to_use(plan_in, tmp_path, capsys):
    folder = tmp_path / "my models"
    paths = {epoch: str(folder / f"model_checkpoint_{epoch}.pt") for epoch in (1, 2, 3)}
    messages = [
        m for e, a in ((1, 0.5), (2, 0.75), (3, 0.7)) for m in (Saved("checkpoint", paths[e]), EpochDone(figures(e, a)))
    ]
    lines = ended(plan_in(**{"checkpoints.save": str(folder)}), messages, capsys)
    assert "* Epochs                      : 3, trained in 2:00 (120.0 s)" in lines
    assert "* Logs                        : ./out_train.txt, ./out_test.txt" in lines
    assert [line.split() for line in lines if line.startswith(("3 (last)", "2 (best)"))] == [
        ["3", "(last)", "1.5000", "1.2500", "0.7000", "model_checkpoint_3.pt"],
        ["2", "(best)", "1.5000", "1.2500", "0.7500", "model_checkpoint_2.pt"],
    ]
    assert lines[-2] == "Next: rayrml predict --checkpoint './my models/model_checkpoint_2.pt' FILE_OR_FOLDER"
    assert shlex.split(lines[-1]) == ["rayrml", "plot", "./my models"]


@pytest.mark.parametrize("of_this_run", [True, False])
def test_after_a_resume_the_checkpoints_of_the_earlier_process_are_shown(plan_in, tmp_path, capsys, of_this_run):
    folder = tmp_path / "model"
    folder.mkdir()
    history = [figures(1, 0.5), figures(2, 0.75 if of_this_run else 0.7)]
    weights = {"w": torch.zeros(1)}
    best = folder / "model_checkpoint_2.pt"
    checkpoints.save(best, checkpoints.Checkpoint(2, weights, [], (1, 28, 28), history=history))
    rows = (figures(1, 0.5), figures(2, 0.75))
    last = str(folder / "model_checkpoint_3.pt")
    messages = [
        Started(3, 0, resumed=True, history=rows, rows=(), seconds=0.0, checkpoint=None, num_workers=1),
        Saved("checkpoint", last),
        EpochDone(figures(3, 0.6)),
    ]
    plan = plan_in(**{"checkpoints.save": str(folder)})
    lines = ended(plan, messages, capsys, resume_from=("last_epoch.pt",))
    shown = {line.split()[0]: line.split()[-1] for line in lines if line.startswith(("3 (last)", "2 (best)"))}
    assert shown == {"3": "model_checkpoint_3.pt", "2": best.name if of_this_run else "kept"}
    assert (best.name if of_this_run else "model_checkpoint_3.pt") in lines[-2]
    assert any("not kept" in line for line in ended(plan, messages, capsys))  # of another run: this one did not resume


def test_the_most_memory_of_a_gpu_is_shown_where_there_is_one(plan_in, capsys):
    row = BatchRow(1, 1, 0.5, 1.5, 1.0, 0.0, 0.5, 0.0, 6)
    for sizes, expected in (((3_000_000_000, 2_000_000_000), ["* GPU memory                  : 3 GB"]), ((0, 0), [])):
        messages = [*(BatchesTrained([row], size) for size in sizes), EpochDone(figures(1, 0.5))]
        lines = ended(plan_in(), messages, capsys)
        assert [line.split(" (")[0] for line in lines if "GPU" in line] == expected


def test_checkpoints_in_a_store_are_named_as_they_are(plan_in, capsys):
    save = "s3://bucket/my%20runs?region=eu-west-1"
    path = "s3://bucket/my%20runs/model_checkpoint_1.pt?region=eu-west-1"
    plan = plan_in(**{"checkpoints.save": save})
    lines = ended(plan, [Saved("checkpoint", path), EpochDone(figures(1, 0.5))], capsys)
    assert any("1 (last, the best)" in line and line.endswith("model_checkpoint_1.pt") for line in lines)
    assert shlex.split(lines[-2])[4] == path
    assert shlex.split(lines[-1])[-1] == save


def test_without_checkpoints_the_logs_can_be_drawn(plan_in, capsys):
    lines = ended(plan_in(checkpoints={}), [EpochDone(figures(1, 0.5))], capsys)
    assert any(line.endswith("not kept") for line in lines)
    assert lines[-1] == "Next: rayrml plot ./out.txt"


def test_nothing_is_to_be_typed_where_nothing_was(plan_in, capsys):
    lines = ended(plan_in(), [EpochDone(figures(1, 0.5))], capsys, command=None)
    assert not any("rayrml" in line for line in lines)


def test_the_command_after_inference_lists_the_predictions(plan_in, tmp_path, capsys):
    plan = plan_in(optimizer=None, loss=None, **{"data.input_path": None, "data.target_type": None})
    path = tmp_path / "it's" / "output_1.h5"
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        file["7/a.jpg"] = [1.0, 2.0]
    lines = ended(plan, [Saved("predictions", str(path))], capsys)
    words = shlex.split(lines[-1].removeprefix("Next: "))
    shown = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, check=True).stdout
    assert "7/a.jpg" in shown
    assert "shape (2,)" in shown


def test_an_interrupted_command_goes_on_with_itself():
    where = Interrupted(3, 5)
    shown = result_summary.interruption(where, "model", COMMAND)
    assert shlex.split(shown.partition(": ")[2]) == [*COMMAND, "--resume"]
    assert result_summary.interruption(where, "model", (*COMMAND, "--resume")) == shown
    assert "rayrml" not in result_summary.interruption(where, "model", None)
    assert "--resume" not in result_summary.interruption(where, None, COMMAND)


def test_a_command_is_named_as_it_was_typed_but_not_in_a_job(monkeypatch):
    assert cli._typed(["/somewhere/bin/rayrml", "c.json"]) == ("rayrml", "c.json")
    assert cli._typed(["/lib/rayrml/__main__.py", "c.json"]) == ("python", "-m", "rayrml", "c.json")
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert cli._typed(["/somewhere/bin/rayrml", "c.json"]) is None


def test_all_tables_are_listed_beside_the_last_predictions(plan_in, capsys):
    messages = [Saved("predictions", f"/out/output_{epoch}.h5") for epoch in (1, 2, 3)]
    messages += [Saved("table", f"/out/{name}") for name in ("predictions.csv", "detections.json")]
    shown = "\n".join(ended(plan_in(), [Started(1, 0), EpochDone(figures(1, 0.5)), *messages], capsys))
    assert "/out/output_3.h5 and 2 earlier ones, /out/predictions.csv, /out/detections.json" in shown
