"""Networks by name are those of `keras.applications`: their layers, connections, numbers of weights and outputs."""

from __future__ import annotations

import importlib
import json

import numpy as np
import pytest
import torch

from rayrml.config.tables import make_model
from rayrml.errors import ConfigError
from rayrml.networks.families import NETWORKS, choose_network
from rayrml.networks.families.writing import format_layers
from rayrml.networks.graph import read_graph
from rayrml.networks.network import build_network, outline
from tests.keras_reference import assert_same_outputs, copy_weights, keras
from tests.networks.families.parameters import PARAMETERS

convnext = importlib.import_module("keras.src.applications.convnext")  # its layers are known once it is imported
K = keras.applications
IN_KERAS = {
    "resnet50": K.ResNet50,
    "resnet50v2": K.ResNet50V2,
    "vgg16": K.VGG16,
    "densenet121": K.DenseNet121,
    "mobilenet": K.MobileNet,
    "mobilenetv2": K.MobileNetV2,
    "mobilenetv3small": K.MobileNetV3Small,
    "efficientnetb0": K.EfficientNetB0,
    "efficientnetv2s": K.EfficientNetV2S,
    "inceptionv3": K.InceptionV3,
    "xception": K.Xception,
    "convnexttiny": K.ConvNeXtTiny,
}
# Keras has operations without weights in the place of some of their layers.
WITH_OPERATIONS = ("mobilenetv3small", "convnexttiny")
SMALLEST = {"inceptionv3": 75, "xception": 71}


def family(name, **keys):
    return choose_network({"network": name, **keys}, "layers")


def reference(name, size, **more):
    """Keras's network, on no device unless it is to compute something; the names of its layers begin anew."""
    keras.utils.clear_session()
    return IN_KERAS[name](weights=None, input_shape=(size, size, 3), classes=7, **more)


@pytest.mark.parametrize("name", IN_KERAS)
def test_layers_are_those_of_keras(name):
    size = SMALLEST.get(name, 33 if name.startswith(("mobile", "efficient")) else 32)
    with keras.device("meta"):
        model = reference(name, size)
    network = family(name, input=[size, size, 3], classes=7)
    own = {layer["name"]: layer for layer in network.layers()["config"]["layers"]}
    if name in WITH_OPERATIONS:
        theirs = [layer for layer in model.layers if layer.weights and not isinstance(layer, keras.Sequential)]
    else:
        theirs = model.layers[1:]
        assert {layer.name for layer in model.layers} == own.keys()
        assert all(sorted(_sources_in_keras(layer)) == sorted(_sources(own[layer.name])) for layer in theirs)
    for layer in theirs:
        assert _options(layer) == _options(_made_by_keras(own[layer.name])), layer.name
    count, _ = outline(read_graph(network.layers()))
    assert count == model.count_params()


def _made_by_keras(layer):
    return getattr(convnext if "module" in layer else keras.layers, layer["class_name"]).from_config(layer["config"])


def _options(layer):
    """A layer's configuration without what is the same in other words."""
    config = layer.get_config()
    zeros = {"class_name": "Zeros", "config": {}}
    same = {"axis": -1 if config.get("axis") in (3, [-1]) else config.get("axis")}
    if layer.name == "predictions":
        same["bias_initializer"] = zeros
    if "kernel_initializer" in config:
        same["kernel_initializer"] = _without_seed(config["kernel_initializer"])
    if "depthwise_initializer" in config:
        same["depthwise_initializer"] = _without_seed(config["depthwise_initializer"])
    config = {key: value for key, value in config.items() if key not in ("build_config", "registered_name")}
    return json.loads(json.dumps({**config, **same}))


def _without_seed(initializer):
    return {**initializer, "config": {**initializer["config"], "seed": None}}


def _sources_in_keras(layer):
    return [tensor._keras_history.operation.name for tensor in layer._inbound_nodes[0].input_tensors]


def _sources(layer):
    return [source[0] for call in layer["inbound_nodes"] for source in call]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_what_it_says_and_has_the_published_number_of_weights(name):
    network = family(name)
    graph = read_graph(network.layers())
    count, shapes = outline(graph)
    assert count == PARAMETERS[name]
    assert shapes[graph.outputs[0]][0] == network.outputs
    assert shapes[graph.inputs[0]] == (network.shape[-1], *network.shape[:-1])
    assert graph.name == name
    assert set(network.section) <= {"network", *make_model(NETWORKS[name]).model_fields}


