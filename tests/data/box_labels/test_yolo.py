import pytest

from rayrml.errors import DataError

NAMES = {"data.yaml": "names: [cat, dog, bird]\n"}
IMAGES = {"images/a.jpg": (100, 200)}
LINE = "1 0.5 0.5 0.25 0.5"
BOX = (1, 75.0, 25.0, 125.0, 75.0)


@pytest.mark.parametrize(
    "content",
    [
        LINE,
        f"{LINE}\n",
        f"{LINE}   \t \r\n\r\n",
        f"\r\n\n{LINE}\r",
        LINE.replace(" ", "\t\t"),
        "1.000 .5 5e-1 0.2500 +0.5",
        b"\xef\xbb\xbf" + LINE.encode(),
        LINE.encode("utf-16"),
        "1 0.375 0.25 0.625 0.25 0.625 0.75",
        "1 0.375 0.25 0.625 0.25 0.625 0.75 0.375 0.75\n" + LINE,
        "1 0.375 0.25 0.625 0.25 0.625 0.75 0.375 0.75 0.5 0.5",
    ],
)
def test_ways_to_write_a_box(data_set, content):
    data_set.write(NAMES | {"labels/a.txt": content}, IMAGES)
    assert data_set.of_image() == {"a.jpg": [BOX]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("cat 0.5 0.5 0.1 0.1", "'cat' is not a number. Expected `class x_middle y_middle width height`"),
        ("0,0.5,0.5,0.1,0.1", "'0,0.5,0.5,0.1,0.1' has a comma"),
        ("0 0,5 0,5 0,1 0,1", "'0,5' has a comma"),
        ("0 0.5 0.5 0.1", "has 4 numbers. Expected 5"),
        ("0", "has 1 number. Expected 5"),
        ("0 0.5 0.5 0.1 0.1 0.87", "has 6 numbers. The sixth may be a score: predictions are not labels. Expected 5"),
        ("0 0.5 0.5 0.1 0.1 0.8 0.9 0.1", "has 8 numbers"),
        ("0 0.5 nan 0.1 0.1", "a number is not finite"),
        ("0 0.5 inf 0.1 0.1", "a number is not finite"),
        ("nan 0.5 0.5 0.1 0.1", "a number is not finite"),
        ("0 0.5 nan 0.1 0.1 0.5 0.5", "a number is not finite"),
        ("0 0.5 0.5 -0.001 0.1", "the width or height -0.001 is negative"),
        ("-1 0.5 0.5 0.1 0.1", "-1 is not a class number"),
        ("1.5 0.5 0.5 0.1 0.1", "1.5 is not a class number"),
        ("1e9 0.5 0.5 0.1 0.1", "1000000000 is too large for a class number"),
        ("7 0.5 0.5 0.1 0.1", "class 7 is unknown. Expected 0 to 2, as there are 3 classes"),
        ("0 50 50 10 10", "50 is out of range. Expected x_middle, y_middle, width and height as shares of the size"),
        ("0 0.5 0.5 0.1 1.02", "1.02 is out of range"),
        ("0 0.1 0.1 30 0.1 0.5 0.5", "30 is out of range. Expected x and y of each corner as shares"),
        ("0 1_0 0.5 0.1 0.1", "'1_0' is not a number"),
        (b"0 0.5 0.5 0.1 0.1 caf\xe9", "is not a number"),
        ("version https://git-lfs.github.com/spec/v1", "'version' is not a number"),
        ("\0\0\0", "is not a number"),
    ],
)
def test_mistakes_have_a_file_and_a_line(data_set, line, message):
    content = LINE.encode() + b"\n\n" + (line if isinstance(line, bytes) else line.encode()) + b"\n"
    data_set.write(NAMES | {"labels/a.txt": content}, IMAGES)
    boxes = data_set.boxes()
    assert list(boxes.bad) == [0]
    assert "labels/a.txt, line 3: " in boxes.bad[0]
    assert message in boxes.bad[0]
    assert len(boxes.table.corners) == 0


def test_a_mistake_concerns_its_image_alone_and_several_are_told_at_once(data_set):
    files = {"labels/a.txt": "0 30 30 5 5\n0 40 40 5 5\n" + LINE, "labels/b.txt": LINE, "labels/c.txt": "x"}
    data_set.write(NAMES | files, {f"images/{name}.png": (100, 200) for name in "abc"})
    boxes = data_set.boxes()
    assert list(boxes.table.starts) == [0, 0, 1, 1]
    assert sorted(boxes.bad) == [0, 2]
    with pytest.raises(DataError) as caught:
        boxes.refuse_bad()
    assert len(caught.value.problems) == 2
    assert "a.txt, line 1: 30 is out of range" in str(caught.value)
    assert "(1 more line of this file likewise)" in str(caught.value)


def test_many_mistakes_are_counted(data_set):
    names = [f"{i:02}" for i in range(15)]
    data_set.write({f"labels/{name}.txt": "?" for name in names}, {f"images/{name}.png": (1, 2) for name in names})
    with pytest.raises(DataError) as caught:
        data_set.boxes().refuse_bad()
    assert str(caught.value).splitlines()[10:] == ["... and 5 more"]


def test_boxes_and_keypoints_are_no_polygons(data_set):
    line = "0 0.5 0.5 0.2 0.2 0.45 0.45 0.55 0.55 0.5 0.5"
    files = {"data.yaml": "kpt_shape: [3, 2]\nnames: [cat]\n", "labels/a.txt": line}
    assert "line 1: has 11 numbers, a box and keypoints" in data_set.write(files, IMAGES).boxes().bad[0]


def test_a_folder_in_place_of_a_label_file_is_no_label_file(data_set):
    data_set.write(NAMES | {"labels/a.txt/b.txt": "", "labels/b.txt": LINE}, IMAGES | {"images/b.jpg": (100, 200)})
    assert data_set.of_image() == {"a.jpg": [], "b.jpg": [BOX]}
