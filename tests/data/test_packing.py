import os

import numpy as np
import pytest

from rayrml import storage
from rayrml.data import packing
from rayrml.data.decoding import pack as pack_places
from rayrml.data.decoding import unpack
from rayrml.data.discovery import find_samples, label_by_folder, list_files
from rayrml.data.layout import Kinds, Listing, find_layout
from rayrml.data.packing import divide
from rayrml.data.pairing import pair
from rayrml.errors import ConfigError, DataError
from rayrml.storage import packs

KINDS = {".jpg", ".png"}
NAMES = ["cat/b.jpg", "cat/a.JPG", "cat.x/c.png", "dog/old/ü d.jpg", "dog/notes.txt", "top.jpg", "zebra/é\n.png"]
HIDDEN = [".hidden.jpg", "cat/._a.JPG", "__MACOSX/a.jpg", ".git/x.jpg", "dog/Thumbs.db"]


def write_files(folder, names=NAMES):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() * (number * 37))
    return folder


def pack(folder, out, **options):
    return packing.pack(str(folder), str(out), say=lambda done, total: None, **options)


def read_all(samples):
    return [(name, storage.read(samples.path(i))) for i, name in enumerate(samples.names)]


@pytest.mark.parametrize("shard_bytes", [1, 500, 10**9])
def test_a_packed_folder_is_read_like_the_folder(tmp_path, shard_bytes, monkeypatch):
    monkeypatch.setattr(packing, "ROW_GROUP_BYTES", 300)
    folder = write_files(tmp_path / "images", [*NAMES, *HIDDEN])
    (folder / "empty" / "below").mkdir(parents=True)
    os.mkfifo(folder / "pipe.jpg")
    done = pack(folder, tmp_path / "packed", shard_bytes=shard_bytes)
    assert (len(done.shards) == 1) == (shard_bytes == 10**9)
    for below in ("", "/dog", "/dog/old"):
        own, packed = (find_samples(f"{path}{below}", KINDS, "x") for path in (folder, tmp_path / "packed"))
        assert read_all(packed) == read_all(own)
        assert sorted(packed.folders) == sorted(own.folders)
        assert packed.root == f"{tmp_path / 'packed'}{below}"
    left_out = find_samples(str(folder), KINDS, "x").ignored
    assert find_samples(str(tmp_path / "packed"), KINDS, "x").ignored == left_out == {".txt": 1, "pipe or device": 1}


def test_places_of_packed_samples_reach_decoding_tasks(tmp_path):
    pack(write_files(tmp_path / "images"), tmp_path / "packed", shard_bytes=400)
    samples = find_samples(str(tmp_path / "packed"), KINDS, "x")
    order = np.array([3, 0, 3, 5])
    assert list(unpack(pack_places(samples, order))) == [samples.place(i) for i in order]
    assert list(samples.only([4, 1]).names) == [samples.name(4), samples.name(1)]
    assert samples.only([4, 1]).place(0) == samples.place(4)


def test_folders_name_classes_and_parts_as_before(tmp_path):
    names = [f"{part}/{kind}/{i}.jpg" for part in ("train", "test") for kind in ("cat", "dog") for i in range(3)]
    pack(write_files(tmp_path / "images", names), tmp_path / "packed")
    found = [
        find_layout(Listing(str(tmp_path / folder)), Kinds(KINDS, classes=True), "x") for folder in ("images", "packed")
    ]
    assert found[0] is not None
    assert found[1] is not None
    assert found[1].training.input == str(tmp_path / "packed" / "train")
    one, other = (label_by_folder(find_samples(part.training.input, KINDS, "x"), None, "x") for part in found)
    assert one.classes == other.classes == ("cat", "dog")
    assert one.labels.tolist() == other.labels.tolist()
    with pytest.raises(DataError, match=r"no such folder or file"):
        find_samples(str(tmp_path / "packed" / "train" / "bird"), KINDS, "x")


def test_empty_class_folders_are_still_refused(tmp_path):
    (write_files(tmp_path / "images", ["cat/1.jpg"]) / "dog").mkdir()
    pack(tmp_path / "images", tmp_path / "packed")
    with pytest.raises(DataError, match=r"class folders without images in '.*packed': 'dog'"):
        label_by_folder(find_samples(str(tmp_path / "packed"), KINDS, "x"), None, "x")


@pytest.mark.parametrize("packed", [("inputs",), ("targets",), ("inputs", "targets")])
def test_inputs_and_targets_are_paired_by_name_in_whatever_form(tmp_path, packed):
    write_files(tmp_path / "inputs", [f"{i}.jpg" for i in range(12)])
    write_files(tmp_path / "targets", [f"{i}_mask.png" for i in range(12)])
    folders = {name: tmp_path / name for name in ("inputs", "targets")}
    expected = pair(*(list_files(str(path), KINDS, "x") for path in folders.values()), "x")
    for name in packed:
        folders[name] = tmp_path / f"packed_{name}"
        pack(tmp_path / name, folders[name], shard_bytes=50)
    found = pair(*(list_files(str(path), KINDS, "x") for path in folders.values()), "x")
    assert [read_all(side) for side in found] == [read_all(side) for side in expected]


