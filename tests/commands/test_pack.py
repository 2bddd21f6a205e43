import pytest

from rayrml import cli
from rayrml.data.discovery import find_samples


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with three files to pack."""
    for name in ("cat/1.jpg", "dog/2.JPG", "dog/notes.txt"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_bytes(b"x" * 600_000)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_is_packed_and_counted(folder, capsys):
    assert cli.main(["pack", "images", "packed", "--shard-size", "1MB"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown == [
        "Packed 3 files (2 .jpg, 1 .txt), 1.8 MB, in 2 shards",
        "Saved shards: ./packed",
    ]
    assert list(find_samples(str(folder / "packed"), {".jpg"}, "x").names) == ["cat/1.jpg", "dog/2.JPG"]


def test_mistakes_are_one_line(folder, capsys):
    assert cli.main(["pack", "images", "images/packed"]) == 2
    assert "is inside of" in capsys.readouterr().err
    assert cli.main(["pack", "nothing", "packed"]) == 3
    assert capsys.readouterr().err == f"rayrml: {folder}/nothing: no such folder\n"
    assert cli.main(["pack", "images", "ftp://packed"]) == 2
    assert "OUT: ftp:// is not supported" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["0GB", "10", "1KB", "much"])
def test_a_size_needs_its_unit(folder, capsys, size):
    with pytest.raises(SystemExit):
        cli.main(["pack", "images", "packed", "--shard-size", size])
    assert "expected a size of at least 1MB" in capsys.readouterr().err


def test_foreign_parquet_files_are_refused_with_what_to_do(folder):
    (folder / "foreign").mkdir()
    (folder / "foreign" / "train-00000.parquet").write_bytes(b"PAR1")
    for place in ("foreign", "foreign/train-00000.parquet"):
        with pytest.raises(Exception, match="Parquet files are read if `rayrml pack` wrote them"):
            find_samples(str(folder / place), {".jpg"}, "x")
