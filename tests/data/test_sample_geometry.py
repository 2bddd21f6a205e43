import numpy as np
import pytest
import torch

from rayrml.data.sample_geometry import SizeChange, list_size_changes, place_input, show_same
from rayrml.data.transforms import parse_transforms, split_transforms
from rayrml.errors import ConfigError

SHAPE = (3, 60, 100)


def transforms_of(*entries, varying=()):
    chosen = parse_transforms(list(entries), "data.transforms")
    return split_transforms(chosen, (), input_pixels=True, target_pixels=True, varying=varying)


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [{"resize": [32, 48]}],
        [{"center_crop": [40, 50]}],
        [{"center_crop": [80, 50]}],
        [{"resize": [90, 150]}, {"center_crop": [64, 64]}, {"resize": [32, 32]}],
        [{"center_crop": [80, 120]}, {"resize": [40, 60]}, {"center_crop": [30, 70]}],
        [{"normalize": {"mean": 0.5}}, {"resize": [30, 50]}],
        [{"random_horizontal_flip": 1}, {"resize": [30, 50]}, {"normalize": {"mean": 0}}],
        [{"random_resized_crop": {"size": [24, 24]}}],
    ],
)
def test_a_ramp_shows_where_each_value_of_an_input_was_in_the_image(entries):
    transforms = transforms_of(*entries)
    rows, columns = np.mgrid[: SHAPE[1], : SHAPE[2]] + 0.5
    image = np.stack([rows, columns, np.ones_like(rows)]).astype(np.float32)
    for _, operation in transforms.input.steps:
        image = operation(image)
    image = transforms.batched.evaluation()(torch.from_numpy(image[None].copy()), None)[0][0].numpy()
    if any("normalize" in entry for entry in entries):
        image = image + (0.5 if entries[0].get("normalize") else 0)
    axes = place_input(SHAPE[1:], list_size_changes(transforms))
    for number, axis in enumerate(axes):
        assert axis.length == image.shape[1 + number]
        places = axis.scale * (np.arange(axis.length) + 0.5) + axis.start
        line = image[number].take(image.shape[2 - number] // 2, 1 - number)
        middle = slice(axis.length // 4, 3 * axis.length // 4)  # at the edges, means have fewer neighbours
        assert np.allclose(line[middle], places[middle], atol=0.1)
        assert axis.low >= 0 and axis.high <= SHAPE[1 + number]


def test_what_is_cropped_away_is_not_shown():
    rows, columns = place_input((60, 100), [SizeChange(True, (40, 120)), SizeChange(False, (20, 60))])
    assert (rows.low, rows.high) == (10, 50)
    assert (columns.low, columns.high, columns.start) == (0, 100, -10)


def test_a_rotation_is_not_undone():
    with pytest.raises(ConfigError, match=r"transforms\[1\].*not rotated back"):
        list_size_changes(transforms_of({"resize": [20, 20]}, {"rotate": 30}))


@pytest.mark.parametrize("first", [[], [{"random_horizontal_flip": 0.5}]])
def test_a_letterbox_is_not_undone(first):
    with pytest.raises(ConfigError, match=r"letterbox: adds borders to samples, and predictions are not cut out"):
        list_size_changes(transforms_of(*first, {"letterbox": [20, 20]}))


def test_two_sides_show_the_same_if_only_their_sizes_differ():
    whole, half = [SizeChange(False, (64, 64))], [SizeChange(False, (32, 32))]
    assert show_same(whole, half) and show_same([], whole)
    assert not show_same(whole, [*whole, SizeChange(True, (32, 32))])
