"""The schema accepts what the program accepts, and rejects what it rejects."""

import copy
import json

import jsonschema
import numpy as np
import pytest

from rayrml.config import reading, search_spaces
from rayrml.errors import ConfigError, DataError
from rayrml.losses import LOSSES
from rayrml.lr_schedulers import LR_SCHEDULERS
from rayrml.optimizers import OPTIMIZERS
from rayrml.planning.preparation import prepare
from rayrml.schema import json_schema
from rayrml.tuning import search
from tests import box_data, gan_data
from tests.box_data import write_images
from tests.conftest import ROOT, dense_network

VALIDATOR = jsonschema.Draft202012Validator(json_schema.configuration())
EXAMPLES = [p for p in sorted((ROOT / "examples").rglob("*.json")) if "neural_network" in p.read_text()]


class _Gone:
    """A removed key; its name is the same in all processes that collect the tests."""

    def __repr__(self):
        return "GONE"


GONE = _Gone()


@pytest.fixture(scope="module")
def bases(tmp_path_factory, write_digits):
    """Valid configurations: with images, with sliced arrays, with initial conditions, and with boxes."""
    folder = tmp_path_factory.mktemp("bases")
    write_digits(folder / "training", "training", (3, 5), 3)
    write_digits(folder / "testing", "testing", (3, 5), 2)
    (folder / "arrays").mkdir()
    np.save(folder / "arrays" / "a.npy", np.ones((8, 8), np.float32))
    learning = {"optimizer": {"type": "SGD"}, "loss": {"function": "MSE"}}
    paths = {"input_path": str(folder / "training"), "test_input_path": str(folder / "testing")}
    images = {"input_type": "images", "target_type": "labels", "grayscale": True, **paths}
    arrays = {"type": "numpy", "input_path": str(folder / "arrays"), "slicers": [{"sizes": [4, 4]}]}
    values = {"type": "pde", "domain_size": 32, "num_examples": 4, "bc_type": "fixed_uniform"}
    write_images(folder / "boxes")
    found = box_data.configuration(folder / "boxes", loss__anchors=[[9, 9]] * 4)["neural_network"]
    write_digits(folder / "digits" / "training", "training", (3, 5), 3)
    write_digits(folder / "digits" / "testing", "testing", (3, 5), 2)
    return {
        "boxes": found,
        "gan": gan_data.configuration(folder / "digits")["neural_network"],
        "images": {"layers": dense_network(2), "data": images, **learning, "loss": {"function": "NLL"}},
        "arrays": {"layers": _convolution(2), "data": arrays, **learning},
        "values": {"layers": _convolution(1), "data": values, **learning},
    }


def _convolution(axes):
    return [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None] * (axes + 1) + [1]}},
        {"class_name": f"Conv{axes}D", "config": {"filters": 1, "kernel_size": 3, "padding": "same"}},
    ]


def changed(bases, case):
    """A whole configuration: the base that the first key names, with dotted keys set or removed."""
    network = copy.deepcopy(bases[case.get("base", "images")])
    whole = {"neural_network": network}
    for key, value in case.items():
        *outer, last = key.split(".")
        place = whole if outer[:1] in (["top"], ["ray"]) else network
        for part in outer:
            place = place if part == "top" else place.setdefault(part, {})
        if key == "base":
            continue
        if value is GONE:
            del place[last]
        else:
            place[last] = value
    return whole


def answers(raw):
    """What is wrong with a configuration, according to the schema and to the program."""
    try:
        prepare(raw, {})
    except (ConfigError, DataError) as error:
        return list(VALIDATOR.iter_errors(raw)), list(error.problems)
    return list(VALIDATOR.iter_errors(raw)), []


def test_it_is_a_schema_whose_references_lead_somewhere():
    found = json_schema.configuration()
    jsonschema.Draft202012Validator.check_schema(found)
    references = {part.split('"')[0] for part in json.dumps(found).split('"$ref": "#/')[1:]}
    assert references
    for reference in references:
        place = found
        for part in reference.split("/"):
            place = place[part]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_example_is_right(path):
    raw = json.loads(path.read_text())
    found, problems = search_spaces.find_spaces(raw)
    assert not problems
    validator = jsonschema.Draft202012Validator(json_schema.search()) if found else VALIDATOR
    assert not list(validator.iter_errors(raw))
    for values in search_spaces.list_examples(found):
        assert not reading.parse(search_spaces.fill(raw, values))[1]


