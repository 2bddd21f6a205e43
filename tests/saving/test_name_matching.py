"""Names of layers that Keras numbers."""

import pytest

from rayrml.errors import ConfigError
from rayrml.saving.name_matching import pair_numbered, snake_case

OWN = {"conv2d": "conv2d", "conv2d_1": "conv2d", "conv2d_2": "conv2d", "top_conv": "conv2d", "add": "add"}


def test_numbered_names_are_paired_in_the_order_of_their_numbers():
    expected = {"conv2d_9": "conv2d", "conv2d_10": "conv2d_1", "conv2d_11": "conv2d_2"}
    assert pair_numbered(["conv2d_10", "top_conv", "conv2d_11", "conv2d_9"], OWN, "") == expected
    assert pair_numbered(["top_conv"], OWN, "") == {}


def test_another_number_of_them_is_refused():
    with pytest.raises(ConfigError, match=r"^x: the file has 2 layers named 'conv2d_\.\.\.', but the network has 3\. "):
        pair_numbered(["conv2d_1", "conv2d_2"], OWN, "x")


@pytest.mark.parametrize(
    ("name", "expected"), [("Conv2DTranspose", "conv2d_transpose"), ("BatchNormalization", "batch_normalization")]
)
def test_classes_are_named_as_in_keras(name, expected):
    assert snake_case(name) == expected
