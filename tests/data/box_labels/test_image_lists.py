import pytest

from rayrml.data.box_labels import select_samples
from rayrml.errors import DataError

NAMES = ["a b.jpg", "c.jpg", "x/c.jpg", "x/d.png", "x/ü.jpg"]


def select(tmp_path, content, names=NAMES):
    path = tmp_path / "list.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return select_samples(names, str(path), "neural_network.data.samples").tolist()


@pytest.mark.parametrize(
    "content",
    [
        "a b.jpg\nx/d.png\n",
        "x/d\r\n\r\na b\r\n",
        "./x/d.png\n/data/set/images/a b.jpg\n",
        " images/x/d.png \n a b",
        "C:\\set\\x\\d.png\nA B.JPG",
        "a b\na b\nx/d",
        b"\xef\xbb\xbfa b\nx/d",
    ],
)
def test_ways_to_name_images(tmp_path, content):
    assert select(tmp_path, content) == [0, 3]


def test_composed_and_decomposed_letters_are_the_same(tmp_path):
    assert select(tmp_path, "x/u\u0308.jpg") == [4]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("c\nd.png\n", r"list.txt, line 2: no image 'd.png' in the input path \(there is 'x/d.png'\)"),
        ("y\nz\n", r"line 1: no image 'y'(.|\n)*line 2: no image 'z'"),
        ("c -1\n", "line 1: 'c -1' has a second column"),
        ("\n \n", "names no images"),
        (b"\xfc.jpg", "line 1: is not UTF-8 text"),
    ],
)
def test_mistakes_have_a_line(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        select(tmp_path, content)


def test_names_without_endings_must_be_certain(tmp_path):
    with pytest.raises(DataError, match=r"line 1: 'a' may be 'a.jpg', 'a.png'"):
        select(tmp_path, "a", ["a.jpg", "a.png"])
    assert select(tmp_path, "a.png", ["a.jpg", "a.png"]) == [1]


def test_a_list_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"neural_network.data.samples: no such file"):
        select_samples(NAMES, str(tmp_path / "none.txt"), "neural_network.data.samples")
