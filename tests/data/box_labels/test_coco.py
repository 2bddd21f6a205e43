import json

import pytest

from rayrml.errors import DataError

IMAGES = {"images/a.jpg": (100, 210), "images/b.jpg": (100, 210)}
CATEGORIES = [{"id": 3, "name": "dog"}, {"id": 1, "name": "cat"}]


def document(*annotations, images=None, categories=None, **more):
    listed = [{"id": 1, "file_name": "a.jpg", "width": 210, "height": 100}, {"id": 2, "file_name": "b.jpg"}]
    return {"images": images or listed, "annotations": list(annotations), "categories": categories or CATEGORIES} | more


def one(**keys):
    return {"id": 7, "image_id": 1, "category_id": 3, "bbox": [10, 20, 50, 30]} | keys


def read(data_set, content, **options):
    data_set.write({"labels.json": content}, IMAGES)
    return data_set.boxes(target_path="labels.json", **options)


@pytest.mark.parametrize(
    "annotation",
    [
        one(),
        one(image_id="1"),
        one(image_id=1.0, category_id="3"),
        one(bbox=["10", "20.0", " 50 ", 3e1]),
        one(iscrowd=0, area=None, segmentation=[[1, 2, 3, 4, 5, 6]]),
        one(iscrowd=None, id=None),
        one(iscrowd=False, segmentation={"counts": "abc", "size": [100, 210]}),
        one(iscrowd="0", id=0),
    ],
)
def test_ways_to_write_a_box(data_set, annotation):
    boxes = read(data_set, document(annotation))
    assert boxes.bad == {}
    assert boxes.classes == ("cat", "dog")
    assert boxes.table.corners.tolist() == [[10, 20, 60, 50]]
    assert boxes.table.classes.tolist() == [1]
    assert boxes.image_ids == (1, 2)
    assert boxes.category_ids == (1, 3)


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (one(bbox=None), "bbox is null. Expected [x, y, width, height]"),
        (one(bbox=None, segmentation=[[1, 2, 3, 4, 5, 6]]), "has no bbox, only a segmentation"),
        (one(bbox=[1, 2, 3]), "bbox is [1, 2, 3]"),
        (one(bbox={"x": 1}), 'bbox is {"x": 1}'),
        (one(bbox="[1, 2, 3, 4]"), "Expected [x, y, width, height]"),
        (one(bbox=[1, 2, 3, "x"]), "Expected four numbers of pixels"),
        (one(bbox=[1, 2, 3, None]), "Expected four numbers of pixels"),
        (one(bbox=[1, 2, 3, True]), "Expected four numbers of pixels"),
        (one(bbox=[1, 2, 3, float("nan")]), "Expected four numbers of pixels"),
        (one(bbox=[1, 2, 3, 10**400]), "Expected four numbers of pixels"),
        (one(bbox=[1e308] * 4), "Expected four numbers of pixels"),
        (one(bbox=[50, 50, -10, 10]), "with a negative width or height"),
        (one(category_id=2), "category_id 2 is none of the categories"),
        (one(category_id=None), "category_id null is none of the categories"),
        (one(category_id=[3]), "category_id [3] is none of the categories"),
        (one(iscrowd=2), "iscrowd is 2. Expected 0 or 1"),
        (one(iscrowd=[1]), "iscrowd is [1]. Expected 0 or 1"),
    ],
)
def test_mistakes_have_a_file_and_an_annotation(data_set, annotation, message):
    boxes = read(data_set, document(one(image_id=2, id=8), annotation))
    assert list(boxes.bad) == [0]
    assert "labels.json, annotation 7 of 'a.jpg': " in boxes.bad[0]
    assert message in boxes.bad[0]
    assert boxes.table.starts.tolist() == [0, 0, 1]


def test_ids_of_annotations_mean_nothing(data_set):
    """Not even 0, which some programs take for no object."""
    boxes = read(data_set, document(*(one(id=own, bbox=[own, 0, 5, 5]) for own in (0, 1)), one(id=0)))
    assert boxes.counts["boxes"] == 3


def test_an_annotation_without_an_id_is_counted(data_set):
    bad = read(data_set, document(one(id=None, image_id=2), one(id=None, bbox=None))).bad
    assert "labels.json, annotation number 2 of 'a.jpg': " in bad[0]


