"""Networks with an output for each pixel: their sizes, encoders, choices, and that Keras computes the same."""

from __future__ import annotations

import json

import pytest
import torch

from rayrml.errors import ConfigError
from rayrml.networks.families import choose_network
from rayrml.networks.families.segmentation import ENCODERS
from rayrml.networks.graph import read_graph
from rayrml.networks.network import build_network, outline
from tests.keras_reference import assert_same, keras


def family(name, **keys):
    return choose_network({"network": name, **keys}, "layers")


def document(name, **keys):
    return family(name, **keys).layers()


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("unet", {"input": [32, 48, 3], "filters": 4, "depth": 3}),
        ("unet", {"input": [8, 16, 8, 1], "filters": 4, "depth": 2, "classes": 3}),
        ("unet", {"input": [32, 64, 3], "encoder": "mobilenetv2", "filters": 4, "classes": 2}),
        ("resunet", {"input": [32, 48, 1], "filters": 4}),
        ("resunet", {"input": [8, 16, 8, 2], "filters": 4, "depth": 2, "classes": 3}),
        ("fpn", {"input": [32, 32, 3], "encoder": "mobilenetv3small", "filters": 16}),
        ("linknet", {"input": [32, 64, 3], "encoder": "efficientnetb0", "classes": 3}),
        ("pspnet", {"input": [48, 96, 3], "encoder": "mobilenet", "filters": 16, "classes": 3}),
    ],
)
def test_there_is_an_output_for_each_pixel_and_keras_computes_the_same(name, keys):
    model = keras.models.model_from_json(json.dumps(document(name, **keys)))
    assert model.output_shape == (None, *keys["input"][:-1], keys.get("classes", 1))
    assert_same(model)


@pytest.mark.parametrize("name", ["unet", "fpn", "linknet"])
@pytest.mark.parametrize("encoder", ["resnet50v2", "vgg16", "densenet121", "mobilenetv3large", "efficientnetv2s"])
def test_encoders_give_half_as_many_positions_at_each_step(name, encoder):
    graph = read_graph(document(name, encoder=encoder, input=[64, 96, 3], classes=4))
    _, shapes = outline(graph)
    assert shapes[graph.outputs[0]] == (4, 64, 96)


def test_skipped_layers_are_the_usual_ones():
    """Those that the decoders of the segmentation_models package take."""
    usual = {
        "vgg16": ["block5_conv3", "block4_conv3", "block3_conv3", "block2_conv2"],
        "densenet121": ["pool4_relu", "pool3_relu", "pool2_relu", "conv1_relu"],
        "mobilenet": ["conv_pw_11_relu", "conv_pw_5_relu", "conv_pw_3_relu", "conv_pw_1_relu"],
        "mobilenetv2": ["block_13_expand_relu", "block_6_expand_relu", "block_3_expand_relu", "block_1_expand_relu"],
        "efficientnetb0": [f"block{number}a_expand_activation" for number in (6, 4, 3, 2)],
        "resnet50": ["conv4_block6_out", "conv3_block4_out", "conv2_block3_out", "conv1_relu"],
    }
    for encoder, names in usual.items():
        layers = {layer["name"]: layer for layer in document("unet", encoder=encoder)["config"]["layers"]}
        joined = [layers[f"decoder_stage{stage}_concat"]["inbound_nodes"][0][1][0] for stage in range(4)]
        assert joined == names


def test_a_unet_with_vgg16_has_as_many_weights_as_in_segmentation_models():
    count, _ = outline(read_graph(document("unet", encoder="vgg16")))
    assert count == 23_752_273


@pytest.mark.parametrize("name", ["unet", "resunet", "linknet"])
def test_without_batch_normalization_a_sample_does_not_depend_on_its_batch(name):
    encoder = {"encoder": "vgg16"} if name == "linknet" else {"filters": 8}
    for normalization in ("group", "none"):
        layers = document(name, input=[32, 32, 1], normalization=normalization, **encoder)
        assert not any(layer["class_name"] == "BatchNormalization" for layer in layers["config"]["layers"])
    network = build_network(document(name, input=[32, 32, 1], normalization="group", **encoder)).train()
    x = torch.rand(3, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network(x)[:1], network(x[:1]), rtol=1e-4, atol=1e-5)


def test_channels_are_dropped_in_training_if_asked_for():
    for name in ("unet", "resunet", "fpn", "linknet", "pspnet"):
        layers = document(name, dropout=0.25)["config"]["layers"]
        assert [layer["config"]["rate"] for layer in layers if "Dropout" in layer["class_name"]] == [0.25]
        assert not any("Dropout" in layer["class_name"] for layer in document(name)["config"]["layers"])


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"network": "unet", "input": [60, 64, 3]},
            "input: unet takes sizes that are multiples of 16, got [60, 64, 3]",
        ),
        ({"network": "resunet", "input": [60, 64, 3], "depth": 2}, None),
        ({"network": "unet", "input": [48, 64, 3], "encoder": "resnet18"}, "multiples of 32"),
        ({"network": "unet", "input": [32, 32, 32, 1], "encoder": "resnet18"}, "the encoder resnet18 takes images"),
        ({"network": "unet", "encoder": "resnet18", "depth": 3}, "depth: has no effect with an encoder"),
        ({"network": "fpn", "encoder": "xception"}, "encoder: no encoder is named 'xception'"),
        ({"network": "fpn", "input": [32, 32, 32, 1]}, "input: fpn takes images"),
        ({"network": "pspnet", "input": [64, 64, 3]}, "multiples of 48"),
        ({"network": "pspnet", "input": [None, None, 3]}, "images of one size"),
    ],
)
def test_sizes_and_keys_that_do_not_go_together_are_refused(section, message):
    if message is None:
        choose_network(section, "layers")
        return
    with pytest.raises(ConfigError) as raised:
        choose_network(section, "layers")
    assert message in str(raised.value)


def test_every_encoder_has_a_pyramid_of_resolutions():
    for encoder in ENCODERS:
        assert document("linknet", encoder=encoder, input=[32, 32, 3])["config"]["layers"]
