import numpy as np
import pytest
import torch

from rayrml.data.transforms import parse_transforms, split_transforms
from rayrml.errors import ConfigError
from rayrml.exporting import plain_reading
from rayrml.exporting.preprocessing import find_preprocessing
from tests.exporting.networks import TRANSFORMS

IMAGE = np.random.default_rng(1).integers(0, 256, (9, 13, 3), np.uint8).repeat(9, 0).repeat(7, 1)  # 81 x 91
LISTS = {
    "all": TRANSFORMS,
    "nothing": [],
    "larger": [{"resize": [100, 150]}],
    "random box": [{"random_resized_crop": {"size": [24, 32]}}, {"normalize": {"mean": 0.5, "std": 0.25}}],
    "zoom before resize": [{"random_zoom": 0.2}, {"resize": [32, 32]}],
    "padding": [{"center_crop": [101, 40]}],
    "letterbox, wide": [{"letterbox": [64, 96]}, {"normalize": {"mean": 0.5, "std": 0.25}}],
    "letterbox, high": [{"letterbox": [100, 30]}],
    "colors": [{"convert_color": "RGB2BGR"}, {"resize": [32, 32]}],
}
SHADE = 1.51 / 255  # what rounding twice may change


def predicted(transforms, image):
    """(C, H, W) as a prediction makes it: when it is decoded, then in a batch."""
    done = split_transforms(parse_transforms(transforms, "transforms"), varying=("input",))
    array = done.input.apply(image.transpose(2, 0, 1))
    array = array if done.input.varying is None else done.input.varying(array)
    return done.batched.evaluation()(torch.from_numpy(np.ascontiguousarray(array))[None], None)[0][0]


@pytest.mark.parametrize("name", LISTS)
def test_steps_are_those_of_a_prediction(name):
    found = find_preprocessing({"input_type": "images", "input_transforms": LISTS[name]})
    x = torch.from_numpy(IMAGE)[None].permute(0, 3, 1, 2).float()
    for change in found.changes():
        x = change(x)
    expected = predicted(LISTS[name], IMAGE)
    largest = max((1 / np.min(step["normalize"]["std"]) for step in found.steps if "normalize" in step), default=1)
    assert x.shape[1:] == expected.shape
    assert (x[0] - expected).abs().max() <= SHADE * largest
    metadata = {"preprocessing": {"steps": found.steps}}
    if plain_reading.can_prepare(metadata):
        assert np.abs(plain_reading.to_input(IMAGE, metadata)[0] - expected.numpy()).max() <= SHADE * largest


def test_images_larger_than_the_box_are_made_smaller_in_a_letterbox():
    (change, _) = find_preprocessing({"input_transforms": [{"letterbox": [32, 32]}]}).changes()
    found = change(torch.full((1, 3, 64, 128), 200.0))
    assert found[0, 0, :, 5].tolist() == [114] * 8 + [200] * 16 + [114] * 8


@pytest.mark.parametrize(
    "data, reason",
    [
        ({"input_type": "numpy"}, "type 'numpy'"),
        ({"scale": "range"}, "'scale'"),
        ({"pages": "channels"}, "'pages'"),
        ({"slicers": [{"size": [8, 8]}]}, "slices"),
        ({"input_transforms": [{"rotate": 5}]}, "'rotate'"),
    ],
)
def test_what_programs_cannot_do_is_named(data, reason):
    assert reason in find_preprocessing(data).unsupported()


def test_arrays_are_not_divided():
    data = {"input_type": "numpy", "input_transforms": [{"normalize": {"mean": 3.0, "std": 2.0}}]}
    assert find_preprocessing(data).steps == ({"normalize": {"mean": 3.0, "std": 2.0}},)


@pytest.mark.parametrize("scale, first", [("range", [{"divide": "range"}]), (4095, [{"divide": 4095}]), ("values", [])])
def test_files_of_more_bits_are_divided_as_their_scale_says(scale, first):
    data = {"scale": scale, "input_transforms": [{"resize": [8, 8]}, {"normalize": {"mean": 0.5, "std": 0.25}}]}
    steps = find_preprocessing(data).steps
    assert list(steps) == [*first, {"resize": [8, 8]}, {"normalize": {"mean": 0.5, "std": 0.25}}]


def test_a_checkpoint_without_a_word_on_inputs_has_no_steps():
    assert find_preprocessing({}) is None


def test_an_unknown_transform_is_a_mistake():
    with pytest.raises(ConfigError, match="input_transforms"):
        find_preprocessing({"input_transforms": [{"turn_inside_out": 1}]})
