import io
import json
import os
import tarfile
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from rayrml.data import packing
from rayrml.data.unpacking import unpack
from rayrml.errors import ConfigError, DataError
from tests.data.data_sets import image, write_rows


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def unpacked(source, out, **options):
    told = []
    done = unpack(str(source), str(out), say=lambda *numbers: told.append(numbers), **options)
    total = sum(done.parts.values())
    assert told == [(count, total) for count in range(1, total + 1)]
    return done


def write_tar(path, classes):
    """Write images of these names, each with its class beside it if that is not None."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for number, (name, told) in enumerate(classes.items()):
            for ending, content in (("cls", None if told is None else told.encode()), ("png", image(number))):
                if content is not None:
                    member = tarfile.TarInfo(f"{name}.{ending}")
                    member.size = len(content)
                    file.addfile(member, io.BytesIO(content))


@pytest.fixture
def rows(tmp_path):
    contents = [(image(i, kind="JPEG"), f"{i}.jpg") for i in range(7)]
    path = tmp_path / "set" / "data" / "train-00000-of-00001.parquet"
    names = {"label": ["cat", "dog"]}
    write_rows(path, {"label": [0, 1, 0, 1, 1, 1, 0]}, images={"image": contents}, class_names=names)
    return path


@pytest.mark.parametrize("named", [".", "..", "train-00000-of-00001.parquet"])
def test_images_of_a_file_or_of_those_below_a_folder_are_written_as_they_are(rows, tmp_path, named):
    (tmp_path / "set" / "README.md").write_text("---")
    done = unpacked((rows.parent / named).resolve(), tmp_path / "out")
    classes = ("cat", "dog", "cat", "dog", "dog", "dog", "cat")
    assert files(tmp_path / "out") == {f"{name}/{i}.jpg": image(i, kind="JPEG") for i, name in enumerate(classes)}
    assert done.parts == {"": 7}
    assert not list(tmp_path.glob(".*"))


def test_a_pack_is_unpacked_into_the_folder_that_it_was(tmp_path):
    for name in ("cat/1.jpg", "cat/notes.txt", "dog/ü d.jpg"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_bytes(name.encode())
    (tmp_path / "images" / "bird").mkdir()
    packing.pack(str(tmp_path / "images"), str(tmp_path / "packed"), shard_bytes=5, say=lambda done, total: None)
    unpacked(tmp_path / "packed", tmp_path / "out")
    assert files(tmp_path / "out") == files(tmp_path / "images")
    assert (tmp_path / "out" / "bird").is_dir()
    with pytest.raises(DataError, match=r"is a folder in '.*packed'"):
        unpacked(tmp_path / "packed" / "cat", tmp_path / "other")


def test_classes_that_tar_files_tell_become_folders(tmp_path):
    write_tar(tmp_path / "tars" / "train-0000.tar", {f"{number:04}": str(number) for number in range(12)})
    done = unpacked(tmp_path / "tars", tmp_path / "out")
    assert files(tmp_path / "out") == {f"{number:02}/{number:04}.png": image(number) for number in range(12)}
    assert len(done.classes) == 12


def test_the_folder_of_an_image_is_the_class_that_a_tar_file_tells(tmp_path):
    for number in range(2):
        write_tar(tmp_path / "tars" / f"{number}.tar", {"0": "cat", "x/1": "dog"})
    unpacked(tmp_path / "tars", tmp_path / "out")
    expected = {"cat/0_0.png", "cat/1_0.png", "dog/0_x_1.png", "dog/1_x_1.png"}
    assert {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")} == expected
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["cat", "dog"]
    write_tar(tmp_path / "b.tar", {"0": "cat", "1": None, "2": ""})
    with pytest.raises(DataError, match=r"b\.tar: has no class beside '1\.png', '2\.png', as others have"):
        unpacked(tmp_path / "b.tar", tmp_path / "other")


def test_parts_that_names_of_tar_files_tell_stay_apart(tmp_path):
    write_tar(tmp_path / "tars" / "x-train-0.tar", {"0": "cat", "1": "dog"})
    write_tar(tmp_path / "tars" / "x-test-0.tar", {"2": "cat", "3": "dog"})
    done = unpacked(tmp_path / "tars", tmp_path / "out")
    assert list(files(tmp_path / "out")) == ["test/cat/2.png", "test/dog/3.png", "train/cat/0.png", "train/dog/1.png"]
    assert done.parts == {"train": 2, "test": 2}


@pytest.mark.parametrize("name", ["../outside.txt", "/outside.txt", "a/../../outside.txt"])
def test_no_file_of_a_pack_leads_out_of_the_folder(tmp_path, name):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.txt").write_text("x")
    packing.pack(str(tmp_path / "images"), str(tmp_path / "packed"), say=lambda done, total: None)
    index, manifest = tmp_path / "packed" / "index.parquet", tmp_path / "packed" / "rayrml_pack.json"
    table = parquet.read_table(index)
    parquet.write_table(table.set_column(0, table.schema.field(0), pa.array([name])), index)
    told = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**told, "index_bytes": index.stat().st_size}))
    with pytest.raises(DataError, match=r"packed: holds '.*outside.txt'.*\. Expected names below its folder"):
        unpacked(tmp_path / "packed", tmp_path / "out" / "deep")
    assert not list(tmp_path.rglob("outside*"))


def test_an_empty_folder_stays_whatever_it_is(rows, tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to("other")
    unpacked(rows, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == ["cat", "dog"]
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    unpacked(rows, tmp_path / "here")
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["cat", "dog"]


def test_linked_files_are_read_and_what_no_file_is_stops_nothing(rows, tmp_path):
    (tmp_path / "linked" / "data").mkdir(parents=True)
    (tmp_path / "linked" / "data" / "train").symlink_to(rows.parent)
    os.mkfifo(tmp_path / "linked" / "pipe.parquet")
    assert unpacked(tmp_path / "linked", tmp_path / "out").parts == {"": 7}
    (tmp_path / "linked" / "test.parquet").symlink_to("nothing")
    with pytest.raises(DataError, match=r"test\.parquet: cannot be read\. No such file"):
        unpacked(tmp_path / "linked", tmp_path / "other")


def test_nothing_is_left_of_what_fails(rows, tmp_path):
    contents = [(image(0), None), (b"broken", None)]
    write_rows(rows, {}, images={"image": contents})
    with pytest.raises(DataError, match=r"row 2 holds no image in column 'image'"):
        unpacked(rows, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


def test_nothing_is_written_over(rows, tmp_path):
    (tmp_path / "out").mkdir()
    unpacked(rows, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"out: exists already"):
        unpacked(rows, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"expected a folder on this machine"):
        unpacked(rows, "s3://bucket/out")


def test_what_cannot_be_unpacked_is_named(rows, tmp_path):
    with pytest.raises(DataError, match=r"nothing: no such folder or file"):
        unpacked(tmp_path / "nothing", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: holds nothing to unpack"):
        unpacked(tmp_path / "empty", tmp_path / "out")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match=r"a\.txt: expected a Parquet file, or the shards"):
        unpacked(tmp_path / "a.txt", tmp_path / "out")
