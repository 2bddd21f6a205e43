import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from rayrml.data.sample_geometry import SizeChange
from rayrml.inference.palette import class_colors
from rayrml.inference.pictures import Drawing, draw_overlay, encode_mask


def drawing(kind="masks", ending="softmax", num_classes=3, size=(8, 12), changes=()):
    return Drawing(kind, ending, num_classes, (), size, tuple(changes))


def shares(shape=(3, 8, 12), seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(shape[0]), shape[1:]).transpose(2, 0, 1).astype(np.float32)


@pytest.mark.parametrize("size", [(8, 12), (37, 50), (200, 90), (16, 24)])
def test_probabilities_are_interpolated_to_the_size_of_the_image(size):
    output = shares()
    expected = F.interpolate(torch.from_numpy(output)[None], size, mode="bilinear", antialias=True)[0]
    found = drawing(changes=[SizeChange(False, (8, 12))]).mask(output, size)
    assert found.dtype == np.uint8 and found.shape == size
    assert np.array_equal(found, expected.argmax(0).numpy())


@pytest.mark.parametrize("concentration", [0.03, 0.3, 3])
@pytest.mark.parametrize("size", [(37, 50), (5, 7)])
def test_of_many_classes_none_with_a_quarter_of_the_probability_is_missed(size, concentration):
    output = np.random.default_rng(0).dirichlet(np.full(40, concentration), (8, 12)).transpose(2, 0, 1)
    planes = F.interpolate(torch.from_numpy(output)[None], size, mode="bilinear", antialias=True)[0].numpy()
    expected = planes.max(0)
    found = drawing(num_classes=40, changes=[SizeChange(False, (8, 12))]).mask(output, size)
    reached = np.take_along_axis(planes, found[None].astype(int), 0)[0]
    sure = expected > 0.25
    assert np.allclose(reached[sure], expected[sure], atol=0.01)
    assert (reached > 0.8 * expected).all()


def test_of_many_classes_one_without_a_number_makes_its_surroundings_unknown():
    output = shares((40, 8, 12))
    output[39, 2, 3] = np.nan
    found = drawing(num_classes=40, changes=[SizeChange(False, (8, 12))]).mask(output, (80, 120))
    assert (found[20:30, 30:40] == 255).all()
    assert not (found[:15] == 255).any() and not (found[35:] == 255).any()


@pytest.mark.parametrize("size", [(5, 7), (8, 6), (3, 40)])
def test_small_images_get_means(size):
    output = shares()
    expected = F.interpolate(torch.from_numpy(output)[None], size, mode="bilinear", antialias=True)[0]
    found = drawing(changes=[SizeChange(False, (8, 12))]).mask(output, size)
    assert (found == expected.argmax(0).numpy()).mean() > 0.9


@pytest.mark.parametrize(
    ("ending", "make"),
    [
        ("softmax", lambda p: p),
        ("log_softmax", np.log),
        ("logits", lambda p: np.log(p) + 3),
    ],
)
def test_all_endings_give_the_same_mask(ending, make):
    output = shares()
    found = drawing(ending=ending).mask(make(output), (8, 12))
    assert np.array_equal(found, output.argmax(0))
    larger = drawing(ending=ending, changes=[SizeChange(False, (8, 12))])
    reference = drawing(changes=[SizeChange(False, (8, 12))])
    assert np.array_equal(larger.mask(make(output), (80, 70)), reference.mask(output, (80, 70)))


@pytest.mark.parametrize(("ending", "threshold"), [("sigmoid", 0.5), ("logits", 0.0), ("sigmoid_logits", 0.0)])
def test_one_channel_is_the_probability_of_class_1(ending, threshold):
    output = np.random.default_rng(0).normal(size=(1, 8, 12)).astype(np.float32)
    output = 1 / (1 + np.exp(-output)) if ending == "sigmoid" else output
    found = drawing(ending=ending, num_classes=2).mask(output, (8, 12))
    assert np.array_equal(found, output[0] > threshold)


