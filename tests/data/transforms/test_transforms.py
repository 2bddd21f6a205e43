"""How lists of transforms are parsed and applied, and what holds for every row of their table."""

import pickle

import numpy as np
import pytest
import torch

from rayrml.data.draws import Draws
from rayrml.data.transforms import TRANSFORMS, parse_transforms, split_transforms
from rayrml.data.transforms.mixing import PairTransform
from rayrml.errors import ConfigError

# The settings that each row is tested with; a new row needs a line here.
VALUES = {
    "resize": [9, 30],
    "center_crop": [10, 40],
    "letterbox": [11, 30],
    "jitter_crop": 0.5,
    "random_zoom": 0.5,
    "random_resized_crop": {"size": [11, 13]},
    "random_horizontal_flip": 0.5,
    "random_vertical_flip": 0.5,
    "random_depth_flip": 0.5,
    "random_rotate_90": {},
    "rotate": 30,
    "random_rotate": 45,
    "normalize": {"mean": [0.1, 0.2, 0.3], "std": 0.5},
    "convert_color": "RGB2HSV",
    "random_erasing": {"probability": 0.7},
    "color_jitter": {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.2},
    "trivial_augment": {},
    "random_patches": {"number": 3, "size": 5},
    "mixup": 0.4,
    "cutmix": 1.0,
    "mosaic": 0.5,
}
# The samples for rows that do not support images of 17 x 24 pixels.
SPATIAL = {"random_depth_flip": (4, 17, 24), "random_rotate_90": (20, 20)}
IDLE = {
    "jitter_crop": 0,
    "random_zoom": 0,
    "random_resized_crop": {"size": [17, 24], "scale": [1, 1], "ratio": [24 / 17, 24 / 17]},
    "random_horizontal_flip": 0,
    "random_vertical_flip": 0,
    "random_depth_flip": 0,
    "rotate": 0,
    "random_rotate": 0,
    "random_erasing": {"probability": 0},
    "color_jitter": {},
    "normalize": {},
    "resize": [17, 24],
    "center_crop": [17, 24],
    "letterbox": [17, 24],
}
NAMES = sorted(set(TRANSFORMS) - {"mosaic"})  # that needs boxes; see test_mosaic
RANDOM = [name for name in NAMES if TRANSFORMS[name].num_draws or name == "random_patches"]
ALONE = [name for name in NAMES if not issubclass(TRANSFORMS[name], PairTransform)]
# A flip first, which defers everything else to the batch.
FLIP = {"random_horizontal_flip": 0}


def images(count=6, seed=0, channels=3):
    return samples("", count, seed, channels)


