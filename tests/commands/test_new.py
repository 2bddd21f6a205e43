import numpy as np
import pytest

from rayrml import cli
from rayrml.planning.preparation import prepare
from tests.planning.test_starter_config import fill


@pytest.mark.parametrize("name", ["c.toml", "c.yaml", "c.YML"])
def test_a_name_of_another_format_is_refused(tmp_path, capsys, name):
    assert cli.main(["new", str(tmp_path), "--output", str(tmp_path / name)]) == 2
    assert "is written as JSON. Expected a name like FILE.json" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["images", "arrays"])
def test_the_size_of_batches_may_be_given(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    if kind == "images":
        fill(tmp_path / "data", 4)
    else:
        np.save(tmp_path / "data" / "x_train.npy", np.random.default_rng(0).normal(size=(12, 5)))
        np.save(tmp_path / "data" / "y_train.npy", np.arange(12) % 3)
    assert cli.main(["new", "data", "--batch-size", "5"]) == 0
    assert prepare("data.json").config.neural_network.data.batch_size == 5


@pytest.mark.parametrize("given", ["0", "-1", "2.5", "some"])
def test_a_size_of_batches_that_is_none_is_refused(tmp_path, capsys, given):
    with pytest.raises(SystemExit) as raised:
        cli.main(["new", str(tmp_path), "--batch-size", given])
    assert raised.value.code == 2
    assert f"expected a number >= 1, got '{given}'" in capsys.readouterr().err
