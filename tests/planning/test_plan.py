import copy
import json

import numpy as np
import pytest
import torch

from rayrml.errors import ConfigError, DataError
from rayrml.networks.network import build_network
from rayrml.planning.preparation import prepare
from rayrml.saving import checkpoints
from rayrml.saving.checkpoints import Checkpoint
from tests.conftest import dense_network, write_jpeg


@pytest.fixture
def folders(tmp_path, write_digits):
    write_digits(tmp_path / "training", "training", (3, 5), 6)
    write_digits(tmp_path / "testing", "testing", (3, 5), 2)
    return tmp_path


@pytest.fixture
def right(folders):
    return {
        "neural_network": {
            "num_epochs": 2,
            "layers": dense_network(2),
            "data": {
                "input_type": "images",
                "target_type": "labels",
                "input_path": str(folders / "training"),
                "test_input_path": str(folders / "testing"),
                "grayscale": True,
            },
            "optimizer": {"type": "SGD"},
            "loss": {"function": "nll"},
        }
    }


def changed(config, **changes):
    """A copy with dotted keys set; a value of None removes the key."""
    config = copy.deepcopy(config)
    for key, value in changes.items():
        *outer, last = key.split("__")
        place = config["neural_network"]
        for part in outer:
            place = place[part]
        if value is None:
            place.pop(last)
        else:
            place[last] = value
    return config


def mistakes(config, error=ConfigError):
    with pytest.raises(error) as caught:
        prepare(config, {})
    return [str(p) for p in caught.value.problems]


def test_a_right_configuration_becomes_a_plan(right):
    plan = prepare(right, {"data.batch_size": 3})
    assert plan.classes == ("3", "5")
    assert (len(plan.training.samples), len(plan.test.samples)) == (12, 4)
    assert plan.training.shape == (1, 28, 28)
    assert (plan.loss.name, plan.optimizer.name) == ("NLL", "SGD")
    assert plan.config.neural_network.data.batch_size == 3
    assert not plan.is_inference


def test_mistakes_of_all_sections_are_shown_at_once(right):
    config = changed(
        right, optimizer__learnig_rate=1, loss__function="NNL", data__input_path="/nowhere", num_epoch=3, outfile=4
    )
    config["neural_network"]["layers"][3]["class_name"] = "Flaten"
    found = "\n".join(mistakes(config))
    for part in ("learning_rate", "'NLL'", "/nowhere", "'num_epochs'", "outfile", "'Flatten'"):
        assert part in found, part


def test_mistakes_in_a_file_are_shown_with_their_lines(right, tmp_path):
    config = changed(right, optimizer__learnig_rate=1, data__input_path="/nowhere", outfile=4)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config, indent=4))
    lines = path.read_text().splitlines()
    with pytest.raises(ConfigError) as caught:
        prepare(path, {"loss.functoin": "NLL"})
    found = {p.where: p.line for p in caught.value.problems}
    assert found.pop("neural_network.loss.functoin") == ""  # not in the file
    assert found == {
        where: f"{path}:{1 + next(i for i, line in enumerate(lines) if key in line)}"
        for where, key in (
            ("neural_network.outfile", '"outfile"'),
            ("neural_network.optimizer.learnig_rate", '"learnig_rate"'),
            ("neural_network.data.input_path", "/nowhere"),
        )
    }


def functional(layers):
    """The layers as a functional model, each called on the one before."""
    named = [{**item, "name": item["config"].setdefault("name", f"layer_{i}")} for i, item in enumerate(layers)]
    calls = [[], *([[[item["name"], 0, 0, {}]]] for item in named)]
    entries = [{**item, "inbound_nodes": call} for item, call in zip(named, calls, strict=False)]
    ends = {"input_layers": [[named[0]["name"], 0, 0]], "output_layers": [[named[-1]["name"], 0, 0]]}
    return {"class_name": "Functional", "config": {"name": "f", "layers": entries, **ends}}


def sequential(layers):
    return {"class_name": "Sequential", "config": {"name": "s", "layers": layers}}