@pytest.mark.parametrize("name", ["resnet50", "efficientnetb0", *WITH_OPERATIONS])
def test_outputs_are_those_of_keras(name):
    size = SMALLEST.get(name, 32)
    model = reference(name, size, classifier_activation=None)
    _randomize(model)
    network = build_network(family(name, input=[size, size, 3], classes=7, activation="linear").layers())
    copy_weights(model, network)
    assert_same_outputs(model, network)


def _randomize(model):
    """Weights with which numbers neither grow nor vanish on their way through many layers."""
    random = np.random.default_rng(0)
    for weight in model.weights:
        fan = max(int(np.prod(weight.shape[:-1])), 1)
        drawn = (
            random.normal(0, np.sqrt(2 / fan), weight.shape)
            if len(weight.shape) > 1
            else random.uniform(0.5, 1, weight.shape)
        )
        weight.assign(drawn)


def test_keras_loads_the_json_also_of_layers_that_it_defines_elsewhere():
    name = "convnexttiny"
    with keras.device("meta"):
        model = keras.models.model_from_json(format_layers(family(name, input=[32, 32, 3], classes=7).layers()))
        expected = reference(name, 32)
    assert model.count_params() == expected.count_params()
    assert model.output_shape == (None, 7)


def test_the_json_of_convnext_that_keras_writes_is_read():
    model = keras.applications.ConvNeXtTiny(weights=None, input_shape=(32, 32, 3), classes=5)
    network = build_network(json.loads(model.to_json()))
    _randomize(model)
    copy_weights(model, network)
    assert_same_outputs(model, network)


@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
def test_shallow_residual_networks_compute_what_those_of_torchvision_compute(name):
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    model = getattr(models, name)(num_classes=7).eval()
    network = build_network(family(name, input=[64, 64, 3], classes=7, activation="linear").layers()).eval()
    theirs = [value for key, value in model.state_dict().items() if "num_batches" not in key]
    own = network.state_dict()
    assert sum(value.numel() for value in theirs) == sum(value.numel() for value in own.values())
    network.load_state_dict(_renamed(model, own))
    x = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(network(x), model(x), rtol=1e-3, atol=1e-4)


def _renamed(model, own):
    """The weights of torchvision's network under the names of ours."""
    names = {"conv1": "conv1_conv", "bn1": "conv1_bn", "fc": "predictions"}
    for stage in range(1, 5):
        for number, block in enumerate(getattr(model, f"layer{stage}"), 1):
            here, there = f"layer{stage}.{number - 1}", f"conv{stage + 1}_block{number}"
            names |= {f"{here}.conv{i}": f"{there}_{i}_conv" for i in (1, 2)}
            names |= {f"{here}.bn{i}": f"{there}_{i}_bn" for i in (1, 2)}
            if block.downsample is not None:
                names |= {f"{here}.downsample.0": f"{there}_0_conv", f"{here}.downsample.1": f"{there}_0_bn"}
    weights = {}
    for key, value in model.state_dict().items():
        layer, _, kind = key.rpartition(".")
        if kind != "num_batches_tracked":
            weights[f"{names[layer]}.{kind}"] = value
    assert weights.keys() == own.keys()
    return weights


@pytest.mark.parametrize(
    ("section", "where", "message"),
    [
        ({"network": "resnet51"}, "layers.network", "Did you mean 'resnet50'"),
        ({"network": "resnet50", "classs": 3}, "layers.classs", "Did you mean 'classes'"),
        ({"network": "resnet50", "classes": 0}, "layers.classes", "greater than or equal to 1"),
        ({"network": "resnet50", "input": [64, 64]}, "layers.input", "takes images"),
        ({"network": "resnet50", "input": [64, 64, None]}, "layers.input", "channels must be known"),
        ({"network": "vgg16", "input": [None, None, 3]}, "layers.input", '"top": "mean" takes any'),
    ],
)
def test_mistakes_are_told_with_their_place(section, where, message):
    with pytest.raises(ConfigError) as raised:
        choose_network(section, "layers")
    assert [problem.where for problem in raised.value.problems] == [where]
    assert message in str(raised.value)


def test_images_of_any_size_go_through_a_network_that_ends_with_a_mean():
    network = build_network(family("vgg16", input=[None, None, 3], classes=4, top="mean").layers()).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 3, 40, 56)).shape == (1, 4)
