"""Configurations for images with boxes, however others have laid them out."""

import json

import numpy as np
import pytest
from PIL import Image

import rayrml
from rayrml import cli
from rayrml.planning import starter_boxes
from rayrml.planning.preparation import prepare

CLASSES = ("cat", "dog")
WIDTH, HEIGHT = 60, 40
NAMES = "names: [cat, dog]\n"


class Drawing:
    """Images with two rectangles each, and their labels in three formats."""

    def __init__(self, root):
        self.root = root
        self.random = np.random.default_rng(0)

    def images(self, folder, names, *, size=(WIDTH, HEIGHT), mode="RGB"):
        """Draw images; returns the boxes (class, xmin, ymin, xmax, ymax) of each name."""
        (self.root / folder).mkdir(parents=True, exist_ok=True)
        found = {}
        for name in names:
            pixels = np.full((size[1], size[0], 3), 90, np.uint8)
            boxes = []
            for kind in range(2):
                width, height = self.random.integers(10, 19, 2).tolist()
                x, y = (size[0] // 2 * kind + 1, int(self.random.integers(0, size[1] - height)))
                pixels[y : y + height, x : x + width] = (250, 30, 30) if kind else (30, 30, 250)
                boxes.append((kind, x, y, x + width, y + height))
            Image.fromarray(pixels).convert(mode).save(self.root / folder / f"{name}.jpg")
            found[name] = boxes
        return found

    def yolo(self, folder, labels, size=(WIDTH, HEIGHT)):
        for name, boxes in labels.items():
            lines = [
                f"{kind} {(a + c) / 2 / size[0]} {(b + d) / 2 / size[1]} {(c - a) / size[0]} {(d - b) / size[1]}\n"
                for kind, a, b, c, d in boxes
            ]
            self.write(f"{folder}/{name}.txt", "".join(lines))

    def voc(self, folder, labels):
        for name, boxes in labels.items():
            found = "".join(
                f"<object><name>{CLASSES[kind]}</name><bndbox><xmin>{a + 1}</xmin><ymin>{b + 1}</ymin>"
                f"<xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
                for kind, a, b, c, d in boxes
            )
            self.write(f"{folder}/{name}.xml", f"<annotation>{found}</annotation>")

    def coco(self, path, labels):
        images = [
            {"id": number, "file_name": f"{name}.jpg", "width": WIDTH, "height": HEIGHT}
            for number, name in enumerate(labels)
        ]
        annotations = [
            {"id": 0, "image_id": number, "category_id": (7, 18)[kind], "bbox": [a, b, c - a, d - b], "iscrowd": 0}
            for number, boxes in enumerate(labels.values())
            for kind, a, b, c, d in boxes
        ]
        categories = [{"id": 18, "name": "dog"}, {"id": 7, "name": "cat"}]
        self.write(path, json.dumps({"images": images, "annotations": annotations, "categories": categories}))

    def write(self, path, text):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)