FORMS = {  # with the JSON path of layer 3 of `dense_network`
    "list": (lambda layers: layers, "layers[3]"),
    "Sequential": (sequential, "config.layers[3]"),
    "Sequential of Keras 2.1": (lambda layers: {"class_name": "Sequential", "config": layers}, "config[3]"),
    "Functional": (functional, "config.layers[3]"),
    "nested": (
        lambda layers: sequential([layers[0], {**sequential(layers[1:-1]), "name": "inner"}, layers[-1]]),
        "config.layers[1].config.layers[2]",
    ),
    "nested in a list": (
        lambda layers: [layers[0], functional(layers)],
        "layers[1].config.layers[3]",
    ),
}


@pytest.mark.parametrize(("form", "place"), list(FORMS.values()), ids=list(FORMS))
@pytest.mark.parametrize(
    ("change", "key", "message"),
    [
        ({"filters": "many"}, ".config.filters", "must be a valid integer"),
        ({"kernel_size": 99}, "", "a window of (99, 99) does not fit"),
        ({"activation": "rleu"}, ".config.activation", "Did you mean 'relu'?"),
    ],
)
def test_mistakes_in_a_network_are_shown_with_their_lines_in_its_own_file(
    right, tmp_path, form, place, change, key, message
):
    layers = dense_network(2)
    layers[3]["config"] |= change
    network = form(layers)
    (tmp_path / "net.json").write_text(json.dumps(network, indent=2))
    (tmp_path / "config.json").write_text(json.dumps(changed(right, layers=str(tmp_path / "net.json")), indent=2))
    (tmp_path / "whole.json").write_text(json.dumps(changed(right, layers=network), indent=2))
    inline = f"neural_network.{place}" if place.startswith("layers[") else f"neural_network.layers.{place}"
    for path, file, where in (("config.json", "net.json", place), ("whole.json", "whole.json", inline)):
        with pytest.raises(ConfigError) as caught:
            prepare(tmp_path / path, {})
        (problem,) = caught.value.problems
        assert (problem.where, message in problem.message) == (f"{where}{key}", True)
        named, _, line = problem.line.rpartition(":")
        assert named == str(tmp_path / file)
        lines = (tmp_path / file).read_text().splitlines()
        at = lines[int(line) - 1 :]
        assert key.rpartition(".")[2] in at[0]
        assert key or json.loads(_first_value(at))["config"]["kernel_size"] == 99
    with pytest.raises(ConfigError) as caught:
        build_network(tmp_path / "net.json")
    assert str(caught.value).startswith(f"{tmp_path}/net.json:")


def _first_value(lines):
    """The JSON object that begins on the first line, up to the line that closes it."""
    end = " " * (len(lines[0]) - len(lines[0].lstrip())) + "}"
    return "\n".join([*lines[: next(i for i, line in enumerate(lines) if line.rstrip(",") == end)], "}"])


def test_mistakes_in_the_structure_of_a_network_file_are_shown_in_it(right, tmp_path):
    config = changed(right, layers=str(tmp_path / "net.json"), outfile=4)
    for content, shown in (
        ({}, "net.json: no layers found"),
        (["Dense"], "net.json:1: layers[0]: expected a layer"),
        ({"config": {"layers": [3]}}, "net.json:1: config.layers[0]: expected a layer"),
        (dense_network(7), "net.json:1: layers[5]: the network's last layer 'dense' outputs 7 values"),
    ):
        (tmp_path / "net.json").write_text(json.dumps(content))
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(ConfigError) as caught:
            prepare(tmp_path / "config.json", {})
        own, network, *_ = map(str, caught.value.problems)
        assert own.startswith(f"{tmp_path}/config.json:1: neural_network.outfile: ")
        assert network.startswith(f"{tmp_path}/{shown}")


def test_a_run_without_data_has_nothing_to_do(right):
    assert mistakes(changed(right, data__input_path=None, data__test_input_path=None)) == [
        "neural_network.data: nothing to do. Expected input_path, test_input_path, or both"
    ]


