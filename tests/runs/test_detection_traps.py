"""Data sets with boxes as other programs write them: the boxes are where the objects are, or a mistake tells."""

import json

import numpy as np
import pytest
from PIL import Image

import rayrml
from rayrml.errors import DataError
from rayrml.metrics.average_precision import DetectionRows, average_precisions
from rayrml.metrics.box_matching import Detections, Truths
from rayrml.planning import summary
from rayrml.planning.preparation import prepare
from rayrml.reporting.console import Console
from rayrml.runs.preview import preview
from rayrml.runs.rate_finder import find_rate
from rayrml.saving import checkpoints
from rayrml.training.rate_range import RateRange
from tests.conftest import datasets_of
from tests.runs.test_detection import NETWORK

CLASSES = ("bar", "disc")
COLORS = ((250, 30, 30), (30, 30, 250))
HEIGHT, WIDTH = 24, 32  # of upright images
# What turns an upright image into the one that is stored with an orientation of Exif.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def scene(number):
    """Up to two boxes (class, xmin, ymin, xmax, ymax), one in each half, none in images 0 and 1."""
    random = np.random.default_rng(number)
    boxes = []
    for half in range(min(max(number - 1, 0), 2)):
        width, height = (int(size) for size in random.integers(8, 15, 2))
        x, y = int(random.integers(0, 17 - width)) + 16 * half, int(random.integers(0, HEIGHT + 1 - height))
        boxes.append((int(random.integers(2)) if number < 3 else half, x, y, x + width, y + height))
    return boxes


def draw(folder, orientations=(1,) * 9):
    """Images `0.png`, ... of the scenes, stored with these orientations."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, orientation in enumerate(orientations):
        pixels = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        for kind, xmin, ymin, xmax, ymax in scene(number):
            pixels[ymin:ymax, xmin:xmax] = COLORS[kind]
        image, exif = Image.fromarray(pixels), Image.Exif()
        exif[0x0112] = orientation
        turn = STORED[orientation]
        image = image if turn is None else image.transpose(turn)
        image.save(folder / f"{number}.png", **({} if orientation == 1 else {"exif": exif}))


def write_yolo(folder, count=9, names=CLASSES):
    """Label files, none for image 0, and the names of their numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, count):
        lines = [
            f"{names.index(CLASSES[kind])} {(x1 + x2) / 2 / WIDTH} {(y1 + y2) / 2 / HEIGHT} "
            f"{(x2 - x1) / WIDTH} {(y2 - y1) / HEIGHT}\n"
            for kind, x1, y1, x2, y2 in scene(number)
        ]
        (folder / f"{number}.txt").write_text("".join(lines))
    (folder / "classes.txt").write_text("\n".join(names))


def write_coco(path, count=9, *, ids=((7, "bar"), (90, "disc")), crowds=(), first=100):
    """A file whose images have the ids `first` - their number, and whose annotations have ids from 0."""
    images = [
        {"id": first - number, "file_name": f"{number}.png", "width": WIDTH, "height": HEIGHT}
        for number in range(count)
    ]
    of_name = {name: own for own, name in ids}
    annotations = []
    for number in range(count):
        for kind, x1, y1, x2, y2 in scene(number):
            own = len(annotations)
            annotations.append(
                {
                    "id": own,
                    "image_id": first - number,
                    "category_id": of_name[CLASSES[kind]],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "iscrowd": int(own in crowds),
                }
            )
    categories = [{"id": own, "name": name} for own, name in ids]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def write_voc(folder, count=9, *, origin):
    """Files whose pixels are counted from the `origin`, with a part in each object; none for image 0."""
    folder.mkdir(parents=True, exist_ok=True)
    part = "<part><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    for number in range(1, count):
        objects = "".join(
            f"<object><name>{CLASSES[kind]}</name>{part}<bndbox><xmin>{x1 + origin}</xmin><ymin>{y1 + origin}</ymin>"
            f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
            for kind, x1, y1, x2, y2 in scene(number)
        )
        size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
        (folder / f"{number}.xml").write_text(f"<annotation>{size}{objects}</annotation>")


