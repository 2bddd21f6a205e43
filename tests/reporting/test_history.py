"""Histories of runs: written as tables, and read from tables and logs."""

import math

import pytest

from rayrml.errors import DataError
from rayrml.reporting import history

HISTORY = [
    {"epoch": 1, "train_loss": 1.5, "seconds": 2.0, "learning_rate": 0.1, "test_loss": 0.1 + 0.2, "dice": 0.5},
    {"epoch": 2, "train_loss": 1.0, "seconds": 2.5, "learning_rate": 0.01, "test_loss": 0.7, "dice": 0.75},
    {"epoch": 3, "train_loss": 0.5, "seconds": 2.5, "learning_rate": 1e-3, "test_loss": math.inf, "dice": 0.75},
]


def test_a_table_has_a_row_for_each_epoch():
    lines = history.to_csv(HISTORY).decode().splitlines()
    assert lines[0] == "epoch,train_loss,learning_rate,seconds,test_loss,dice"
    assert lines[2] == "2,1.0,0.01,2.5,0.7,0.75"
    assert len(lines) == 4


@pytest.mark.parametrize("figures", [HISTORY, [], [{"epoch": 1, "train_loss": 1.0}]])
def test_what_is_written_is_read_without_loss(figures):
    assert history.from_csv(history.to_csv(figures), "") == figures


@pytest.mark.parametrize("content", [b"\xff\xfe", b"epoch\nx\n", b"a,b\n1,2\n", b"epoch\n1,2\n", b'epoch\n"1', b"\0"])
def test_what_is_no_table_is_one_error(content):
    if content == b"\0":
        assert history.from_csv(content, "here") == []
        return
    with pytest.raises(DataError, match=r"^here: is not a run's history\. Expected the columns epoch, train_loss"):
        history.from_csv(content, "here")


def test_the_best_epoch_is_the_first_with_the_most_of_the_metric():
    assert history.find_best(HISTORY)["epoch"] == 2


def test_without_a_metric_the_best_epoch_has_the_least_loss():
    bare = [{k: v for k, v in figures.items() if k != "dice"} for figures in HISTORY]
    assert history.find_best(bare)["epoch"] == 1
    assert history.find_best([{"epoch": e, "train_loss": 1 / e} for e in (1, 2)])["epoch"] == 2
    assert history.find_best([]) is None


def test_runs_are_called_as_it_takes_to_tell_them_apart(tmp_path):
    for name in ("a/model", "b/model", "c"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "history.csv").write_bytes(history.to_csv(HISTORY))
    paths = [str(tmp_path / name) for name in ("a/model", "b/model", "c")]
    assert [run.name for run in history.read_runs([paths[0], paths[2]])] == ["model", "c"]
    assert [run.name for run in history.read_runs(paths)][:2] == ["a/model", "b/model"]


@pytest.mark.parametrize("name", ["out_x", "out_x.txt"])
def test_logs_give_the_mean_loss_of_an_epoch_and_its_test(tmp_path, name):
    (tmp_path / "out_x_train.txt").write_text("1 1 0.5 3.0 1.0\n1 2 0.6 1.0 1.0\n2 1 0.7 0.5 1.0\n2 2 0.")
    (tmp_path / "out_x_test.txt").write_text("1 0.25 0.75\n")
    (run,) = history.read_runs([str(tmp_path / name)])
    assert run.history == [
        {"epoch": 1, "train_loss": 2.0, "test_loss": 0.25, "metric": 0.75},
        {"epoch": 2, "train_loss": 0.5},
    ]


def test_folders_without_a_run_are_named_with_what_is_expected(tmp_path):
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "history.csv").write_bytes(history.to_csv([]))
    with pytest.raises(DataError) as caught:
        history.read_runs([str(tmp_path), str(tmp_path / "nowhere"), str(tmp_path / "begun")])
    lines = str(caught.value).splitlines()
    expected = (
        "Expected a folder with the file history.csv, or the start of its logs' names (out_x for out_x_train.txt)"
    )
    assert lines == [
        f"{tmp_path}: is not a run. {expected}",
        f"{tmp_path / 'nowhere'}: is not a run. {expected}",
        f"{tmp_path / 'begun'}: holds no finished epoch yet. Expected at least one",
    ]


def test_the_metric_is_the_latest_if_a_resumed_run_has_another():
    figures = {"epoch": 3, "train_loss": 0.5, "seconds": 1.0, "learning_rate": 0.1, "test_loss": 0.9, "f1": 0.25}
    both = [*HISTORY[:2], figures]
    assert history.find_metric(both) == "f1"
    assert history.find_best(both) == figures
    assert history.from_csv(history.to_csv(both), "") == both


def test_the_terms_of_a_loss_are_no_metric():
    terms = [{**figures, "box_loss": 9.0 - figures["epoch"], "no_object_loss": 0.1} for figures in HISTORY]
    assert history.find_metric(terms) == "dice" and history.find_best(terms) == terms[1]
    bare = [{"epoch": epoch, "train_loss": 1.0 / epoch, "box_loss": 1.0} for epoch in (1, 2)]
    assert history.find_metric(bare) is None and history.find_best(bare)["epoch"] == 2
    assert history.from_csv(history.to_csv(terms), "") == terms


def test_the_loss_of_a_critic_makes_no_epoch_the_best():
    epochs = [{"epoch": n, "train_loss": -n, "wasserstein": n, "gradient_penalty": 0.1} for n in (1, 2)]
    assert history.find_best(epochs) is None
    assert history.find_best([{**epochs[0], "swd": 0.2}, {**epochs[1], "swd": 0.3}])["epoch"] == 1