@pytest.mark.parametrize("section", ["loss", "optimizer"])
def test_training_needs_a_loss_and_an_optimizer(right, section):
    assert mistakes(changed(right, **{section: None})) == [f"neural_network: the section '{section}' is missing"]


def test_training_needs_targets(right):
    assert "training needs targets" in mistakes(changed(right, data__target_type=None))[0]


def test_inference_needs_neither_loss_nor_optimizer_nor_targets(right):
    config = changed(right, data__input_path=None, data__target_type=None, loss=None, optimizer=None)
    assert prepare(config, {}).is_inference


@pytest.mark.parametrize("key", ["input_path", "test_input_path"])
def test_an_empty_folder_is_named(right, tmp_path, key):
    (tmp_path / "empty").mkdir()
    (message,) = mistakes(changed(right, **{f"data__{key}": str(tmp_path / "empty")}), DataError)
    assert message.startswith(f"neural_network.data.{key}: no files to read in")


def test_a_class_folder_without_images_is_named(right, folders):
    (folders / "training" / "7").mkdir()
    (message,) = mistakes(right, DataError)
    assert "class folders without images" in message
    assert "'7'" in message


def test_a_network_that_does_not_fit_the_classes_is_refused_with_both_numbers(right):
    (message,) = mistakes(changed(right, layers=dense_network(10)))
    assert message == (
        "neural_network.layers[5]: the network's last layer 'dense' outputs 10 values per sample, "
        "but there are 2 classes: 3, 5"
    )


def test_images_that_do_not_fit_the_network_are_refused_with_both_shapes(right):
    (message,) = mistakes(changed(right, data__grayscale=None))
    assert "(3, 28, 28)" in message
    assert "(1, 28, 28)" in message
    assert '"grayscale": true' in message


POOLED = [
    {"class_name": "InputLayer", "config": {"name": "in", "batch_input_shape": [None, 64, 48, 1]}},
    {"class_name": "Conv2D", "config": {"name": "conv", "filters": 3, "kernel_size": 3}},
    {"class_name": "GlobalAveragePooling2D", "config": {"name": "mean"}},
    {"class_name": "Dense", "config": {"name": "out", "units": 2, "activation": "log_softmax"}},
]


def test_a_declared_size_is_a_hint_and_the_network_is_built_for_the_samples(right):
    plan = prepare(changed(right, layers=POOLED), {})
    assert plan.network.declared_shapes == ((1, 64, 48),)
    assert plan.network.input_shapes == ((1, 28, 28),)
    assert [row.output_shape for row in plan.network.summary()][:2] == [(1, 28, 28), (3, 26, 26)]
    twin = prepare(
        changed(right, layers=[{**POOLED[0], "config": {"batch_input_shape": [None] * 3 + [1]}}, *POOLED[1:]]), {}
    )
    assert all(torch.equal(a, b) for a, b in zip(plan.network.parameters(), twin.network.parameters(), strict=True))


def test_a_layer_that_is_made_for_the_declared_size_is_named_with_the_cure(right):
    (message,) = mistakes(changed(right, layers=[POOLED[0], {"class_name": "Flatten", "config": {}}, POOLED[3]]))
    assert message.startswith(
        "neural_network.data: the network takes inputs of shape (1, 64, 48), channels first, got (1, 28, 28) from "
    )
    assert ". Dense 'out' on (784): it has weights for each position of an input of (3072)" in message
    assert message.endswith(
        'Expected sizes such as 64 x 48. The transform {"resize": [64, 48]} makes images that it takes'
    )


def test_weights_of_the_declared_size_load_whatever_the_size_of_the_samples(right, tmp_path):
    trained = build_network(POOLED)
    saved = Checkpoint(1, trained.state_dict(), POOLED, (1, 64, 48), ("3", "5"))
    checkpoints.save(tmp_path / "a.pt", saved)
    plan = prepare(changed(right, layers=POOLED, checkpoints={"load": str(tmp_path / "a.pt")}), {})
    x = torch.rand(2, 1, 28, 28)
    assert torch.equal(plan.network.eval()(x), trained.eval()(x))


