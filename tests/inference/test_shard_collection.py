import dataclasses

import h5py
import numpy as np
import pytest

from rayrml.errors import DataError
from rayrml.inference.prediction_files import Destination
from rayrml.inference.prediction_reading import read_outputs
from rayrml.inference.prediction_shards import ShardWriter
from rayrml.inference.shard_collection import ShardCollection
from rayrml.inference.shard_folder import INDEX, ShardFolder, read_index
from rayrml.saving.run_lock import locked

OUTPUTS = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
NAMES = ["b/1", "a/2", "c", "ä", "b/0", "a/1", "b/d/2", "b/d/1", "0"]
WAYS = [pytest.param("merge", marks=pytest.mark.ray), "keep"]


def destination(tmp_path, shards):
    return Destination(NAMES, str(tmp_path / "output_1.h5"), classes=("x", "y", "z"), columns=("k",), shards=shards)


def by_one_writer(tmp_path):
    """The path of the file that one writer makes of all samples."""
    files = dataclasses.replace(destination(tmp_path / "one", "none")).open()
    files.write(np.arange(9), OUTPUTS)
    files.close()
    return tmp_path / "one" / "output_1.h5"


def collect(to, bounds=((3, 6), (0, 3), (6, 9))):
    """A collection that has taken the shards of tasks with these samples."""
    folder = ShardFolder(to.path)
    collection = ShardCollection(to, folder, print)
    writer = ShardWriter(to, folder, collection.token, np.arange(9))
    for begin, end in bounds:
        part = {"place": np.arange(begin, end), "output": OUTPUTS[begin:end], "error": np.full(end - begin, "", object)}
        for block in writer.write([part]):
            collection.take(block["place"], block["shard"][0], whole=block["whole"][0])
    return collection


def described(path):
    """All that a reader sees of the datasets and the attributes of a file, in its order."""
    found = []

    def add(group, prefix):
        for name in group:
            item = group[name]
            if isinstance(item, h5py.Group):
                add(item, f"{prefix}{name}/")
            else:
                layout = item.id.get_create_plist().get_layout()
                found.append((prefix + name, item[()].tobytes(), item.shape, item.dtype, layout, dict(item.attrs)))

    with h5py.File(path) as file:
        add(file, "")
        return found, {name: list(value) for name, value in file.attrs.items() if name != "shards"}


def all_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def cluster(request):
    """The session's Ray, for what merges."""
    if request.node.get_closest_marker("ray"):
        request.getfixturevalue("ray_cluster")


@pytest.mark.parametrize("shards", WAYS)
def test_the_file_is_as_one_writer_makes_it(cluster, tmp_path, shards):
    collect(destination(tmp_path / "shards", shards)).close()
    one, other = by_one_writer(tmp_path), tmp_path / "shards" / "output_1.h5"
    assert described(one) == described(other)
    assert [(n, v.tobytes()) for n, v in read_outputs(one)] == [(n, v.tobytes()) for n, v in read_outputs(other)]
    if shards == "merge":
        assert all_below(tmp_path / "shards") == ["output_1.h5"]
    else:
        index = list(read_index(str(tmp_path / "shards" / "output_1_shards" / INDEX)))
        assert [name for name, _ in index] == [name for name, _ in read_outputs(one)]
        for name, shard in index:
            with h5py.File(tmp_path / "shards" / "output_1_shards" / shard) as file:
                assert file[name].shape == (3,)


@pytest.mark.parametrize("shards", WAYS)
def test_nothing_is_left_of_a_run_that_is_given_up(cluster, tmp_path, shards):
    old = by_one_writer(tmp_path)
    before = old.read_bytes()
    collect(dataclasses.replace(destination(tmp_path, shards), path=str(old))).discard()
    assert all_below(tmp_path / "one") == ["output_1.h5"]
    assert old.read_bytes() == before


def test_kept_shards_stay_until_the_next_ones_are_complete(tmp_path):
    to = destination(tmp_path, "keep")
    collect(to).close()
    before = described(to.path)
    collect(to).discard()
    assert described(to.path) == before
    first = all_below(tmp_path)
    collect(to, bounds=((0, 5), (5, 9))).close()
    assert described(to.path) == before
    assert len(all_below(tmp_path)) == 4  # the file, the index and two shards
    assert not {name for name in all_below(tmp_path) if name.count("-")} & set(first)


def test_shards_of_a_killed_run_are_removed_when_the_next_one_begins(tmp_path):
    killed = collect(destination(tmp_path, "keep"))
    killed._held.close()  # as its lock is void
    assert len(all_below(tmp_path)) == 3
    collection = ShardCollection(destination(tmp_path, "keep"), ShardFolder(str(tmp_path / "output_1.h5")), print)
    assert all_below(tmp_path) == ["output_1_shards/.run.lock"]
    collection.discard()
    assert list(tmp_path.iterdir()) == []


def test_one_writer_replaces_shards(tmp_path):
    to = destination(tmp_path, "keep")
    collect(to).close()
    files = dataclasses.replace(to, shards="none").open()
    files.write(np.arange(9), OUTPUTS)
    files.close()
    assert all_below(tmp_path) == ["output_1.h5"]


def test_two_runs_do_not_write_shards_into_one_folder(tmp_path):
    to = destination(tmp_path, "keep")
    with locked(ShardFolder(to.path).path, print), pytest.raises(DataError, match="is writing to this folder"):
        collect(to)


def test_a_file_of_links_without_its_shards_is_told_of(tmp_path):
    to = destination(tmp_path, "keep")
    collect(to).close()
    for path in (tmp_path / "output_1_shards").glob("*-000000003.h5"):
        path.unlink()
    with pytest.raises(DataError, match=r"-000000003\.h5: cannot be read"):
        list(read_outputs(to.path))
    (tmp_path / "output_1_shards" / INDEX).write_text("path,shard\nb/1,01234567-000000000.h5\n")
    with pytest.raises(DataError, match="is not of the same run"):
        list(read_outputs(to.path))
    (tmp_path / "output_1_shards" / INDEX).unlink()
    with pytest.raises(DataError, match=r"index\.csv: cannot be read"):
        list(read_outputs(to.path))


@pytest.mark.ray
def test_a_shard_that_cannot_be_merged_ends_the_run(ray_cluster, tmp_path):
    to = destination(tmp_path, "merge")
    collection = collect(to, bounds=())
    collection.take(np.arange(3), f"{collection.token}-000000000.h5", whole=True)
    with pytest.raises(DataError, match=r"-000000000\.h5: cannot be read"):
        collection.close()
    collection.discard()
    assert list(tmp_path.iterdir()) == []