@pytest.fixture
def drawing(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return Drawing(tmp_path / "set")


def new(drawing, capsys, *options):
    code = cli.main(["new", str(drawing.root), *options])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def numbered(count, start=0):
    return [f"{number:02}" for number in range(start, start + count)]


def ultralytics(drawing):
    for part, count in (("train", 8), ("val", 3), ("test", 2)):
        drawing.yolo(f"labels/{part}", drawing.images(f"images/{part}", numbered(count)))
    drawing.write("data.yaml", f"path: .\ntrain: images/train\nval: images/val\ntest: images/test\n{NAMES}")
    return (8, 3, 2)


def lists_of_images(drawing):
    drawing.yolo("labels", drawing.images("images", numbered(11)))
    for name, names in (("train", numbered(8)), ("val", numbered(3, 8))):
        drawing.write(f"{name}.txt", "".join(f"./images/{own}.jpg\n" for own in names))
    drawing.write("set.yaml", f"train: train.txt\nval: val.txt\n{NAMES}")
    return (8, 3)


def images_and_labels(drawing):
    drawing.yolo("labels", drawing.images("images", numbered(10)))
    drawing.write("classes.txt", "cat\ndog\n")
    return (8, 2)


def development_kit(drawing):
    home = "VOCdevkit/VOC2012"
    drawing.voc(f"{home}/Annotations", drawing.images(f"{home}/JPEGImages", numbered(13)))
    lists = {"train": numbered(8), "val": numbered(3, 8), "trainval": numbered(11), "test": numbered(2, 11)}
    for name, names in lists.items():
        drawing.write(f"{home}/ImageSets/Main/{name}.txt", "\n".join(names))
        drawing.write(f"{home}/ImageSets/Main/cat_{name}.txt", "".join(f"{own} -1\n" for own in names))
    return (8, 3, 2)


def voc_without_lists(drawing):
    drawing.voc("Annotations", drawing.images("JPEGImages", numbered(10)))
    return (8, 2)


def tree_of_coco(drawing):
    for part, count in (("train", 8), ("val", 3)):
        labels = drawing.images(f"{part}2017", numbered(count))
        drawing.coco(f"annotations/instances_{part}2017.json", labels)
    drawing.write("annotations/captions_train2017.json", json.dumps({"images": [], "annotations": []}))
    return (8, 3)


def roboflow(drawing):
    for part, count in (("train", 8), ("valid", 3), ("test", 2)):
        drawing.coco(f"{part}/_annotations.coco.json", drawing.images(part, numbered(count)))
    return (8, 3, 2)


def beside_the_images(drawing):
    labels = drawing.images("photos", numbered(10))
    drawing.voc("photos", labels)
    return (8, 2)


LAYOUTS = [
    ultralytics,
    lists_of_images,
    images_and_labels,
    development_kit,
    voc_without_lists,
    tree_of_coco,
    roboflow,
    beside_the_images,
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_each_layout_gives_a_configuration_that_is_right(drawing, capsys, layout):
    counts = layout(drawing)
    code, out, err = new(drawing, capsys)
    assert (code, err) == (0, "")
    assert out.startswith("2 classes: cat, dog\n")
    assert out.endswith("Wrote boxes.json. Next:\n    rayrml boxes.json\n")
    plan = prepare("boxes.json")
    assert plan.classes == CLASSES
    assert tuple(len(source.samples) for source in plan.sources) == counts
    assert all(len(source.samples.boxes.corners) == 2 * len(source.samples) for source in plan.sources)
    assert plan.loss.arguments["strides"] == (16, 8)
    assert plan.network.output_shapes == ((21, 8, 8), (21, 16, 16))


@pytest.mark.ray
@pytest.mark.parametrize("layout", [roboflow, development_kit, images_and_labels], ids=lambda layout: layout.__name__)
def test_three_commands_lead_to_detections(drawing, capsys, layout, ray_cluster):
    layout(drawing)
    assert new(drawing, capsys)[0] == 0
    run = rayrml.run("boxes.json", overrides={"num_epochs": 1, "checkpoints.interval": 1}, quiet=True)
    assert "map" in run.history[-1]
    image = next(iter(sorted(drawing.root.rglob("*.jpg"))))
    overrides = {"detection.score_threshold": 0.0}
    predicted = rayrml.predict("boxes_model", image, "predictions", overrides=overrides, quiet=True)
    assert predicted.files


def test_a_share_is_kept_for_the_test_if_there_is_no_part_for_it(drawing, capsys):
    images_and_labels(drawing)
    assert "A fifth of the images is kept for the test\n" in new(drawing, capsys)[1]


def test_classes_are_those_of_a_yaml_file_that_is_far_from_the_labels(drawing, capsys, tmp_path):
    drawing.yolo("far/away/a/b/c/labels", drawing.images("far/away/a/b/c/images", numbered(10)))
    drawing.write("data.yaml", f"path: far/away/a/b/c\ntrain: images\nval: images\n{NAMES}")
    assert new(drawing, capsys)[0] == 0
    plan = prepare("boxes.json")
    assert plan.classes == CLASSES
    assert plan.config.neural_network.data.classes == str(drawing.root / "data.yaml")


def test_the_input_grows_with_the_images_and_as_their_boxes_shrink():
    sizes = {
        (share, image): starter_boxes.choose_size([image] * 9, np.full(20, share))
        for share in (0.02, 0.1, 0.3)
        for image in ((100, 128), (480, 640), (2000, 2000))
    }
    assert sizes[0.1, (100, 128)] == (128, 128)
    assert sizes[0.02, (480, 640)] == (320, 416)
    assert sizes[0.02, (2000, 2000)] == (416, 416)
    assert sizes[0.1, (2000, 2000)] == (320, 320)
    assert sizes[0.3, (480, 640)] == (128, 128)
    assert starter_boxes.choose_size([(300, 600), (600, 300)], np.full(9, 0.02)) == (416, 416)
    assert starter_boxes.choose_size([(30, 900)], np.full(9, 0.02)) == (128, 416)


def test_large_images_have_a_grid_of_large_cells_and_gray_ones_one_channel(drawing, capsys):
    size = (640, 480)
    drawing.yolo("labels", drawing.images("images", numbered(6), size=size, mode="L"), size)
    assert "Images of 480 to 480 x 640 to 640 pixels become 320 x 416, gray\n" in new(drawing, capsys)[1]
    plan = prepare("boxes.json")
    assert plan.datasets.shape == (1, 320, 416)
    assert plan.loss.arguments["strides"] == (32, 16, 8)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "BatchNormalization"),
        (("--batch-size", "4"), "BatchNormalization"),
        (("--batch-size", "3"), "GroupNormalization"),
    ],
)
def test_small_batches_are_normalized_in_groups(drawing, capsys, options, expected):
    images_and_labels(drawing)
    _, out, _ = new(drawing, capsys, *options)
    assert ("GroupNormalization treats each image by itself" in out) == (expected == "GroupNormalization")
    network = prepare("boxes.json").config.neural_network
    kinds = {layer["class_name"] for layer in network.layers}
    assert {kind for kind in kinds if "Normalization" in kind} == {expected}
    assert network.data.batch_size == int(options[-1] if options else 8)