def test_a_network_file_with_a_syntax_error_is_named_with_line_and_column(right, tmp_path):
    (tmp_path / "net.json").write_text('{"class_name": }')
    (message,) = mistakes(changed(right, layers=str(tmp_path / "net.json")))
    assert "net.json, line 1, column 16: not valid JSON" in message


def test_a_missing_network_file_is_named(right):
    (message,) = mistakes(changed(right, layers="nowhere.json"), DataError)
    assert "nowhere.json" in message


def test_a_first_image_that_cannot_be_decoded_is_named(right, folders):
    (folders / "training" / "3" / "0000.jpg").write_bytes(b"no image")
    (message,) = mistakes(right, DataError)
    assert "3/0000.jpg: cannot be" in message


def test_a_checkpoint_that_does_not_fit_is_refused_with_both_shapes(right, tmp_path):
    network = build_network(dense_network(4))
    checkpoints.save(tmp_path / "x.pt", Checkpoint(1, network.state_dict(), [], (1, 28, 28)))
    found = mistakes(changed(right, checkpoints={"load": str(tmp_path / "x.pt")}))
    assert len(found) == 2
    assert all(m.startswith("neural_network.checkpoints.load: 'dense.") for m in found)


def test_a_missing_checkpoint_is_named(right):
    (message,) = mistakes(changed(right, checkpoints={"load": "none.pt"}), DataError)
    assert message.startswith("neural_network.checkpoints.load: no such file")


def convolutions(**config):
    """A network of two classes from two convolutions, of which darknet has 10 and 4 numbers."""
    first = {"name": "a_1", "filters": 1, "kernel_size": 3, "padding": "same", "use_bias": True, **config}
    kinds = {
        "Conv2D": {**first, "batch_input_shape": [None, 28, 28, 1]},
        "GlobalAveragePooling2D": {"keepdims": True},
        "Flatten": {},
        "Activation": {"activation": "log_softmax"},
    }
    layers = [{"class_name": name, "config": config} for name, config in kinds.items()]
    last = {"class_name": "Conv2D", "config": {"name": "b_2", "filters": 2, "kernel_size": 1}}
    return [layers[0], last, *layers[1:]]


def write_darknet(path, numbers):
    path.write_bytes(np.array([0, 2, 5, 0, 0], "<i4").tobytes() + np.array(numbers, "<f4").tobytes())
    return {"checkpoints": {"load": str(path)}}


def test_weights_come_from_a_file_of_darknet(right, tmp_path):
    load = write_darknet(tmp_path / "x.weights", range(14))
    plan = prepare(changed(right, layers=convolutions(), **load), {})
    assert plan.network.state_dict()["b_2.weight"].flatten().tolist() == [12, 13]
    assert not plan.loaded.lines() and not plan.warnings
    (warning,) = prepare(changed(right, layers=convolutions(strides=2), **load), {}).warnings
    assert "'a_1' pad right and below" in warning


def test_a_file_of_darknet_that_ends_early_is_for_training_only(right, tmp_path):
    settings = {"layers": convolutions(), **write_darknet(tmp_path / "x.conv.1", range(10))}
    assert prepare(changed(right, **settings), {}).loaded.initial == ("b_2",)
    (message,) = mistakes(changed(right, data__input_path=None, **settings))
    assert message == (
        f"neural_network.checkpoints.load: '{tmp_path}/x.conv.1' lacks 'b_2', which keeps its initial weights. "
        "Expected the weights of the whole network"
    )


def test_a_file_of_darknet_that_does_not_fit_is_a_mistake_beside_others(right, tmp_path):
    load = write_darknet(tmp_path / "x.weights", range(12))
    found = mistakes(changed(right, layers=convolutions(), optimizer__type="SDG", **load))
    assert "has 12 numbers, but the network has 14 in 2 convolutions: it ends within 'b_2'" in "".join(found)
    assert len(found) == 2


