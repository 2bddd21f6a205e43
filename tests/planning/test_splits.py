"""The paths of a configuration that names one folder for everything."""

import tarfile

import numpy as np
import pytest
from PIL import Image

from rayrml.errors import ConfigError, DataError
from rayrml.planning import summary
from rayrml.planning.preparation import prepare
from rayrml.reporting.console import Console

LABELS = [
    {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 8, 8, 3]}},
    {"class_name": "Flatten", "config": {}},
    {"class_name": "Dense", "config": {"units": 2, "activation": "log_softmax"}},
]
PIXELS = [
    {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 8, 8, 3]}},
    {"class_name": "Conv2D", "config": {"filters": 1, "kernel_size": 1, "activation": "sigmoid"}},
]


def fill(root, **counts):
    """So many images in each of two class folders of each part, `train` and so on."""
    for part, count in counts.items():
        draw(root, *(f"{part}/{label}/{number}.png" for label in ("cat", "dog") for number in range(count)))
    return root


def draw(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), 255, np.uint8)).save(path)
    return root


def labels(root, **data):
    data = {"input_type": "images", "target_type": "labels", "input_path": str(root), **data}
    return configuration(LABELS, {"function": "NLL"}, data)


def pixels(**data):
    data = {"type": "images", "target_is_mask": True, "target_grayscale": True, "input_grayscale": False, **data}
    return configuration(PIXELS, {"function": "Dice", "source": "sigmoid"}, data)


def configuration(layers, loss, data):
    return {"neural_network": {"layers": layers, "loss": loss, "optimizer": {"type": "Adam"}, "data": data}}


def paths_of(plan, root):
    data = plan.config.neural_network.data
    keys = ("input_path", "target_path", "test_input_path", "test_target_path", "final_test_input_path")
    found = [getattr(data, key) for key in (*keys, "final_test_target_path")]
    return [path and path.removeprefix(f"{root}/") for path in found]


@pytest.fixture
def screen(capsys):
    """A function that returns what the screen says of a plan."""

    def shown(plan):
        summary.plan(Console(), plan, 1)
        summary.notices(Console(), plan)
        return capsys.readouterr().out

    return shown


def test_the_paths_of_all_parts_are_found(tmp_path):
    plan = prepare(labels(fill(tmp_path, train=3, val=2, test=1)))
    assert paths_of(plan, tmp_path) == ["train", None, "val", None, "test", None]
    assert {source.name: len(source.samples) for source in plan.sources} == {"training": 6, "test": 4, "final test": 2}
    assert plan.classes == ("cat", "dog")


def test_a_test_without_validation_is_evaluated_after_each_epoch_and_the_screen_says_so(tmp_path, screen):
    plan = prepare(labels(fill(tmp_path, train=3, test=2)))
    assert (paths_of(plan, tmp_path), plan.final_test) == (["train", None, "test", None, None, None], None)
    assert "test, after each epoch: there is no folder for validation" in screen(plan)


def test_the_screen_shows_each_folder_with_its_role_and_its_samples(tmp_path, screen):
    draw(fill(tmp_path, train=3, val=2), "test/0.png")
    lines = screen(prepare(labels(tmp_path))).splitlines()
    rows = [" ".join(line.split("  ")[1:]).split() for line in lines if str(tmp_path) in line and "*" not in line]
    assert rows == [
        ["training", "6"],
        ["validation,", "after", "each", "epoch", "4"],
        ["not", "used:", "has", "no", "class", "folders", "-"],
    ]


def test_a_folder_of_classes_stays_as_it_is(tmp_path, screen):
    draw(tmp_path, "cat/0.png", "dog/0.png")
    plan = prepare(labels(tmp_path))
    assert (plan.config.neural_network.data.input_path, plan.test, screen(plan).count("Role")) == (
        str(tmp_path),
        None,
        0,
    )


@pytest.mark.parametrize(
    ("data", "note"),
    [
        ({"test_input_path": "test"}, "'{root}/val' beside '{root}/train': looks like a part of the data set"),
        ({}, "'{root}/val', '{root}/test' beside '{root}/train': looks like a part of the data set"),
        ({"test_input_path": "test", "final_test_input_path": "val"}, None),
        (
            {"input_path": "", "test_share": 0.5},
            "'{root}' holds 'train', 'val', 'test': all of them are read as training",
        ),
    ],
)
def test_a_configuration_that_names_its_folders_stays_as_it_is_and_unused_ones_are_named(tmp_path, screen, data, note):
    fill(tmp_path, train=3, val=2, test=2)
    given = {"input_path": "train", **data}
    given = {key: str(tmp_path / value) if isinstance(value, str) else value for key, value in given.items()}
    plan = prepare(labels(tmp_path, **given))
    kept = {key: getattr(plan.config.neural_network.data, key) for key in given}
    assert kept == given
    expected = note and note.format(root=tmp_path)
    assert [text.startswith(expected or "") for text in plan.folders.notes] == ([] if note is None else [True])
    assert expected is None or expected in screen(plan)