@pytest.mark.parametrize("base", ["images", "arrays", "values", "gan"])
def test_the_bases_are_right(bases, base):
    assert answers({"neural_network": bases[base]}) == ([], [])


@pytest.mark.parametrize(
    ("place", "table"),
    [(("optimizer", "type"), OPTIMIZERS), (("lr_scheduler", "type"), LR_SCHEDULERS), (("loss", "function"), LOSSES)],
)
def test_every_row_of_a_table_is_described_with_all_its_keys(place, table):
    name, key = place
    found = json_schema.configuration()["$defs"][name]
    rows = (found["anyOf"][0] if name == "lr_scheduler" else found)["oneOf"]
    assert [row["properties"][key]["anyOf"][0]["enum"] for row in rows] == [[name] for name in table]
    assert all(row["description"] and row["additionalProperties"] is False for row in rows)


BROKEN = [
    # misspelt keys
    {"num_epoch": 3},
    {"top.neural_netwrok": {}},
    {"data.bacth_size": 3},
    {"data.Batch_Size": 3},
    {"optimizer.lr": 0.1},
    {"optimizer.beta1": 0.9},
    {"loss.wieght": [1, 1]},
    {"checkpoints.folder": "x"},
    {"ray.workers": 2},
    {"early_stopping.patiance": 2},
    {"optimizer.lr_scheduler": {"type": "Step", "step_size": 2, "gama": 0.1}},
    {"data.transforms": [{"random_erasing": {"chance": 0.5}}]},
    {"base": "arrays", "data.slicers": [{"size": [4, 4]}]},
    {"layers": {"network": "resnet51"}},
    {"layers": {"network": "mobilenetv2", "dropout": 0.5}},
    {"layers": {"network": "fpn", "encoder": "xception", "classes": 2}},
    # wrong types
    {"num_epochs": "3"},
    {"layers": {"network": 18}},
    {"layers": {"network": "resnet18", "input": 28}},
    {"num_epochs": 2.5},
    {"num_epochs": None},
    {"seed": True},
    {"layers": 3},
    {"optimizer": "SGD"},
    {"optimizer.learning_rate": "0.1"},
    {"optimizer.nesterov": 1},
    {"data.preload": "yes"},
    {"data.input_path": ["a", "b"]},
    {"data.transforms": {"resize": [28, 28]}},
    {"data.transforms": [{"resize": 28}]},
    {"data.transforms": [{"normalize": 0.5}]},
    {"data.transforms": ["resize"]},
    {"data.transforms": [{"resize": [28, 28], "rotate": 3}]},
    {"data.transforms": [{}]},
    {"top.$schema": 3},
    {"ray.resources_per_worker": {"CPU": "two"}},
    # out of range
    {"data.batch_size": 0},
    {"layers": {"network": "resnet18", "classes": 0}},
    {"layers": {"network": "resnet18", "activation": "softplus"}},
    {"seed": -1},
    {"gradient_clip": 0},
    {"ema": {"decay": 1}},
    {"unfreeze": []},
    {"unfreeze": {"epoch": 1, "layers": "a"}},
    {"optimizer.learning_rates": {"a": 0}},
    {"optimizer.accumulate": 0},
    {"optimizer.learning_rate": -1},
    {"optimizer.momentum": 1},
    {"loss": {"function": "Huber", "delta": 0}},
    {"loss": {"function": "NLL", "weight": []}},
    {"optimizer.lr_scheduler": []},
    {"optimizer.lr_scheduler": {"type": "Warmup", "num_epochs": 2, "start_factor": 2}},
    {"data.transforms": [{"random_horizontal_flip": 1.5}]},
    {"data.transforms": [{"random_resized_crop": {"size": [28, 28, 28]}}]},
    {"ray.num_workers": [1, 2, 3]},
    {"base": "values", "data.domain_size": 1},
    {"base": "arrays", "data.slicers": [{"sizes": [0, 4]}]},
    # unknown names
    {"optimizer.type": "Adamm"},
    {"optimizer.type": ""},
    {"optimizer.lr_scheduler": {"type": "Linear"}},
    {"loss.function": "nl"},
    {"data.input_type": "image"},
    {"data.input_type": "labels"},
    {"data.target_type": "label"},
    {"data.transforms": [{"blur": 3}]},
    {"precision": "float16"},
    {"app": "gans"},
    {"data.on_bad_sample": "ignore"},
    {"early_stopping": {"metric": "accurracy"}},
    {"metric": "accurracy"},
    {"ray.placement_strategy": "pack"},
    {"base": "values", "data.bc_type": "uniform"},
    {"base": "arrays", "data.slicers": [{"sizes": [4, 4], "padding_mode": "Zeros"}]},
    # missing keys
    {"layers": GONE},
    {"data": GONE},
    {"optimizer": GONE},
    {"loss": None},
    {"optimizer.type": GONE},
    {"loss.function": GONE},
    {"data.input_type": GONE},
    {"data.target_type": GONE},
    {"data.input_path": GONE, "data.test_input_path": GONE},
    {"optimizer.lr_scheduler": {"type": "Step"}},
    {"base": "values", "data.domain_size": GONE},
    {"base": "arrays", "data.slicers": [{"strides": [4, 4]}]},
    # keys that cannot be combined
    {"data.test_tag": "a", "data.testing_tag": "b"},
    {"data.domain_size": 32},
    {"base": "arrays", "data.grayscale": True},
    {"base": "arrays", "data.test_output_path": "out"},
    {"data.hdf5_outfile": "out.h5"},
    {"data.transforms": [{"resize": [28, 28]}], "data.input_transforms": [{"resize": [28, 28]}]},
    {"optimizer": {"type": "hessian"}, "gradient_clip": 1},
    {"optimizer": {"type": "hessian"}, "precision": "FP16"},
    {"data.target_suffix": "_mask"},
    {"data.target_is_mask": True},
    {"base": "arrays", "data.training_tag": "train"},
    {"base": "arrays", "data.testing_tag": "test"},
    {"data.hdf5_precision": "Half"},
    {"data.hdf5_shards": "Keep"},
    {"data.test_input_path": "t", "data.test_output_path": "out", "data.hdf5_shards": "merge"},
    {"data.test_output_images": "Masks"},
    {"data.test_output_images": "masks", "data.test_output_path": "out"},
    {"base": "arrays", "data.test_input_path": "t", "data.test_output_path": "o", "data.test_output_images": "pixels"},
    {"debug_interval": 2, "debug": False},
    {"checkpoints": {"interval": 2}},
    {"checkpoints": {"keep": 2}},
    {"data.test_share": 0.5},
    {"data.test_share": 0.5, "data.test_input_path": GONE, "data.input_path": GONE},
    {"data.test_share": 1, "data.test_input_path": GONE},
    {"base": "arrays", "data.test_share": 0.5},
    {"base": "values", "data.test_share": 0.5},
]

