import gzip
import io
import tarfile

import pytest

from rayrml import storage
from rayrml.data.discovery import find_samples, label_by_folder
from rayrml.errors import DataError
from rayrml.storage.tar_names import expand

KINDS = {".jpg", ".png"}


def write_tar(path, files, *, kind=tarfile.PAX_FORMAT):
    """A tar file of these contents by name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=kind) as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def contents(path):
    """What is read of the files in a folder or pattern, by their names."""
    samples = find_samples(str(path), KINDS, "x")
    return {name: storage.read(samples.path(i)) for i, name in enumerate(samples.names)}


LONG = f"cat/{'n' * 200}.jpg"
FILES = [("cat/2.jpg", b"two" * 500), ("./cat/1.JPG", b"one"), ("dog/3.jpg", b""), (LONG, b"long"), ("x.txt", b"text")]


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_files_in_a_tar_file_are_read_where_they_are(tmp_path, kind):
    path = write_tar(tmp_path / "shards" / "a.tar", FILES, kind=kind)
    expected = {"cat/1.JPG": b"one", "cat/2.jpg": b"two" * 500, LONG: b"long", "dog/3.jpg": b""}
    for place in (path, path.parent):
        assert contents(place) == expected
        assert list(contents(place)) == sorted(expected)
    samples = find_samples(str(path), KINDS, "x")
    assert samples.ignored == {".txt": 1}
    assert label_by_folder(samples, None, "x").classes == ("cat", "dog")


def test_classes_are_those_of_files_beside_the_images_in_the_order_of_their_numbers(tmp_path):
    for shard in range(2):
        files = [(f"{key:04}{end}", text) for key in range(6 * shard, 6 * shard + 6) for end, text in parts(key)]
        write_tar(tmp_path / f"train-{shard:03}.tar", files)
    labelled = label_by_folder(find_samples(str(tmp_path / "train-{000..001}.tar"), KINDS, "x"), None, "x")
    assert labelled.classes == tuple(map(str, range(12)))
    assert labelled.labels is not None
    assert labelled.labels.tolist() == [11 - key for key in range(12)]
    assert list(labelled.names) == [f"{key:04}.jpg" for key in range(12)]


def parts(key):
    return (".jpg", b"image %d" % key), (".cls", b"%d\n" % (11 - key))


def test_keys_that_begin_anew_in_each_shard_are_told_apart_by_its_name(tmp_path):
    for shard in "ab":
        write_tar(tmp_path / f"{shard}.tar", [("0.jpg", shard.encode()), ("0.cls", shard.encode())])
    assert contents(tmp_path) == {"a/0.jpg": b"a", "b/0.jpg": b"b"}
    samples = label_by_folder(find_samples(str(tmp_path), KINDS, "x"), None, "x")
    assert samples.classes == ("a", "b")


def test_equal_names_without_classes_are_refused(tmp_path):
    for shard in "ab":
        write_tar(tmp_path / f"{shard}.tar", [("0.jpg", b"x")])
    with pytest.raises(DataError, match=r"several tar files have a file named '0.jpg'"):
        contents(tmp_path)
    write_tar(tmp_path / "b.tar", [("1.jpg", b"x"), ("1.jpg", b"y")])
    with pytest.raises(DataError, match=r"b\.tar: has several files named '1\.jpg'"):
        contents(tmp_path)


def test_an_image_without_a_class_is_named(tmp_path):
    write_tar(tmp_path / "a.tar", [("0.jpg", b"x"), ("0.cls", b"1"), ("1.jpg", b"y")])
    with pytest.raises(DataError, match=r"no class beside '1.jpg'"):
        label_by_folder(find_samples(str(tmp_path), KINDS, "x"), None, "x")


def test_compressed_tar_files_are_refused_whatever_their_name(tmp_path):
    plain = write_tar(tmp_path / "plain" / "a.tar", FILES).read_bytes()
    for name in ("a.tar.gz", "a.tgz", "a.tar"):
        path = tmp_path / name.replace(".", "_") / name
        path.parent.mkdir()
        path.write_bytes(gzip.compress(plain))
        for place in (path, path.parent):
            with pytest.raises(DataError, match=r"is compressed. Expected tar files without compression"):
                contents(place)


def test_damaged_tar_files_are_refused(tmp_path):
    plain = write_tar(tmp_path / "a.tar", FILES, kind=tarfile.GNU_FORMAT).read_bytes()
    path = tmp_path / "b" / "b.tar"
    path.parent.mkdir()
    end = max(i for i in range(0, len(plain), 512) if plain[i : i + 512].strip(b"\0")) + 512
    header = 512 + 1536  # of the second file
    spoiled = {
        "in a file": plain[:1000],
        "in a header": plain[: header + 100],
        "before its end": plain[:end],
        "twice": plain + plain,
        "header": plain[:header] + b"\1" * 512 + plain[header + 512 :],
        "no tar": b"no tar" * 500,
        "empty": b"",
    }
    for name, content in spoiled.items():
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"b\.tar: (is truncated|is damaged|cannot be read as a tar file)"):
            contents(path)
            pytest.fail(name)


def test_a_link_is_counted_and_a_missing_shard_named(tmp_path):
    with tarfile.open(tmp_path / "a-0.tar", "w") as archive:
        info = tarfile.TarInfo("link.jpg")
        info.type, info.linkname = tarfile.LNKTYPE, "a.jpg"
        archive.addfile(info)
        archive.addfile(tarfile.TarInfo("a.jpg"))
    assert find_samples(str(tmp_path / "a-0.tar"), KINDS, "x").ignored == {"link in tar files": 1}
    with pytest.raises(DataError, match=r"a-1\.tar: no such file"):
        contents(tmp_path / "a-{0..1}.tar")


def test_a_shard_that_was_replaced_is_noticed_when_it_is_read(tmp_path):
    path = write_tar(tmp_path / "a.tar", FILES)
    samples = find_samples(str(path), KINDS, "x")
    write_tar(path, [("cat/2.jpg", b"other"), *FILES[1:]])
    with pytest.raises(OSError, match=r"was replaced since it was listed"):
        storage.read(samples.path(1))
    assert contents(path)["cat/2.jpg"] == b"other"


def test_a_folder_of_images_stays_one_beside_tar_files(tmp_path):
    write_tar(tmp_path / "a.tar", FILES)
    (tmp_path / "b.jpg").write_bytes(b"image")
    samples = find_samples(str(tmp_path), KINDS, "x")
    assert list(samples.names) == ["b.jpg"]
    assert samples.ignored == {".tar": 1}


def test_braces_stand_for_numbers_and_alternatives():
    assert expand("t-{08..11}.tar") == ["t-08.tar", "t-09.tar", "t-10.tar", "t-11.tar"]
    assert expand("{a,b}-{0..1}.tar") == ["a-0.tar", "a-1.tar", "b-0.tar", "b-1.tar"]
    with pytest.raises(DataError, match=r"is not a range"):
        expand("t-{9..1}.tar")
