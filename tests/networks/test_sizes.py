"""Networks that declare one size of samples and get another one: what they give is right, or they are refused."""

import copy

import pytest
import torch

from rayrml.errors import ConfigError
from rayrml.networks.network import build_network


def layer(class_name, *inputs, name=None, **config):
    entry = {"class_name": class_name, "config": {"name": name or class_name.lower(), **config}}
    return entry | ({"inbound_nodes": [[[i, 0, 0] for i in inputs]]} if inputs else {})


def conv(*inputs, name="conv", filters=4, kernel=3, padding="same", **config):
    return layer("Conv2D", *inputs, name=name, filters=filters, kernel_size=kernel, padding=padding, **config)


def declared(*layers, size=(32, 32), channels=3):
    return [layer("InputLayer", name="in", batch_input_shape=[None, *size, channels]), *layers]


def opened(layers):
    layers = copy.deepcopy(layers)
    shape = layers[0]["config"]["batch_input_shape"]
    layers[0]["config"]["batch_input_shape"] = [None, *[None] * (len(shape) - 2), shape[-1]]
    return layers


POOLED = (layer("GlobalAveragePooling2D", name="gap"), layer("Dense", name="out", units=5))
SQUEEZED = (
    conv("in"),
    layer("GlobalAveragePooling2D", "conv", name="gap"),
    layer("Reshape", "gap", name="one", target_shape=[1, 1, 4]),
    conv("one", name="gate", kernel=1, activation="sigmoid"),
    layer("Multiply", "conv", "gate", name="out"),
)
FLAT = (layer("Flatten"), layer("Dense", name="out", units=2))
BY_CHANNEL = (layer("LayerNormalization"), layer("PReLU", shared_axes=[1, 2]))
DECODED = (
    *POOLED,
    layer("Dense", name="d", units=16),
    layer("Reshape", name="r", target_shape=[4, 4, 1]),
    layer("UpSampling2D", name="up", size=8),
)
# The mean of everything beside its parts, as in PSPNet.
PYRAMID = (
    conv("in", name="a"),
    layer("AveragePooling2D", "a", name="mean", pool_size=32),
    layer("UpSampling2D", "mean", name="up", size=32),
    layer("Concatenate", "a", "up", name="both"),
)
# A sum whose second summand is broadcast where a size is small.
STRIDED = (
    conv("in", name="a", kernel=2, padding="valid", strides=2, filters=3),
    layer("MaxPooling2D", "in", name="b", padding="same"),
    layer("Add", "a", "b"),
)
UNET = (
    conv("in", name="a"),
    layer("MaxPooling2D", "a", name="down"),
    conv("down", name="b"),
    layer("UpSampling2D", "b", name="up"),
    layer("Concatenate", "a", "up", name="both"),
    conv("both", name="out", filters=1),
)
# SegNet's and YOLO's ends: a list of positions, each with its channels.
LIST = layer("Reshape", name="list", target_shape=[-1, 3])
LISTED = (conv(filters=6), LIST, layer("Softmax", name="out"))
ATTENTION = (
    conv("in", name="v"),
    layer("Reshape", "v", name="p", target_shape=[-1, 4]),
    layer("Dot", "p", "p", name="scores", axes=2),
    layer("Softmax", "scores", name="weights"),
    layer("Dot", "weights", "p", name="mixed", axes=[2, 1]),
    layer("Dense", "mixed", name="out", units=2),
)


@pytest.mark.parametrize(
    ("layers", "size"),
    [
        ((conv(), *POOLED), (48, 20)),
        (SQUEEZED, (40, 24)),
        (UNET, (64, 16)),
        (LISTED, (16, 64)),
        (LISTED, (16, 32)),
        (ATTENTION, (8, 40)),
        ((conv(), layer("Permute", dims=[2, 1, 3]), conv(name="out")), (20, 10)),
        ((conv(strides=2), layer("MaxPooling2D"), layer("Conv2DTranspose", filters=2, kernel_size=4)), (64, 40)),
        ((layer("DepthwiseConv2D", kernel_size=3), *BY_CHANNEL), (17, 9)),
        ((layer("Resizing", height=32, width=32), conv(), *FLAT), (50, 41)),
        ((conv(), layer("Flatten", name="out")), (16, 64)),
        ((*POOLED, layer("RepeatVector", n=8), layer("Dense", name="words", units=2)), (64, 64)),
        ((*POOLED, layer("Dense", name="d", units=12), layer("Reshape", name="boxes", target_shape=[3, 4])), (64, 64)),
    ],
)  # fmt: skip
def test_what_treats_all_positions_alike_gives_what_it_gives_without_a_declared_size(layers, size):
    content = declared(*layers)
    network, twin = build_network(content).eval(), None
    x = torch.rand(2, 3, *size)
    assert network.check_input((3, *size)) is None
    if not any(entry["class_name"] == "Resizing" for entry in content):
        twin = build_network(opened(content)).eval()
        twin.load_state_dict(network.state_dict())
    before = network(x)
    network.accept((3, *size))
    assert network.declared_shapes == ((3, 32, 32),) and network.input_shapes == ((3, *size),)
    assert network.output_shapes == (before.shape[1:],)
    assert torch.equal(network(x), before)
    if twin is not None:
        assert torch.equal(twin(x), before)