def test_what_was_cropped_away_is_unknown_and_the_rest_is_in_its_place():
    output = shares((3, 8, 12))
    found = drawing(changes=[SizeChange(True, (8, 12))]).mask(output, (14, 12))
    assert np.array_equal(found[3:11], output.argmax(0))
    assert (found[:3] == 255).all() and (found[11:] == 255).all()


def test_padding_is_left_out():
    output = shares((3, 8, 12))
    found = drawing(changes=[SizeChange(True, (8, 12))]).mask(output, (4, 12))
    assert np.array_equal(found, output[:, 2:6].argmax(0))


def test_a_smaller_output_shows_the_whole_input():
    output = shares((3, 4, 6))
    found = drawing(size=(8, 12)).mask(output, (8, 12))
    reference = drawing(size=(4, 6), changes=[SizeChange(False, (4, 6))]).mask(output, (8, 12))
    assert np.array_equal(found, reference)


def test_pixels_without_a_number_are_unknown():
    output = shares()
    output[:, 2, 3] = np.nan
    found = drawing().mask(output, (8, 12))
    assert found[2, 3] == 255 and (found == 255).sum() == 1


@pytest.mark.parametrize(("count", "dtype", "unknown"), [(2, "u1", 255), (255, "u1", 255), (256, "u2", 65535)])
def test_many_classes_take_16_bits(count, dtype, unknown):
    chosen = drawing(num_classes=count, size=(2, 2))
    output = np.zeros((count, 2, 2), np.float32)
    output[-1] = 1
    mask = chosen.mask(output, (2, 2))
    assert mask.dtype == dtype and (mask == count - 1).all() and chosen.unknown == unknown
    assert np.array_equal(np.asarray(encode_mask(mask)), mask)


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_shades_at_the_size_of_the_image(channels):
    output = np.random.default_rng(0).random((channels, 8, 12)).astype(np.float32)
    found = drawing("pixels").image(output, (8, 12))
    assert found.mode == {1: "L", 3: "RGB"}[channels]
    assert np.array_equal(np.atleast_3d(np.asarray(found)).transpose(2, 0, 1), (output * 255).round())
    resized = drawing("pixels", changes=[SizeChange(False, (8, 12))]).image(output, (40, 30))
    assert resized.size == (30, 40)


def test_values_beyond_white_and_black_are_white_and_black():
    found = np.asarray(drawing("pixels", size=(1, 2)).image(np.array([[[-3.0, 1.5]]]), (1, 2)))
    assert found.tolist() == [[0, 255]]


def test_an_image_that_the_network_enlarges_stays_large():
    output = np.random.default_rng(0).random((3, 16, 24)).astype(np.float32)
    found = drawing("pixels").image(output, (8, 12))
    assert found.size == (24, 16)
    assert np.array_equal(np.asarray(found).transpose(2, 0, 1), (output * 255).round())


def test_what_the_network_did_not_see_is_transparent():
    found = drawing("pixels", changes=[SizeChange(True, (8, 12))]).image(np.ones((3, 8, 12)), (10, 12))
    assert found.mode == "RGBA"
    assert np.asarray(found)[:, 0, 3].tolist() == [0, *[255] * 8, 0]


def test_an_overlay_has_the_colors_of_the_classes_but_for_class_0():
    image = np.full((4, 6, 3), 100, np.uint8)
    mask = np.zeros((4, 6), np.uint8)
    mask[1], mask[2] = 1, 255
    found = np.asarray(draw_overlay(image, mask, 255))
    assert (found[0] == 100).all()
    assert found[1, 0].tolist() == ((100 + class_colors()[1].astype(int) + 1) // 2).tolist()
    assert (found[2] == 30).all()


def test_a_large_overlay_is_made_smaller():
    found = draw_overlay(np.zeros((900, 3200, 3), np.uint8), np.zeros((900, 3200), np.uint8), 255)
    assert found.size == (1600, 450)


def test_a_drawing_can_be_compared_and_sent():
    assert dataclasses.replace(drawing()) == drawing()
