import subprocess
import sys
import time

from rayrml import cli
from tests.data.data_sets import image, write_rows


def test_what_is_written_and_what_is_left_out_is_told(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for part, labels in (("train", [0, 1, 1]), ("test", [-1])):
        images = [(image(i), f"{i}.png") for i in range(len(labels))]
        columns = {"label": labels, "age": [1.5] * len(labels)}
        path = tmp_path / "set" / f"{part}-00000-of-00001.parquet"
        write_rows(path, columns, images={"image": images}, class_names={"label": ["cat", "dog"]})
    assert cli.main(["unpack", "set", "images"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Unpacked 4 files: 1 in test, 3 in train",
        "2 classes by column 'label', each in a folder",
        "Without classes: test",
        "Left out: age",
        "Saved files: ./images",
    ]
    assert cli.main(["unpack", "set", "others", "--label", "none"]) == 0
    assert "No column tells classes: all columns of text and numbers are in labels.csv" in capsys.readouterr().out
    assert (tmp_path / "others" / "labels.csv").read_text().splitlines()[:2] == ["file,label,age", "test/0.png,,1.5"]


def test_mistakes_are_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["unpack", "nothing", "images"]) == 3
    assert capsys.readouterr().err == f"rayrml: {tmp_path}/nothing: no such folder or file\n"
    assert cli.main(["unpack", "ftp://a/b", "images"]) == 2
    assert "SOURCE: ftp:// is not supported" in capsys.readouterr().err


def test_a_signal_removes_what_is_written(tmp_path):
    images = [(image(i % 7), None) for i in range(30_000)]
    write_rows(tmp_path / "rows.parquet", {}, images={"image": images})
    command = [sys.executable, "-m", "rayrml", "unpack", "rows.parquet", "images", "--quiet"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not list(tmp_path.glob(".images.*/*")):
            time.sleep(0.01)
        process.terminate()
        assert process.communicate()[1] == "rayrml: interrupted\n"
    assert process.returncode == 143
    assert [path.name for path in tmp_path.iterdir()] == ["rows.parquet"]
