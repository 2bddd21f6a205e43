"""Ranges of generators and images: which agree, which do not, and what helps."""

import pytest

from rayrml.data.image_range import find_image_range
from rayrml.data.readers import READERS
from rayrml.data.transforms import parse_transforms, split_transforms
from rayrml.endings import SYMMETRIC, UNIT
from rayrml.errors import Problem
from rayrml.networks.ending import find_range
from rayrml.networks.graph import read_graph
from rayrml.planning.generator_range import compare_ranges

BETWEEN = {"normalize": {"mean": 0.5, "std": 0.5}}
MNIST = {"normalize": {"mean": 0.1307, "std": 0.3081}}
IMAGENET = {"normalize": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}}


def generator(activation, *more):
    layers = [("Dense", {"units": 4, "activation": activation}), *more]
    entries = [{"class_name": kind, "config": {"name": f"l{i}", **config}} for i, (kind, config) in enumerate(layers)]
    entries[0]["config"]["batch_input_shape"] = [None, 2]
    return read_graph({"class_name": "Sequential", "config": {"layers": entries}})


@pytest.mark.parametrize(
    ("activation", "more", "expected"),
    [
        ("sigmoid", [], UNIT),
        ("tanh", [], SYMMETRIC),
        (None, [("Activation", {"activation": "tanh"})], SYMMETRIC),
        (None, [("Tanh", {})], SYMMETRIC),
        (None, [("Sigmoid", {})], UNIT),
        ({"class_name": "Tanh", "config": {}}, [], SYMMETRIC),
        ("tanh", [("Reshape", {"target_shape": [2, 2, 1]})], SYMMETRIC),
        ("sigmoid", [("Reshape", {"target_shape": [2, 2, 1]}), ("Activation", {"activation": "linear"})], UNIT),
        ("tanh", [("Dense", {"units": 3})], None),
        ("tanh", [("BatchNormalization", {})], None),
        ("tanh", [("Activation", {"activation": "relu"})], None),
        ("softmax", [], None),
        ("relu", [], None),
        (None, [], None),
    ],
)
def test_a_generators_last_layers_tell_its_range(activation, more, expected):
    assert find_range(generator(activation, *more)) == expected


def image_range(*transforms, reader="images", **options):
    built = READERS[reader](**options)
    placed = parse_transforms(list(transforms), "transforms")
    return find_image_range(built, split_transforms(placed, input_pixels=built.pixels).batched)


@pytest.mark.parametrize(
    ("transforms", "expected"),
    [
        ([], (0, 1)),
        ([BETWEEN], (-1, 1)),
        ([{"random_horizontal_flip": 0.5}, BETWEEN], (-1, 1)),
        ([BETWEEN, {"random_horizontal_flip": 0.5}], (-1, 1)),
        ([{"resize": [4, 4]}, {"color_jitter": {"brightness": 0.3}}], (0, 1)),
        ([{"convert_color": "RGB2BGR"}, BETWEEN], (-1, 1)),
        ([MNIST], (-0.4242, 2.8215)),
        ([IMAGENET], (-2.1179, 2.64)),
        ([BETWEEN, BETWEEN], (-3, 1)),
        ([{"normalize": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}], (-1, 1)),
    ],
)
def test_normalize_alone_changes_the_range_of_images(transforms, expected):
    assert image_range(*transforms) == pytest.approx(expected, abs=1e-3)


def test_the_range_of_other_arrays_is_not_known():
    assert image_range(reader="numpy") is None


@pytest.mark.parametrize(("activation", "images"), [("sigmoid", UNIT), ("tanh", SYMMETRIC), ("tanh", (-0.996, 1.0))])
def test_equal_ranges_are_right(activation, images):
    assert compare_ranges(generator(activation), images) is None


@pytest.mark.parametrize(
    ("activation", "images", "message"),
    [
        (
            "tanh",
            UNIT,
            "ends with tanh and gives -1 to 1, but images are from 0 to 1 after the transforms. End it with sigmoid, "
            'or add {"normalize": {"mean": 0.5, "std": 0.5}} as the last of the input transforms',
        ),
        (
            "sigmoid",
            SYMMETRIC,
            "ends with sigmoid and gives 0 to 1, but images are from -1 to 1 after the transforms. End it with tanh, "
            "or leave out normalize",
        ),
        (
            "sigmoid",
            (-0.4242, 2.8215),
            "gives 0 to 1, but images are from -0.424 to 2.82 after the transforms. Leave out normalize",
        ),
        (
            "tanh",
            (-0.4242, 2.8215),
            '-0.424 to 2.82 after the transforms. Let {"normalize": {"mean": 0.5, "std": 0.5}} be the only normalize',
        ),
    ],
)
def test_ranges_that_differ_are_a_mistake_with_what_helps(activation, images, message):
    found = compare_ranges(generator(activation), images)
    assert isinstance(found, Problem) and found.where == "neural_network.layers"
    assert found.message.endswith(message)


@pytest.mark.parametrize(
    ("activation", "images", "message"),
    [
        (
            None,
            UNIT,
            "does not end with sigmoid or tanh, so its numbers may be outside of the images' range; images",
        ),
        ("relu", SYMMETRIC, "ends with relu, so its numbers may be outside"),
        ("tanh", None, "ends with tanh and gives -1 to 1; images are of unknown range"),
    ],
)
def test_what_is_not_known_is_told(activation, images, message):
    found = compare_ranges(generator(activation), images)
    assert isinstance(found, str) and message in found
