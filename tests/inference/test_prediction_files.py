import h5py
import numpy as np
import pytest

from rayrml.errors import DataError
from rayrml.inference.prediction_files import Destination, PredictionFile
from rayrml.inference.prediction_reading import read_outputs


def test_what_was_written_can_be_read_by_name(tmp_path):
    outputs = np.random.default_rng(0).normal(size=(3, 10)).astype(np.float32)
    file = PredictionFile(tmp_path / "new" / "output_1.h5", classes=["cat", "dog"])
    file.write(["a.jpg", "Forest/Forest_12.jpg"], outputs[:2])
    file.write(["Forest/deep/ä b.jpg"], outputs[2:])
    file.close()
    with h5py.File(tmp_path / "new" / "output_1.h5") as read:
        assert np.array_equal(read["a.jpg"][()], outputs[0])
        assert np.array_equal(read["Forest/Forest_12.jpg"][()], outputs[1])
        assert np.array_equal(read["Forest/deep/ä b.jpg"][()], outputs[2])
        assert list(read.attrs["classes"]) == ["cat", "dog"]
        assert sorted(read) == ["Forest", "a.jpg"]


@pytest.mark.parametrize("shape", [(), (10,), (3, 200, 200)])
def test_small_and_large_outputs_come_back(tmp_path, shape):
    outputs = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    file = PredictionFile(tmp_path / "o.h5")
    file.write(["x", "y"], outputs)
    file.close()
    with h5py.File(tmp_path / "o.h5") as read:
        assert np.array_equal(np.stack([read["x"][()], read["y"][()]]), outputs)


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path):
    file = PredictionFile(tmp_path / "o.h5")
    file.write(["x"], np.zeros((1, 2)))
    assert not (tmp_path / "o.h5").exists()
    file.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_read_before_is_replaced_as_a_whole(tmp_path):
    for value in (1.0, 2.0):
        file = PredictionFile(tmp_path / "o.h5")
        file.write(["x"], np.full((1, 2), value))
        file.close()
    with h5py.File(tmp_path / "o.h5") as read:
        assert read["x"][()].tolist() == [2.0, 2.0]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file/o\.h5: cannot be written"):
        PredictionFile(tmp_path / "file" / "o.h5")


def test_a_name_that_is_there_already_is_refused(tmp_path):
    file = PredictionFile(tmp_path / "o.h5")
    file.write(["x"], np.zeros((1, 2)))
    with pytest.raises(DataError, match="cannot be written"):
        file.write(["x"], np.zeros((1, 2)))
    file.discard()


def test_a_sample_of_a_hundred_thousand_costs_few_bytes(tmp_path):
    count = 2000
    file = PredictionFile(tmp_path / "o.h5")
    file.write([f"digit_{i}.jpg" for i in range(count)], np.zeros((count, 10), np.float32))
    file.close()
    assert (tmp_path / "o.h5").stat().st_size <= 430 * count


def test_half_precision_is_what_the_file_has_and_readers_get_floats(tmp_path):
    outputs = np.array([[0.1, 2.0], [70_000.0, -3.0]], np.float32)
    destination = Destination(["a", "b"], str(tmp_path / "out.h5"), precision="half")
    files = destination.open()
    files.write(np.array([0, 1]), outputs)
    files.close()
    with h5py.File(tmp_path / "out.h5") as file:
        assert {file[name].dtype for name in file} == {np.dtype(np.float16)}
    read = dict(read_outputs(tmp_path / "out.h5"))
    np.testing.assert_array_equal(read["a"], outputs[0].astype(np.float16).astype(np.float32))
    assert (read["b"].dtype, read["b"].tolist()) == (np.float32, [np.inf, -3.0])
