"""Files of an earlier run: which of them a second run moves, removes and leaves."""

import dataclasses
import json
import os

import h5py
import numpy as np
import pytest

import rayrml
from rayrml.errors import DataError
from rayrml.runs import earlier_run
from rayrml.saving import checkpoints
from rayrml.saving.resuming import find_resumable
from rayrml.saving.run_lock import LOCK_NAME, locked
from tests.conftest import dense_network, training_config


def content(folder):
    """The bytes of all files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.ray
def test_a_second_run_moves_the_earlier_one_aside_whole(ray_cluster, tmp_path, write_digits, capsys):
    write_digits(tmp_path / "training", "training", (1, 4, 7), 8)
    write_digits(tmp_path / "testing", "testing", (1, 4, 7), 8)
    config = training_config(tmp_path, tmp_path)
    rayrml.run(config, quiet=True)
    model, predictions = content(tmp_path / "model"), content(tmp_path / "predictions")
    logs = (tmp_path / "out_train.txt").read_text()
    second = rayrml.run(config, overrides={"num_epochs": 1})
    said = capsys.readouterr().out
    assert f"Keeping the logs of an earlier run: {tmp_path}/out_train.1.txt, {tmp_path}/out_test.1.txt\n" in said
    assert f"The earlier run in {tmp_path}/model is now in {tmp_path}/model-1\n" in said
    assert f"The earlier run in {tmp_path}/predictions is now in {tmp_path}/predictions-1\n" in said
    assert (tmp_path / "out_train.1.txt").read_text() == logs
    assert content(tmp_path / "model-1") == model
    assert content(tmp_path / "predictions-1") == predictions
    assert list(content(tmp_path / "predictions")) == ["output_1.h5"]
    assert second.checkpoints == [str(tmp_path / "model" / "model_checkpoint_1.pt")]
    assert not (tmp_path / "model" / "model_checkpoint_2.pt").exists()
    rayrml.run(config, resume=True)
    assert "earlier run" not in capsys.readouterr().out
    assert not (tmp_path / "model-2").exists()
    (tmp_path / "model" / "last_epoch.pt").write_bytes((tmp_path / "model" / "model_checkpoint_2.pt").read_bytes())
    rayrml.run(config, overrides={"num_epochs": 1})
    said = capsys.readouterr().out
    assert f"It did not finish. To continue it instead: checkpoints.save={tmp_path}/model-2 --resume\n" in said
    assert checkpoints.load(find_resumable(tmp_path / "model")[0]).epoch == 1
    assert checkpoints.load(find_resumable(tmp_path / "model-2")[0]).epoch == 2


@pytest.mark.ray
def test_a_run_that_starts_from_its_own_folders_best_model_records_where_that_is_now(
    ray_cluster, tmp_path, write_digits
):
    write_digits(tmp_path / "training", "training", (1, 4, 7), 8)
    write_digits(tmp_path / "testing", "testing", (1, 4, 7), 8)
    config = training_config(tmp_path, tmp_path)
    first = rayrml.run(config, quiet=True)
    rayrml.run(config, overrides={"checkpoints.load": first.best_checkpoint}, quiet=True)
    recorded = json.loads((tmp_path / "model" / "config.resolved.json").read_text())
    assert recorded["neural_network"]["checkpoints"]["load"] == str(tmp_path / "model-1" / "best.pt")


@pytest.fixture
def plan_of(tmp_path, write_digits):
    """A function that makes a plan of training whose configuration has these values."""
    write_digits(tmp_path / "training", "training", (1, 4, 7), 3)
    write_digits(tmp_path / "testing", "testing", (1, 4, 7), 3)
    return lambda **overrides: rayrml.check(training_config(tmp_path, tmp_path), overrides=overrides)


def write_run(folder, names=("best.pt", "history.csv", "run.log", "plots/loss.png", "tensorboard/run/events.1")):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"earlier {name}")


def test_what_no_run_has_written_stays(plan_of, tmp_path):
    write_run(tmp_path / "model")
    (tmp_path / "model" / "notes.txt").write_text("mine")
    (tmp_path / "model" / "plots" / "mine.png").write_text("mine")
    earlier_run.make_room(plan_of())
    assert set(content(tmp_path / "model")) == {"notes.txt", "plots/mine.png"}
    assert len(content(tmp_path / "model-1")) == 5


PICTURES = ["masks_2/sub/a.png", "overlays_2/sub/a.jpg", "classes_2.csv", "images_3/a.png"]


def test_pictures_of_an_earlier_run_move_with_its_predictions(plan_of, tmp_path):
    write_run(tmp_path / "predictions", ["output_2.h5", "output_3.h5", *PICTURES])
    room = earlier_run.make_room(plan_of())
    assert not list((tmp_path / "predictions").iterdir())
    assert set(content(tmp_path / "predictions-1")) == {"output_2.h5", "output_3.h5", *PICTURES}
    old, new = (str(tmp_path / place / "masks_2" / "sub" / "a.png") for place in ("predictions", "predictions-1"))
    assert room.moved[old] == new


def test_overwriting_removes_the_pictures_of_an_earlier_run(plan_of, tmp_path):
    write_run(tmp_path / "predictions", ["output_2.h5", "output_3.h5", *PICTURES])
    earlier_run.make_room(plan_of(**{"checkpoints.exist": "overwrite"}))
    assert not list((tmp_path / "predictions").iterdir())


def test_folders_named_like_pictures_without_predictions_stay(plan_of, tmp_path):
    mine = ["masks_1/a.png", "masks_2.png", "images_12/a.png"]
    write_run(tmp_path / "predictions", ["output_2.h5", *mine])
    earlier_run.make_room(plan_of())
    assert set(content(tmp_path / "predictions")) == set(mine)


def test_each_earlier_run_gets_a_number_of_its_own(plan_of, tmp_path):
    plan = plan_of()
    for number in (1, 2, 3):
        write_run(tmp_path / "model", [f"model_checkpoint_{number}.pt"])
        if number == 2:
            write_run(tmp_path / "predictions", ["output_2.h5"])
        earlier_run.make_room(plan)
        assert list(content(tmp_path / f"model-{number}")) == [f"model_checkpoint_{number}.pt"]
    assert list(content(tmp_path / "predictions-2")) == ["output_2.h5"]  # the number of its run


def test_predictions_inside_the_runs_folder_stay_inside_it(plan_of, tmp_path):
    write_run(tmp_path / "model")
    write_run(tmp_path / "model" / "predictions", ["output_1.h5"])
    plan = plan_of(**{"data.test_output_path": str(tmp_path / "model" / "predictions")})
    earlier_run.make_room(plan)
    assert not content(tmp_path / "model")
    assert (tmp_path / "model-1" / "predictions" / "output_1.h5").exists()


def test_an_earlier_run_in_the_current_folder_moves_into_a_folder_of_it(plan_of, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_run(tmp_path / "here", ["best.pt", "history.csv"])
    earlier_run.make_room(plan_of(**{"checkpoints.save": "./"}))
    assert set(content(tmp_path / "here")) == {"run-1/best.pt", "run-1/history.csv"}


def test_overwriting_removes_all_that_the_earlier_run_has_written(plan_of, tmp_path):
    write_run(tmp_path / "model", ["model_checkpoint_9.pt", "best.pt", "history.csv", "last_epoch.pt", "notes.txt"])
    write_run(tmp_path / "predictions", ["output_9.h5"])
    room = earlier_run.make_room(plan_of(**{"checkpoints.exist": "overwrite"}))
    assert room.lines == (f"Overwriting the earlier run in {tmp_path}/model, {tmp_path}/predictions",)
    assert set(content(tmp_path / "model")) == {"notes.txt"}
    assert not content(tmp_path / "predictions")
    assert not (tmp_path / "model-1").exists()


@pytest.mark.parametrize("exist", ["keep", "overwrite"])
def test_an_earlier_runs_output_that_this_run_reads_is_neither_moved_nor_removed(plan_of, tmp_path, exist):
    write_run(tmp_path / "training", ["output_1.h5"])
    with h5py.File(tmp_path / "training" / "output_1.h5", "w") as file:
        file["x"] = np.zeros((1, 28, 28), np.float32)
    keys = {"input_type": "hdf5", "target_type": "hdf5", "grayscale": False, "test_input_path": None}
    paths = {"input_path": str(tmp_path / "training"), "target_path": str(tmp_path / "training")}
    network = [*dense_network(3)[:1], {"class_name": "Conv2D", "config": {"name": "c", "filters": 1, "kernel_size": 1}}]
    plan = plan_of(
        **{f"data.{key}": value for key, value in {**keys, **paths, "test_output_path": None}.items()},
        **{"layers": network, "loss": {"function": "MSE"}, "checkpoints.exist": exist},
        **{"checkpoints.save": str(tmp_path / "training")},
    )
    with pytest.raises(DataError, match=r"output_1\.h5: is an output of an earlier run, and this one reads it"):
        earlier_run.make_room(plan)
    assert (tmp_path / "training" / "output_1.h5").exists()


@pytest.mark.parametrize("load", ["model", "model/best.pt"])
def test_the_model_that_a_run_starts_from_is_not_removed_and_moves_with_its_folder(plan_of, tmp_path, load):
    plan = plan_of()
    write_run(tmp_path / "model", ["history.csv"])
    kept = checkpoints.Checkpoint(1, plan.network.state_dict(), plan.layers, plan.network.input_shapes[0])
    checkpoints.save(tmp_path / "model" / "best.pt", kept)
    load = str(tmp_path / load)
    with pytest.raises(DataError, match=r"best\.pt: is an output of an earlier run, and this one reads it"):
        earlier_run.make_room(plan_of(**{"checkpoints.load": load, "checkpoints.exist": "overwrite"}))
    room = earlier_run.make_room(plan_of(**{"checkpoints.load": load}))
    assert room.moved[load] == load.replace("/model", "/model-1")


def test_an_attempt_that_left_no_result_is_not_kept(plan_of, tmp_path):
    write_run(tmp_path / "model", ["config.resolved.json", "environment.json"])
    assert earlier_run.make_room(plan_of()) == earlier_run.MadeRoom()
    assert not (tmp_path / "model-1").exists()


def test_the_assembled_file_of_an_earlier_run_is_kept_beside_it(plan_of, tmp_path):
    (tmp_path / "all.h5").write_text("earlier")
    plan = dataclasses.replace(plan_of())
    nn = plan.config.neural_network
    data = nn.data.model_copy(update={"hdf5_outfile": str(tmp_path / "all.h5")})
    config = plan.config.model_copy(update={"neural_network": nn.model_copy(update={"data": data})})
    room = earlier_run.make_room(dataclasses.replace(plan, config=config))
    assert room.moved == {str(tmp_path / "all.h5"): str(tmp_path / "all-1.h5")}
    assert (tmp_path / "all-1.h5").read_text() == "earlier"


@pytest.mark.ray
@pytest.mark.parametrize("taken", ["model", "state"])
def test_no_folder_that_another_run_writes_to_is_written_to(ray_cluster, tmp_path, write_digits, taken):
    write_digits(tmp_path / "training", "training", (1, 4, 7), 8)
    write_digits(tmp_path / "testing", "testing", (1, 4, 7), 3)
    config = training_config(tmp_path, tmp_path) | {"ray": {"storage_path": str(tmp_path / "state")}}
    (tmp_path / taken).mkdir()
    with locked(str(tmp_path / taken), print):
        with pytest.raises(
            DataError, match=rf"{taken}: the run of process {os.getpid()} on .* is writing to this folder"
        ):
            rayrml.run(config, quiet=True)
        assert [file.name for file in (tmp_path / taken).iterdir()] == [LOCK_NAME]
    assert rayrml.run(config, quiet=True).checkpoints
