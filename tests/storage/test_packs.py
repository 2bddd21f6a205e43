import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from rayrml import storage
from rayrml.data import packing
from rayrml.data.discovery import find_samples
from rayrml.data.readers import READERS
from rayrml.errors import DataError
from rayrml.storage import containers

KINDS = {".jpg"}
MANIFEST = "rayrml_pack.json"


@pytest.fixture
def packed(tmp_path):
    """A pack of three shards."""
    for number in range(9):
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "images" / f"{number}.jpg").write_bytes(bytes([number]) * 100)
    packing.pack(str(tmp_path / "images"), str(tmp_path / "packed"), shard_bytes=300, say=lambda done, total: None)
    return tmp_path / "packed"


def refused(path, match):
    with pytest.raises(DataError, match=match):
        find_samples(str(path), KINDS, "x")


def test_a_missing_or_damaged_shard_is_named(packed):
    shard = packed / "00001.parquet"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    refused(packed, r"00001\.parquet: has \S+ bytes instead of \S+\. Expected all files")
    shard.unlink()
    refused(packed, "lacks '00001.parquet' of its 3 shards")


def test_shards_of_two_packs_are_not_mixed(packed):
    shutil.copy(packed / "00000.parquet", packed / "00003.parquet")
    refused(packed, "holds '00003.parquet', which rayrml_pack.json does not list")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"complete": False}, "was not finished"),
        ({"version": 2}, "has version 2, but this rayrml reads 1. Update rayrml"),
        ({"format": "other"}, "is not a manifest of `rayrml pack`"),
        ({"shards": [{"name": 1}]}, "is damaged"),
        ({"left_out": []}, "is damaged"),
    ],
)
def test_a_manifest_that_is_not_right_is_refused(packed, change, match):
    manifest = json.loads((packed / MANIFEST).read_text())
    (packed / MANIFEST).write_text(json.dumps(manifest | change))
    refused(packed, match)
    (packed / MANIFEST).write_text("{")
    refused(packed, "rayrml_pack.json: cannot be read")


def test_an_index_of_other_files_is_refused(packed):
    manifest = json.loads((packed / MANIFEST).read_text())
    manifest["shards"][0]["files"], manifest["shards"][1]["files"] = 4, 2
    (packed / MANIFEST).write_text(json.dumps(manifest))
    refused(packed, r"index\.parquet: does not match the shards")
    index = packed / "index.parquet"
    index.write_bytes(b"x" * index.stat().st_size)
    refused(packed, r"index\.parquet: cannot be read")


def test_a_shard_that_is_replaced_later_is_noticed_when_it_is_read(packed):
    samples = find_samples(str(packed), KINDS, "x")
    assert storage.read(samples.path(4)) == bytes([4]) * 100
    shard = packed / "00001.parquet"
    shard.write_bytes(b"other" * 1000)
    with pytest.raises(OSError, match=r"is damaged, or was replaced since it was listed"):
        storage.read(samples.path(4))
    with pytest.raises(DataError, match=r"00001\.parquet/@\d+\+100/4\.jpg: cannot be read"):
        READERS["images"]().decode(samples.path(4))


def test_a_new_pack_in_the_same_place_is_read_anew(packed, tmp_path):
    assert len(find_samples(str(packed), KINDS, "x")) == 9
    (tmp_path / "images" / "9.jpg").write_bytes(b"new")
    packing.pack(str(tmp_path / "images"), str(packed), overwrite=True, say=lambda done, total: None)
    samples = find_samples(str(packed), KINDS, "x")
    assert storage.read(samples.path(9)) == b"new"


def test_members_answer_like_files(packed):
    samples = find_samples(str(packed), KINDS, "x")
    path = samples.path(5)
    assert path.endswith("/5.jpg")
    assert storage.is_member(path)
    assert not storage.is_member(str(packed / "5.jpg"))
    assert storage.suffix(path) == ".jpg"
    assert storage.stored_in(path) == str(packed / "00001.parquet")
    assert storage.read_start(path, 7) == bytes([5]) * 7
    assert storage.list_folder(str(packed)) == ([f"{number}.jpg" for number in range(9)], [])
    assert Path(storage.local_copy(path)).read_bytes() == bytes([5]) * 100


def test_files_that_are_read_in_pieces_may_be_packed(tmp_path):
    (tmp_path / "arrays").mkdir()
    arrays = {name: np.arange(6.0).reshape(2, 3) + number for number, name in enumerate(("a", "b"))}
    np.savez(tmp_path / "arrays" / "both.npz", **arrays)
    np.save(tmp_path / "arrays" / "one.npy", arrays["b"])
    packing.pack(str(tmp_path / "arrays"), str(tmp_path / "packed"), say=lambda done, total: None)
    samples = find_samples(str(tmp_path / "packed"), {".npy", ".npz"}, "x")
    reader = READERS["numpy"]()
    assert np.array_equal(reader.decode(samples.path(0), "a"), arrays["a"])
    assert np.array_equal(reader.decode(samples.path(1)), arrays["b"])


def test_an_ordinary_folder_is_no_container(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / MANIFEST).mkdir()
    assert containers.find_container(str(tmp_path / "a.jpg")) is None
    (tmp_path / MANIFEST).rmdir()
    assert containers.find_container(str(tmp_path)) is None
    assert containers.find_container(str(tmp_path / "missing")) is None