@pytest.mark.parametrize(("names", "flips"), [("[turn_left, turn_right]", False), ("[cat, bright]", True)])
def test_images_whose_sides_matter_are_not_flipped(drawing, capsys, names, flips):
    drawing.yolo("labels", drawing.images("images", numbered(10)))
    drawing.write("data.yaml", f"train: images\nval: images\nnames: {names}\n")
    out = new(drawing, capsys)[1]
    transforms = prepare("boxes.json").config.neural_network.data.transforms
    assert ({"random_horizontal_flip": 0.5} in transforms) == flips
    assert ("not flipped" in out) != flips


def test_bad_labels_are_left_out_and_told(drawing, capsys):
    images_and_labels(drawing)
    drawing.write("labels/03.txt", "0 1 2 3 4\n")
    code, out, _ = new(drawing, capsys)
    assert code == 0
    assert "1 image is left out: " in out
    assert "labels/03.txt, line 1: " in out
    assert "18 boxes in 9 images" in out


def several_folders(drawing):
    for name in "ab":
        drawing.yolo(f"labels/{name}", drawing.images(f"images/{name}", numbered(3)))
    drawing.write("data.yaml", f"train: [images/a, images/b]\n{NAMES}")
    return "data.yaml: training images are in several folders"


def few_boxes(drawing):
    drawing.yolo("labels", drawing.images("images", numbered(2)))
    return "the training images have 4 boxes. Expected 6 or more, one for each anchor"


def mostly_bad(drawing):
    images_and_labels(drawing)
    for name in numbered(6):
        drawing.write(f"labels/{name}.txt", "0 1 2 3 4\n")
    return "6 of 10 images have bad labels: "


def missing_list(drawing):
    ultralytics(drawing)
    drawing.write("data.yaml", f"train: images/none\n{NAMES}")
    return "data.yaml: train is 'images/none', which is not there"


@pytest.mark.parametrize(
    "layout", [several_folders, few_boxes, mostly_bad, missing_list], ids=lambda layout: layout.__name__
)
def test_data_sets_that_cannot_be_used_are_told_in_a_line(drawing, capsys, layout):
    message = layout(drawing)
    code, _, err = new(drawing, capsys)
    assert (code, len(err.splitlines())) == (3, 1)
    assert message in err
    assert "neural_network" not in err


def test_a_table_is_taken_if_it_is_asked_for(drawing, capsys):
    images_and_labels(drawing)
    rows = "".join(f"images/{name}.jpg,{CLASSES[number % 2]}\n" for number, name in enumerate(numbered(10)))
    drawing.write("table.csv", f"file,class\n{rows}")
    code, out, _ = new(drawing, capsys, "--labels", str(drawing.root / "table.csv"))
    assert code == 0
    assert out.endswith("Wrote set.json. Next:\n    rayrml set.json\n")