def test_an_interrupted_pack_is_refused_and_resumed(tmp_path):
    folder, out = write_files(tmp_path / "images"), tmp_path / "packed"

    def stop(done, total):
        if done >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        packing.pack(str(folder), str(out), shard_bytes=1, say=stop)
    with pytest.raises(DataError, match=r"was not finished: .* run it again, and it resumes"):
        find_samples(str(out), KINDS, "x")
    with pytest.raises(ConfigError, match=r"an unfinished pack of .*`--overwrite` replaces it"):
        pack(folder, out, shard_bytes=2)
    first = min(path for path in out.iterdir() if path.suffix == ".parquet")
    first.write_bytes(first.read_bytes()[:-9])
    done = pack(folder, out, shard_bytes=1)
    assert (len(done.shards), done.num_kept) == (6, 2)
    assert read_all(find_samples(str(out), KINDS, "x")) == read_all(find_samples(str(folder), KINDS, "x"))


def test_files_that_changed_since_are_packed_again(tmp_path):
    folder, out = write_files(tmp_path / "images"), tmp_path / "packed"

    def change(done, found):
        (folder / sorted(NAMES)[done - 1]).write_bytes(b"changed")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        packing.pack(str(folder), str(out), shard_bytes=1, say=change)
    assert pack(folder, out, shard_bytes=1).num_kept == 0
    assert read_all(find_samples(str(out), KINDS, "x")) == read_all(find_samples(str(folder), KINDS, "x"))


def test_only_a_pack_is_replaced_and_only_if_asked(tmp_path):
    folder, out = write_files(tmp_path / "images"), tmp_path / "packed"
    pack(folder, out, shard_bytes=1)
    with pytest.raises(ConfigError, match=r"already holds a pack of .*`--overwrite` replaces it"):
        pack(folder, out)
    (folder / "top.jpg").write_bytes(b"new")
    pack(folder, out, overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == ["00000.parquet", "index.parquet", "rayrml_pack.json"]
    assert read_all(find_samples(str(out), KINDS, "x")) == read_all(find_samples(str(folder), KINDS, "x"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(DataError, match=r"is not empty, and not a pack: it holds 'thesis.txt'"):
        pack(folder, tmp_path / "mine", overwrite=True)


def test_what_cannot_be_packed_is_named(tmp_path, monkeypatch):
    folder = write_files(tmp_path / "images")
    with pytest.raises(ConfigError, match=r"is inside of"):
        pack(folder, folder / "cat" / "packed")
    with pytest.raises(DataError, match=r"no such folder"):
        pack(tmp_path / "nothing", tmp_path / "packed")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no files to pack"):
        pack(tmp_path / "empty", tmp_path / "packed")
    monkeypatch.setattr(packing, "MOST_BYTES", 50)
    with pytest.raises(DataError, match=r"Expected files of at most 50 bytes"):
        pack(folder, tmp_path / "packed")
    monkeypatch.undo()
    (folder / os.fsdecode(b"\xff.jpg")).write_bytes(b"x")
    with pytest.raises(DataError, match=r"Expected names in UTF-8"):
        pack(folder, tmp_path / "packed")
    (folder / os.fsdecode(b"\xff.jpg")).unlink()
    (folder / "gone.jpg").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"cannot be packed. No such file"):
        pack(folder, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()
    (folder / "gone.jpg").unlink()
    pack(folder, tmp_path / "packed")
    with pytest.raises(DataError, match=r"is in shards already"):
        pack(tmp_path / "packed", tmp_path / "again")


def test_a_file_that_grows_while_it_is_packed_is_named(tmp_path, monkeypatch):
    folder = write_files(tmp_path / "images")
    find_files = packing.find_files

    def grow(path):
        found = find_files(path)
        (folder / "top.jpg").write_bytes(b"more" * 1000)
        return found

    monkeypatch.setattr(packing, "find_files", grow)
    with pytest.raises(DataError, match=r"top\.jpg: has changed while it was packed: 4,000 bytes"):
        pack(folder, tmp_path / "packed")


def test_files_fill_row_groups_and_shards(monkeypatch):
    monkeypatch.setattr(packing, "ROW_GROUP_BYTES", 10)
    monkeypatch.setattr(packing, "ROW_GROUP_FILES", 3)
    sizes = [6, 6, 1, 1, 1, 1, 30, 2]
    assert list(divide(sizes, 20)) == [[(0, 2), (2, 5), (5, 7)], [(7, 8)]]
    assert list(divide([], 20)) == []


def test_shards_are_tables_that_other_programs_read(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    pack(write_files(tmp_path / "images"), tmp_path / "packed")
    rows = parquet.read_table(tmp_path / "packed" / "00000.parquet").to_pylist()
    assert [row["name"] for row in rows] == sorted(NAMES)
    assert [row["label"] for row in rows] == ["cat.x", "cat", "cat", "dog", "old", None, "zebra"]
    assert all(row["bytes"] == (tmp_path / "images" / row["name"]).read_bytes() for row in rows)
    manifest = packs.read_manifest(str(tmp_path / "packed"))
    assert (manifest["files"], manifest["kinds"]) == (len(NAMES), {".jpg": 4, ".png": 2, ".txt": 1})
