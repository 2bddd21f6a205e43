"""Transforms of signals (N, C, W), images (N, C, H, W) and volumes (N, C, D, H, W), against numpy and torch."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from rayrml.data.image_ops import CenterCrop
from rayrml.data.transforms import TRANSFORMS, parse_transforms, split_transforms
from rayrml.data.transforms import sampling as sampling_module
from rayrml.data.transforms.mixing import PairTransform
from rayrml.data.transforms.sampling import resample_boxes
from rayrml.errors import ConfigError
from tests.data.transforms.test_transforms import NAMES, VALUES, seeded

SPATIAL = {1: (16,), 2: (12, 16), 3: (10, 12, 16)}
MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}
DIMENSIONS = sorted(SPATIAL)
# The values whose length depends on the number of axes.
SIZES = {
    "resize": {1: [9], 2: [9, 30], 3: [5, 9, 30]},
    "center_crop": {1: [20], 2: [5, 20], 3: [5, 7, 20]},
    "letterbox": {1: [9], 2: [9, 30], 3: [5, 9, 30]},
}
TAKES = {
    "resize": (1, 2, 3),
    "center_crop": (1, 2, 3),
    "letterbox": (1, 2, 3),
    "jitter_crop": (1, 2, 3),
    "random_zoom": (1, 2, 3),
    "random_horizontal_flip": (1, 2, 3),
    "random_vertical_flip": (2, 3),
    "random_depth_flip": (3,),
    "random_rotate_90": (2, 3),
    "normalize": (1, 2, 3),
    "mixup": (1, 2, 3),
}
FLIPS = {"random_horizontal_flip": -1, "random_vertical_flip": -2, "random_depth_flip": -3}
EVERYWHERE = sorted((name, dimension) for name, taken in TAKES.items() for dimension in taken)


def floats(spatial, count=6, channels=3, seed=0):
    return torch.randn((count, channels, *spatial), generator=torch.Generator().manual_seed(seed))


def spatial_for(name, dimension):
    return (16,) * dimension if name == "random_rotate_90" else SPATIAL[dimension]


def value_for(name, dimension):
    return SIZES[name][dimension] if name in SIZES else VALUES[name]


def batched(section, *, targets=True, **kinds):
    """Put a flip first, which defers everything else to the batch."""
    chosen = parse_transforms([{"random_horizontal_flip": 0}, *section], "t")
    return split_transforms(chosen, chosen if targets else (), **kinds).batched


def whole(dimension):
    return torch.tensor([[0.0] * dimension + [1.0] * dimension])


def message_of(section, shape, **kinds):
    chosen = parse_transforms(section, "t")
    with pytest.raises(ConfigError) as raised:
        split_transforms(chosen, **kinds).batched.shape(shape)
    return str(raised.value)


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("name", NAMES)
def test_a_row_works_with_samples_of_a_dimension_or_says_that_it_does_not(name, dimension):
    given = floats(spatial_for(name, dimension)).sigmoid()
    transforms = batched([{name: value_for(name, dimension if name in TAKES else 2)}])
    if dimension not in TAKES.get(name, (2,)):
        with pytest.raises(ConfigError, match=rf"^t\[1\]\.{name}: .*, but samples have {dimension} spatial ax[ie]s"):
            transforms.shape(tuple(given.shape[1:]))
        return
    for phase in (transforms, transforms.evaluation()):
        input, target = phase(given, given.flip(0), seeded())
        assert tuple(input.shape[1:]) == phase.shape(tuple(given.shape[1:]))
        assert tuple(target.shape[1:]) == phase.shape(tuple(given.shape[1:]), "target")
        assert input.dtype == target.dtype == torch.float32


@pytest.mark.parametrize(("name", "dimension"), EVERYWHERE)
def test_the_target_follows_the_input(name, dimension):
    given = floats(spatial_for(name, dimension), 32)
    input, target = batched([{name: value_for(name, dimension)}])(given, given.clone(), seeded())
    assert torch.equal(input, target)


@pytest.mark.parametrize(("name", "dimension"), [(n, d) for n, d in EVERYWHERE if n not in ("normalize", "mixup")])
def test_masks_keep_the_values_that_they_have(name, dimension):
    mask = floats(spatial_for(name, dimension), 16, 1).mul(2).round()
    _, changed = batched([{name: value_for(name, dimension)}], target_is_mask=True)(mask, mask, seeded())
    assert set(changed.unique().tolist()) <= {0.0, *mask.unique().tolist()}


@pytest.mark.parametrize(("name", "dimension"), EVERYWHERE)
def test_everything_happens_on_the_device_of_the_samples(name, dimension):
    """A device that computes only shapes; like a GPU, it refuses to work with tensors on another device."""
    given = floats(spatial_for(name, dimension))
    transforms = batched([{name: value_for(name, dimension)}])
    input, target = transforms(given.to("meta"), given.to("meta"), seeded())
    assert input.device == target.device == torch.device("meta")
    assert input.shape == target.shape == transforms(given, None, seeded())[0].shape


@pytest.mark.parametrize("axes", [None, [0, 2]])
def test_a_mask_stays_over_its_object(axes):
    halves = torch.zeros(64, 1, 8, 8, 8)
    halves[:, :, 1:4, 2:8, 0:3] = 1
    turn = {"random_rotate_90": {} if axes is None else {"axes": axes}}
    flips = [{name: 0.5} for name in FLIPS]
    input, mask = batched([*flips, turn], target_is_mask=True)(halves, halves.clone(), seeded())
    assert torch.equal(input, mask)
    assert len(input.unique(dim=0)) > 8


@pytest.mark.parametrize(("name", "dimension"), [(n, d) for n, d in EVERYWHERE if n in FLIPS])
def test_flips_are_numpys(name, dimension):
    given = floats(SPATIAL[dimension])
    always, _ = batched([{name: 1}])(given, None, seeded())
    assert np.array_equal(always, np.flip(given.numpy(), FLIPS[name]))
    some, _ = batched([{name: 0.5}])(given[:1].expand(200, *[-1] * (dimension + 1)), None, seeded())
    flipped = (some == always[:1]).flatten(1).all(1)
    assert flipped.float().mean() == pytest.approx(0.5, abs=0.12)
    assert torch.equal(some[~flipped], given[:1].expand_as(some)[~flipped])


@pytest.mark.parametrize(
    ("dimension", "axes"), [(2, None), (2, [0, 1]), (2, [1, 0]), (3, None), (3, [0, 1]), (3, [0, 2]), (3, [-3, -1])]
)
def test_turns_are_numpys_each_as_likely(dimension, axes):
    given = floats((5,) * dimension, 1)
    turned, _ = batched([{"random_rotate_90": {} if axes is None else {"axes": axes}}])(
        given.expand(400, *[-1] * (dimension + 1)), None, seeded()
    )
    plane = [a if a < 0 else a + 2 for a in axes or (-2, -1)]
    shares = []
    for number in range(4):
        expected = torch.from_numpy(np.rot90(given.numpy(), number, plane).copy())
        shares.append((turned == expected).flatten(1).all(1).float().mean().item())
    assert sum(shares) == pytest.approx(1)
    assert shares == pytest.approx([0.25] * 4, abs=0.08)


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_center_crops_are_slices(dimension):
    given = floats((9, 10, 11)[:dimension])
    cut, _ = batched([{"center_crop": [5, 4, 7][:dimension]}])(given, None, seeded())
    places = (slice(2, 7), slice(3, 7), slice(2, 9))[:dimension]
    assert torch.equal(cut, given[:, :, *places])
    wide, _ = batched([{"center_crop": [13, 12, 11][:dimension]}])(given, None, seeded())
    expected = F.pad(
        given, [p for old, new in [(9, 13), (10, 12), (11, 11)][:dimension][::-1] for p in [(new - old) // 2] * 2]
    )
    assert torch.equal(wide, expected)
    for sample, size in ((cut, [5, 4, 7]), (wide, [13, 12, 11])):
        assert np.array_equal(CenterCrop(tuple(size[:dimension]))(given[0].numpy()), sample[0])


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_enlarging_is_torchs_interpolation(dimension):
    given = floats((5, 6, 7)[:dimension])
    size = [11, 6, 16][:dimension]
    large, _ = batched([{"resize": size}])(given, None, seeded())
    torch.testing.assert_close(large, F.interpolate(given, size, mode=MODES[dimension]), atol=1e-5, rtol=0)
    torch.testing.assert_close(resample_boxes(given, whole(dimension), size, "bilinear"), large, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dimension", [1, 3])
def test_shrinking_is_torchs_antialias_along_each_axis(dimension):
    given = floats((20, 23, 31)[:dimension])
    size = [7, 9, 4][:dimension]
    small, _ = batched([{"resize": size}])(given, None, seeded())
    expected = given
    for axis, new in enumerate(size, 2):
        lines = expected.movedim(axis, -1)
        image = lines.reshape(1, 1, -1, lines.shape[-1])
        shrunk = F.interpolate(image, (image.shape[2], new), mode="bilinear", antialias=True)
        expected = shrunk.view(*lines.shape[:-1], new).movedim(-1, axis)
    torch.testing.assert_close(small, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_a_box_is_the_slice_that_it_names(dimension):
    """Half of each axis, in its own size or twice as large, for linear and nearest values."""
    given = floats((8, 12, 16)[:dimension])
    starts, ends = [0.25, 0.5, 0.0][:dimension], [0.75, 1.0, 0.5][:dimension]
    bounds = torch.tensor([starts + ends]).expand(len(given), -1)
    inside = given[:, :, *(slice(2, 6), slice(6, 12), slice(0, 8))[:dimension]]
    for resampling in ("bilinear", "nearest"):
        cut = resample_boxes(given, bounds, inside.shape[2:], resampling)
        torch.testing.assert_close(cut, inside, atol=1e-5, rtol=0)
    doubled = resample_boxes(given, bounds, [2 * n for n in inside.shape[2:]], "nearest")
    assert torch.equal(doubled, F.interpolate(inside, scale_factor=2, mode="nearest-exact"))


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("name", ["jitter_crop", "random_zoom"])
def test_crops_take_from_all_sides(name, dimension):
    """Ramps along each axis show what was cut: jitter_crop draws separately for each axis, random_zoom only once."""
    ramp = (torch.arange(20) + 0.5) / 20
    ramps = torch.stack(torch.meshgrid(*[ramp] * dimension, indexing="ij")).expand(400, *[-1] * (dimension + 1))
    cropped, _ = batched([{name: 0.4}])(ramps, None, seeded())
    spatial = tuple(range(2, dimension + 2))
    edges = torch.cat([cropped.amin(spatial), 1 - cropped.amax(spatial)], 1) - 0.5 / 20
    assert edges.min() >= -1e-4
    assert edges.max() <= 0.2
    assert edges.mean(0).tolist() == pytest.approx([0.095] * (2 * dimension), abs=0.015)
    correlations = torch.corrcoef(edges.T).fill_diagonal_(0).abs()
    if name == "jitter_crop":
        assert correlations.max() < 0.2
    else:
        torch.testing.assert_close(edges, edges[:, :1].expand_as(edges), atol=1e-4, rtol=0)


def test_crops_of_images_draw_top_left_bottom_and_right():
    row = TRANSFORMS["jitter_crop"](share=0.5)
    draws = torch.tensor([[0.0, 0.4, 0.8, 0.2]])
    torch.testing.assert_close(row.bounds(draws, (1, 9, 9)), torch.tensor([[0, 0.1, 0.8, 0.95]]))
    assert np.array_equal(row.draw(5, seeded()), seeded().uniform(5, 4))


def test_a_crop_cuts_the_last_axes_of_parts_of_other_dimensions_alike():
    images = floats((8, 8), 16)
    volumes = images[:, :, None].expand(-1, -1, 5, -1, -1)  # with equal layers: a cut along the depth changes nothing
    flat, deep = batched([{"jitter_crop": 0.5}])(images, volumes, seeded())
    torch.testing.assert_close(flat[:, :, None].expand_as(deep), deep, atol=1e-5, rtol=0)
    assert not torch.allclose(flat, images, atol=0.1)


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_crops_fill_the_size_of_the_resize_that_follows(dimension):
    section = [{"random_zoom": 0.5}, {"resize": [7, 9, 4][:dimension]}]
    transforms = batched(section)
    assert len([step for step in transforms.steps if step.part == "input"]) == 2
    given = floats(SPATIAL[dimension])
    assert transforms(given, None, seeded())[0].shape[2:] == (7, 9, 4)[:dimension]
    early = split_transforms(parse_transforms(section, "t"), input_pixels=False).input
    assert early.shape((3, *SPATIAL[dimension])) == (3, *(14, 18, 8)[:dimension])


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_normalize_is_numpys(dimension):
    given = floats(SPATIAL[dimension])
    by_channel, _ = batched([{"normalize": {"mean": [0.1, 0.2, 0.3], "std": [1, 2, 4]}}])(given, None, seeded())
    channels = np.moveaxis(given.numpy(), 1, -1)
    expected = np.moveaxis((channels - [0.1, 0.2, 0.3]) / [1, 2, 4], -1, 1)
    np.testing.assert_allclose(by_channel, expected, atol=1e-6)
    scalars, _ = batched([{"normalize": {"mean": 2, "std": 4}}])(given, None, seeded())
    np.testing.assert_allclose(scalars, (given.numpy() - 2) / 4, atol=1e-6)


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_mixup_mixes_inputs_and_labels_by_the_same_shares(dimension):
    ones = torch.eye(8).view(8, 8, *[1] * dimension)
    transforms = split_transforms(parse_transforms([{"mixup": 0.7}], "t"), target_is_label=True, num_classes=8).batched
    input, target = transforms(ones, torch.arange(8), seeded())
    torch.testing.assert_close(input.flatten(1), target)
    assert len(target.unique()) > 4


@pytest.mark.parametrize("size", [(40,), (120,), (57,)])
def test_long_axes_are_resampled_as_short_ones(monkeypatch, size):
    given = floats((57,), 4)
    bounds = torch.tensor([[0.0, 1.0], [0.2, 0.7], [0.5, 0.51], [0.9, 1.0]])
    expected = resample_boxes(given, bounds, size, "bilinear")
    alone = resample_boxes(given, whole(1), size, "bilinear")
    monkeypatch.setattr(sampling_module, "LARGEST_TABLE", 0)
    torch.testing.assert_close(resample_boxes(given, bounds, size, "bilinear"), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(resample_boxes(given, whole(1), size, "bilinear"), alone, atol=1e-5, rtol=1e-5)


def test_a_long_signal_is_resized_in_little_memory():
    """A weight matrix with an entry for each value would take 100 GB."""
    places = torch.linspace(0, 1, 200_000).expand(2, 1, -1)
    small, _ = batched([{"resize": [125_000]}])(places, None, seeded())
    torch.testing.assert_close(small[0, 0], torch.linspace(0, 1, 125_000), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("section", "shape", "message"),
    [
        ([{"random_rotate": 9}], (1, 4, 5, 6), "t[0].random_rotate: works on images only, but samples have 3 spatial "
         "axes here. Expected a flip, random_rotate_90, a crop, resize or normalize"),
        ([{"cutmix": 1}], (1, 4), "t[0].cutmix: works on images only, but samples have 1 spatial axis here. "
         "Expected a flip, a crop, resize or normalize"),
        ([{"random_vertical_flip": 1}], (1, 4), "t[0].random_vertical_flip: needs 2 or 3 spatial axes, but samples "
         "have 1 spatial axis here"),
        ([{"random_depth_flip": 1}], (1, 4, 4), "t[0].random_depth_flip: needs 3 spatial axes, but samples have 2 "
         "spatial axes here"),
        ([{"random_rotate_90": {}}], (1, 4, 4, 5), "t[0].random_rotate_90: needs axes of equal length, but axes "
         "[1, 2] have lengths 4 and 5 here. Expected a resize or crop before it that makes them equal"),
        ([{"random_rotate_90": {"axes": [0, 2]}}], (1, 4, 4), "t[0].random_rotate_90: samples have no plane of "
         "axes [0, 2] here. Expected two different axes from 0 to 1"),
        ([{"random_rotate_90": {"axes": [1, -1]}}], (1, 4, 4), "t[0].random_rotate_90: samples have no plane of "
         "axes [1, -1] here. Expected two different axes from 0 to 1"),
        ([{"random_horizontal_flip": 1}, {"resize": [4, 4]}], (1, 9), "t[1].resize: expected 1 number, [width], got "
         "[4, 4]"),
        ([{"jitter_crop": 0.1}, {"resize": [4]}], (1, 9, 9), "t[1].resize: expected 2 numbers, [height, width], got "
         "[4]"),
        ([{"random_horizontal_flip": 1}, {"center_crop": [4, 4]}], (1, 9, 9, 9), "t[1].center_crop: expected 3 "
         "numbers, [depth, height, width], got [4, 4]"),
        ([{"normalize": {"mean": [1, 2]}}], (3, 9), "t[0].normalize: 'mean' has 2 values, but the number "
         "of channels is 3 here"),
    ],
)  # fmt: skip
def test_samples_that_a_transform_cannot_take_are_told(section, shape, message):
    assert message_of(section, shape) == message


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"resize": []},
            "resize: expected one number for each spatial axis, such as [height, width] for images, got []",
        ),
        ({"resize": [1, 2, 3, 4]}, "resize: expected one number for each spatial axis, such as"),
        ({"center_crop": [4, 0]}, "center_crop.1: must be greater than 0, got 0"),
        ({"random_rotate_90": {"axes": [1]}}, "random_rotate_90.axes: expected two different axes, such as [0, 1]"),
        ({"random_rotate_90": {"axes": [1, 1]}}, "random_rotate_90.axes: expected two different axes, such as [0, 1]"),
        ({"random_rotate_90": {"axes": [0, 3]}}, "random_rotate_90.axes.1: must be less than or equal to 2, got 3"),
    ],
)
def test_values_of_no_dimension_are_told(section, message):
    with pytest.raises(ConfigError) as raised:
        parse_transforms([section], "t")
    assert str(raised.value).startswith(f"t[0].{message}")


@pytest.mark.parametrize("side", ["input", "target"])
@pytest.mark.parametrize("name", ["convert_color", "color_jitter", "trivial_augment"])
def test_what_reads_pixels_is_told_of_arrays_of_other_numbers(name, side):
    chosen = parse_transforms([{"random_horizontal_flip": 0.5}, {name: VALUES[name]}], "t")
    lists = {"inputs": chosen if side == "input" else (), "targets": chosen if side == "target" else ()}
    with pytest.raises(ConfigError, match=rf"^t\[1\]\.{name}: works on image pixels, but"):
        split_transforms(**lists, **{f"{side}_pixels": False})


def test_masks_that_are_no_pixels_can_follow_images_in_other_light():
    chosen = parse_transforms([{"color_jitter": {"brightness": 0.5}}], "t")
    mask = floats((8, 8), 4, 1).mul(300).round()
    image = torch.full((4, 3, 8, 8), 100, dtype=torch.uint8)
    input, target = split_transforms(chosen, chosen, target_is_mask=True, target_pixels=False).batched(
        image, mask, seeded()
    )
    assert torch.equal(target, mask)
    assert len(input.unique()) > 3
    recolored = parse_transforms([{"convert_color": "GRAY2RGB"}], "t")
    with pytest.raises(ConfigError, match=r"convert_color \(of targets\): works on image pixels"):
        split_transforms(recolored, recolored, target_is_mask=True, target_pixels=False)


@pytest.mark.parametrize("name", sorted(SIZES))
@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("mask", [False, True])
def test_samples_and_batches_are_changed_alike(name, dimension, mask):
    section = [{name: SIZES[name][dimension]}]
    given = floats(SPATIAL[dimension])
    chosen = parse_transforms(section, "t")
    once = split_transforms(chosen, chosen, target_is_mask=mask, input_pixels=False, target_pixels=False)
    anew = batched(section, target_is_mask=mask, input_pixels=False, target_pixels=False)(given, given, seeded())[1]
    assert once.target.shape(tuple(given.shape[1:])) == tuple(anew.shape[1:])
    np.testing.assert_allclose(once.target.apply(given[0].numpy()), anew[0], atol=1e-5)


def test_arrays_are_turned_in_batches():
    chosen = parse_transforms([{"rotate": 90}], "t")
    transforms = split_transforms(chosen, input_pixels=False)
    assert transforms.input.steps == ()
    corner = torch.zeros(1, 1, 5, 5)
    corner[:, :, 0, 0] = -7
    turned, _ = transforms.batched(corner, None)
    assert turned[0, 0, 0, 4] == pytest.approx(-7, abs=1e-3)


def test_every_row_that_takes_more_than_images_is_listed():
    declared = {name: row.dimensions for name, row in TRANSFORMS.items() if row.dimensions != (2,)}
    assert declared == TAKES
    assert [name for name in TAKES if issubclass(TRANSFORMS[name], PairTransform)] == ["mixup"]