@pytest.mark.parametrize(
    ("layers", "size", "named"),
    [
        (FLAT, (40, 32), "Dense 'out' on (3840): it has weights"),
        # As many positions in all as at the declared size.
        (FLAT, (16, 64), "Dense 'out' on (3072): it has weights"),
        ((layer("Reshape", target_shape=[-1]), FLAT[1]), (16, 64), "Dense 'out'"),
        ((FLAT[0], layer("BatchNormalization")), (16, 64), "BatchNormalization 'batchnormalization'"),
        ((layer("Permute", dims=[3, 1, 2]), FLAT[1]), (32, 40), "Dense 'out'"),
        ((LIST, layer("Permute", dims=[2, 1]), FLAT[1]), (16, 64), "Dense 'out'"),
        ((LIST, *FLAT), (16, 64), "Dense 'out'"),
        ((LIST, layer("PReLU")), (16, 64), "PReLU 'prelu' on (3, 1024): it has weights"),
        ((layer("Reshape", target_shape=[32, 32, 3]), conv()), (16, 64), "Reshape 'reshape' on (3, 16, 64): it is"),
        ((layer("Reshape", target_shape=[8, -1, 3]), conv()), (16, 32), "Reshape 'reshape'"),
        ((conv(), layer("LayerNormalization", axis=[1, 2, 3])), (16, 64), "LayerNormalization"),
        ((conv(), layer("PReLU")), (32, 40), "PReLU 'prelu'"),
        ((layer("Normalization", axis=[1, 3]), conv()), (40, 32), "Normalization 'normalization'"),
        ((conv(), layer("AveragePooling2D", pool_size=32), FLAT[1]), (64, 64), "AveragePooling2D"),
        ((conv(), layer("AveragePooling2D", pool_size=32, strides=1), conv(name="c")), (33, 32), "AveragePooling2D"),
        (PYRAMID, (64, 64), "AveragePooling2D 'mean'"),
        ((conv(), layer("Resizing", height=32, width=32)), (64, 64), "Resizing 'resizing' on (4, 64, 64): the"),
        (DECODED, (64, 64), "UpSampling2D 'up' on (1, 4, 4): the network's output is always of shape (1, 32, 32)"),
        (STRIDED, (3, 32), "Add 'add' on (3, 1, 16) and (3, 2, 16): its inputs differ"),
    ],
)  # fmt: skip
def test_what_is_made_for_the_declared_size_is_refused_by_the_name_of_its_layer(layers, size, named):
    network = build_network(declared(*layers)).eval()
    message = network.check_input((3, *size))
    expected = f"the network takes inputs of shape (3, 32, 32), channels first, got (3, {size[0]}, {size[1]}). "
    assert message is not None and message.startswith(expected + named.split(" on ")[0])
    assert named in message
    with pytest.raises(ValueError, match=r"channels first, got"):
        network(torch.rand(2, 3, *size))
    with pytest.raises(ConfigError, match=r"channels first, got"):
        build_network(declared(*layers), (3, *size))
    network(torch.rand(2, 3, 32, 32))


def test_channels_and_the_number_of_axes_stay_as_declared():
    network = build_network(declared(conv()))
    for shape in ((1, 32, 32), (1, 40, 40), (3, 32), (3, 32, 32, 32)):
        assert network.check_input(shape) is not None
    with pytest.raises(ConfigError, match="got \\(1, 40, 40\\)"):
        network.accept((1, 40, 40))


def test_a_flatten_takes_what_its_windows_make_equal():
    network = build_network(
        declared(conv(padding="valid"), layer("MaxPooling2D"), layer("Flatten"), layer("Dense", units=2))
    )
    assert network.check_input((3, 33, 32)) is None
    assert network.check_input((3, 34, 32)) is not None


@pytest.mark.parametrize(
    ("size", "text"),
    [((40, 64), "(32 or 48) x 64"), ((33, 40), "(32 or 48) x (32 or 48)"), ((250, 32), "(240 or 256) x 32")],
)
def test_the_nearest_sizes_that_a_network_takes_are_named(size, text):
    downs = [layer("MaxPooling2D", "in", name="down", pool_size=16), layer("UpSampling2D", "down", name="up", size=16)]
    network = build_network(declared(*downs, layer("Concatenate", "in", "up")))
    assert network.check_input((3, *size)).endswith(f"Expected sizes such as {text}")


def test_several_sizes_are_open_where_they_differ():
    network = build_network(declared(*UNET))
    network.accept((3, 16, 64), (3, 32, 64))
    assert network.input_shapes == ((3, None, 64),) and network.output_shapes == ((1, None, 64),)
    assert network(torch.rand(1, 3, 48, 64)).shape == (1, 1, 48, 64)
    with pytest.raises(ConfigError, match=r"got \(3, 16, 63\). Concatenate 'both'"):
        network.accept((3, 16, 64), (3, 16, 63))


def test_channels_first_networks_take_other_sizes_too():
    first = {"data_format": "channels_first"}
    entries = [
        layer("InputLayer", name="in", batch_input_shape=[None, 3, 32, 24]),
        conv(**first),
        layer("BatchNormalization", axis=1),
        layer("GlobalAveragePooling2D", **first),
        layer("Dense", name="out", units=5),
    ]
    network = build_network(entries).eval()
    assert network.check_input((3, 40, 16)) is None
    network.accept((3, 40, 16))
    assert network(torch.rand(2, 3, 40, 16)).shape == (2, 5)
    flat = build_network([*entries[:3], layer("Flatten", **first), layer("Dense", name="out", units=5)])
    assert "Dense 'out'" in flat.check_input((3, 24, 32))
    pooled = build_network([*entries[:2], layer("AveragePooling2D", pool_size=[32, 24], **first), entries[-1]])
    assert "AveragePooling2D" in pooled.check_input((3, 64, 48))
