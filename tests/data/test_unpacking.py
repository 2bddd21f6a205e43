import io
import tarfile

import pytest

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
    (tmp_path / "tars").mkdir()
    with tarfile.open(tmp_path / "tars" / "train-0000.tar", "w") as file:
        for number in range(12):
            for ending, content in (("cls", str(number).encode()), ("png", image(number))):
                member = tarfile.TarInfo(f"{number:04}.{ending}")
                member.size = len(content)
                file.addfile(member, io.BytesIO(content))
    done = unpacked(tmp_path / "tars", tmp_path / "out")
    assert files(tmp_path / "out") == {f"{number:02}/{number:04}.png": image(number) for number in range(12)}
    assert len(done.classes) == 12


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