def test_weights_and_classes_come_from_the_checkpoint(right, tmp_path):
    network = build_network(dense_network(2))
    checkpoints.save(tmp_path / "x.pt", Checkpoint(3, network.state_dict(), [], (1, 28, 28), ("3", "5")))
    (tmp_path / "testing" / "3").rename(tmp_path / "gone")
    config = changed(right, data__input_path=None, checkpoints={"load": str(tmp_path / "x.pt")})
    plan = prepare(config, {})
    assert plan.classes == ("3", "5")
    assert plan.test.samples.labels.tolist() == [1, 1]
    assert all(torch.equal(a, b) for a, b in zip(plan.network.parameters(), network.parameters(), strict=True))


def normalized_network(**config):
    layers = dense_network(2)
    norm = {"class_name": "BatchNormalization", "config": {"name": "bn", "axis": -1, **config}}
    return [*layers[:-1], norm, layers[-1]]


BARE = {"center": False, "scale": False}


def test_weights_that_an_untrained_network_lacks_are_refused_with_the_cure(right, tmp_path):
    """Of a network that was trained with gamma and beta, but whose file has neither."""
    network = build_network(normalized_network())
    checkpoints.save(tmp_path / "x.pt", Checkpoint(3, network.state_dict(), [], (1, 28, 28), ("3", "5")))
    (tmp_path / "testing" / "3").rename(tmp_path / "gone")
    settings = {"data__input_path": None, "checkpoints": {"load": str(tmp_path / "x.pt")}}
    config = changed(right, layers=normalized_network(**BARE), **settings)
    (message,) = mistakes(config)
    assert "has 'bn.weight', 'bn.bias', which the network lacks: it would compute something else" in message
    assert message.endswith('"train_batch_norm": "affine" gives batch normalization gamma and beta')
    plan = prepare(changed(config, train_batch_norm="affine"), {})
    assert plan.network.state_dict().keys() == network.state_dict().keys()
    assert build_network(plan.layers).state_dict().keys() == network.state_dict().keys()


@pytest.mark.parametrize(
    ("momentum", "trainable", "told"), [(0.1, True, True), (0.49, True, True), (0.5, True, False), (0.1, False, False)]
)
def test_running_statistics_that_forget_all_but_the_last_batch_are_told_of(right, momentum, trainable, told):
    layers = normalized_network(momentum=momentum, trainable=trainable)
    warnings = prepare(changed(right, layers=layers, num_epochs=100), {}).warnings
    assert len(warnings) == told
    assert all(w.startswith(f"batch normalization (bn) has a momentum of {momentum}, the share") for w in warnings)


def test_running_statistics_that_stay_largely_the_initial_ones_are_told_of(right, tmp_path):
    """Not if they were loaded."""
    config = changed(right, layers=normalized_network(momentum=0.9), data__batch_size=100, num_epochs=10)
    plan = prepare(config, {})
    (warning,) = plan.warnings
    assert warning == (
        "batch normalization (bn) has a momentum of 0.9, the share that its running statistics keep at each step: "
        "after the 10 steps of this training, 35% of them are still the initial ones, and evaluation and predictions "
        "may be far worse than training. Use a momentum of at most 0.74, more epochs, or group normalization"
    )
    assert not prepare(changed(config, num_epochs=30), {}).warnings
    assert not prepare(changed(config, optimizer__accumulate=3), {}).warnings
    network = plan.network
    network.get_submodule("bn").running_mean.fill_(0.1)
    path = tmp_path / "x.pt"
    checkpoints.save(path, Checkpoint(3, network.state_dict(), [], (1, 28, 28), plan.classes))
    assert not prepare(changed(config, checkpoints={"load": str(path)}), {}).warnings


@pytest.mark.parametrize(("frozen", "config", "told"), [(True, BARE, True), (False, BARE, False), (True, {}, False)])
def test_batch_normalization_without_anything_to_train_is_told_of(right, frozen, config, told):
    layers = normalized_network(**config)
    dense = next(layer for layer in layers if layer["class_name"] == "Dense")
    dense["config"] = {**dense["config"], "trainable": not frozen}
    layers.insert(-1, {"class_name": "Dense", "config": {"name": "free", "units": 2}})
    right = changed(right, num_epochs=1000)
    plan = prepare(changed(right, layers=layers), {})
    assert any('"train_batch_norm": "affine"' in warning for warning in plan.warnings) == told
    assert not prepare(changed(right, layers=layers, train_batch_norm="affine"), {}).warnings