BROKEN += [
    {"app": "obj"},
    {"loss": {"function": "YOLOv3"}},
    {"data.target_type": "boxes"},
    {"metric": "map"},
    {"detection": {"nms_iou": 0.3}},
    {"data.box_format": "voc"},
    {"data.classes": ["a", "b"]},
    {"data.samples": "list.txt"},
    {"data.target_grayscale": True},
]
BROKEN += [
    {"base": "boxes", **case}
    for case in [
        {"app": "dnn"},
        {"loss": {"function": "MSE"}},
        {"metric": "accuracy"},
        {"data.target_type": "labels"},
        {"data.input_type": "numpy"},
        {"data.box_format": "pascal"},
        {"data.box_origin": 2},
        {"data.classes": []},
        {"data.test_samples": "list.txt"},
        {"data.class_names": ["a", "b"]},
        {"data.file_column": "a"},
        {"data.target_suffix": "_boxes"},
        {"data.target_scale": "range"},
        {"data.slicers": [{"sizes": [4, 4]}]},
        {"data.input_transforms": [{"letterbox": [64, 64]}]},
        {"data.transforms": [{"letterbox": 64}]},
        {"data.transforms": [{"mosaic": 2}]},
        {"data.test_transforms": "flips"},
        {"detection.score_threshold": 2},
        {"detection.max_detections": 0},
        {"detection.iou": 0.5},
        {"loss.anchors": [[1, 0]] * 4},
        {"loss.anchors": "none"},
        {"loss.strides": []},
        {"loss.box_loss": "iou"},
        {"loss.ignore_threshold": 2},
        {"loss.weights": {"boxes": 1}},
        {"loss.weights": {"box": -1}},
    ]
]

