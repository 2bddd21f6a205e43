import pickle

import numpy as np
import pytest
import torch

from rayrml.data.draws import Draws
from rayrml.data.transforms import TRANSFORMS, parse_transforms, split_transforms
from rayrml.errors import ConfigError
from tests.data.transforms.test_transforms import ALONE, SPATIAL, VALUES

SIZE = [12, 14]
BOXES = ("jitter_crop", "random_zoom", "random_resized_crop")
RANDOM = [name for name in ALONE if TRANSFORMS[name].num_draws and name != "random_depth_flip"]
TURN = {"random_rotate": 40}  # keeps a resize from being done first


def split(*section, **kinds):
    chosen = parse_transforms([*section, {"resize": SIZE}], "t")
    return split_transforms(chosen, chosen, varying=("input", "target"), **kinds)


def smooth(name="", count=8):
    """Images without detail, so that a box that is half a pixel further makes little difference."""
    height, width = SPATIAL.get(name, (17, 24))
    rows, columns = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    waves = [(torch.sin((i + 3) * rows / 2 + c) + torch.cos(i + 2 * columns)) / 4 + 0.5 for i, c in enumerate(range(3))]
    return (torch.stack(waves) * 255).byte().expand(count, -1, -1, -1)


@pytest.mark.parametrize("name", RANDOM)
def test_a_sample_alone_is_changed_as_in_a_batch(name):
    rest = [] if name == "random_resized_crop" else [{"resize": SIZE}]
    chosen = parse_transforms([TURN, {name: VALUES[name]}, *rest], "t")
    alone, batched = split_transforms(chosen, varying=("input",)).input.varying, split_transforms(chosen).batched
    given, positions = smooth(name), np.array([5, 0, 7, 1, 12, 3, 40, 41])
    expected, _ = batched(given, None, Draws(3, positions))
    for i, image in enumerate(given.numpy()):
        found = alone(image, Draws(3, positions).at(i))
        assert found.dtype == np.uint8
        assert found.shape == alone.shape(image.shape) == expected.shape[1:]
        difference = np.abs(found - expected[i].numpy() * 255)
        assert difference.max() < 1.6 or (name in BOXES and difference.mean() < 6)


