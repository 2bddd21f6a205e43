"""Each batch transform compared with numpy, Pillow, torchvision, or a known result."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torchvision.transforms.v2 import functional as reference

from rayrml.data.draws import Draws
from rayrml.data.transforms import adjustments, parse_transforms, split_transforms
from rayrml.data.transforms.mixing import beta_quantiles
from rayrml.data.transforms.sampling import mark_rectangles, resample_boxes, warp
from rayrml.data.transforms.trivial_augment import COLOR, GEOMETRY, TrivialAugment
from rayrml.data.transforms.turning import make_turns

BYTES = torch.randint(0, 256, (5, 3, 21, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
FLOATS = BYTES / 255


def transformed(section, input=BYTES, target=None, **kinds):
    transforms = split_transforms(parse_transforms(section, "t"), **kinds).batched
    return transforms(input, target, Draws(2))


def drawn(amount, count=2000):
    """The result for a batch of gray ramps along both axes, in which a pixel's value gives its place."""
    ramp = (torch.arange(40) + 0.5) / 40
    images = torch.stack([ramp[:, None].expand(40, 40), ramp[None].expand(40, 40)])
    return transformed([amount], images.expand(count, -1, -1, -1))[0]


def test_flips():
    assert torch.equal(transformed([{"random_horizontal_flip": 1}])[0], FLOATS.flip(3))
    assert torch.equal(transformed([{"random_vertical_flip": 1}])[0], FLOATS.flip(2))


def test_flips_come_as_often_as_asked():
    flipped = transformed([{"random_horizontal_flip": 0.3}], FLOATS[:1].expand(2000, -1, -1, -1))[0]
    share = (flipped == FLOATS[:1].flip(3)).flatten(1).all(1).float().mean()
    assert share == pytest.approx(0.3, abs=0.04)


def test_normalize():
    mean, std = np.array([0.1, 0.2, 0.3]).reshape(3, 1, 1), np.array([1, 2, 4]).reshape(3, 1, 1)
    normalized = transformed([{"normalize": {"mean": [0.1, 0.2, 0.3], "std": [1, 2, 4]}}])[0]
    np.testing.assert_allclose(normalized, (BYTES.numpy() / 255 - mean) / std, atol=1e-6)
    only_std = transformed([{"normalize": {"std": 1 / 255}}])[0]
    np.testing.assert_allclose(only_std, BYTES.float(), atol=1e-4)


@pytest.mark.parametrize("size", [(30, 40), (10, 8), (21, 5)])
def test_the_box_of_everything_is_torchs_resize(size):
    everything = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(5, -1)
    torch.testing.assert_close(
        resample_boxes(FLOATS, everything, size, "bilinear"),
        torch.nn.functional.interpolate(FLOATS, size, mode="bilinear", antialias=True),
    )
    nearest = torch.nn.functional.interpolate(FLOATS, size, mode="nearest-exact")
    assert torch.equal(resample_boxes(FLOATS, everything, size, "nearest"), nearest)


def test_a_box_is_pillows_resize_of_a_box():
    shares = torch.tensor([[0.1, 0.2, 0.8, 0.9]]).expand(5, -1)
    ours = resample_boxes(BYTES, shares, (6, 7), "bilinear")[0, 0] * 255
    box = (0.2 * 16, 0.1 * 21, 0.9 * 16, 0.8 * 21)
    pillows = Image.fromarray(BYTES[0, 0].numpy()).resize((7, 6), Image.Resampling.BILINEAR, box=box)
    assert np.abs(ours.numpy() - np.asarray(pillows)).max() <= 1


def test_boxes_differ_from_sample_to_sample():
    halves = torch.tensor([[0, 0, 1, 0.5], [0, 0.5, 1, 1]])
    cut = resample_boxes(FLOATS[:1].expand(2, -1, -1, -1), halves, (21, 8), "nearest")
    assert torch.equal(torch.cat([cut[0], cut[1]], 2), FLOATS[0])


def test_random_zoom_takes_as_much_from_all_sides():
    zoomed = drawn({"random_zoom": 0.4})
    middle, least = zoomed.mean((2, 3)), zoomed.amin((2, 3))
    torch.testing.assert_close(middle, torch.full_like(middle, 0.5), atol=1e-4, rtol=0)
    torch.testing.assert_close(least[:, 0], least[:, 1])
    # The centers of border pixels are half a pixel of the zoomed image further in than the cut.
    cut = (least[:, 0] - 0.5 / 40) / (1 - 1 / 40)
    assert 0 <= cut.min() < 0.005
    assert 0.195 < cut.max() <= 0.2
    assert cut.mean() == pytest.approx(0.1, abs=0.005)


