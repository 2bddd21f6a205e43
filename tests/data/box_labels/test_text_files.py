import pytest

from rayrml.data.box_labels.text_files import LabelMistake, decode, read_files, read_lines


def test_many_files_are_read_in_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr("rayrml.data.box_labels.text_files._CHUNK", 3)
    monkeypatch.setattr("rayrml.data.box_labels.text_files._AHEAD", 2)
    paths = [str(tmp_path / f"{i}.txt") for i in range(20)]
    for number, path in enumerate(paths):
        if number != 7:
            (tmp_path / path).write_text(f"{number}")
    found = list(read_files(paths, int))
    assert found[:7] + found[8:] == [*range(7), *range(8, 20)]
    assert "7.txt: cannot be read. No such file" in found[7]
    assert list(read_files([], int)) == []


def test_a_mistake_is_told_with_its_file(tmp_path):
    def fail(content):
        raise LabelMistake("line 2: is wrong")

    (tmp_path / "a.txt").write_text("x")
    (found,) = read_files([str(tmp_path / "a.txt")], fail)
    assert found.endswith("a.txt, line 2: is wrong")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_tells_the_encoding(encoding, tmp_path):
    (tmp_path / "a.txt").write_bytes(" ü \r\n\rb".encode(encoding))
    assert read_lines(str(tmp_path / "a.txt")) == ["ü", "", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"a\n\xfc", "line 2: is not UTF-8 text"), (b"a\nb\0", "line 2: holds a NUL byte"), (b"\xff\xfea", "UTF-16-LE")],
)
def test_what_is_no_text_is_told(content, message):
    with pytest.raises(LabelMistake, match=message):
        decode(content)