BROKEN += [
    {"app": "gan"},
    {"critic": {"layers": []}},
    {"metric_network": "c.pt"},
    {"metric": "swd"},
    {"data.num_test_examples": 4},
]
BROKEN += [
    {"base": "gan", **case}
    for case in [
        {"app": "dnn"},
        {"critic": GONE},
        {"critic.layers": GONE},
        {"critic.layers": 3},
        {"critic.layers": {"network": "resnet18"}},
        {"critic.optimizer": {"type": "Adamm"}},
        {"critic.optimizer": {"type": "Hessian"}},
        {"critic.steps": 3},
        {"loss": GONE},
        {"loss.critic_steps": 0},
        {"loss.gradient_penalty": -1},
        {"loss.gradient_penalty": 0},
        {"loss.clip": 0.01},
        {"loss.clip": 0, "loss.gradient_penalty": 0},
        {"metric": "accuracy"},
        {"metric": "frechet"},
        {"precision": "BF16"},
        {"compile": True},
        {"optimizer": {"type": "Hessian"}},
        {"data.num_test_examples": 0},
        {"data.target_type": "labels"},
        {"data.target_path": "t"},
        {"data.training_tag": "training"},
        {"data.class_names": ["a"]},
        {"data.input_type": GONE},
        {"data.input_type": "pde", "data.grayscale": GONE},
    ]
]

ODD = [
    {"base": "gan", "app": "GAN", "loss.function": "WASSERSTEIN", "metric": "SWD", "data.num_test_examples": 3},
    {"base": "gan", "loss": {"function": "Wasserstein", "gradient_penalty": 0, "clip": 0.01}, "precision": "bf16"},
    {"base": "gan", "critic.optimizer": {"type": "rmsprop", "lr_scheduler": {"type": "cosine"}}, "ema": {}},
    {"base": "gan", "early_stopping": {}, "metric": None, "critic.optimizer": None},
    {"base": "boxes"},
    {"base": "boxes", "app": "OBJ", "loss.function": "yolov3", "data.target_type": "Boxes"},
    {"base": "boxes", "data.target_type": GONE, "data.type": "boxes", "data.input_type": "images"},
    {"base": "boxes", "data.box_format": "YOLO", "data.classes": ["a", "b"], "metric": "MAP50"},
    {"base": "boxes", "loss.anchors": "auto", "loss.strides": None, "loss.weights": {"box": 2, "no_object": 0}},
    {"base": "boxes", "loss.anchors": [[[9, 9], [8, 8]], [[4, 4], [5, 5]]], "loss.strides": [32, 16.0]},
    {"base": "boxes", "data.transforms": [{"letterbox": [64, 64]}, {"mosaic": 0.5}], "loss.box_loss": "giou"},
    {"base": "boxes", "detection": {"score_threshold": 0, "nms_iou": 1, "max_detections": 1}},
    {"data.box_format": "auto", "data.box_origin": "auto", "data.classes": None, "detection": {"nms_iou": 0.45}},
    {"layers": {"network": "MobileNetV2"}},
    {"layers": {"network": "resnet18", "input": [None, 28, 1], "weights": None}},
    {"optimizer.type": "sgd"},
    {"optimizer.type": "ADAM"},
    {"loss.function": "nll"},
    {"loss.function": "crossENTROPY"},
    {"data.input_type": "Images", "data.target_type": "LABELS"},
    {"data.input_type": GONE, "data.type": "images"},
    {"data.target_type": GONE, "data.type": "labels"},
    {"data.transforms": [{"RESIZE": [28, 28]}, {"Random_Horizontal_Flip": 0}]},
    {"data.transforms": [{"color_jitter": {}}]},
    {"data.on_bad_sample": "SKIP"},
    {"data.testing_tag": "testing"},
    {"data.test_tag": None},
    {"data.test_share": 0.5, "data.test_input_path": GONE},
    {"data.slicers": [], "data.domain_size": None},
    {"precision": "Float32", "app": "DNN"},
    {"top.$schema": "https://example.org/schema.json"},
    {"top.$schema": None},
    {"optimizer.learning_rate": 1, "gradient_clip": 1},
    {"optimizer.accumulate": 2, "optimizer.decay_all": False, "optimizer.learning_rates": {"conv*": 0.1}},
    {"unfreeze": {"epoch": 2, "layers": "conv*"}, "ema": {}},
    {"unfreeze": [{"epoch": 2, "layers": ["conv", "conv_2"]}], "ema": {"decay": 0.5}, "precision": "fp16"},
    {"optimizer.lr_scheduler": None},
    {"optimizer.lr_scheduler": {"type": "cosine"}},
    {"optimizer.lr_scheduler": [{"type": "warmup", "num_epochs": 1, "start_factor": 0.5}, {"type": "COSINE"}]},
    {"data.grayscale": GONE, "data.input_grayscale": True},
    {"data.input_path": GONE, "data.target_type": GONE, "optimizer": None, "loss": None},
    {"early_stopping": {"metric": "accuracy"}, "checkpoints": {}},
    {"early_stopping": None, "debug_interval": None},
    {"metric": "F1"},
    {"metric": None},
    {"ray.num_workers": [1, 4], "ray.gradient_compression": "BF16"},
    {"ray.resources_per_worker": {"CPU": 0.5}, "ray.use_gpu": "auto"},
    {"base": "values", "data.bc_type": "FIXED_uniform", "data.num_test_examples": 2},
    {"base": "arrays", "data.grayscale": True, "data.input_grayscale": False, "data.target_grayscale": False},
    {"base": "arrays", "data.slicers": [{"sizes": [4, 4], "strides": None, "name": None}]},
]


