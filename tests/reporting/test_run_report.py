"""What a report says of a run's folder."""

import json

import numpy as np
import pytest

from rayrml.errors import DataError
from rayrml.reporting import confusion_table, history
from rayrml.reporting.run_report import flatten, read_reports

HISTORY = [{"epoch": e, "train_loss": 1 / e, "seconds": 30.0, "test_loss": 0.5, "accuracy": 0.1 * e} for e in (1, 2, 3)]


def write_run(folder, **files):
    """A run's folder with a history and these files: objects as JSON, and bytes."""
    folder.mkdir(parents=True)
    (folder / "history.csv").write_bytes(history.to_csv(HISTORY))
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_json", ".json").replace("_csv", ".csv").replace(
            "_png", ".png"
        )
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return str(folder)


def test_a_folder_with_a_history_alone_has_its_figures(tmp_path):
    (found,) = read_reports([write_run(tmp_path / "model")])
    assert found.run.name == "model"
    assert found.results == (
        ["", "best epoch", "last epoch"],
        [
            ["Epoch", "3", "3"],
            ["Train loss", "0.3333", "0.3333"],
            ["Seconds", "30", "30"],
            ["Test loss", "0.5", "0.5"],
            ["Accuracy", "0.3", "0.3"],
            ["Time of training", "1:30", ""],
        ],
    )
    assert not (found.pictures or found.data[1] or found.parts[1] or found.confusions or found.config or found.commands)
    assert found.matrix is None


def test_everything_in_a_folder_is_read(tmp_path):
    counts = np.array([[8, 2, 0], [0, 9, 1], [5, 0, 5]])
    parts = {"a": {"samples": 10, "recall": 0.8}, "b": {"samples": 10, "recall": None}}
    data = {
        "training": {"path": "/data/train", "samples": 1200, "shape": [3, 28, 28], "classes": {"a": 1000, "b": 200}},
        "test": {"path": "/data/test", "samples": 30, "shape": [3, 28, 28], "classes": {"b": 30}},
    }
    run = write_run(
        tmp_path / "my model",
        confusion_matrix_csv=confusion_table.to_csv(counts, "abc"),
        metrics_json={"classes": parts, "final_test": {"loss": 0.25, "accuracy": 0.9, "classes": parts}},
        data_json=data,
        **{"config.resolved_json": {"neural_network": {"layers": [1], "seed": 3}, "ray": {}}},
        plots__loss_png=b"\x89PNG loss",
        plots__mistakes_png=b"\x89PNG mistakes",
        plots__other_png=b"\x89PNG not ours",
    )
    (found,) = read_reports([run])
    assert found.results[0] == ["", "best epoch", "last epoch", "final test"]
    assert ["Accuracy", "0.3", "0.3", "0.9"] in found.results[1]
    assert found.data[1][0] == ["Training", "1,200", "3 x 28 x 28", "2", "/data/train"]
    assert found.classes == (["Class", "Training", "Test"], [["a", "1,000", "0"], ["b", "200", "30"]])
    assert found.parts == (["Class", "Samples", "Recall"], [["a", "10", "0.8"], ["b", "10", "-"]])
    assert found.confusions == [("c", "a", 5, "50.0 %"), ("a", "b", 2, "20.0 %"), ("b", "c", 1, "10.0 %")]
    assert found.matrix is not None and found.matrix.classes == ["a", "b", "c"]
    assert found.matrix.cells[1] == (0, 1, 2, 0.2)
    assert {name: picture.chart for name, picture in found.pictures.items()} == {"loss": True, "mistakes": False}
    assert found.config == {"neural_network": {"seed": 3}, "ray": {}} and found.layers == "[\n 1\n]"
    assert [command for _, command in found.commands] == [
        f"rayrml run '{run}/config.resolved.json'",
        f"rayrml predict --checkpoint '{run}/best.pt' FILE_OR_FOLDER",
    ]


def test_of_many_classes_the_pairs_that_are_confused_most_are_told(tmp_path):
    counts = np.eye(500, dtype=int) * 10
    counts[499, 0] = 7
    run = write_run(tmp_path / "model", confusion_matrix_csv=confusion_table.to_csv(counts, ()))
    (found,) = read_reports([run])
    assert found.matrix is None and found.confusions == [("499", "0", 7, "41.2 %")]


@pytest.mark.parametrize("content", [b"[1]", b"{", b"\xff\xfe"])
def test_damaged_files_are_one_line(tmp_path, content):
    run = write_run(tmp_path / "model", metrics_json=content)
    with pytest.raises(DataError, match=r"metrics.json: (is not a file that a run has written|cannot be read)"):
        read_reports([run])


def test_keys_of_nested_objects_are_dotted():
    assert flatten({"a": {"b": 1, "c": {}}, "d": [{"e": 2}]}) == {"a.b": 1, "a.c": {}, "d": [{"e": 2}]}