def test_tar_files_of_several_parts_in_one_folder_are_named(tmp_path):
    fill(tmp_path / "images", train=2, test=2)
    (tmp_path / "tars").mkdir()
    for part in ("train", "test"):
        with tarfile.open(tmp_path / "tars" / f"{part}-0000.tar", "w") as file:
            for path in (tmp_path / "images" / part).rglob("*.png"):
                file.add(path, f"{path.parent.name}/{part}_{path.name}")
    (note,) = prepare(labels(tmp_path / "tars", test_share=0.5)).folders.notes
    assert note.startswith(f"'{tmp_path}/tars' holds tar files named 'test', 'train': all of them are read as training")
    parts = {"input_path": str(tmp_path / "tars/train-{0000..0000}.tar"), "test_share": 0.5}
    assert prepare(labels(tmp_path, **parts)).folders.notes == ()


def test_an_unused_part_is_named_where_each_part_has_images_and_masks(tmp_path):
    draw(tmp_path, *(f"{part}/{side}/0.png" for side in ("images", "masks") for part in ("train", "val", "test")))
    keys = {"input": "train/images", "target": "train/masks", "test_input": "val/images", "test_target": "val/masks"}
    plan = prepare(pixels(**{f"{key}_path": str(tmp_path / below) for key, below in keys.items()}))
    (note,) = plan.folders.notes
    assert note.startswith(f"'{tmp_path}/test' beside '{tmp_path}/train': looks like a part of the data set")


def test_folders_that_could_mean_two_things_are_an_error_beside_all_others(tmp_path):
    fill(tmp_path, train=1, val=1, validation=1)
    with pytest.raises(DataError, match=r"input_path: 'val', 'validation' in .* could both be the validation samples"):
        prepare(labels(tmp_path))
    with pytest.raises(ConfigError, match="could both be the validation samples") as raised:
        prepare(labels(tmp_path), {"optimizer.type": "Adamm"})
    assert len(raised.value.problems) == 2


def test_the_folder_of_targets_has_the_same_parts(tmp_path):
    draw(tmp_path, *(f"{side}/{part}/0.png" for side in ("photos", "outlines") for part in ("train", "val", "test")))
    plan = prepare(pixels(input_path=str(tmp_path / "photos"), target_path=str(tmp_path / "outlines")))
    parts = ("train", "val", "test")
    assert paths_of(plan, tmp_path) == [f"{side}/{part}" for part in parts for side in ("photos", "outlines")]
    assert all(source.target is not None for source in plan.sources)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["outlines/0.png"], "photos' holds folders for training and the test, but '.*outlines' does not"),
        (["outlines/train/0.png", "outlines/test/0.png"], "photos/val' has no partner in '.*outlines'"),
    ],
)
def test_a_folder_of_targets_with_other_parts_is_an_error(tmp_path, names, message):
    draw(tmp_path, "photos/train/0.png", "photos/val/0.png", *names)
    with pytest.raises(DataError, match=message):
        prepare(pixels(input_path=str(tmp_path / "photos"), target_path=str(tmp_path / "outlines")))


def test_inputs_and_targets_in_one_folder_are_told_apart_by_their_suffix_in_each_part(tmp_path):
    draw(tmp_path, *(f"{part}/{name}.png" for part in ("train", "val") for name in ("0", "0_mask")))
    plan = prepare(pixels(input_path=str(tmp_path), target_path=str(tmp_path), target_suffix="_mask"))
    assert paths_of(plan, tmp_path) == ["train", "train", "val", "val", None, None]
    assert [list(source.samples.names) for source in plan.sources] == [["0.png"], ["0.png"]]


def test_images_and_masks_in_one_folder_are_pairs(tmp_path):
    draw(tmp_path, "images/0.png", "masks/0.png")
    assert paths_of(prepare(pixels(input_path=str(tmp_path))), tmp_path)[:2] == ["images", "masks"]


def test_images_and_masks_are_not_taken_for_two_classes(tmp_path):
    draw(tmp_path, "images/0.png", "masks/0.png")
    with pytest.raises(DataError, match="which look like images and their masks"):
        prepare(labels(tmp_path))


def test_the_final_test_needs_the_classes_of_training(tmp_path):
    fill(tmp_path, train=2, val=1)
    draw(tmp_path, "test/cat/0.png", "test/owl/0.png")
    with pytest.raises(DataError, match=r"final_test_input_path: classes unknown to training in .*: 'owl'"):
        prepare(labels(tmp_path))


def test_a_final_test_may_follow_a_share_for_the_test(tmp_path):
    fill(tmp_path, train=10, later=2)
    keys = {"input_path": "train", "final_test_input_path": "later"}
    plan = prepare(labels(tmp_path, test_share=0.2, **{key: str(tmp_path / name) for key, name in keys.items()}))
    assert [len(source.samples) for source in plan.sources] == [16, 4, 4]
