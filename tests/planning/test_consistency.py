import copy

import numpy as np
import pytest

from rayrml.config.cluster import Ray
from rayrml.config.mistakes import Findings
from rayrml.config.reading import parse
from rayrml.config.tables import choose
from rayrml.errors import ConfigError
from rayrml.losses import LOSSES
from rayrml.planning.application import application_of, generates_alone
from rayrml.planning.consistency import RULES, check_consistency
from rayrml.planning.data_types import find_types
from rayrml.planning.preparation import prepare
from rayrml.planning.settings import Settings
from rayrml.planning.updates import choose_updates
from tests.conftest import write_jpeg

RIGHT = {
    "layers": [],
    "data": {"input_type": "images", "target_type": "labels", "input_path": "/in", "test_input_path": "/test"},
    "optimizer": {"type": "SGD"},
    "loss": {"function": "NLL"},
}
ARRAYS = {"input_type": "numpy", "target_type": "numpy", "input_path": "/in"}
LABELS = {"input_type": "numpy", "target_type": "labels", "input_path": "/in"}
BOXES = {"input_type": "images", "target_type": "boxes", "input_path": "/in", "target_path": "/labels"}
YOLO = {"function": "YOLOv3"}
GAN = {"function": "Wasserstein"}
GENERATES = {"loss": GAN, "data.target_type": None, "critic": {"layers": []}}  # a generator is trained
SAMPLES = {  # a generator is used
    "app": "gan",
    "loss": None,
    "optimizer": None,
    "data": {"num_test_examples": 9, "test_output_path": "/out"},
}
COMPUTED = {"type": "pde", "domain_size": 8, "num_examples": 4}
WITHOUT_INPUT = {"data.input_path": None, "optimizer": None}
# What violates each rule, and the beginning of the message, below `neural_network`.
BROKEN = {
    "_box_application": [
        ({"app": "obj"}, ".app: 'obj' finds objects, but the loss NLL is another. Expected the loss YOLOv3"),
        ({"data": BOXES, "loss": YOLO, "app": "dnn"}, ".app: 'dnn' does not go with the loss YOLOv3. Expected obj"),
        ({"loss": YOLO}, ".data.target_type: the loss YOLOv3 learns from boxes, but targets are of type 'labels'"),
        ({"data": BOXES}, ".loss.function: NLL takes no boxes. Expected the loss YOLOv3"),
        ({"data": {**BOXES, "input_type": "numpy"}, "loss": YOLO}, ".data.input_type: objects are found in images"),
    ],
    "_box_keys": [
        ({"data.box_format": "voc"}, ".data.box_format: has no effect: targets are not boxes"),
        ({"data.classes": ["cat"]}, ".data.classes: has no effect: targets are not boxes"),
        ({"detection": {"nms_iou": 0.3}}, ".detection: has no effect: no objects are found. Expected the loss YOLOv3"),
        (
            {"data": {**BOXES, "test_samples": "/test.txt"}, "loss": YOLO},
            ".data.test_samples: has no effect: test_input_path is missing",
        ),
        (
            {"data": {**BOXES, "final_test_samples": "/test.txt"}, "loss": YOLO},
            ".data.final_test_samples: has no effect: final_test_input_path is missing",
        ),
        (
            {
                "data": {**BOXES, "input_path": None, "target_path": None, "test_input_path": "/in", "samples": "/a"},
                "loss": YOLO,
                "optimizer": None,
            },
            ".data.samples: has no effect: input_path is missing. Of a test, it is test_samples",
        ),
    ],
    "_beside_boxes": [
        (
            {"data": {**BOXES, "input_transforms": [{}]}, "loss": YOLO},
            ".data.input_transforms: does not go with boxes. Expected transforms",
        ),
        (
            {"data": {**BOXES, "class_names": ["cat"]}, "loss": YOLO},
            ".data.class_names: does not go with boxes. Expected classes",
        ),
        ({"data": {**BOXES, "slicers": [{"sizes": [4]}]}, "loss": YOLO}, ".data.slicers: does not go with boxes"),
        (
            {
                "data": {**BOXES, "test_input_path": "/t", "test_output_path": "/o", "hdf5_precision": "half"},
                "loss": YOLO,
            },
            ".data.hdf5_precision: does not go with boxes",
        ),
        (
            {"data": {**BOXES, "test_transforms": "flips"}, "loss": YOLO},
            ".data.test_transforms: does not go with boxes: outputs of flipped images are other grids",
        ),
        (
            {"data": {**BOXES, "hdf5_precision": "half"}, "loss": YOLO},
            ".data.hdf5_precision: does not go with boxes: their pixels need all digits",
        ),
    ],
    "_adversarial_application": [
        ({"app": "gan"}, ".app: 'gan' generates samples, but the loss NLL is another. Expected the loss Wasserstein"),
        ({"loss": GAN, "app": "dnn"}, ".app: 'dnn' does not go with the loss Wasserstein. Expected gan, or no app"),
    ],
    "_adversarial_keys": [
        ({**GENERATES, "critic": None}, ": the section 'critic' is missing"),
        ({"critic": {"layers": []}}, ".critic: has no effect: no samples are generated. Expected the loss Wasserstein"),
        ({"metric_network": "/c.pt"}, ".metric_network: has no effect: no samples are generated"),
        ({"data.num_test_examples": 4}, ".data.num_test_examples: has no effect: samples are neither computed (pde)"),
    ],
    "_distances": [
        ({**GENERATES, "metric": "accuracy"}, ".metric: 'accuracy' compares outputs with targets, of which there are"),
        ({"metric": "swd"}, ".metric: 'swd' compares generated samples with real ones. Expected another"),
        ({**GENERATES, "metric": "frechet"}, ".metric: 'frechet' compares features of a classifier. Expected metric_n"),
    ],
    "_penalty_or_clip": [
        ({**GENERATES, "loss": {**GAN, "clip": 0.01}}, ".loss.clip: does not go with a gradient penalty"),
        ({**GENERATES, "loss": {**GAN, "gradient_penalty": 0}}, ".loss.gradient_penalty: is 0, so nothing holds back"),
    ],
    "_beside_generation": [
        ({**GENERATES, "data.target_type": "labels"}, ".data.target_type: has no effect: a generator learns from its"),
        ({**GENERATES, "data.type": "images"}, ".data.type: has no effect: a generator learns from its inputs alone"),
        ({**GENERATES, "data.target_path": "/t"}, ".data.target_path: has no effect: a generator learns from its"),
        ({**GENERATES, "data.target_grayscale": True}, ".data.target_grayscale: has no effect: a generator learns"),
        ({**GENERATES, "data.training_tag": "train"}, ".data.training_tag: has no effect: a generator learns from"),
        ({**GENERATES, "data.class_names": ["a"]}, ".data.class_names: has no effect: targets are not classes"),
        ({**GENERATES, "data.sampling": "balanced"}, ".data.sampling: draws each class equally often, but"),
        ({**GENERATES, "data.hdf5_outfile": "/o"}, ".data.hdf5_outfile: has no effect: samples are generated whole"),
        ({**GENERATES, "data.test_transforms": "flips"}, ".data.test_transforms: has no effect: there are no inputs"),
        (
            {**SAMPLES, "data.test_output_images": "masks"},
            ".data.test_output_images: generated samples are images, not masks or boxes",
        ),
        ({**GENERATES, "data": {**COMPUTED, "type": None, "input_type": "pde"}}, ".data.input_type: 'pde' is computed"),
    ],
    "_generated_samples": [
        ({**SAMPLES, "data.num_test_examples": 0}, ".data.num_test_examples: expected 1 to 1,000,000 samples, got 0"),
        ({**SAMPLES, "data.num_test_examples": None}, ".data: 'num_test_examples' is missing: how many samples"),
        ({**SAMPLES, "data.input_transforms": [{}]}, ".data.input_transforms: has no effect: samples are generated"),
        (
            {**GENERATES, "data.test_input_path": None, "data.num_test_examples": 3},
            ".data.num_test_examples: has no effect: there are no test images",
        ),
        (
            {**SAMPLES, "data.input_type": "images", "data.test_input_path": "/test"},
            ".data.test_input_path: has no effect without a loss: nothing is compared",
        ),
    ],
    "_best_epoch": [
        (
            {**GENERATES, "data.test_input_path": None, "checkpoints": {"save": "/out", "keep": "best"}},
            '.checkpoints.keep: "best" needs test images',
        ),
    ],
    "_adversarial_updates": [
        ({**GENERATES, "precision": "bf16"}, ".precision: 'bf16' is too inexact for the derivatives of a gradient pen"),
        ({**GENERATES, "compile": True}, ".compile: does not go with a GAN"),
        ({**GENERATES, "ray": {"sharding": "zero1"}}, "ray.sharding: zero1 does not go with a GAN"),
        ({**GENERATES, "optimizer": {"type": "Hessian"}}, ".optimizer.type: Hessian compares losses of many points"),
        ({**GENERATES, "optimizer": {"type": "SGD", "accumulate": 2}}, ".optimizer.accumulate: does not go with a GAN"),
        (
            {**GENERATES, "optimizer": {"type": "SGD", "lr_scheduler": [{"type": "plateau"}]}},
            ".optimizer.lr_scheduler: Plateau goes by the loss",
        ),
    ],
    "_division": [
        ({"ray": {"sharding": "fsdp"}, "compile": True}, "ray.sharding: fsdp does not go with compile"),
        (
            {"ray": {"sharding": "fsdp"}, "debug": True, "debug_interval": 1},
            "ray.sharding: fsdp does not go with debug_interval",
        ),
    ],
    "_needed_sections": [
        ({"loss": None}, ": the section 'loss' is missing"),
        ({"optimizer": None}, ": the section 'optimizer' is missing"),
        ({**WITHOUT_INPUT, "loss": None}, ": the section 'loss' is missing"),
    ],
    "_event_files": [({"checkpoints": {"tensorboard": True}}, ".checkpoints.tensorboard: ")],
    "_tracking_servers": [({"checkpoints": {"wandb": True}}, ".checkpoints.wandb: ")],
    "_equations": [({"app": "pde"}, ".app: 'pde' learns from an equation. Expected one of the losses Burgers_PDE, ")],
    "_clipping": [
        ({"optimizer": {"type": "Hessian"}, "gradient_clip": 1}, ".gradient_clip: cannot be used with the Hessian")
    ],
    "_loss_scaling": [
        (
            {"optimizer": {"type": "Hessian"}, "precision": "fp16"},
            ".precision: 'fp16' skips steps, which the line search",
        ),
    ],
    "_metric": [
        ({"metric": "acuracy"}, ".metric: unknown name \"acuracy\". Did you mean 'accuracy'?"),
    ],
    "_something_to_do": [
        (
            {**WITHOUT_INPUT, "data.test_input_path": None},
            ".data: nothing to do. Expected input_path, test_in",
        ),
        (
            {"data": {"type": "pde", "domain_size": 8}},
            ".data: nothing to do. Expected num_examples, num_test_examples, or both",
        ),
        ({"data.target_type": None}, ".data: training needs targets. Expected target_type"),
    ],
    "_predictions": [
        (
            {"data.test_input_path": None, "data.test_output_path": "/out"},
            ".data.test_output_path: nothing to predict: test_input_path is missing",
        )
    ],
    "_precision_of_outputs": [
        (
            {"data.hdf5_precision": "half"},
            ".data.hdf5_precision: has no effect: no predictions are kept. Expected test_",
        )
    ],
    "_shards": [
        (
            {**WITHOUT_INPUT, "loss": None, "data.target_type": None, "data.hdf5_shards": "keep"},
            ".data.hdf5_shards: has no effect: no predictions are kept. Expected test_output_path",
        ),
        (
            {"data.test_output_path": "/out", "data.hdf5_shards": "merge"},
            ".data.hdf5_shards: has no effect: only predictions without targets are written in shards. Expected",
        ),
        (
            {**GENERATES, "data.input_path": None, "data.test_output_path": "/out", "data.hdf5_shards": "merge"},
            ".data.hdf5_shards: has no effect: only predictions without targets",
        ),
    ],
    "_pictures": [
        (
            {"data.test_output_images": "masks"},
            ".data.test_output_images: has no effect: no predictions are kept. Expected test_output_path",
        ),
        (
            {"data.test_output_images": "masks", "data.test_output_path": "/out"},
            ".data.test_output_images: has no effect: each sample has one class, not each pixel",
        ),
        (
            {"data": {**ARRAYS, "test_input_path": "/t", "test_output_path": "/o", "test_output_images": "pixels"}},
            ".data.test_output_images: has no effect: there are pictures for image files only, but the inputs are ",
        ),
        (
            {
                "data": {**BOXES, "test_input_path": "/t", "test_output_path": "/o", "test_output_images": "pixels"},
                "loss": YOLO,
            },
            ".data.test_output_images: has no effect: outputs are boxes, not images",
        ),
    ],
    "_graphs": [({"debug_interval": 2}, '.debug_interval: has no effect without "debug": true')],
    "_evaluations": [
        (
            {"evaluate_every": 2, "data.test_input_path": None},
            ".evaluate_every: has no effect: there are no test samples",
        )
    ],
    "_recomputation": [
        ({"compile": True, "activation_checkpointing": True}, ".activation_checkpointing: does not go with compile")
    ],
    "_kept_epochs": [
        ({"checkpoints": {"interval": 2}}, ".checkpoints.interval: has no effect: 'save' is missing"),
        ({"checkpoints": {"keep": "all"}}, ".checkpoints.keep: has no effect: 'save' is missing"),
    ],
    "_tags": [
        (
            {"data": {**ARRAYS, "target_path": "/t", "training_tag": "train"}},
            ".data.training_tag: has no effect: targets are not the classes of folders",
        )
    ],
    "_tables": [
        (
            {"data.file_column": "f"},
            ".data.file_column: has no effect: targets are not in a table. Expected target_path",
        ),
        ({"data.target_type": "table"}, ".data: 'target_path' is missing: the file of the table"),
        (
            {"data": {**ARRAYS, "target_type": "numpy", "target_path": "/t", "class_names": ["a"]}},
            ".data.class_names: ",
        ),
    ],
    "_target_suffix": [({"data.target_suffix": "_mask"}, ".data.target_suffix: has no effect: there are no target ")],
    "_sampling": [
        ({**WITHOUT_INPUT, "data.sampling": "balanced"}, ".data.sampling: has no effect: nothing is trained"),
        (
            {"data": {**ARRAYS, "target_path": "/t", "sampling": "balanced"}},
            ".data.sampling: draws each class equally often, but the targets are not classes of whole samples",
        ),
        (
            {"data.sampling": "balanced", "loss": {"function": "NLL", "weight": "balanced"}},
            '.data.sampling: cannot be combined with "weight": "balanced" in loss',
        ),
    ],
    "_test_share": [
        ({"data.test_share": 0.5}, ".data.test_share: cannot be combined with test_input_path"),
        ({"data": {**ARRAYS, "input_type": "hdf5", "test_share": 0.5}}, ".data.test_share: takes a share of the files"),
        (
            {"data.test_share": 0.5, "data.test_input_path": None, **WITHOUT_INPUT},
            ".data.test_share: is a share of the images in input_path, which is missing",
        ),
    ],
    "_final_test": [
        (
            {"data.final_test_target_path": "/t"},
            ".data.final_test_target_path: has no effect: final_test_input_path is missing",
        ),
        (
            {**WITHOUT_INPUT, "data.final_test_input_path": "/t"},
            ".data.final_test_input_path: has no effect: nothing is trained",
        ),
        (
            {"data": {**ARRAYS, "target_type": "numpy", "target_path": "/t", "final_test_input_path": "/f"}},
            ".data: 'final_test_target_path' is missing",
        ),
    ],
    "_targets": [
        ({"data.target_path": "/t"}, ".data.target_path: has no effect: the class is the name of the folder"),
        (
            {**WITHOUT_INPUT, "data.target_type": None, "data.test_target_path": "/t"},
            ".data.test_target_path: has no effect: there is no target_type",
        ),
        ({"data.target_transforms": [{}]}, ".data.target_transforms: has no effect: targets are not images or arrays"),
        ({"data.target_is_mask": True}, ".data.target_is_mask: has no effect: targets are not images or arrays"),
        ({"data.target_grayscale": False}, ".data.target_grayscale: has no effect: targets are not images or arrays"),
        (
            {"data": {**BOXES, "target_scale": "range"}, "loss": YOLO},
            ".data.target_scale: has no effect: targets are not images or arrays",
        ),
    ],
    "_transforms": [
        (
            {"data.transforms": [{}], "data.input_transforms": [{}]},
            ".data.transforms: applies to inputs and targets. Expected either this, or input_transforms and target_",
        )
    ],
    "_computed_samples": [
        (
            {"data": {**COMPUTED, "test_input_path": "/test"}},
            ".data.test_input_path: has no effect: samples of type pde are computed",
        )
    ],
    "_slices": [
        ({"data.slicers": [{"sizes": [4]}]}, ".data.slicers: cuts arrays, but the inputs are images"),
        ({"data.hdf5_outfile": "/o.h5"}, ".data.hdf5_outfile: reassembles slices, but 'slicers' is missing"),
    ],
    "_stacks": [
        (
            {"data": {**ARRAYS, "stacked": True, "slicers": [{"sizes": [4]}]}},
            ".data.stacked: cannot be combined with slicers",
        ),
        (
            {"data": {**ARRAYS, "stacked": True, "target_type": "images", "target_path": "/t"}},
            ".data.stacked: arrays that hold many samples need arrays on both sides, but targets are images",
        ),
        (
            {"data": {**LABELS, "stacked": False, "target_path": "/t"}},
            ".data.stacked: an array of labels belongs to an array of samples",
        ),
        (
            {"data": {**LABELS, "target_path": "/t", "test_input_path": "/in"}},
            ".data: 'test_target_path' is missing: the labels of 'test_input_path' are in an array",
        ),
        (
            {"data": {**LABELS, "target_path": "/t", "test_target_path": "/t"}},
            ".data.test_target_path: has no effect: test_input_path is missing",
        ),
    ],
}


