"""The notebook of the digits: its form, and what its cells do one after the other."""

import json
import shutil

import pytest

from tests.conftest import ROOT

NOTEBOOK = ROOT / "examples" / "mnist" / "mnist.ipynb"


def cells(kind):
    return [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == kind]


def test_it_is_a_notebook_without_outputs():
    """Source: the format's description, version 4.5."""
    notebook = json.loads(NOTEBOOK.read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    assert all(set(cell) == {"cell_type", "id", "metadata", "source"} for cell in cells("markdown"))
    for cell in cells("code"):
        assert set(cell) == {"cell_type", "id", "metadata", "source", "outputs", "execution_count"}
        assert (cell["outputs"], cell["execution_count"]) == ([], None)
    assert all(isinstance(line, str) for cell in notebook["cells"] for line in cell["source"])


@pytest.mark.ray
def test_its_cells_train_and_show_the_digits(tmp_path, monkeypatch, ray_cluster):
    for name in ("prepare.py", "mnist_7k.npz", "config_mnist_training.json", "mnist_keras_net.json"):
        shutil.copy(ROOT / "examples" / "mnist" / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    values: dict = {}
    for cell in cells("code"):
        exec(compile("".join(cell["source"]), cell["id"], "exec"), values)
        if "parameters" in cell["metadata"].get("tags", ()):
            values["num_epochs"] = 2
    assert values["result"].metrics["epoch"] == 2
    assert values["result"].metrics["accuracy"] > 0.5
    left, right = values["curves"].axes
    assert [len(line.get_xdata()) for line in (*left.lines, *right.lines)] == [2, 2, 2]
    shown = [axes for axes in values["digits"].axes if axes.images]
    assert len(shown) == 10
    assert sum(axes.get_title()[0] == digit for axes, digit in zip(shown, "3519472068", strict=True)) >= 5
    values["plt"].close("all")
