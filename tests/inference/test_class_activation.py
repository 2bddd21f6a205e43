"""Maps of the regions that speak for a class, by networks whose deciding region is known."""

import pytest
import torch

from rayrml.errors import ConfigError
from rayrml.inference.class_activation import ClassActivation
from rayrml.networks.network import build_network

SIZE = 32
SHAPE = (1, SIZE, SIZE)


def network(*after, activation="softmax", units=2):
    """Two features, bright and dark pixels, and a class for each of them."""
    layers = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, SIZE, SIZE, 1], "name": "input"}},
        {"class_name": "Conv2D", "config": {"name": "conv", "filters": 2, "kernel_size": 3, "padding": "same"}},
        {"class_name": "Activation", "config": {"name": "relu", "activation": "relu"}},
        *after,
        {"class_name": "GlobalAveragePooling2D", "config": {"name": "mean"}},
        {"class_name": "Dense", "config": {"name": "dense", "units": units, "activation": activation}},
    ]
    found = build_network(layers)
    with torch.no_grad():
        conv, dense = (found.layers()[name] for name in ("conv", "dense"))
        conv.weight[0], conv.weight[1] = 1.0, -1.0
        conv.bias.copy_(torch.tensor([-2.0, 1.0]))
        dense.weight.copy_(torch.tensor([[5.0, -5.0], [-5.0, 5.0]])[:units])
    return found


def image(row, column):
    """Gray, with a bright square at one place."""
    pixels = torch.full((1, 1, SIZE, SIZE), 0.2)
    pixels[0, 0, row : row + 6, column : column + 6] = 1.0
    return pixels


PAD = {"class_name": "ZeroPadding2D", "config": {"name": "pad", "padding": [[0, 9], [0, 9]]}}
CROP = {"class_name": "Cropping2D", "config": {"name": "crop", "cropping": [[2, 0], [3, 0]]}}
POOL = {"class_name": "MaxPooling2D", "config": {"name": "pool", "pool_size": 2}}


@pytest.mark.parametrize("activation", ["softmax", "log_softmax", "linear"])
@pytest.mark.parametrize("after", [(), (POOL,), (PAD,), (CROP,)])
@pytest.mark.parametrize("place", [(2, 3), (20, 5), (25, 25)])
def test_the_map_is_highest_in_the_region_that_decides(place, after, activation):
    explained = ClassActivation(network(*after, activation=activation), SHAPE)
    assert explained.layer == "relu"  # before the pooling, and where positions are those of the image
    (heat,) = explained(image(*place), torch.tensor([0]))
    row, column = divmod(int(heat.argmax()), SIZE)
    assert place[0] <= row < place[0] + 6
    assert place[1] <= column < place[1] + 6
    assert heat.max() == 1
    outside = heat.clone()
    outside[place[0] - 1 : place[0] + 7, place[1] - 1 : place[1] + 7] = 0
    assert outside.max() < 0.1


def test_another_class_has_another_map_and_each_image_its_own():
    explained = ClassActivation(network(), SHAPE)
    images = torch.cat([image(2, 2), image(2, 2), image(20, 20)])
    bright, dark, other = explained(images, torch.tensor([0, 1, 0]))
    assert dark[2:8, 2:8].max() == 0
    assert bright[3:7, 3:7].min() > 0.5
    torch.testing.assert_close(explained(images[2:], torch.tensor([0]))[0], other)


def test_a_single_output_speaks_for_class_one_and_against_class_zero():
    explained = ClassActivation(network(activation="sigmoid", units=1), SHAPE)
    images = torch.cat([image(2, 2), image(2, 2)])
    against, speaks = explained(images, torch.tensor([0, 1]))
    assert speaks[3:7, 3:7].min() > 0.5
    assert against[3:7, 3:7].max() == 0


def test_a_sure_network_still_has_a_map():
    """The gradient of its probability is zero in 32 bits, that of its score is not."""
    sure = network()
    with torch.no_grad():
        sure.layers()["dense"].weight.mul_(1000)
    (heat,) = ClassActivation(sure, SHAPE)(image(9, 9), torch.tensor([0]))
    assert heat[10:14, 10:14].min() > 0.5


def test_the_network_itself_stays_as_it_is():
    given = network(POOL)
    images = image(3, 3)
    before = given(images)
    ClassActivation(given, SHAPE)(images, torch.tensor([0]))
    assert torch.equal(given(images), before)


def test_a_layer_without_positions_is_refused():
    with pytest.raises(ConfigError, match="--layer: the output of 'dense' has no height and width"):
        ClassActivation(network(), SHAPE, "dense")
    with pytest.raises(ConfigError, match=r"--layer: unknown layer 'cnov'\. Did you mean 'conv'\?"):
        ClassActivation(network(), SHAPE, "cnov")
    assert ClassActivation(network(), SHAPE, "conv").layer == "conv"