def samples(name, count=6, seed=0, channels=3):
    """Images, or whatever else a row needs."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, channels, *SPATIAL.get(name, (17, 24)))
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def batched(name, value=None, *, targets=True, **kinds):
    chosen = parse_transforms([FLIP, {name: VALUES[name] if value is None else value}], "t")
    return split_transforms(chosen, chosen if targets else (), **kinds).batched


def seeded(seed=0):
    return Draws(seed)


def errors_of(section, path="neural_network.data.transforms"):
    with pytest.raises(ConfigError) as raised:
        parse_transforms(section, path)
    return str(raised.value)


def test_every_row_is_tried():
    assert sorted(VALUES) == sorted(TRANSFORMS)


@pytest.mark.parametrize("name", NAMES)
def test_the_declared_shape_is_the_shape_that_comes_out(name):
    for transforms in (batched(name), batched(name).evaluation()):
        input, target = transforms(samples(name), samples(name, seed=1), seeded())
        assert input.dtype == target.dtype == torch.float32
        assert tuple(input.shape[1:]) == transforms.shape(tuple(samples(name).shape[1:]))
        assert tuple(target.shape[1:]) == transforms.shape(tuple(samples(name).shape[1:]), "target")


@pytest.mark.parametrize("name", NAMES)
def test_the_first_line_of_the_documentation_is_a_sentence(name):
    first = TRANSFORMS[name].__doc__.splitlines()[0]
    assert first[0].isupper()
    assert first.endswith(".")


@pytest.mark.parametrize("name", sorted(IDLE))
def test_an_amount_of_nothing_leaves_images_alone(name):
    input, _ = batched(name, IDLE[name])(samples(name), None, seeded())
    torch.testing.assert_close(input, samples(name) / 255, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", RANDOM)
def test_random_changes_follow_from_the_generator(name):
    transforms = batched(name)
    first, again, other = (transforms(samples(name, 64), samples(name, 64), seeded(s)) for s in (1, 1, 2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize("name", RANDOM)
def test_each_sample_has_a_draw_of_its_own(name):
    same = torch.cat([samples(name, 1)] * 16)
    if issubclass(TRANSFORMS[name], PairTransform) and name != "random_patches":
        same = torch.cat([same[:8], samples(name, 1, seed=1).expand(8, -1, -1, -1)])
    changed, _ = batched(name)(same, same, seeded(2))
    assert len(torch.unique(changed, dim=0)) > (1 if "flip" in name else 3)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"random_patches"}))
def test_the_target_follows_the_input(name):
    rows, columns, *_ = torch.meshgrid(*map(torch.arange, SPATIAL.get(name, (17, 24))), indexing="ij")
    places = torch.stack([rows, columns, rows * 0]).to(torch.uint8).expand(16, *[-1] * (rows.ndim + 1))
    input, target = batched(name)(places, places.clone(), seeded())
    assert torch.equal(input, target)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"random_patches", "normalize", "convert_color", "mixup"}))
def test_masks_keep_the_values_that_they_have(name):
    mask = samples(name, 16, channels=1) % 4 * 60
    chosen = parse_transforms([FLIP, {name: VALUES[name]}], "t")
    input, target = split_transforms(chosen, chosen, target_is_mask=True).batched(samples(name, 16), mask, seeded())
    assert target.shape[2:] == input.shape[2:]
    assert set((target * 255).round().int().unique().tolist()) <= {0, 60, 120, 180}


@pytest.mark.parametrize("name", ["random_horizontal_flip", "random_zoom", "random_rotate", "trivial_augment"])
def test_a_mask_stays_over_its_object(name):
    """White squares: the mask is the white part of the image, before and after."""
    square = torch.zeros(64, 1, 32, 32, dtype=torch.uint8)
    square[:, :, 6:22, 4:16] = 255
    chosen = parse_transforms([{name: VALUES[name]}], "t")
    input, mask = split_transforms(chosen, chosen, target_is_mask=True).batched(square, square.clone(), seeded())
    if name == "trivial_augment":  # inverted images, for example, have no white where the mask is
        input = torch.where(input[:, :, :1, :1] == 0, input, mask)
    unsure = (input > 0.01) & (input < 0.99)
    agree = (input > 0.5) == (mask > 0.5)
    assert (agree | unsure).float().mean() > 0.98


@pytest.mark.parametrize("name", ALONE)
def test_labels_stay_as_they_are(name):
    labels = torch.arange(6)
    _, target = batched(name, targets=False, target_is_label=True)(samples(name), labels, seeded())
    assert torch.equal(target, labels)


@pytest.mark.parametrize("name", ALONE)
def test_inputs_need_no_targets(name):
    with_target, _ = batched(name)(samples(name), samples(name), seeded())
    alone, target = batched(name)(samples(name), None, seeded())
    assert target is None
    assert torch.equal(alone, with_target)


@pytest.mark.parametrize("name", NAMES)
def test_transforms_can_be_sent_to_workers(name):
    transforms = split_transforms(parse_transforms([{name: VALUES[name]}], "t"))
    twin = pickle.loads(pickle.dumps(transforms))
    image = samples(name, 1)[0].numpy()
    assert np.array_equal(twin.input.apply(image), transforms.input.apply(image))
    assert torch.equal(
        twin.batched(samples(name), None, seeded())[0], transforms.batched(samples(name), None, seeded())[0]
    )


@pytest.mark.parametrize("name", NAMES)
def test_evaluation_is_the_same_each_time_and_needs_no_generator(name):
    evaluation = batched(name).evaluation()
    first, again = evaluation(samples(name), samples(name)), evaluation(samples(name), samples(name))
    assert torch.equal(first[0], again[0])
    shape = tuple(samples(name).shape[1:])
    assert evaluation.shape(shape) == batched(name).shape(shape)


@pytest.mark.parametrize("name", NAMES)
def test_everything_happens_on_the_device_of_the_images(name):
    """A device that computes only shapes; like a GPU, it refuses to work with tensors on another device."""
    device = torch.device("meta")
    input, target = batched(name)(samples(name).to(device), samples(name).to(device), seeded())
    expected, _ = batched(name)(samples(name), samples(name), seeded())
    assert input.device == target.device == device
    assert input.shape == expected.shape


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_not_changed_in_place(name):
    given = samples(name)
    batched(name)(given, given, seeded())
    assert torch.equal(given, samples(name))
    floats = samples(name) / 255
    kept = floats.clone()
    batched(name)(floats, floats, seeded())
    assert torch.equal(floats, kept)


@pytest.mark.parametrize("name", sorted(set(ALONE) - {"convert_color"}))
def test_images_of_one_channel_can_go_in(name):
    value = {"mean": 0.5} if name == "normalize" else None
    input, _ = batched(name, value)(samples(name, channels=1), None, seeded())
    assert input.shape[1] == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_may_be_of_one_sample_or_of_none(name):
    for count in (0, 1):
        input, target = batched(name)(samples(name, count), samples(name, count), seeded())
        assert len(input) == len(target) == count


def test_what_is_not_random_is_done_on_images_until_something_is():
    chosen = parse_transforms([{"resize": [20, 30]}, {"rotate": 10}, FLIP, {"center_crop": [5, 5]}], "t")
    transforms = split_transforms(chosen, chosen)
    for operations in (transforms.input, transforms.target):
        assert [where.split()[0] for where, _ in operations.steps] == ["t[0].resize", "t[1].rotate"]
    assert [s.where for s in transforms.batched.steps if s.part == "input"] == [
        "t[2].random_horizontal_flip",
        "t[3].center_crop",
    ]
    assert transforms.batched.shape(transforms.input.shape((3, 99, 50))) == (3, 5, 5)


@pytest.mark.parametrize("value", ["resize", "center_crop", "letterbox", "rotate", "convert_color"])
def test_images_and_batches_are_changed_alike(value):
    chosen = parse_transforms([{value: VALUES[value]}], "t")
    once = split_transforms(chosen).input.apply(images(1)[0].numpy())
    anew, _ = batched(value)(images(1), None, seeded())
    assert np.abs(once - anew[0].numpy() * 255).max() <= 1


LETTERBOXED = [
    ({}, [114] * 10),
    ({"target_is_mask": True}, [0] * 10),
    ({"target_pixels": False}, [0] * 10),
]


@pytest.mark.parametrize(("kinds", "border"), LETTERBOXED)
@pytest.mark.parametrize("varying", [(), ("input", "target")])
def test_what_is_around_samples_in_a_letterbox_depends_on_what_they_are(kinds, border, varying):
    chosen = parse_transforms([{"random_rotate": 0}, {"letterbox": [10, 10]}], "t")
    transforms = split_transforms(chosen, chosen, varying=varying, **kinds)
    image = np.full((1, 10, 20), 200, np.uint8)
    if varying:
        pair = transforms.input.varying(image, seeded()), transforms.target.varying(image, seeded())
    else:
        given = torch.from_numpy(image)[None]
        target = given.float() if "target_pixels" in kinds else given
        pair = (part[0].numpy() * 255 for part in transforms.batched(given, target, seeded()))
    for found, expected in zip(pair, ([114] * 10, border), strict=True):
        assert np.round(found[0, 0]).tolist() == np.round(found[0, 9]).tolist() == expected


def test_gray_around_normalized_images_is_refused_but_not_around_other_numbers():
    chosen = parse_transforms([{"normalize": {"mean": 0.5}}, {"letterbox": [9, 9]}], "t")
    with pytest.raises(ConfigError) as raised:
        split_transforms(chosen)
    assert str(raised.value) == "t[1].letterbox: adds pixels of gray. Expected before 'normalize', not after it"
    assert split_transforms(chosen, input_pixels=False).batched.shape((1, 5, 6)) == (1, 9, 9)
    assert split_transforms((), chosen, target_is_mask=True).batched.shape((1, 5, 6), "target") == (1, 9, 9)


def test_a_later_resize_is_done_early_if_nothing_before_it_minds():
    """So that images of different sizes can share a batch."""
    section = [FLIP, {"jitter_crop": 0.2}, {"color_jitter": {"hue": 0.1}}]
    early = split_transforms(parse_transforms([*section[:2], {"resize": [40, 80]}], "t"))
    assert early.input.shape((3, 500, 300)) == (3, 50, 100)
    assert early.batched.shape((3, 50, 100)) == (3, 40, 80)
    assert (
        split_transforms(parse_transforms([*section, {"random_rotate": 9}, {"resize": [40, 80]}], "t")).input.steps
        == ()
    )
    assert (
        split_transforms(
            parse_transforms([{"random_resized_crop": {"size": [5, 5]}}, {"resize": [40, 80]}], "t")
        ).input.steps
        == ()
    )


def test_crops_fill_the_size_of_the_resize_that_follows():
    transforms = split_transforms(parse_transforms([{"random_zoom": 0.5}, {"resize": [34, 48]}], "t")).batched
    assert len(transforms.steps) == 1
    assert transforms(images(), None, seeded())[0].shape == (6, 3, 34, 48)
    assert transforms.evaluation()(images(), None)[0].shape == (6, 3, 34, 48)


def test_inputs_and_targets_with_lists_of_their_own_share_their_draws():
    targets = [{"random_horizontal_flip": 0.5}, {"random_rotate": 40}]
    inputs = [targets[0], {"random_erasing": {"probability": 0}}, targets[1], {"normalize": {"mean": 0.5}}]
    transforms = split_transforms(parse_transforms(inputs, "i"), parse_transforms(targets, "t"))
    input, target = transforms.batched(images(32), images(32), seeded())
    torch.testing.assert_close(input + 0.5, target)


def test_two_uses_of_a_transform_draw_twice():
    chosen = parse_transforms([{"random_horizontal_flip": 0.5}, {"random_horizontal_flip": 0.5}], "t")
    changed, _ = split_transforms(chosen).batched(images(64), None, seeded())
    assert not torch.equal(changed, images(64) / 255)


def test_targets_may_be_smaller_than_inputs():
    small = torch.nn.functional.avg_pool2d(images(8)[:, :, :16].float(), 2).byte()
    chosen = parse_transforms([{"random_vertical_flip": 0.5}, {"random_zoom": 0.2}], "t")
    input, target = split_transforms(chosen, chosen).batched(images(8)[:, :, :16], small, seeded())
    assert input.shape[2:] == (16, 24)
    assert target.shape[2:] == (8, 12)


def test_every_mistake_is_told_with_its_place():
    section = [
        {"resize": 28},
        {"resise": [28, 28]},
        {"random_horizontal_flip": 1.5},
        {"random_patches": {"number": 3}},
        {"normalize": 0.5},
        {"normalize": {"mean": 0.5, "sdt": 1}},
        {"convert_color": "RGB2CMYK"},
        {"resize": [1, 2], "rotate": 3},
        {"random_resized_crop": {"size": [5, 5], "scale": [0.9, 0.1]}},
        {"jitter_crop": "much"},
        {"normalize": {"std": [1, 0]}},
        7,
    ]
    found = errors_of(section).splitlines()
    where = "neural_network.data.transforms"
    assert found == [
        f"{where}[0].resize: expected one number for each spatial axis, such as [height, width] for images, got 28",
        f"{where}[1]: unknown name \"resise\". Did you mean 'resize'?",
        f"{where}[2].random_horizontal_flip: must be less than or equal to 1, got 1.5",
        f"{where}[3].random_patches.size: this key is missing and has no default",
        f"{where}[4].normalize: expected an object with the keys 'mean', 'std', got 0.5",
        f"{where}[5].normalize.sdt: unknown key. Did you mean 'std'?",
        f"{where}[6].convert_color: unknown conversion 'RGB2CMYK'. Expected X2RGB, X2BGR, RGB2X or BGR2X, "
        "with X one of RGB, BGR, GRAY, HSV, HLS, LAB, LUV, "
        "YCrCb, YUV, XYZ, HSV_FULL, HLS_FULL, RGBA, BGRA",
        f'{where}[7]: expected an object with one key, such as {{"random_horizontal_flip": 0.5}}, '
        'got {"resize": [1, 2], "rotate": 3}',
        f"{where}[8].random_resized_crop.scale: expected [lowest, highest], got [0.9, 0.1]",
        f'{where}[9].jitter_crop: must be a valid number, got "much"',
        f"{where}[10].normalize.std: expected numbers above 0, got [1.0, 0.0]",
        f'{where}[11]: expected an object with one key, such as {{"random_horizontal_flip": 0.5}}, got 7',
    ]


def test_a_section_that_is_no_list_is_told():
    assert errors_of({"resize": [2, 2]}, "x").startswith("x: expected a list of objects with one key each, got {")


def test_what_reads_pixels_is_told_if_it_comes_after_normalize():
    section = [{"normalize": {"mean": 0.5}}, {"convert_color": "RGB2BGR"}, FLIP, {"trivial_augment": {}}]
    assert errors_of(section, "t").splitlines() == [
        "t[1].convert_color: works on pixels in [0, 1]. Expected before 'normalize', not after it",
        "t[3].trivial_augment: works on pixels in [0, 1]. Expected before 'normalize', not after it",
    ]


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("normalize", (1, 9, 9), "'mean' has 3 values, but the number of channels is 1 here"),
        ("convert_color", (1, 9, 9), "'RGB2HSV' expects 3-channel images but gets 1-channel ones"),
        ("random_patches", (3, 9, 4), "squares of 5 pixels are larger than images of 9 x 4"),
    ],
)
def test_images_that_a_transform_cannot_take_are_told(name, shape, message):
    with pytest.raises(ConfigError) as raised:
        batched(name).shape(shape)
    assert str(raised.value) == f"t[1].{name}: {message}"


def test_it_is_told_whether_inputs_or_targets_cannot_be_taken():
    chosen = parse_transforms(
        [{"convert_color": "RGB2GRAY"}, FLIP, {"normalize": {"mean": [0.5]}}, {"normalize": {"std": [1, 2, 3]}}], "t"
    )
    transforms = split_transforms(chosen, chosen)
    with pytest.raises(ConfigError, match=r"^t\[0\]\.convert_color: 'RGB2GRAY' expects"):
        transforms.input.shape((1, 5, 5))
    with pytest.raises(ConfigError, match=r"^t\[0\]\.convert_color \(of targets\): 'RGB2GRAY' expects"):
        transforms.target.shape((1, 5, 5))
    with pytest.raises(ConfigError, match=r"^t\[3\]\.normalize \(of targets\): 'std' has 3 values"):
        transforms.batched.shape((1, 5, 5), "target")


@pytest.mark.parametrize("last", [{"mixup": 0.5}, {"cutmix": 0.5}])
def test_targets_are_ready_before_samples_are_mixed(last):
    turn = {"random_rotate": 90}
    transforms = split_transforms(parse_transforms([turn, last], "i"), parse_transforms([turn], "t")).batched
    input, target = transforms(images(16), images(16), seeded())
    assert torch.equal(input, target)


def test_targets_that_are_made_of_inputs_are_changed_afterwards():
    patches = {"random_patches": {"number": 2, "size": 4}}
    transforms = split_transforms(
        parse_transforms([patches], "i"), parse_transforms([FLIP, {"center_crop": [8, 8]}], "t")
    ).batched
    assert transforms.makes_target
    input, target = transforms(images(), None, seeded())
    torch.testing.assert_close(input[:, :, 4:12, 8:16] + target, images()[:, :, 4:12, 8:16] / 255)


@pytest.mark.parametrize(
    ("name", "kinds", "message"),
    [
        (
            "random_patches",
            {"target_is_label": True},
            "does not support targets that are labels. Expected no targets, or images",
        ),
        (
            "cutmix",
            {"target_is_label": True},
            "mixes labels. Expected a loss that accepts class shares, not only single labels",
        ),
        (
            "mixup",
            {"target_is_mask": True},
            "does not support targets that are masks. Expected labels or values or images",
        ),
    ],
)
def test_targets_that_a_transform_cannot_do_with_are_told(name, kinds, message):
    with pytest.raises(ConfigError) as raised:
        split_transforms(parse_transforms([{name: VALUES[name]}], "t"), **kinds)
    assert str(raised.value) == f"t[0].{name}: {message}"


def test_what_changes_inputs_too_is_told_if_it_is_for_targets_alone():
    with pytest.raises(ConfigError, match=r"t\[0\]\.mixup: changes inputs too"):
        split_transforms((), parse_transforms([{"mixup": 1}], "t"))