def test_sizes_are_compared(data_set):
    images = [{"id": 1, "file_name": "a.jpg", "width": 211, "height": 100}, {"id": 2, "file_name": "b.jpg", "width": 0}]
    bad = read(data_set, document(images=images)).bad
    assert list(bad) == [0]
    assert "labels.json: 'a.jpg': the size is told as 211x100 pixels, but the image is 210x100" in bad[0]


LISTED = {"id": 1, "file_name": "a.jpg"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: is not valid JSON"),
        ('{"images": [\n1,]}', "line 2: is not valid JSON"),
        (b'{"images": ["\xe4"]}', "is not UTF-8 text (byte 13)"),
        ("[" * 100_000, "is nested too deeply"),
        (f"[{'1' * 5000}]", "cannot be read"),
        ("version https://git-lfs.github.com/spec/v1", "is a pointer of Git LFS"),
        ([one(score=0.5)], "holds a list, as files of predictions do"),
        ("7", "holds no object"),
        ({"images": [LISTED], "categories": CATEGORIES}, "has no list 'annotations'"),
        (document() | {"images": {}}, "has no list 'images'"),
        (document() | {"images": []}, "names no images"),
        (document() | {"categories": []}, "names no classes"),
        (document(images=[7]), "image 0: is no object"),
        (document(images=[{"file_name": "a.jpg"}]), "image 0: its id is null"),
        (document(images=[{"id": [1], "file_name": "a.jpg"}]), "image 0: its id is [1]"),
        (document(images=[{"id": 1}]), "image 0: its file_name is null"),
        (document(images=[{"id": 1, "file_name": 7}]), "image 0: its file_name is 7"),
        (document(images=[LISTED | {"width": "x"}]), 'image 0: its width is "x"'),
        (document(images=[LISTED | {"width": -5}]), "image 0: its width is -5"),
        (document(images=[LISTED, {"id": 1, "file_name": "b.jpg"}]), "image 1: the id 1 is also that of 'a.jpg'"),
        (document(images=[LISTED, {"id": 2, "file_name": "x/a.jpg"}]), "'a.jpg' and 'x/a.jpg', are the same file"),
        (document(categories=["cat"]), "category 0: is no object"),
        (document(categories=[{"id": 1}]), "category 0: its name is null"),
        (document(categories=[{"name": "cat"}]), "category 0: its id is null"),
        (document(categories=[*CATEGORIES, {"id": 3, "name": "x"}]), "category 2: the id 3 is also that of 'dog'"),
        (document(categories=[*CATEGORIES, {"id": 9, "name": "dog"}]), "categories 3 and 9 are both named 'dog'"),
        (document(categories=[*CATEGORIES, {"id": "x", "name": "y"}]), "some ids of categories are numbers"),
        (document(7), "annotation 0: is no object"),
        (document(one(image_id=99)), "annotation 7: image_id 99 is none of the images"),
        (document(one(image_id=None)), "annotation 7: image_id null is none of the images"),
        (document(one(image_id={})), "annotation 7: image_id {} is none of the images"),
        (document(*(one(bbox=[0.1, 0.1, 0.5, 0.1 * i]) for i in range(1, 4))), "all boxes lie within the first pixel"),
    ],
)
def test_files_that_are_wrong_as_a_whole(data_set, content, message):
    with pytest.raises(DataError) as caught:
        read(data_set, content)
    assert "labels.json" in str(caught.value)
    assert message in str(caught.value)


def test_several_mistakes_are_told_at_once(data_set):
    with pytest.raises(DataError) as caught:
        read(data_set, document(*(one(image_id=90 + i, id=i) for i in range(15))))
    assert len(caught.value.problems) == 11
    assert str(caught.value).endswith("... and 5 more")


def test_repeated_entries_count_once(data_set):
    content = document(one(), images=[LISTED, LISTED], categories=[*CATEGORIES, CATEGORIES[0]])
    boxes = read(data_set, content)
    assert boxes.image_ids == (1,)
    assert boxes.counts["boxes"] == 1