def test_initial_weights_follow_from_the_seed(right):
    first, again, other = (prepare(right, {"seed": seed}).network.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not all(torch.equal(first[k], other[k]) for k in first)


def test_layers_may_stand_in_a_file_and_the_first_image_gives_an_open_size(right, tmp_path):
    layers = dense_network(2)[1:]
    (tmp_path / "net.json").write_text(json.dumps(layers))
    plan = prepare(changed(right, layers=str(tmp_path / "net.json")), {})
    assert plan.network.input_shapes == ((1, 28, 28),)


def test_a_test_class_that_training_does_not_know_is_named(right, folders, write_digits):
    write_digits(folders / "testing" / "more", "testing", (8,), 1)
    (message,) = mistakes(right, DataError)
    assert message.startswith("neural_network.data.test_input_path: classes unknown to training")


def names(source):
    return [source.samples.name(i) for i in range(len(source.samples))]


def test_a_share_of_each_class_is_kept_for_the_test(right):
    plan = prepare(changed(right, data__test_input_path=None, data__test_share=0.34), {})
    training, test = set(names(plan.training)), set(names(plan.test))
    assert not training & test
    assert sorted(training | test) == names(prepare(right, {}).training)
    assert np.bincount(plan.test.samples.labels).tolist() == [2, 2]
    again = prepare(changed(right, data__test_input_path=None, data__test_share=0.34), {})
    assert names(again.test) == names(plan.test)


def test_a_share_keeps_images_and_their_targets_together(folders):
    config = painting(folders, test_share=0.25, target_path=str(folders / "training"))
    plan = prepare(config, {})
    assert plan.datasets.test_targets
    for source in (plan.training, plan.test):
        assert names(source) == [source.target.samples.name(i) for i in range(len(source.samples))]
    assert (len(plan.training.samples), len(plan.test.samples)) == (9, 3)


def test_a_share_is_of_use_only_where_there_are_no_test_samples(right):
    assert mistakes(changed(right, data__test_share=0.2)) == [
        "neural_network.data.test_share: cannot be combined with test_input_path. Expected one of the two"
    ]


def test_a_share_of_classes_of_one_image_is_none(right, tmp_path, write_digits):
    write_digits(tmp_path / "few", "training", (3, 5), 1)
    few = changed(right, data__test_input_path=None, data__input_path=str(tmp_path / "few"), data__test_share=0.5)
    assert mistakes(few) == ["neural_network.data.test_share: leaves no test sample: no class has two or more"]


def test_nothing_is_trainable_is_a_mistake(right):
    layers = dense_network(2)
    for layer in layers:
        layer["config"]["trainable"] = False
    assert "nothing to train" in mistakes(changed(right, layers=layers))[0]


def test_other_files_among_the_images_are_counted(right, folders):
    (folders / "training" / "3" / "notes.db").touch()
    write_jpeg(folders / "training" / "3" / ".hidden.jpg", torch.zeros(2, 2, dtype=torch.uint8).numpy())
    assert prepare(right, {}).training.samples.ignored == {".db": 1}


def painting(folders, **data):
    """A network from images to images of the same size."""
    layers = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, None, None, 1]}},
        {
            "class_name": "Conv2D",
            "config": {"filters": 1, "kernel_size": 3, "padding": "same", "activation": "sigmoid"},
        },
    ]
    paths = {"input_path": str(folders / "training"), "target_path": str(folders / "training")}
    section = {"type": "images", "grayscale": True, **paths, **data}
    network = {"layers": layers, "data": section, "optimizer": {"type": "adam"}, "loss": {"function": "mse"}}
    return {"neural_network": network}


def test_images_may_be_targets(folders):
    plan = prepare(painting(folders, test_input_path=str(folders / "testing")), {})
    assert plan.training.target.samples.names == plan.training.samples.names
    assert plan.datasets.target_shape == (1, 28, 28)
    assert not plan.datasets.test_targets


