import pytest

from rayrml.errors import DataError

LINE = "1 0.5 0.5 0.5 0.5\n"
BASE = {"set/labels/train/a.txt": LINE}
IMAGES = {"set/images/train/a.jpg": (10, 10)}


def classes(data_set, files, **options):
    return data_set.write(BASE | files, IMAGES).labels("set/images/train", **options).classes


@pytest.mark.parametrize(
    "content",
    [
        "names: [cat, dog]",
        "names: ['cat', \"dog\"]\nnc: 2",
        "names:\n- cat\n- dog\n",
        "names:\n  0: cat\n  1: dog\n",
        "names: {1: dog, 0: cat}",
        "names: {'0': cat, '1': ' dog '}",
        b"\xef\xbb\xbfnc: 2\r\nnames: [cat, dog]\r\n",
        "# Ultralytics\npath: ../x\ntrain: a\nnames:\n  0: cat  # a cat\n  1: dog\ndownload: |\n  import os\n",
    ],
)
def test_ways_to_name_classes_in_yaml(data_set, content):
    assert classes(data_set, {"set/data.yaml": content}) == ("cat", "dog")


def test_names_that_yaml_reads_as_something_else_stay_text(data_set):
    names = "names: [no, on, 1.0, null, 2024-01-01, 010]"
    assert classes(data_set, {"data.yaml": names}) == ("no", "on", "1.0", "null", "2024-01-01", "010")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"data.yaml": "names: {0: cat, 2: dog}"}, "data.yaml: names has no number 1"),
        ({"data.yaml": "names: {a: cat, b: dog}"}, "data.yaml: names has no number 0"),
        ({"data.yaml": "names: [cat, dog]\nnc: 3"}, "data.yaml: nc is 3, but names has 2"),
        ({"data.yaml": "names: [cat, cat]"}, "data.yaml: class names hold 'cat' several times"),
        ({"data.yaml": "names: [cat, '']"}, "data.yaml: class names are no list of texts"),
        ({"data.yaml": "names: [cat, [dog]]"}, "data.yaml: class names are no list of texts"),
        ({"data.yaml": "names: classes.txt"}, "data.yaml: names is 'classes.txt'. Expected a list"),
        ({"data.yaml": "names: [cat\n"}, "data.yaml, line 2: is not valid YAML"),
        ({"data.yaml": "\tnames: [cat]\n"}, "data.yaml, line 1: is not valid YAML"),
        ({"data.yaml": "[" * 5000}, "data.yaml: is not valid YAML"),
        ({"data.yaml": b"names: [k\xe4fer]"}, "data.yaml, line 1: is not UTF-8 text"),
        ({"a.yaml": "names: [cat, dog]", "b.yml": "names: [dog, cat]"}, "a.yaml: names other classes than "),
        ({"classes.txt": "cat\n\ndog\n"}, "classes.txt, line 2: is empty"),
        ({"classes.txt": "cat\ncat\n"}, "classes.txt: class names hold 'cat' several times"),
        ({"classes.txt": "\n"}, "classes.txt: names no classes"),
        ({"obj.names": b"cat\nh\xfcnd\n"}, "obj.names, line 2: is not UTF-8 text"),
    ],
)
def test_mistakes_are_told(data_set, files, message):
    with pytest.raises(DataError) as caught:
        classes(data_set, {f"set/{name}": content for name, content in files.items()})
    assert message in str(caught.value)


@pytest.mark.parametrize("place", ["set/labels/train", "set/images/train", "set/labels", "set/images", "set", "."])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.yaml", "names: [cat, dog]"),
        ("coco.yml", "names: [cat, dog]"),
        ("classes.txt", "cat\r\ndog \r\n\n"),
        ("obj.names", "cat\ndog"),
    ],
)
def test_names_are_found_beside_labels_and_images_and_above(data_set, place, name, content):
    assert classes(data_set, {f"{place}/{name}": content}) == ("cat", "dog")


def test_the_nearest_yaml_file_counts_and_other_files_do_not(data_set):
    files = {
        "data.yaml": "names: [x, y]",
        "set/labels/data.yaml": "names: [cat, dog]",
        "set/labels/train/docker.yaml": "services: []",
        "set/labels/train/broken.yaml": "[",
        "set/labels/train/classes.txt": "dog\ncat\n",
    }
    labels = data_set.write(BASE | files, IMAGES).labels("set/images/train")
    assert labels.classes == ("cat", "dog")
    assert labels.named_by.endswith("set/labels/data.yaml")
    assert any("classes.txt names other classes than" in note for note in labels.notes)


def test_given_classes_count_alone(data_set):
    files = {"set/data.yaml": "names: [", "c.txt": "x\ny\n", "c.json": '["x", "y"]', "c.yaml": "names: {0: x, 1: y}"}
    assert classes(data_set, files, classes=["x", "y"]) == ("x", "y")
    for name in ("c.txt", "c.json", "c.yaml"):
        assert classes(data_set, files, classes=str(data_set.root / name)) == ("x", "y")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["x", "x"], r"neural_network.data.classes: class names hold 'x' several times"),
        ([], "neural_network.data.classes: names no classes"),
        ("none.txt", "neural_network.data.classes: no such file"),
        ("data.json", "data.json: is not valid JSON"),
        ("list.json", "list.json: class names are no list of texts"),
        ("empty.yaml", "empty.yaml: has no names"),
    ],
)
def test_given_classes_may_be_wrong(data_set, given, message):
    files = {"data.json": "x", "list.json": "[1]", "empty.yaml": "a: 1"}
    given = str(data_set.root / given) if isinstance(given, str) else given
    with pytest.raises(DataError) as caught:
        classes(data_set, files, classes=given)
    assert message in str(caught.value)


def test_a_number_that_is_no_class_needs_names(data_set):
    files = {"set/labels/train/a.txt": "50000 0.5 0.5 0.1 0.1"}
    with pytest.raises(DataError, match=r"a.txt, line 1: class 50000 would be the last of as many"):
        data_set.write(files, IMAGES).labels("set/images/train")