@pytest.mark.parametrize("case", BROKEN, ids=str)
def test_what_the_program_refuses_is_refused(bases, case):
    complaints, problems = answers(changed(bases, case))
    assert complaints
    assert problems


@pytest.mark.parametrize("case", ODD, ids=str)
def test_what_the_program_accepts_is_accepted(bases, case):
    complaints, problems = answers(changed(bases, case))
    assert not problems
    assert not [complaint.message for complaint in complaints]


PARTS = [
    {},
    {"neural_network": {"num_epochs": 3, "optimizer": {"learning_rate": 0.1}}},
    {"neural_network": {"optimizer": {"type": "SGD", "lr_scheduler": {"gamma": 0.5}}, "checkpoints": {"keep": 2}}},
    {"neural_network": {"data": {"transforms": [{"resize": [28, 28]}], "input_path": None}}, "ray": {}},
    {"neural_network": {"loss": {"function": "nll"}, "early_stopping": {"patience": 2}, "debug_interval": 2}},
]
WRONG_PARTS = [
    {"neural_netwrok": {}},
    {"neural_network": {"num_epoch": 3}},
    {"neural_network": {"optimizer": {"learning_rte": 0.1}}},
    {"neural_network": {"optimizer": {"type": "Sdg"}}},
    {"neural_network": {"data": {"transforms": [{"resize": [28, 28], "x": 1}]}}},
    {"neural_network": {"data": {"batch_size": 0}}},
    {"ray": {"num_worker": 1}},
]


@pytest.mark.parametrize("extends", ["base.json", ["base.json", "more.yaml"]])
def test_a_configuration_that_extends_another_may_lack_anything_but_has_no_other_keys(bases, extends):
    for validator in (VALIDATOR, jsonschema.Draft202012Validator(json_schema.search())):
        for part in [*PARTS, {"neural_network": bases["images"]}]:
            assert not [error.message for error in validator.iter_errors({"extends": extends, **part})], part
        for part in [*PARTS, *WRONG_PARTS]:
            assert list(validator.iter_errors({"extends": None, **part})), part
        for part in WRONG_PARTS:
            assert list(validator.iter_errors({"extends": extends, **part})), part


def test_only_paths_can_be_extended():
    for extends in (3, {}, [3], True):
        assert list(VALIDATOR.iter_errors({"extends": extends}))


OPEN = {
    "optimizer": {
        "type": {"choice": ["Adam", "SGD"]},
        "learning_rate": {"loguniform": [1e-4, 1e-1]},
        "learning_rates": {"conv*": {"uniform": [0.1, 1.0]}},
    },
    "loss": {"choice": [{"function": "NLL"}, {"function": "CrossEntropy"}]},
    "data.batch_size": {"choice": [2, 4]},
    "data.transforms": [{"random_rotate": {"uniform": [0, 30]}}],
    "num_epochs": {"randint": [1, 4]},
}


def test_the_schema_of_searches_takes_spaces_and_refuses_what_that_of_runs_refuses(bases):
    found = json_schema.search()
    jsonschema.Draft202012Validator.check_schema(found)
    validator = jsonschema.Draft202012Validator(found)
    whole = changed(bases, OPEN)
    assert search.prepare(whole, {}) is not None
    assert not [complaint.message for complaint in validator.iter_errors(whole)]
    assert list(VALIDATOR.iter_errors(whole))
    for base in ("images", "arrays", "values"):
        assert not list(validator.iter_errors({"neural_network": bases[base]}))
    for key, value in {
        "optimizer.learning_rte": 1,
        "num_epochs": {"uniform": [1]},
        "data.batch_size": {"chioce": [1, 2]},
        "loss.function": 3,
    }.items():
        assert list(validator.iter_errors(changed(bases, {key: value}))), key