def complaints(changes):
    """What the rules say about the valid configuration with dotted keys set; a value of None removes the key."""
    section = copy.deepcopy(RIGHT)
    changes = copy.deepcopy(changes)
    ray = Ray(**changes.pop("ray", {}))
    for key, value in changes.items():
        place, _, last = ("", "", key) if "." not in key else key.partition(".")
        inside = section[place] if place else section
        inside.pop(last, None)
        inside.update({} if value is None else {last: value})
    config, mistakes = parse({"neural_network": section})
    assert not mistakes
    findings, nn = Findings(), config.neural_network
    loss = choose(LOSSES, nn.loss, "neural_network.loss", "function") if nn.loss else None
    nn = nn.model_copy(update={"app": nn.app or application_of(loss, nn.data)})
    optimizer = choose_updates(nn.optimizer, Ray(), findings).optimizer
    types = find_types(nn.data, findings, reads=not generates_alone(nn))
    check_consistency(Settings(nn, types, loss, optimizer, ray), findings)
    return [str(problem) for problem in findings.mistakes]


@pytest.mark.parametrize(("changes", "complaint"), [case for cases in BROKEN.values() for case in cases])
def test_what_contradicts_a_rule_is_refused(changes, complaint):
    assert any(found.startswith((f"neural_network{complaint}", complaint)) for found in complaints(changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"metric": "F1", "early_stopping": {"metric": "f1"}},
        {"gradient_clip": 1.0, "precision": "fp16"},
        {"data": ARRAYS, "loss": {"function": "MSE"}},
        {"data": {**ARRAYS, "stacked": True, "target_path": "/t"}, "loss": {"function": "MSE"}},
        {"data": {**LABELS, "target_path": "/t"}},
        {"data": LABELS},
        {"data": COMPUTED, "loss": {"function": "Burgers_PDE"}, "app": "pde"},
        {"data": BOXES, "loss": YOLO},
        {"data": {**BOXES, "classes": ["cat"], "box_format": "voc"}, "loss": YOLO, "app": "obj"},
        {**WITHOUT_INPUT, "loss": None, "data.target_type": None, "data.test_output_path": "/out"},
        {**WITHOUT_INPUT, "data.target_type": None, "data.test_output_path": "/out", "data.hdf5_shards": "keep"},
        {**SAMPLES, "data.hdf5_shards": "merge"},
        {"data.test_input_path": None, "data.test_share": 0.5},
        GENERATES,
        {**GENERATES, "loss": {**GAN, "gradient_penalty": 0, "clip": 0.01}, "precision": "bf16", "gradient_clip": 1.0},
        {**GENERATES, "metric": "frechet", "metric_network": "/c.pt", "data.num_test_examples": 10},
        {**GENERATES, "ema": {}, "early_stopping": {}, "data.final_test_input_path": "/final"},
        SAMPLES,
        {**GENERATES, "data.input_path": None, "optimizer": None, "checkpoints": {"load": "/gan.pt"}, "critic": None},
    ],
)
def test_what_fits_together_is_accepted(changes):
    assert not complaints(changes)