def test_jitter_crop_takes_from_each_side_by_itself():
    cropped = drawn({"jitter_crop": 0.4})
    edges = torch.stack([*cropped.amin((2, 3)).T, *(1 - cropped.amax((2, 3))).T]) - 0.5 / 40
    assert edges.min() >= -1e-4
    assert edges.max() <= 0.2
    assert edges.mean(1).tolist() == pytest.approx([0.1] * 4, abs=0.005)
    assert torch.corrcoef(edges).fill_diagonal_(0).abs().max() < 0.06


def test_random_resized_crop_has_the_area_and_the_shape_asked_for():
    cropped = drawn({"random_resized_crop": {"size": [40, 40], "scale": [0.25, 0.25], "ratio": [0.5, 2]}})
    height, width = (cropped.amax((2, 3)) - cropped.amin((2, 3))).T * 40 / 39
    np.testing.assert_allclose(height * width, np.full(2000, 0.25), atol=0.01)
    assert (width / height).log2().min() == pytest.approx(-1, abs=0.05)
    assert (width / height).log2().max() == pytest.approx(1, abs=0.05)
    assert (width / height).log2().mean() == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize(("degrees", "place"), [(90, (0, 4)), (180, (4, 4)), (-90, (4, 0)), (450, (0, 4))])
def test_rotate_is_clockwise(degrees, place):
    corner = torch.zeros(2, 1, 5, 5)
    corner[:, :, 0, 0] = 1
    turned = transformed([{"random_rotate": 0}, {"rotate": degrees}], corner)[0]
    assert (turned[1, 0] > 0.999).nonzero().tolist() == [list(place)]


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_rotate_is_torchvisions_but_for_the_border(mode):
    degrees = torch.tensor([-100.0, -30, 0, 15, 77])
    ours = warp(FLOATS, make_turns(degrees), mode)
    for image, given, angle in zip(ours, FLOATS, degrees.tolist(), strict=True):
        theirs = reference.rotate(given[None], -angle, interpolation=reference.InterpolationMode(mode))[0]
        whole = reference.rotate(torch.ones_like(given[None]), -angle, interpolation=reference.InterpolationMode(mode))
        inside, outside = whole[0] > 0.999, whole[0] == 0  # in between, torchvision's is mixed with black
        assert ((image - theirs).abs() < 1e-4)[inside].all()
        assert (image[outside] == 0).all()
        assert inside.float().mean() > 0.5


def test_random_rotate_turns_to_either_side_as_far_as_asked():
    # A ramp's slope rotates with it.
    turned = drawn({"random_rotate": 60})[:, 1, 15:25, 15:25]
    down, right = turned.diff(dim=1).mean((1, 2)), turned.diff(dim=2).mean((1, 2))
    degrees = torch.atan2(down, right).rad2deg()
    assert degrees.min() == pytest.approx(-60, abs=1)
    assert degrees.max() == pytest.approx(60, abs=1)
    assert degrees.mean() == pytest.approx(0, abs=2)


def test_rectangles_are_drawn_by_the_middles_of_pixels():
    bounds = torch.tensor([[[0.0, 1.0, 2.0, 3.0], [2.4, 0.0, 4.0, 0.6]]])
    assert mark_rectangles(bounds, (4, 4))[0, 0].int().tolist() == [
        [0, 1, 1, 0],
        [0, 1, 1, 0],
        [1, 0, 0, 0],
        [1, 0, 0, 0],
    ]


def test_random_erasing_erases_one_box_of_the_area_asked_for():
    erasing = {"random_erasing": {"probability": 0.6, "scale": [0.1, 0.2], "ratio": [0.5, 2]}}
    lost = transformed([erasing], torch.ones(1000, 3, 60, 60))[0] == 0
    assert (lost[:, 0] == lost[:, 2]).all()
    lost = lost[lost.any(3).any(2).any(1), 0]
    assert len(lost) / 1000 == pytest.approx(0.6, abs=0.05)
    heights, widths = lost.any(2).sum(1), lost.any(1).sum(1)
    assert torch.equal(heights * widths, lost.sum((1, 2)))
    assert 0.09 < (heights * widths / 3600).min() < 0.11
    assert 0.19 < (heights * widths / 3600).max() < 0.21