@pytest.mark.parametrize(
    "name", ["a.jpg", "./a.jpg", "images/a.jpg", "/data/set/images/a.jpg", "C:\\set\\a.jpg", "A.JPG"]
)
def test_names_of_files_may_have_folders_before_them(data_set, name):
    images = [{"id": 1, "file_name": name}]
    assert len(read(data_set, document(one(), images=images)).table) == 1


def test_names_of_files_may_have_any_characters(data_set):
    names = ["ü é.jpg", "a b/c d.png", "日本.jpg", "100%.png"]
    images = [{"id": i, "file_name": name} for i, name in enumerate(names)]
    data_set.write({"labels.json": document(one(), images=images)}, {f"images/{name}": (100, 210) for name in names})
    assert len(data_set.boxes(target_path="labels.json").table) == 4


def test_images_in_other_folders_are_not_taken_for_those_that_are_missing(data_set):
    content = document(images=[{"id": 1, "file_name": "val/c.jpg"}, {"id": 2, "file_name": "a.jpg"}])
    data_set.write({"labels.json": content}, IMAGES | {"images/train/c.jpg": (100, 210)})
    with pytest.raises(DataError, match=r"1 of 2 images not in .*'val/c.jpg'. There is 'train/c.jpg'"):
        data_set.labels(target_path="labels.json")


def test_missing_images_can_be_left_out(data_set):
    content = document(one(), images=[LISTED, {"id": 5, "file_name": "gone.jpg"}])
    data_set.write({"labels.json": content}, IMAGES)
    with pytest.raises(DataError, match=r"'gone.jpg'"):
        data_set.labels(target_path="labels.json")
    labels = data_set.labels(target_path="labels.json", skips=True)
    assert list(labels.samples.names) == ["a.jpg"]
    assert len(labels.samples.unreadable) == 1
    assert "no image 'gone.jpg'" in labels.samples.unreadable[0]


def test_none_of_the_images_is_there(data_set):
    content = document(images=[{"id": 5, "file_name": "gone.jpg"}])
    for skips in (False, True):
        with pytest.raises(DataError, match=r"'gone.jpg'"):
            read(data_set, content, skips=skips)


def test_classes_of_the_test_go_by_name(data_set):
    other = [{"id": 0, "name": "dog"}, {"id": 1, "name": "cat"}, {"id": 2, "name": "cow"}]
    content = document(one(category_id=0), one(category_id=1), categories=other)
    boxes = read(data_set, content, known=("cat", "dog"))
    assert boxes.table.classes.tolist() == [1, 0]
    assert boxes.category_ids == (1, 0)
    boxes = read(data_set, document(one(category_id=2), categories=other), known=("cat", "dog"))
    assert "annotation 7 of 'a.jpg': class 'cow' is unknown. Expected one of 'cat', 'dog'" in boxes.bad[0]


def test_given_classes_have_their_own_order(data_set):
    boxes = read(data_set, document(one()), classes=["dog", "bird", "cat"])
    assert boxes.table.classes.tolist() == [0]
    assert boxes.category_ids == (3, 4, 1)  # the file has no bird


def test_ids_of_classes_may_be_text(data_set):
    categories = [{"id": "c", "name": "cat"}, {"id": "d", "name": "dog"}]
    boxes = read(data_set, document(one(category_id="d"), categories=categories), known=("bird", "cat", "dog"))
    assert boxes.category_ids == ("bird", "c", "d")
    assert boxes.table.classes.tolist() == [2]


def test_a_byte_order_mark_is_passed_over(data_set):
    for encoding in ("utf-8-sig", "utf-16"):
        assert read(data_set, json.dumps(document(one())).encode(encoding)).counts["boxes"] == 1


def test_a_folder_may_have_the_only_json_file(data_set):
    data_set.write({"annotations/train.json": document(one())}, IMAGES)
    assert data_set.boxes(target_path="annotations").counts["boxes"] == 1
    data_set.write({"annotations/val.json": document(one())})
    with pytest.raises(DataError, match=r"It has 'train.json', 'val.json': name a file"):
        data_set.boxes(target_path="annotations")
    data_set.write({"images/_annotations.coco.json": document(one())})
    assert data_set.boxes().counts["boxes"] == 1
