"""The configuration that a run leaves, and what it records about where it ran."""

import json

import pytest

from rayrml.cluster.allocation import Allocation
from rayrml.config.tables import choose, make_model
from rayrml.data import slicers, transforms
from rayrml.data.transforms.table import TRANSFORMS, find_bare_field
from rayrml.losses import LOSSES
from rayrml.lr_schedulers import LR_SCHEDULERS, choose_schedule
from rayrml.optimizers import OPTIMIZERS
from rayrml.planning.preparation import prepare
from rayrml.runs import provenance
from tests import gan_data
from tests.box_data import configuration, write_images
from tests.conftest import training_config
from tests.data.transforms.test_transforms import VALUES

ALLOCATION = Allocation(2, False, False, {"CPU": 1.0}, 0.5, 1)
TABLES = {"type": OPTIMIZERS, "function": LOSSES}
ROWS = [(key, name) for key, table in TABLES.items() for name in table]


def needed(row):
    """Values for the fields that have no default."""
    fields = make_model(row).model_fields
    return {name: 0.5 for name, field in fields.items() if field.is_required()}


@pytest.mark.parametrize(("key", "name"), ROWS)
def test_the_settings_of_every_row_are_a_section_that_says_the_same(key, name):
    chosen = choose(TABLES[key], {key: name, **needed(TABLES[key][name])}, "section", key)
    section = json.loads(json.dumps({key: name, **chosen.settings}))
    assert choose(TABLES[key], section, "section", key).settings == chosen.settings


@pytest.mark.parametrize("name", LR_SCHEDULERS)
def test_the_settings_of_every_scheduler_are_a_section_that_says_the_same(name):
    fields = make_model(LR_SCHEDULERS[name]).model_fields
    values = {"milestones": [2], "step_size": 2, "num_epochs": 5, "total_steps": 5, "max_lr": 0.5}
    given = {key: values.get(key, 0.5) for key, field in fields.items() if field.is_required()}
    chosen = choose_schedule({"type": name, **given}, "section")
    again = choose_schedule(json.loads(json.dumps(chosen.settings)), "section")
    assert again.settings == chosen.settings


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_settings_of_every_transform_are_a_list_that_says_the_same(name):
    row = TRANSFORMS[name]
    bare = find_bare_field(row)
    (chosen,) = transforms.parse_transforms([{name: VALUES[name]}], "transforms")
    section = json.loads(json.dumps(chosen.section))
    shown = section[name] if bare is None else {bare: section[name]}
    assert shown.keys() == make_model(row).model_fields.keys()
    (again,) = transforms.parse_transforms([section], "transforms")
    assert (again.settings, again.build()) == (chosen.settings, chosen.build())


def test_the_settings_of_a_slicer_are_an_object_that_says_the_same():
    (cut,) = slicers.parse_slicers([{"name": "bricks", "sizes": [4, 4], "padding": [2, 2]}], "slicers")
    section = json.loads(json.dumps(cut.settings))
    assert section["strides"] == [4, 4]
    assert slicers.parse_slicers([section], "slicers") == (cut,)


@pytest.fixture
def plan(tmp_path, write_digits, monkeypatch):
    for part in ("training", "testing"):
        write_digits(tmp_path / part, part, (1, 4, 7), 2)
    monkeypatch.chdir(tmp_path)
    config = training_config(tmp_path, tmp_path)
    layers = config["neural_network"]["layers"]
    (tmp_path / "network.json").write_text(json.dumps(layers))
    config["neural_network"] |= {"layers": "network.json", "outfile": "out.txt"}
    config["neural_network"]["optimizer"]["lr_scheduler"] = {"type": "Cosine"}
    config["neural_network"]["data"]["input_transforms"] = [{"normalize": {"mean": 0.25}}, {"random_zoom": 0.1}]
    return prepare(config, {"data.batch_size": 5})


def test_the_resolved_configuration_holds_everywhere_and_leaves_nothing_open(plan, tmp_path):
    found = json.loads(json.dumps(provenance.resolved(plan, ALLOCATION, {})))
    nn = found["neural_network"]
    assert (nn["outfile"], nn["data"]["batch_size"]) == (str(tmp_path / "out.txt"), 5)
    assert (nn["optimizer"]["nesterov"], nn["seed"], nn["data"]["on_bad_sample"]) == (False, 0, "error")
    assert nn["data"]["input_transforms"] == [{"normalize": {"mean": 0.25, "std": 1.0}}, {"random_zoom": 0.1}]
    assert (found["ray"]["num_workers"], found["ray"]["use_gpu"]) == (2, False)
    (tmp_path / "network.json").unlink()
    again = prepare(found, {})
    assert again.layers == plan.layers
    assert json.loads(json.dumps(provenance.resolved(again, ALLOCATION, {}))) == found


@pytest.mark.ray
def test_the_environment_tells_versions_and_no_secrets(ray_cluster, plan, monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "tell nobody")
    found = provenance.environment(plan, ALLOCATION)
    assert list(found)[:5] == ["rayrml", "python", "torch", "ray", "numpy"]
    assert (found["ray"], found["workers"], found["seed"]) == (ray_cluster.__version__, 2, 0)
    assert found["devices"]["type"] == "CPU"
    assert "tell nobody" not in json.dumps(found)


def test_the_resolved_configuration_keeps_what_was_found_of_boxes(tmp_path):
    """Classes, anchors and strides: other boxes and other names beside them change nothing."""
    write_images(tmp_path)
    plan = prepare(configuration(tmp_path, detection={"nms_iou": 0.3}))
    kept = json.loads(json.dumps(provenance.resolved(plan, ALLOCATION, {})))
    (tmp_path / "classes.txt").write_text("x\ny")
    write_images(tmp_path, {"e": ["0 0.5 0.5 1 1"], "f": ["1 0.5 0.5 0.9 1"]})
    (tmp_path / "classes.txt").write_text("x\ny")
    again = prepare(kept)
    assert again.classes == plan.classes == ("disc", "bar")
    assert again.loss.settings == plan.loss.settings and again.config.neural_network.detection.nms_iou == 0.3


def test_a_generator_and_its_critic_can_be_trained_again(tmp_path, write_digits):
    for part in ("training", "testing"):
        write_digits(tmp_path / part, part, (3, 5), 3)
    own = {"type": "SGD", "lr_scheduler": {"type": "Cosine"}}
    plan = prepare(gan_data.configuration(tmp_path, critic__optimizer=own, early_stopping={}))
    section = json.loads(json.dumps(provenance.resolved(plan, ALLOCATION, {})))
    again = prepare(section)
    assert again.critic.layers == plan.critic.layers
    assert again.critic.updates.optimizer.settings == plan.critic.updates.optimizer.settings
    assert again.critic.updates.schedule.settings == plan.critic.updates.schedule.settings
    assert again.config.neural_network.early_stopping == plan.config.neural_network.early_stopping