COLORS = [
    (adjustments.adjust_brightness, reference.adjust_brightness, 1.4),
    (adjustments.adjust_brightness, reference.adjust_brightness, 0.3),
    (adjustments.adjust_contrast, reference.adjust_contrast, 1.7),
    (adjustments.adjust_contrast, reference.adjust_contrast, 0.2),
    (adjustments.adjust_saturation, reference.adjust_saturation, 1.9),
    (adjustments.adjust_saturation, reference.adjust_saturation, 0.0),
    (adjustments.adjust_hue, reference.adjust_hue, 0.3),
    (adjustments.adjust_hue, reference.adjust_hue, -0.45),
    (adjustments.adjust_sharpness, reference.adjust_sharpness, 1.9),
    (adjustments.adjust_sharpness, reference.adjust_sharpness, 0.1),
    (adjustments.solarize, reference.solarize, 0.6),
    (adjustments.stretch_contrast, lambda images, _: reference.autocontrast(images), 0.0),
]


@pytest.mark.parametrize(("ours", "theirs", "amount"), COLORS)
def test_adjustments_are_torchvisions(ours, theirs, amount):
    dim = FLOATS * 0.7 + 0.1
    given = torch.full((5,), amount)
    torch.testing.assert_close(ours(dim, given), theirs(dim, amount), atol=1.5e-3, rtol=0)


def test_posterize_keeps_the_highest_bits():
    bits = torch.tensor([1, 2, 3, 5, 8])
    ours = (adjustments.posterize(FLOATS, bits) * 255).round().to(torch.uint8)
    for image, given, kept in zip(ours, BYTES, bits.tolist(), strict=True):
        assert torch.equal(image, reference.posterize(given, kept))


def test_equalize_is_pillows_for_bytes():
    ours = (adjustments.equalize(FLOATS, torch.zeros(5)) * 255).round().to(torch.uint8)
    assert torch.equal(ours, reference.equalize(BYTES))


def test_color_jitter_draws_factors_around_one():
    gray = torch.full((4000, 3, 1, 1), 0.5)
    brightness = transformed([{"color_jitter": {"brightness": 0.4}}], gray)[0][:, 0, 0, 0] / 0.5
    assert brightness.min() == pytest.approx(0.6, abs=0.01)
    assert brightness.max() == pytest.approx(1.4, abs=0.01)
    red = torch.tensor([1.0, 0.5, 0.5]).view(1, 3, 1, 1).expand(4000, -1, -1, -1)
    saturation = transformed([{"color_jitter": {"saturation": 3}}], red)[0]
    assert saturation.min() == pytest.approx(0.6495 - 4 * 0.1495, abs=0.005)
    assert (saturation.amax(1) - saturation.amin(1)).min() == pytest.approx(0, abs=0.01)


SHEARS = [
    (0, lambda a: {"shear": [np.degrees(np.arctan(0.99 * a)), 0.0], "center": [0, 0], "translate": [0, 0]}),
    (1, lambda a: {"shear": [0.0, np.degrees(np.arctan(0.99 * a))], "center": [0, 0], "translate": [0, 0]}),
    (2, lambda a: {"shear": [0.0, 0.0], "translate": [int(32 * a), 0]}),
    (3, lambda a: {"shear": [0.0, 0.0], "translate": [0, int(32 * a)]}),
]


@pytest.mark.parametrize("amount", [0.2, -0.35])
@pytest.mark.parametrize(("kind", "arguments"), SHEARS)
def test_shears_and_shifts_are_torchvisions(kind, arguments, amount):
    ours = warp(FLOATS, GEOMETRY[kind](torch.full((5,), amount), FLOATS.shape[2:]), "nearest")
    nearest = reference.InterpolationMode.NEAREST
    theirs = reference.affine(FLOATS, angle=0.0, scale=1.0, interpolation=nearest, **arguments(amount))
    torch.testing.assert_close(ours, theirs)


def test_trivial_augment_chooses_each_change_as_often():
    everything = len(GEOMETRY) + len(COLOR) + 1
    assert everything == 14
    draws = torch.zeros(everything, 3)
    draws[:, 0] = (torch.arange(everything) + 0.5) / everything
    draws[:, 1] = 0.3
    images = torch.linspace(0.2, 0.69, 48 * 40).view(1, 1, 40, 48).repeat(everything, 3, 1, 1)
    images[:, 1] = images[:, 1].flip(2)
    changed = TrivialAugment()(images, draws, "bilinear")
    alike = [torch.equal(a, b) for a, b in zip(changed, images, strict=True)]
    assert alike == [False] * 10 + [True] + [False] * 2 + [True]  # 10 inverts values above 0.7
    assert len(torch.unique(changed, dim=0)) == 13