@pytest.mark.parametrize(
    "step", [{"random_rotate": 40}, {"random_horizontal_flip": 0.5}, {"color_jitter": {"hue": 0.3}}]
)
def test_pixels_of_16_bits_stay_fractions_of_white(step):
    chosen = parse_transforms([TURN, step, {"resize": SIZE}], "t")
    alone, batched = split_transforms(chosen, varying=("input",)).input.varying, split_transforms(chosen).batched
    given = smooth().float() / 255 + torch.linspace(0, 1 / 512, 24)  # not only the shades of bytes
    expected, _ = batched(given, None, Draws(3, np.arange(8)))
    found = np.stack([alone(image, Draws(3, np.array([i]))) for i, image in enumerate(given.numpy())])
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", RANDOM)
def test_a_mask_alone_stays_over_its_object(name):
    rest = {"resize": SIZE} if name != "random_resized_crop" else {"center_crop": [11, 13]}
    chosen = parse_transforms([TURN, {name: VALUES[name]}, rest], "t")
    transforms = split_transforms(chosen, chosen, target_is_mask=True, target_pixels=False, varying=("input", "target"))
    input, target = transforms.input.varying, transforms.target.varying
    size = SPATIAL.get(name, (40, 40))
    square = np.zeros((1, *size), np.uint8)
    square[:, size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 1
    for position in range(20):
        draws = Draws(0, np.array([position]))
        if name == "random_resized_crop":
            square = square[:, :, : 40 - position % 5]  # images of different sizes
        image, mask = input(square * 255, draws), target(square, draws)
        assert mask.dtype == np.uint8
        assert set(np.unique(mask)) <= {0, 1}
        if name in ("trivial_augment", "color_jitter", "random_erasing"):
            continue  # changes of color, too
        unsure = (image > 20) & (image < 235)
        assert (unsure | ((image > 127) == (mask > 0))).mean() > 0.97


def test_a_mask_of_many_classes_keeps_its_type_and_its_values():
    transforms = split(TURN, target_is_mask=True, target_pixels=False)
    mask = np.random.default_rng(0).choice(np.array([-1, 7, 300], np.int16), (1, 20, 31))
    changed = transforms.target.varying(mask, Draws(0))
    assert changed.dtype == transforms.target.dtype(mask.dtype) == np.int16
    assert set(np.unique(changed)) <= {-1, 0, 7, 300}


def test_numbers_that_are_not_pixels_become_floats():
    operations = split({"random_zoom": 0.3}, TURN, input_pixels=False).input
    array = np.random.default_rng(0).normal(size=(2, 30, 21)).astype(np.float16)
    changed = operations.varying(array, Draws(0))
    assert changed.dtype == operations.dtype(array.dtype) == np.float32
    assert changed.shape == (2, *SIZE)
    assert 0.1 < changed.std() < 1


def test_without_random_numbers_a_sample_is_as_in_evaluation():
    operations, batched = split(TURN, {"random_zoom": 0.5}, {"color_jitter": {"hue": 0.3}}).input, split().batched
    assert batched.steps == ()
    image = smooth()[0].numpy()
    plain = split_transforms(parse_transforms([{"resize": SIZE}], "t")).input.apply(image)
    assert np.array_equal(operations.varying(image), plain)
    assert not np.array_equal(operations.varying(image, Draws(0)), plain)


def test_what_follows_equal_sizes_stays_for_batches():
    chosen = parse_transforms(
        [{"random_resized_crop": {"size": SIZE}}, {"random_horizontal_flip": 0.5}, {"normalize": {"mean": 0.5}}], "t"
    )
    transforms = split_transforms(chosen, varying=("input",))
    assert [step.where for step in transforms.input.varying.steps] == ["t[0].random_resized_crop"]
    assert [step.where for step in transforms.batched.steps] == ["t[1].random_horizontal_flip", "t[2].normalize"]
    assert transforms.need_sizes() == set()
    assert split_transforms(chosen).need_sizes() == {"input"}


@pytest.mark.parametrize(
    ("section", "asks"),
    [
        ([{"resize": SIZE}, TURN], False),
        ([{"random_horizontal_flip": 0.5}, {"resize": SIZE}], False),
        ([TURN, {"resize": SIZE}], True),
        ([{"random_horizontal_flip": 0.5}, {"center_crop": SIZE}], True),
        ([TURN], False),
    ],
)
def test_sizes_matter_where_a_transform_of_batches_makes_them_equal(section, asks):
    transforms = split_transforms(parse_transforms(section, "t"))
    assert transforms.need_sizes() == ({"input"} if asks else set())
    again = split_transforms(parse_transforms(section, "t"), varying=("input",))
    assert (again.input.varying is not None) == asks


def test_one_side_alone_gets_the_geometry_of_the_other_side_in_the_batch():
    both = parse_transforms([{"random_horizontal_flip": 0.5}, {"random_rotate_90": {}}, {"resize": [16, 16]}], "t")
    alone, batch = (split_transforms(both, both, varying=v) for v in (("input",), ()))
    images = torch.randint(0, 256, (12, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    draws = Draws(9, np.arange(12) * 5)
    inputs = torch.from_numpy(np.stack([alone.input.varying(x, draws.at(i)) for i, x in enumerate(images.numpy())]))
    input, target = alone.batched(inputs, images, draws)
    assert torch.equal(input, target)
    assert torch.equal(target, batch.batched(images, images, draws)[1])


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"normalize": {"mean": 0.5}}, "gives numbers that are not stored as pixels"),
        ({"cutmix": 1.0}, "works on whole batches"),
    ],
)
def test_what_needs_equal_sizes_is_refused_before_they_are(section, message):
    with pytest.raises(ConfigError) as raised:
        split(section, TURN)
    cure = "but samples have different sizes here. Expected after the resize or crop that makes sizes equal"
    assert str(raised.value).splitlines()[0] == f"t[0].{next(iter(section))}: {message}, {cure}"


def test_a_sample_that_a_transform_cannot_take_is_refused():
    operation = split({"random_rotate_90": {}}).input.varying
    with pytest.raises(ConfigError, match=r"t\[0\]\.random_rotate_90: needs axes of equal length"):
        operation(np.zeros((3, 10, 12), np.uint8), Draws(0))


def test_operations_can_be_sent_to_tasks():
    operation = split(TURN).input.varying
    twin, image = pickle.loads(pickle.dumps(operation)), smooth()[0].numpy()
    assert np.array_equal(twin(image, Draws(4)), operation(image, Draws(4)))
    image.flags.writeable = False
    assert np.array_equal(twin(image, Draws(4)), operation(image, Draws(4)))