def write_labels(folder, kind):
    """Labels of one kind; return the path that a configuration names."""
    if kind == "coco":
        write_coco(folder / "labels.json")
        return folder / "labels.json"
    if kind == "yolo":
        write_yolo(folder / "labels")
    else:
        write_voc(folder / "labels", origin=int(kind[-1]))
    return folder / "labels"


def configuration(folder, labels, **changes):
    data = {
        "input_type": "images",
        "target_type": "boxes",
        "input_path": str(folder / "images"),
        "target_path": str(labels),
        "batch_size": 9,
        "transforms": [{"letterbox": [32, 32]}],
        **changes.pop("data", {}),
    }
    return {
        "neural_network": {
            "layers": NETWORK,
            "data": data,
            "optimizer": {"type": "SGD", "learning_rate": 0.002},
            "loss": {"function": "YOLOv3"},
            **changes,
        }
    }


@pytest.mark.parametrize("kind", ["yolo", "coco", "voc0", "voc1"])
@pytest.mark.parametrize("turned", [False, True])
def test_boxes_end_at_the_edges_of_what_was_drawn(tmp_path, kind, turned):
    """Whatever Exif does with the images, from where pixels are counted, and which ids there are.

    Images without objects are there, too, whether they have an empty label file or none.
    """
    draw(tmp_path / "images", (1, *STORED) if turned else (1,) * 9)
    plan = prepare(configuration(tmp_path, write_labels(tmp_path, kind)))
    assert plan.training is not None and plan.classes == CLASSES
    shown = preview(plan)
    assert sorted(shown.names) == [f"{number}.png" for number in range(9)]
    boxes = shown.boxes
    for place, name in enumerate(shown.names):
        own = boxes[place : place + 1]
        expected = scene(int(name[0]))
        assert own.classes.tolist() == [kind for kind, *_ in expected]
        pixels = shown.inputs[place].movedim(0, -1).numpy() * 255
        for number, corners in zip(own.classes.tolist(), own.corners.tolist(), strict=True):
            rows, columns = (np.abs(pixels - COLORS[number]).max(-1) < 40).nonzero()
            edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert corners == pytest.approx(edges, abs=1e-9)


def test_numbers_of_the_test_mean_the_names_beside_them(tmp_path):
    """Names in another order are those of training; without any, numbers are those of training; others are mistakes."""
    draw(tmp_path / "images")
    write_yolo(tmp_path / "labels")
    write_yolo(tmp_path / "test" / "labels", names=("cow", "disc", "bar"))
    data = {"test_input_path": str(tmp_path / "images"), "test_target_path": str(tmp_path / "test" / "labels")}

    def boxes_of_test():
        plan = prepare(configuration(tmp_path, tmp_path / "labels", data=data))
        return plan.training.samples.boxes.classes.tolist(), plan.test.samples.boxes.classes.tolist(), plan.notes

    own, tested, _ = boxes_of_test()
    assert tested == own
    (tmp_path / "test" / "labels" / "classes.txt").unlink()
    write_yolo(tmp_path / "test" / "labels")
    (tmp_path / "test" / "labels" / "classes.txt").unlink()
    own, tested, notes = boxes_of_test()
    assert tested == own
    assert any("numbers taken as those of training" in note for note in notes)
    (tmp_path / "test" / "labels" / "classes.txt").write_text("bar\ncow")
    with pytest.raises(DataError, match=r"\.txt, line \d: class 'cow' is unknown. Expected one of 'bar', 'disc'"):
        boxes_of_test()


def test_labels_of_a_share_are_told_once(tmp_path):
    draw(tmp_path / "images")
    write_yolo(tmp_path / "labels")
    (tmp_path / "labels" / "3.txt").write_text("0 0.5 0.5 30 0.1")
    data = {"test_share": 0.25, "on_bad_sample": "skip"}
    plan = prepare(configuration(tmp_path, tmp_path / "labels", data=data))
    assert (len(plan.training.samples), len(plan.test.samples)) == (6, 2)
    notes = [note for note in plan.notes if "boxes in" in note]
    assert notes == ["Training and test: 11 boxes in 8 images, 2 of them without boxes"]
    assert (len(plan.training.samples.unreadable), len(plan.test.samples.unreadable)) == (1, 0)


