import h5py
import pytest

from rayrml.errors import DataError
from rayrml.inference.shard_folder import (
    ATTRIBUTE,
    INDEX,
    ShardFolder,
    in_order_of_file,
    is_index,
    list_own_shards,
    name_shard,
    read_index,
    write_index,
)
from rayrml.saving.run_lock import locked

OLD, NEW = "0" * 8, "f" * 8


@pytest.fixture
def folder(tmp_path):
    """A folder with shards of two runs, what a killed writer left, and a file of the user."""
    found = ShardFolder(str(tmp_path / "output_1.h5"))
    place = tmp_path / found.name
    place.mkdir()
    for token in (OLD, NEW):
        (place / name_shard(token, 0)).touch()
        (place / name_shard(token, 12)).touch()
    (place / f".{name_shard(OLD, 24)}.machine.123-0.unfinished").touch()
    return found


def names(folder):
    return sorted(path.name for path in (folder / "output_1_shards").iterdir())


def test_shards_of_other_runs_are_removed_and_nothing_else(tmp_path, folder):
    write_index(folder.index, [("a", name_shard(NEW, 0))])
    (tmp_path / folder.name / "notes.h5").touch()
    folder.remove(keep={NEW})
    assert names(tmp_path) == [name_shard(NEW, 0), name_shard(NEW, 12), INDEX, "notes.h5"]
    folder.remove()
    assert names(tmp_path) == ["notes.h5"]


def test_the_folder_vanishes_with_the_last_shard(tmp_path, folder):
    folder.remove()
    assert list(tmp_path.iterdir()) == []
    folder.remove()  # nor is it missed


def test_shards_that_a_run_is_writing_are_not_replaced(tmp_path, folder):
    with locked(folder.path, print):
        folder.remove_replaced()
        assert len(names(tmp_path)) == 6
    folder.remove_replaced()
    assert not (tmp_path / folder.name).exists()


def test_what_the_index_and_the_file_of_links_lead_to_is_current(tmp_path, folder):
    assert folder.find_current() == set()
    (tmp_path / "output_1.h5").write_bytes(b"something else")
    assert folder.find_current() == set()
    write_index(folder.index, [("a", name_shard(OLD, 0)), ("b", name_shard(OLD, 12))])
    with h5py.File(tmp_path / "output_1.h5", "w") as file:
        file.attrs[ATTRIBUTE] = NEW
    assert folder.find_current() == {OLD, NEW}


def test_an_index_keeps_any_name(tmp_path):
    rows = [(name, name_shard(OLD, i)) for i, name in enumerate(["a,b", 'say "c"', "two\nlines", "\udcff", "ä/ö", " "])]
    write_index(str(tmp_path / INDEX), rows)
    assert list(read_index(str(tmp_path / INDEX))) == rows
    assert is_index(tmp_path / INDEX)
    assert not is_index(tmp_path / "output_1.h5")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not an index of shards"),
        ("path,class\na,b\n", "is not an index of shards"),
        ("path,shard\na,../../secret.h5\n", "line 2 does not name a sample and its shard"),
        ("path,shard\na\n", "line 2 does not name"),
    ],
)
def test_what_is_no_index_is_refused(tmp_path, text, message):
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(DataError, match=message):
        list(read_index(str(tmp_path / INDEX)))


def test_names_are_in_the_order_of_hdf5(tmp_path):
    given = ["b/a.jpg", "a-b", "a/z", "a", "a b/c", "B", "ä", "a/b/c", "a0"]
    given.remove("a")  # a group has that name
    with h5py.File(tmp_path / "file.h5", "w") as file:
        for name in given:
            file[name] = 0
        found = []
        file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    assert in_order_of_file(given) == found


def test_shards_of_an_inference_are_its_own(tmp_path, folder):
    write_index(folder.index, [])
    (tmp_path / folder.name / "notes.h5").touch()
    expected = [name_shard(OLD, 0), name_shard(OLD, 12), name_shard(NEW, 0), name_shard(NEW, 12), INDEX]
    assert sorted(list_own_shards(str(tmp_path))) == [f"output_1_shards/{name}" for name in expected]
    assert list(list_own_shards(str(tmp_path / "nothing"))) == []