def test_every_rule_of_the_table_has_a_case():
    assert {rule.__name__ for rule in RULES} == BROKEN.keys()


def test_a_mistake_is_told_once(tmp_path):
    """What follows from it, such as a column that is not chosen because its key is misspelled, is left out."""
    np.save(tmp_path / "x.npy", np.ones((4, 5), "f4"))
    (tmp_path / "labels.csv").write_text("file,age,size\na.jpg,1,5\nb.jpg,2,6\n")
    for name in ("a", "b"):
        write_jpeg(tmp_path / "images" / f"{name}.jpg", np.zeros((8, 8, 3), np.uint8))
    rows = {"input_type": "images", "target_type": "table", "input_path": str(tmp_path / "images")}
    rows["target_path"] = str(tmp_path / "labels.csv")
    array = {"type": "numpy", "input_path": str(tmp_path / "x.npy"), "target_path": str(tmp_path / "x.npy")}
    folders = {"input_type": "images", "input_path": str(tmp_path / "images")}
    for data, where in (
        ({**rows, "target_columns": "age"}, "target_columns"),
        ({**rows, "target_column": 3}, "target_column"),
        ({**rows, "file_colum": "file"}, "file_colum"),
        ({**array, "stacked": True, "test_share": 0.3}, "test_share"),
        ({**folders, "target_type": "lables"}, "target_type"),
    ):
        section = {"layers": [{"class_name": "Flatten", "config": {}}, {"class_name": "Dense", "config": {"units": 5}}]}
        section |= {"data": data, "loss": {"function": "MSE"}, "optimizer": {"type": "SGD"}}
        with pytest.raises(ConfigError) as caught:
            prepare({"neural_network": section})
        assert [problem.where for problem in caught.value.problems] == [f"neural_network.data.{where}"]
