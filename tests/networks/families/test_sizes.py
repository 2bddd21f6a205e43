"""The sizes that are named where an input is refused."""

import re

import pytest

from rayrml.errors import ConfigError
from rayrml.networks.families import choose_network
from rayrml.networks.families.sizes import naming_sizes
from rayrml.networks.graph import read_graph
from rayrml.networks.network import outline


def refusal(name, *size, **keys):
    """Why a network refuses this size; None if it does not."""
    try:
        family = choose_network({"network": name, "input": [*size, 3], **keys}, "")
        with naming_sizes(family, "input"):
            outline(read_graph(family.layers()))
    except ConfigError as error:
        (problem,) = error.problems
        assert problem.where == "input"
        return problem.message
    return None


@pytest.mark.parametrize(
    ("name", "size", "cure"),
    [
        ("unet", (70, 80), "(64 or 80) x 80"),
        ("unet", (30, 3), "(16 or 32) x 16"),
        ("unet", (30, 30, 33), "(16 or 32) x (16 or 32) x (32 or 48)"),
        ("fpn", (100, 64), "(96 or 128) x 64"),
        ("pspnet", (100, 100), "(96 or 144) x (96 or 144)"),
    ],
)
def test_the_nearest_multiples_are_named_and_taken(name, size, cure):
    assert refusal(name, *size).endswith(f"Expected sizes such as {cure}")
    for size in zip(*(re.findall(r"\d+", part) * 2 for part in cure.split(" x ")), strict=False):
        assert refusal(name, *map(int, size)) is None


@pytest.mark.parametrize(("name", "size"), [("vgg16", (30, 30)), ("inceptionv3", (40, 200)), ("xception", (5, 9))])
def test_the_least_sizes_are_named_and_taken(name, size):
    message = refusal(name, *size)
    assert f"{name} does not take {size[0]} x {size[1]}: " in message
    least = [int(number) for number in message.split("Expected at least ")[1].split(" x ")]
    assert refusal(name, *least) is None
    assert refusal(name, least[0] - 1, least[1]) is not None


def test_other_mistakes_stay_as_they_are():
    with pytest.raises(ConfigError, match="something else"), naming_sizes(None, "input"):
        raise ConfigError("something else")
