import pytest

from rayrml.data.box_labels import recognize
from rayrml.errors import DataError

SIZE = (4, 6)
LINE = "0 0.5 0.5 0.5 0.5\n"
BOX = "<xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax>"
XML = f"<annotation><object><name>cat</name><bndbox>{BOX}</bndbox></object></annotation>"


def find(data_set, files, images):
    data_set.write(files, dict.fromkeys(images, SIZE))
    found = recognize(str(data_set.root))
    if found is None:
        return None, {}

    def below(path):
        if isinstance(path, tuple):
            return tuple(map(below, path))
        return path and path.removeprefix(f"{data_set.root}/")

    parts = {role: tuple(map(below, (p.input_path, p.target_path, p.samples))) for role, p in found.parts.items()}
    for part in found.parts.values():
        if isinstance(part.input_path, str):
            inside = part.input_path.removeprefix(f"{data_set.root}").lstrip("/")
            options = {"target_path": part.target_path, "samples": part.samples}
            boxes = data_set.boxes(inside, known=found.classes or None, **options)
            assert boxes.bad == {}
            assert boxes.counts["boxes"] > 0
    return found, parts


def test_a_yaml_file_names_the_folders(data_set):
    files = {
        "data.yaml": "path: .\ntrain: images/train\nval: images/val\ntest: images/test\nnc: 1\nnames: {0: cat}\n",
        "images/train/a.txt": "not a label",
    }
    images = [f"images/{part}/a.jpg" for part in ("train", "val")]
    files |= {f"labels/{part}/a.txt": LINE for part in ("train", "val")}
    found, parts = find(data_set, files, images)
    assert found.format == "yolo"
    assert found.classes == ("cat",)
    assert found.source.endswith("data.yaml")
    assert parts == {
        "training": ("images/train", "labels/train", None),
        "validation": ("images/val", "labels/val", None),
    }
    assert "test is 'images/test', which is not there" in found.notes[0]


def test_exports_with_a_wrong_path_are_found(data_set):
    files = {"data.yaml": "train: ../train/images\nval: ../valid/images\nnames: ['cat', 'no']\n"}
    files |= {"README.roboflow.txt": "x"} | {f"{part}/labels/a.txt": LINE for part in ("train", "valid")}
    found, parts = find(data_set, files, ["train/images/a.jpg", "valid/images/a.jpg"])
    assert found.classes == ("cat", "no")
    assert parts["validation"] == ("valid/images", "valid/labels", None)


def test_lists_of_images_in_text_files(data_set):
    files = {
        "coco.yaml": "path: ../datasets/coco\ntrain: train.txt\nval: val.txt\nnames: [cat]\n",
        "train.txt": "./images/train/a.jpg\n./images/train/b.jpg\n",
        "val.txt": "./images/train/c.jpg\n./images/other/d.jpg\n",
        "labels/train/a.txt": LINE,
        "labels/train/c.txt": LINE,
    }
    images = [f"images/train/{name}.jpg" for name in "abc"] + ["images/other/d.jpg"]
    _, parts = find(data_set, files, images)
    assert parts == {
        "training": ("images/train", "labels/train", "train.txt"),
        "validation": ("images", "labels", "val.txt"),
    }


def test_several_folders(data_set):
    files = {"data.yaml": "train: [images/a, images/b]\nnames: [cat]\n", "labels/a/a.txt": LINE}
    _, parts = find(data_set, files, ["images/a/a.jpg", "images/b/b.jpg"])
    assert parts == {"training": (("images/a", "images/b"), None, None)}


def test_folders_that_are_not_there_are_told(data_set):
    with pytest.raises(DataError, match=r"data.yaml: train is 'x/y', which is not there"):
        find(data_set, {"data.yaml": "train: x/y\nnames: [cat]\n"}, ["images/a.jpg"])
    with pytest.raises(DataError, match=r"data.yaml, line 2: is not valid YAML"):
        find(data_set, {"data.yaml": "train: [\n"}, [])


def document(*names):
    return {
        "info": {},
        "images": [{"id": i, "file_name": name} for i, name in enumerate(names)],
        "annotations": [{"image_id": 0, "category_id": 1, "bbox": [1, 1, 2, 2]}],
        "categories": [{"id": 1, "name": "cat"}],
    }


def test_the_tree_of_coco(data_set):
    files = {f"annotations/instances_{part}2017.json": document("a.jpg") for part in ("train", "val")}
    files["annotations/captions_train2017.json"] = {"images": [], "annotations": []}
    found, parts = find(data_set, files, ["train2017/a.jpg", "val2017/a.jpg"])
    assert found.format == "coco"
    assert parts == {
        "training": ("train2017", "annotations/instances_train2017.json", None),
        "validation": ("val2017", "annotations/instances_val2017.json", None),
    }


