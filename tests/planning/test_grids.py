"""What a configuration's network and boxes make of the loss."""

import dataclasses
import re

import pytest

from rayrml.errors import ConfigError, RayrmlError
from rayrml.losses.detection import grids_of
from rayrml.planning.grids import are_alike, format_anchors, list_recorded, with_recorded_anchors
from rayrml.planning.preparation import prepare
from rayrml.saving import checkpoints
from tests.box_data import CHANNELS, configuration, grids, write_images

GIVEN = [[30, 20], [4, 5], [40, 40], [10, 10]]
DEALT = (((30, 20), (40, 40)), ((4, 5), (10, 10)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("boxes")
    write_images(folder)
    return folder


def plan_of(folder, **changes):
    return prepare(configuration(folder, **changes))


def grids_in(plan):
    return grids_of(plan.loss.build())


@pytest.mark.parametrize(
    ("layers", "strides", "anchors"),
    [
        (grids(), (32, 16), DEALT),
        (grids(outputs=("fine", "coarse")), (16, 32), DEALT[::-1]),
        (grids(joined=("coarse", "fine")), (32, 16), DEALT),
        (grids(joined=("fine", "coarse")), (16, 32), DEALT[::-1]),
    ],
)
def test_several_outputs_or_one_are_grids_with_the_small_anchors_on_the_fine_one(folder, layers, strides, anchors):
    given = {"loss__strides": list(strides)} if layers["config"]["output_layers"] == [["all", 0, 0]] else {}
    plan = plan_of(folder, layers=layers, loss__anchors=GIVEN, **given)
    assert (grids_in(plan).strides, grids_in(plan).anchors) == (strides, anchors)
    assert plan.loss.settings["anchors"] == anchors and plan.loss.settings["strides"] == strides


def test_automatic_anchors_are_sizes_of_the_training_boxes(folder):
    """Five boxes for four anchors; a letterbox of half the size halves them."""
    anchors = sorted(size for of_grid in grids_in(plan_of(folder)).anchors for size in of_grid)
    assert {(48, 48), (32, 16)} <= set(anchors) and len(anchors) == 4
    halved = plan_of(folder, layers=grids(size=(32, 32)), data__transforms=[{"letterbox": [32, 32]}])
    assert [(2 * w, 2 * h) for w, h in sorted(s for of_grid in grids_in(halved).anchors for s in of_grid)] == anchors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"layers": grids(channels=255), "loss__anchors": GIVEN},
            "255 channels, but 2 anchors and 2 classes need 2 x (5",
        ),
        (
            {"layers": grids(channels=255)},
            "the output has 255 channels, but for 2 classes it needs a multiple of 5 + 2",
        ),
        ({"layers": grids(activation="sigmoid")}, "layer 'coarse' has the activation sigmoid. Expected none"),
        (
            {"layers": grids(joined=("fine", "coarse"), activation="relu")},
            "layer 'coarse' has the activation relu. Expected none",
        ),
        (
            {"layers": grids(joined=("fine", "coarse"))},
            ".strides: [32, 16] make grids of 4, then 16 cells, but the output has first 16, then 4. Expected [16, 32]",
        ),
        ({"layers": grids(outputs=("norm",)), "loss__anchors": GIVEN}, "the output has 4 channels, but"),
        ({"loss__anchors": GIVEN[:3]}, ".anchors: 3 anchors cannot be dealt out evenly to 2 outputs"),
        ({"loss__strides": [16, 32]}, ".strides: 16 makes 4 x 4 cells of an input of 64 x 64 pixels"),
    ],
)
def test_outputs_that_are_no_such_grids_are_the_only_mistake(folder, changes, message):
    with pytest.raises(ConfigError, match=re.escape(message)) as error:
        plan_of(folder, **changes)
    assert len(error.value.problems) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"loss__anchors": 5},
        {"loss__ignore_threshold": 2},
        {"data__target_path": "/nowhere"},
        {"data__target_type": None},
        {"data__classes": ["a", "a"]},
    ],
)
def test_nothing_follows_from_another_mistake(folder, changes):
    """Not that the network has two outputs, that anchors need boxes, or that the classes are not known."""
    with pytest.raises(RayrmlError) as error:
        plan_of(folder, **changes)
    assert len(error.value.problems) == 1