def test_without_target_files_the_inputs_are_the_targets(folders):
    config = painting(folders, test_input_path=str(folders / "testing"))
    config["neural_network"]["data"].pop("target_path")
    plan = prepare(config, {})
    assert plan.training.target is None
    assert plan.datasets.test_targets


def test_missing_target_files_are_listed(folders, tmp_path):
    (tmp_path / "fewer").mkdir()
    (folders / "training" / "3").rename(tmp_path / "fewer" / "3")
    found = mistakes(painting(folders, target_path=str(tmp_path / "fewer")), DataError)
    assert any("no target for '5/0000.jpg'" in m for m in found)
    assert any("no input for '3/0000.jpg'" in m for m in found)


def test_targets_of_another_shape_than_the_output_are_refused(folders):
    (message,) = mistakes(painting(folders, target_transforms=[{"resize": [14, 14]}]))
    assert "(1, 14, 14)" in message
    assert message.startswith("neural_network.loss: the target has shape")


def test_images_of_all_sizes_will_do_once_they_are_resized(right, folders):
    write_jpeg(folders / "training" / "3" / "large.jpg", torch.zeros(50, 40, dtype=torch.uint8).numpy())
    plan = prepare(changed(right, data__transforms=[{"resize": [28, 28]}]), {})
    large = plan.training.samples.names.index("3/large.jpg")
    assert plan.training.input.decoding.array(plan.training.samples.place(large)).shape == (1, 28, 28)


def test_mistakes_in_transforms_are_shown_with_their_place(right):
    found = mistakes(changed(right, data__transforms=[{"resize": 28}, {"rotat": 3}, {"random_horizontal_flip": 2}]))
    places = [m.split(":")[0] for m in found]
    assert [p.startswith(f"neural_network.data.transforms[{i}]") for i, p in enumerate(places)] == [True] * 3


def test_transforms_of_both_and_of_one_are_refused_together(right):
    config = changed(right, data__transforms=[{"resize": [28, 28]}], data__input_transforms=[{"resize": [28, 28]}])
    assert "neural_network.data.transforms: applies to inputs and targets" in mistakes(config)[0]


def test_mistakes_in_schedulers_are_shown_with_their_place(right):
    config = changed(right, optimizer={"type": "SGD", "lr_scheduler": {"type": "Step", "gama": 0.1, "step_size": 0}})
    found = mistakes(config)
    assert all(m.startswith("neural_network.optimizer.lr_scheduler.") for m in found)
    assert len(found) == 2


def test_the_same_files_may_be_inputs_in_gray_and_targets_in_colour(folders):
    config = painting(folders, grayscale=None, input_grayscale=True, target_grayscale=False)
    config["neural_network"]["data"].pop("target_path")
    config["neural_network"]["data"].pop("grayscale")
    config["neural_network"]["layers"][1]["config"]["filters"] = 3
    plan = prepare(config, {})
    assert (plan.training.input.shape, plan.training.target.shape) == ((1, 28, 28), (3, 28, 28))
    assert plan.training.target.samples.names == plan.training.input.samples.names


def test_early_stopping_needs_a_figure_that_there_is(right):
    config = changed(right, early_stopping={"metric": "accuracy"})
    assert prepare(config, {}).config.neural_network.early_stopping.patience == 5
    found = mistakes(changed(config, data__test_input_path=None))
    assert found == [
        "neural_network.early_stopping.metric: this run has no figure 'accuracy'. Expected one of train_loss"
    ]


def test_clipping_and_the_second_order_optimizer_exclude_each_other(right):
    found = mistakes(changed(right, optimizer={"type": "Hessian"}, gradient_clip=1.0))
    assert found[0].startswith("neural_network.gradient_clip: cannot be used with the Hessian optimizer")


def test_mixed_samples_need_a_loss_that_takes_shares(right):
    config = changed(right, data__transforms=[{"mixup": 0.2}])
    assert mistakes(config)[0].startswith("neural_network.data.transforms[0].mixup")
    plan = prepare(changed(config, loss={"function": "CrossEntropy"}), {})
    assert plan.datasets.transforms.batched.num_classes == 2