def test_label_files_in_another_folder_do_not_make_an_empty_data_set(tmp_path):
    draw(tmp_path / "images")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "other.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    with pytest.raises(DataError, match="none of the 9 images has a label file"):
        prepare(configuration(tmp_path, tmp_path / "labels"))


@pytest.mark.parametrize("part", ["", "test_"])
def test_skipping_leaves_out_some_images_but_not_all(tmp_path, part):
    draw(tmp_path / "images")
    for folder in ("labels", "test_labels"):
        write_yolo(tmp_path / folder)
    bad = tmp_path / f"{part}labels"
    (bad / "3.txt").write_text("0 0.5 0.5 30 0.1")
    data = {
        "on_bad_sample": "skip",
        "test_input_path": str(tmp_path / "images"),
        "test_target_path": str(tmp_path / "test_labels"),
    }
    plan = prepare(configuration(tmp_path, tmp_path / "labels", data=data))
    spoiled = plan.test if part else plan.training
    assert len(spoiled.samples) == 8 and "3.txt, line 1: 30 is out of range" in spoiled.samples.unreadable[0]
    for number in range(9):
        (bad / f"{number}.txt").write_text("0 0.5 0.5 30 0.1")
    with pytest.raises(DataError, match=r"0\.txt, line 1: 30 is out of range") as raised:
        prepare(configuration(tmp_path, tmp_path / "labels", data=data))
    assert len(raised.value.problems) == 9


def test_a_check_names_what_is_left_out(tmp_path, capsys):
    draw(tmp_path / "images")
    write_coco(tmp_path / "labels.json", 11)
    data = {"on_bad_sample": "skip"}
    plan = prepare(configuration(tmp_path, tmp_path / "labels.json", data=data))
    summary.check(Console(stamped=False), plan)
    shown = capsys.readouterr().out
    assert "labels.json: no image '10.png' in '" in shown
    assert "2 of 11 training samples cannot be used" in shown
    write_coco(tmp_path / "labels.json", 19)
    plan = prepare(configuration(tmp_path, tmp_path / "labels.json", data=data))
    with pytest.raises(DataError, match="more than half of the samples cannot be used"):
        summary.check(Console(stamped=False), plan)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, ray_cluster):
    """A folder, and a run in it that learned from a file with ids 7 and 90."""
    folder = tmp_path_factory.mktemp("coco")
    draw(folder / "images")
    labels = write_labels(folder, "coco")
    kept = {"checkpoints": {"save": str(folder / "model")}, "num_epochs": 2}
    return folder, rayrml.run(configuration(folder, labels, **kept), quiet=True)


@pytest.mark.ray
@pytest.mark.parametrize("threshold", [0.0, 0.9])
def test_results_for_another_file_have_its_ids_and_the_figure_of_the_log(trained, tmp_path, threshold):
    """Classes in another order, ids from 0, crowds; a file without one of the classes; any threshold."""
    folder, run = trained
    write_coco(tmp_path / "other.json", ids=((3, "cow"), (0, "disc"), (1, "bar")), crowds=(0, 3, 4), first=500)
    found = rayrml.evaluate(
        run.checkpoints[-1],
        folder / "images",
        tmp_path / "found",
        targets=tmp_path / "other.json",
        overrides={"detection.score_threshold": threshold},
        quiet=True,
    )
    results = json.loads((tmp_path / "found" / "detections.json").read_text())
    document = json.loads((tmp_path / "other.json").read_text())
    assert {result["category_id"] for result in results} == {0, 1}
    rows = DetectionRows(2)
    for image in document["images"]:
        own = [result for result in results if result["image_id"] == image["id"]]
        true = [annotation for annotation in document["annotations"] if annotation["image_id"] == image["id"]]
        boxes = [np.array([one["bbox"] for one in some], float).reshape(-1, 4) for some in (own, true)]
        corners, true_corners = (np.concatenate([some[:, :2], some[:, :2] + some[:, 2:]], 1) for some in boxes)
        scores = np.array([[one["score"], one["category_id"]] for one in own]).reshape(-1, 2)
        kinds = np.array([one["category_id"] for one in true], int)
        crowds = np.array([one["iscrowd"] for one in true], bool)
        truths = Truths(true_corners, kinds, crowds, np.array([0, len(true)]))
        detections = Detections(np.concatenate([corners, scores], 1), np.array([0, len(own)]))
        rows.add(np.array([image["id"]]), detections, truths)
    expected = average_precisions(rows.rows, rows.counts, 0.25)
    assert (found.metrics["map"], found.metrics["map50"]) == pytest.approx((expected.map, expected.map50), rel=1e-9)