@pytest.mark.parametrize(
    ("file", "image", "part"),
    [
        ("labels.json", "a.jpg", ("", "labels.json")),
        ("labels.json", "images/a.jpg", ("images", "labels.json")),
        ("annotations.json", "images/a b ü.jpg", ("images", "annotations.json")),
        ("annotations/train.json", "images/train/a.jpg", ("images/train", "annotations/train.json")),
        ("train/_annotations.coco.json", "train/a.jpg", ("train", "train/_annotations.coco.json")),
        (
            "annotations/instances_default.json",
            "images/default/a.jpg",
            ("images/default", "annotations/instances_default.json"),
        ),
        ("set/x/result.json", "set/x/images/a.jpg", ("set/x/images", "set/x/result.json")),
    ],
)
def test_one_json_beside_images(data_set, file, image, part):
    _, parts = find(data_set, {file: document(image.rpartition("/")[2])}, [image])
    inputs, targets, _ = parts["training"]
    assert (inputs.removeprefix(str(data_set.root)), targets) == part


def test_the_development_kit_of_voc(data_set):
    home = "VOCdevkit/VOC2012"
    names = ["a", "b", "c"]
    files = {f"{home}/Annotations/{name}.xml": XML for name in names}
    files |= {
        f"{home}/ImageSets/Main/{part}.txt": f"{name}\n"
        for part, name in zip(("train", "val", "test"), names, strict=True)
    }
    found, parts = find(data_set, files, [f"{home}/JPEGImages/{name}.jpg" for name in names])
    assert found.format == "voc"
    both = (f"{home}/JPEGImages", f"{home}/Annotations")
    assert parts == {
        "training": (*both, f"{home}/ImageSets/Main/train.txt"),
        "validation": (*both, f"{home}/ImageSets/Main/val.txt"),
        "test": (*both, f"{home}/ImageSets/Main/test.txt"),
    }


def test_voc_without_lists(data_set):
    _, parts = find(data_set, {"Annotations/a.xml": XML}, ["JPEGImages/a.jpg"])
    assert parts == {"training": ("JPEGImages", "Annotations", None)}


@pytest.mark.parametrize("order", ["{}/{}", "{1}/{0}"])
def test_images_and_labels_in_either_order_with_the_parts(data_set, order):
    files = {f"{order.format('labels', part)}/a.txt": LINE for part in ("train", "val")}
    _, parts = find(data_set, files, [f"{order.format('images', part)}/a.jpg" for part in ("train", "val")])
    assert parts == {
        role: (order.format("images", part), order.format("labels", part), None)
        for role, part in (("training", "train"), ("validation", "val"))
    }


def test_images_and_labels_without_parts(data_set):
    found, parts = find(data_set, {"set/labels/a.txt": LINE}, ["set/images/a.jpg"])
    assert (found.format, parts) == ("yolo", {"training": ("set/images", "set/labels", None)})
    found, parts = find(data_set, {"annotations/a.xml": XML, "labels/.x": "", "set/x": ""}, ["images/a.jpg"])
    assert (found.format, parts) == ("voc", {"training": ("images", "annotations", None)})


@pytest.mark.parametrize(("ending", "text", "kind"), [(".txt", LINE, "yolo"), (".xml", XML, "voc")])
def test_label_files_beside_the_images(data_set, ending, text, kind):
    found, parts = find(data_set, {f"all/a{ending}": text, "all/classes.txt": "cat\n"}, ["all/a.jpg", "all/b.jpg"])
    assert (found.format, parts) == (kind, {"training": ("all", "all", None)})


def test_label_files_beside_the_images_of_each_part(data_set):
    files = {"train/a.xml": XML, "valid/b.xml": XML, "test/c.xml": XML}
    found, parts = find(data_set, files, ["train/a.jpg", "valid/b.jpg", "test/c.jpg"])
    roles = ("training", "validation", "test")
    assert parts == dict(zip(roles, [(n, n, None) for n in ("train", "valid", "test")], strict=True))
    assert found.format == "voc"


def test_many_json_files_are_those_of_single_images(data_set):
    files = {f"all/{number}.json": document("a.jpg") for number in range(21)}
    assert find(data_set, files, ["all/a.jpg"])[0] is None


def test_captions_beside_images_are_no_boxes(data_set):
    assert find(data_set, {"a.txt": "a cat on a mat\n", "b.txt": LINE}, ["a.jpg", "b.jpg"])[0] is None
    data_set.write({"x/a.txt": "0.93\n"}, {"x/a.jpg": SIZE})
    assert recognize(str(data_set.root / "x")) is None


def test_other_folders_are_no_data_sets_with_boxes(data_set):
    assert find(data_set, {"docker.yaml": "services: []\n", "x.json": "{}"}, ["cat/a.jpg", "dog/b.jpg"])[0] is None
    data_set.write({}, {"masks/images/a.png": SIZE, "masks/labels/a.png": SIZE})
    assert recognize(str(data_set.root / "masks")) is None
