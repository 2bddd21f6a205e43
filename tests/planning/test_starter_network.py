"""Networks to start from: they can be built for every size, and grow with the images."""

import pytest
import torch

from rayrml.networks.network import build_network
from rayrml.planning.starter_network import build_classifier, build_unet, count_poolings

SIZES = [(1, 1), (7, 5), (16, 16), (20, 30), (28, 28), (64, 64), (96, 128)]


@pytest.mark.parametrize("num_images", [20, 1000, 5000])
@pytest.mark.parametrize("size", SIZES)
def test_a_classifier_has_a_log_probability_for_each_class(size, num_images):
    network = build_network(build_classifier((*size, 3), 12, num_images))
    assert network.output_shapes == ((12,),)
    output = network.eval()(torch.rand(2, 3, *size))
    assert torch.allclose(output.exp().sum(1), torch.ones(2))


@pytest.mark.parametrize("num_outputs", [1, 4])
@pytest.mark.parametrize("size", SIZES)
def test_a_u_net_has_a_probability_for_each_pixel(size, num_outputs):
    network = build_network(build_unet((*size, 1), num_outputs, 100))
    assert network.output_shapes == ((num_outputs, *size),)
    output = network.eval()(torch.rand(2, 1, *size))
    assert output.min() >= 0 and output.max() <= 1
    if num_outputs > 1:
        assert torch.allclose(output.sum(1), torch.ones(2, *size))


def test_more_images_have_a_larger_network_with_less_dropout():
    few, many = (build_classifier((64, 64, 3), 5, number) for number in (50, 5000))
    assert build_network(few).num_parameters < build_network(many).num_parameters
    rates = [layer["config"]["rate"] for layers in (few, many) for layer in layers if layer["class_name"] == "Dropout"]
    assert rates[0] > rates[1]


def test_each_level_of_a_u_net_sees_what_was_there_on_the_way_down():
    layers = build_unet((64, 64, 3), 1, 100)
    joins = [layer["inbound_nodes"] for layer in layers if layer["class_name"] == "Concatenate"]
    assert joins == [[f"up_{level}", f"relu_down_{level}_b"] for level in (3, 2, 1)]


@pytest.mark.parametrize(
    ("size", "count"), [((7, 5), 0), ((16, 16), 1), ((20, 30), 1), ((96, 128), 3), ((512, 512), 4)]
)
def test_images_are_halved_while_they_stay_large_enough_and_even(size, count):
    assert count_poolings(size) == count
