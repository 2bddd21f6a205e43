import dataclasses

import h5py
import numpy as np
import pytest

from rayrml.inference.prediction_files import Destination
from rayrml.inference.prediction_shards import ShardWriter
from rayrml.inference.shard_folder import ShardFolder, name_shard
from rayrml.saving.run_lock import locked
from tests.conftest import datasets_of

TOKEN = "0123abcd"
OUTPUTS = np.arange(12, dtype=np.float32).reshape(6, 2)


@pytest.fixture
def writer(tmp_path):
    """Who writes the samples 10 to 15, in a folder that a run holds."""
    destination = Destination([f"{i}.jpg" for i in range(16)], str(tmp_path / "output_1.h5"), classes=("a", "b"))
    folder = ShardFolder(str(tmp_path / "output_1.h5"))
    with locked(folder.path, print):
        yield ShardWriter(destination, folder, TOKEN, np.arange(10, 16))


def parts(errors=("",) * 6):
    """The parts of a task of six samples: four, then two."""
    for part in (slice(0, 4), slice(4, 6)):
        yield {"place": np.arange(6)[part], "output": OUTPUTS[part], "error": np.array(errors, object)[part]}


def shards(writer, tmp_path):
    return sorted(path.name for path in (tmp_path / writer.folder.name).iterdir() if path.name != ".run.lock")


def test_a_task_has_one_shard_which_is_whole_with_the_last_part(writer, tmp_path):
    found = []
    for block in writer.write(parts()):
        found.append((list(block["place"]), set(block["shard"]), block["whole"][0], block["failure"][0]))
        assert "output" not in block
        assert (writer.folder.shard(name_shard(TOKEN, 10)) in map(str, tmp_path.rglob("*.h5"))) is block["whole"][0]
    name = name_shard(TOKEN, 10)
    assert found == [([0, 1, 2, 3], {name}, False, ""), ([4, 5], {name}, True, "")]
    read = datasets_of(tmp_path / writer.folder.name / name)
    assert {key: value.tolist() for key, value in read.items()} == {
        f"{10 + i}.jpg": OUTPUTS[i].tolist() for i in range(6)
    }
    with h5py.File(tmp_path / writer.folder.name / name) as file:
        assert list(file.attrs["classes"]) == ["a", "b"]


def test_a_task_that_was_cut_off_replaces_its_shard_when_it_is_done_again(writer, tmp_path):
    begun = writer.write(parts())
    next(begun)
    begun.close()
    assert shards(writer, tmp_path) == []
    for _ in range(2):
        list(writer.write(parts()))
        assert shards(writer, tmp_path) == [name_shard(TOKEN, 10)]
    assert len(datasets_of(tmp_path / writer.folder.name / name_shard(TOKEN, 10))) == 6


def test_bad_samples_are_left_out(writer, tmp_path):
    found = list(writer.write(parts(errors=("broken", "", "", "", "", "gone"))))
    assert [list(block["error"]) for block in found] == [["broken", "", "", ""], ["", "gone"]]
    assert list(datasets_of(tmp_path / writer.folder.name / name_shard(TOKEN, 11))) == [
        f"{i}.jpg" for i in range(11, 15)
    ]


def test_a_task_without_a_good_sample_has_no_shard(writer, tmp_path):
    found = list(writer.write(parts(errors=("broken",) * 6)))
    assert [(set(block["shard"]), block["whole"][0]) for block in found] == [({""}, False), ({""}, False)]
    assert shards(writer, tmp_path) == []


def test_outputs_go_on_to_the_writer_of_slices(writer):
    assembled = dataclasses.replace(writer.destination, assembly_path="assembled.h5")
    for block, part in zip(dataclasses.replace(writer, destination=assembled).write(parts()), parts(), strict=True):
        assert np.array_equal(block["output"], part["output"])


def test_a_shard_that_cannot_be_written_is_told_of(writer, tmp_path):
    place = tmp_path / writer.folder.name / name_shard(TOKEN, 10)
    place.mkdir()
    *_, last = writer.write(parts())
    assert last["failure"][0].startswith(f"{place}: cannot be written. ")
    assert not last["whole"][0]


def test_a_machine_that_does_not_see_the_folder_is_refused(tmp_path):
    destination = Destination(["a"], str(tmp_path / "output_1.h5"))
    writer = ShardWriter(destination, ShardFolder(str(tmp_path / "output_1.h5")), TOKEN, np.arange(6))
    (block,) = writer.write([{"place": np.array([0]), "output": OUTPUTS[:1], "error": np.array([""], object)}])
    assert block["failure"][0].startswith(f"{tmp_path}/output_1_shards: is missing on ")
    assert list(tmp_path.iterdir()) == []