def kept(folder, tmp_path, **changes):
    """A checkpoint of a network that was trained with these keys."""
    plan = plan_of(folder, **changes)
    path = tmp_path / "model_checkpoint_1.pt"
    loss = {"function": "YOLOv3", **plan.loss.arguments}
    checkpoints.save(
        path, checkpoints.Checkpoint(1, plan.network.state_dict(), plan.layers, (3, 64, 64), plan.classes, loss=loss)
    )
    return str(path)


NOTHING_TRAINED = {"data__input_path": None, "optimizer": None}


def test_without_training_boxes_the_anchors_are_those_of_the_checkpoint(folder, tmp_path):
    path = kept(folder, tmp_path, loss__anchors=GIVEN)
    inputs = {**NOTHING_TRAINED, "data__test_input_path": str(folder / "images" / "train"), "checkpoints__load": path}
    predicts = {**inputs, "data__target_type": None}
    for keys in (inputs, predicts, {**inputs, "loss__anchors": [[30.1, 19.9], [4, 5], [40, 40], [10, 10]]}):
        plan = plan_of(folder, **keys)
        assert plan.classes == ("disc", "bar") and are_alike(grids_in(plan).anchors, DEALT)
    with pytest.raises(
        ConfigError, match=r"not those that the checkpoint's network was trained with: 4\.0x5\.0 10\.0x10\.0"
    ):
        plan_of(folder, **inputs, loss__anchors=[[1, 1]] * 4)
    with pytest.raises(ConfigError, match="classes: are not those that the checkpoint's network finds, in their order"):
        plan_of(folder, **inputs, data__classes=["bar", "disc"])
    with pytest.raises(ConfigError, match='"auto" needs training boxes, or a checkpoint'):
        plan_of(folder, **{**inputs, "checkpoints__load": None})


def test_a_prediction_without_a_checkpoint_needs_anchors_and_classes(folder):
    keys = {**NOTHING_TRAINED, "data__target_type": None, "data__test_input_path": str(folder / "images" / "train")}
    plan = plan_of(folder, **keys, loss__anchors=GIVEN, data__classes=["cat", "dog"])
    assert plan.classes == ("cat", "dog") and grids_in(plan).num_classes == 2
    with pytest.raises(ConfigError, match="the classes are not known"):
        plan_of(folder, **keys, loss__anchors=GIVEN)


def test_training_on_from_a_checkpoint_says_what_outputs_no_longer_stand_for(folder, tmp_path):
    path = kept(folder, tmp_path, loss__anchors=GIVEN)
    plan = plan_of(folder, checkpoints__load=path, data__classes=["bar", "disc"])
    said = "\n".join(plan.warnings)
    assert "the checkpoint's network distinguishes disc, bar, but the samples have bar, disc" in said
    assert "trained with other anchors (4.0x5.0 10.0x10.0 30.0x20.0 40.0x40.0): it learns sizes anew" in said
    assert not plan_of(folder, checkpoints__load=path, loss__anchors=GIVEN).warnings


def test_recorded_anchors_replace_those_of_other_boxes_but_not_of_other_outputs(folder):
    plan = plan_of(folder)
    loss = with_recorded_anchors(plan.loss, {"anchors": DEALT})
    assert grids_of(loss.build()) == dataclasses.replace(grids_in(plan), anchors=DEALT)
    assert loss.settings["anchors"] == DEALT
    for other in ({}, {"anchors": "auto"}, {"anchors": DEALT[:1]}):
        assert with_recorded_anchors(plan.loss, other) == plan.loss


def test_anchors_are_compared_as_far_as_they_are_shown():
    assert list_recorded({"anchors": [[[30, 20.04], [40, 40]], [[4, 5], [10, 10]]]}) == (
        ((30, 20.04), (40, 40)),
        DEALT[1],
    )
    assert list_recorded({}) is None
    assert are_alike(DEALT, (((30, 20.04), (40, 40)), DEALT[1]))
    assert not are_alike(DEALT, DEALT[::-1]) and not are_alike(DEALT, DEALT[:1])
    assert format_anchors(DEALT) == "4.0x5.0 10.0x10.0 30.0x20.0 40.0x40.0"
    assert CHANNELS == 2 * (5 + 2)