def test_convert_color_is_that_of_images():
    code = {"convert_color": "BGR2LAB"}
    once = split_transforms(parse_transforms([code], "t")).input.apply(BYTES[0].numpy())
    anew = transformed([{"random_horizontal_flip": 0}, code])[0][0] * 255
    np.testing.assert_allclose(anew, once, atol=1)


def test_random_patches_give_what_the_input_lost():
    white = torch.full((200, 3, 30, 20), 200, dtype=torch.uint8)
    input, target = transformed([{"random_patches": {"number": 1, "size": 4}}], white)
    torch.testing.assert_close(input + target, white / 255)
    lost = input[:, 0] == 0
    assert torch.equal(lost.any(2).sum(1), torch.full((200,), 4))
    assert torch.equal(lost.any(1).sum(1), torch.full((200,), 4))
    assert lost.any(0).any(0).all()  # up to the borders
    assert lost.any(0).any(1).all()
    many, _ = transformed([{"random_patches": {"number": 9, "size": 4}}], white)
    assert (many == 0).sum() > 6 * (input == 0).sum()


def test_random_patches_replace_the_target():
    input, target = transformed([{"random_patches": {"number": 2, "size": 4}}], BYTES, BYTES)
    torch.testing.assert_close(input + target, FLOATS)
    assert ((input == 0) | (target == 0)).all()


def test_in_evaluation_all_samples_lose_the_same_squares():
    transforms = split_transforms(parse_transforms([{"random_patches": {"number": 2, "size": 4}}], "t")).batched
    white = torch.full((10, 1, 30, 20), 255, dtype=torch.uint8)
    input, target = transforms.evaluation()(white, None)
    assert len(input.unique(dim=0)) == 1
    assert torch.equal(transforms.evaluation()(white[:3], None)[1], target[:3])
    assert 16 <= target[0].sum() <= 32


def test_mixup_mixes_inputs_and_labels_by_the_same_shares():
    colors = torch.eye(8).view(8, 8, 1, 1)
    input, target = transformed([{"mixup": 0.7}], colors, torch.arange(8), target_is_label=True, num_classes=8)
    torch.testing.assert_close(input.flatten(1), target)
    torch.testing.assert_close(target.sum(1), torch.ones(8))
    assert ((target > 0).sum(1) <= 2).all()
    assert len(target.unique()) > 4


def test_shares_of_mixup_follow_the_beta_distribution():
    same = torch.arange(2).repeat(3000)
    _, target = transformed([{"mixup": 0.5}], torch.zeros(6000, 1, 1, 1), same, target_is_label=True, num_classes=2)
    # With two alternating classes, half of the pairs differ; their shares have the variance 1 / (4 (2 alpha + 1)).
    own = target[torch.arange(6000), same]
    unlike = own[own < 1 - 1e-6]
    assert len(unlike) / 6000 == pytest.approx(0.5, abs=0.03)
    assert unlike.var() == pytest.approx(1 / 8, abs=0.01)


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 3.0, 50.0])
def test_quantiles_of_beta_are_scipys(alpha):
    shares = np.concatenate([np.linspace(0, 1, 1001), [1e-5, 1 - 1e-5]])
    found = beta_quantiles(shares, alpha)
    np.testing.assert_allclose(found, stats.beta.ppf(shares, alpha, alpha), atol=2e-4)


def test_mixup_mixes_target_images():
    input, target = transformed([{"mixup": 1}], BYTES, BYTES.flip(2))
    torch.testing.assert_close(target, input.flip(2))


def test_cutmix_gives_labels_the_shares_of_the_areas():
    colors = torch.eye(6).view(6, 6, 1, 1).expand(-1, -1, 40, 30)
    input, target = transformed([{"cutmix": 1}], colors, torch.arange(6), target_is_label=True, num_classes=6)
    torch.testing.assert_close(input.mean((2, 3)), target)
    assert set(input.unique().tolist()) == {0, 1}
    lost = input[torch.arange(6), torch.arange(6)] == 0
    assert torch.equal(lost.any(2).sum(1) * lost.any(1).sum(1), lost.sum((1, 2)))


def test_cutmix_cuts_masks_where_it_cuts_inputs():
    halves = BYTES[:, :1] // 128 * 255
    chosen = parse_transforms([{"cutmix": 1}], "t")
    transforms = split_transforms(chosen, chosen, target_is_mask=True).batched
    input, target = transforms(halves, halves.clone(), Draws(0))
    assert torch.equal(input, target)
    assert not torch.equal(input, halves / 255)