@pytest.mark.ray
def test_detections_of_a_class_without_an_id_have_a_free_one(trained, tmp_path):
    _, run = trained
    draw(tmp_path / "images", (1, 1))
    write_coco(tmp_path / "other.json", 2, ids=((5, "disc"),))
    rayrml.evaluate(
        run.checkpoints[-1], tmp_path / "images", tmp_path / "found", targets=tmp_path / "other.json", quiet=True
    )
    results = json.loads((tmp_path / "found" / "detections.json").read_text())
    assert {result["category_id"] for result in results} == {5, 6}


@pytest.mark.ray
def test_images_of_equal_names_are_told_apart(trained, tmp_path):
    """In sub-folders; a damaged one is left out, or a mistake that names it."""
    _, run = trained
    for part in ("a", "b"):
        draw(tmp_path / "images" / part)
    damaged = tmp_path / "images" / "b" / "3.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    with pytest.raises(DataError, match=r"b/3\.png"):
        rayrml.predict(run.checkpoints[-1], tmp_path / "images", tmp_path / "found", quiet=True)
    overrides = {"data.on_bad_sample": "skip", "detection.score_threshold": 0.0, "detection.max_detections": 2}
    for size in (1, 2):
        found = rayrml.predict(
            run.checkpoints[-1],
            tmp_path / "images",
            tmp_path / f"found{size}",
            overrides={**overrides, "ray.num_workers": size},
            quiet=True,
        )
        written = datasets_of(found.files[0])
        assert len(written) == found.count == 17 and found.skipped == 1
        assert all(rows.shape == (2, 6) for rows in written.values())
        np.testing.assert_allclose(written["a/4.png"], written["b/4.png"])
    ids = [result["image_id"] for result in json.loads((tmp_path / "found1" / "detections.json").read_text())]
    assert len(set(ids)) == len(written)
    assert checkpoints.load(run.checkpoints[-1]).category_ids == (7, 90)


@pytest.mark.ray
def test_images_that_are_skipped_take_their_boxes_along(tmp_path, ray_cluster):
    """With bad labels or damaged, preloaded by two workers or streamed, the others are learnt as without them."""

    def run(name, images, labels, **data):
        changes = {"checkpoints": {"save": str(tmp_path / name)}, "num_epochs": 2}
        data = {"test_input_path": str(images), "test_target_path": str(labels), **data}
        config = configuration(images.parent, labels, data=data, **changes)
        return rayrml.run(config, num_workers=2 if "preload" in data else 1, quiet=True)

    whole, spoiled = tmp_path / "whole", tmp_path / "spoiled"
    for folder in (whole, spoiled):
        draw(folder / "images")
        write_yolo(folder / "labels")
    (spoiled / "labels" / "3.txt").write_text("0 0.5 0.5 30 0.1")
    damaged = spoiled / "images" / "5.png"
    damaged.write_bytes(damaged.read_bytes()[:-60])
    for number in (3, 5):
        (whole / "images" / f"{number}.png").unlink()
    expected = run("clean", whole / "images", whole / "labels")
    for name, data in {"streamed": {}, "preloaded": {"preload": True}}.items():
        found = run(name, spoiled / "images", spoiled / "labels", on_bad_sample="skip", **data)
        assert found.skipped == {"training": 2, "test": 2}
        for key in ("train_loss", "test_loss", "map", "map50"):
            ours, theirs = ([figures[key] for figures in history] for history in (found.history, expected.history))
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.ray
def test_a_rate_is_found_in_more_than_an_epoch(trained):
    folder, _ = trained
    found = find_rate(configuration(folder, folder / "labels.json"), rates=RateRange(1e-6, 1e-5, 3), quiet=True)
    assert len(found.losses) == 3
