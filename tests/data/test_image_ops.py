import numpy as np
import pytest
from PIL import Image

from rayrml.data import colors
from rayrml.data.image_ops import CenterCrop, ConvertColor, ImageOperations, Resize, Rotate
from rayrml.errors import ConfigError

RANDOM = np.random.default_rng(0).integers(0, 256, (3, 17, 24), dtype=np.uint8)
CORNER = np.zeros((1, 4, 4), np.uint8)
CORNER[0, 0, 0] = 255  # top left
OPERATIONS = [Resize((9, 30)), CenterCrop((10, 40)), Rotate(30), ConvertColor("RGB2GRAY"), ConvertColor("BGR2HLS")]

# Eight colours, as OpenCV 5.0's cvtColor converts them.
RGB = [
    [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255],
    [0, 0, 0], [128, 64, 32], [17, 200, 133], [250, 10, 200],
]  # fmt: skip
FROM_RGB = {
    "HSV": [[0, 255, 255], [60, 255, 255], [120, 255, 255], [0, 0, 255], [0, 0, 0],
            [10, 191, 128], [79, 233, 200], [156, 245, 250]],
    "HLS": [[0, 128, 255], [60, 128, 255], [120, 128, 255], [0, 255, 0], [0, 0, 0],
            [10, 80, 153], [79, 109, 215], [156, 130, 245]],
    "LAB": [[136, 208, 195], [224, 42, 211], [82, 207, 20], [255, 128, 128], [0, 128, 128],
            [89, 153, 159], [183, 71, 150], [145, 218, 93]],
    "YCrCb": [[76, 255, 85], [150, 21, 43], [29, 107, 255], [255, 128, 128], [0, 128, 128],
              [79, 163, 101], [138, 42, 125], [103, 233, 183]],
    "GRAY": [[76], [150], [29], [255], [0], [79], [138], [103]],
}  # fmt: skip
# The same numbers taken for colours of each space, the first of each below 180, as a hue is.
TO_RGB = {
    "HSV": [[0, 0, 0], [0, 0, 0], [255, 255, 255], [0, 255, 128], [0, 0, 0],
            [26, 24, 32], [133, 88, 29], [192, 200, 195]],
    "HLS": [[0, 0, 0], [255, 255, 255], [0, 0, 0], [255, 255, 255], [0, 0, 0],
            [60, 56, 72], [229, 204, 171], [2, 18, 7]],
    "LAB": [[0, 112, 255], [0, 0, 195], [0, 45, 0], [226, 0, 0], [0, 64, 194],
            [0, 154, 255], [92, 0, 16], [0, 88, 0]],
    "YCrCb": [[0, 210, 0], [178, 0, 0], [0, 48, 225], [253, 0, 255], [0, 135, 0],
              [38, 207, 0], [118, 0, 26], [0, 129, 198]],
}  # fmt: skip


def row_of(pixels):
    """An image (C, 1, number of pixels)."""
    return np.array(pixels, np.uint8).T[:, None]


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_the_declared_shape_is_the_shape_that_comes_out(operation):
    image = operation(RANDOM)
    assert image.shape == operation.shape(RANDOM.shape)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous


def test_resizing_is_pillows_of_the_whole_image():
    whole = Image.fromarray(RANDOM.transpose(1, 2, 0)).resize((10, 8), Image.Resampling.BILINEAR)
    assert np.array_equal(Resize((8, 10))(RANDOM), np.asarray(whole).transpose(2, 0, 1))


def test_a_resized_mask_has_no_other_values():
    mask = np.array([[[0, 7, 7], [200, 0, 7]]], np.uint8)
    assert set(np.unique(Resize((8, 5), "nearest")(mask))) == {0, 7, 200}


def test_a_center_crop_cuts_as_much_from_either_side():
    image = np.arange(30, dtype=np.uint8).reshape(1, 5, 6)
    assert CenterCrop((3, 2))(image).tolist() == [[[8, 9], [14, 15], [20, 21]]]


def test_a_center_crop_of_a_smaller_image_has_black_borders():
    image = np.full((1, 1, 2), 9, np.uint8)
    assert CenterCrop((3, 4))(image).tolist() == [[[0, 0, 0, 0], [0, 9, 9, 0], [0, 0, 0, 0]]]


@pytest.mark.parametrize(("degrees", "place"), [(90, (0, 3)), (180, (3, 3)), (-90, (3, 0)), (360, (0, 0))])
def test_rotation_is_clockwise(degrees, place):
    turned = Rotate(degrees)(CORNER)[0]
    assert np.argwhere(turned).tolist() == [list(place)]


def test_a_rotated_mask_has_no_other_values():
    assert set(np.unique(Rotate(33, "nearest")(np.full((1, 9, 9), 7, np.uint8)))) == {0, 7}


@pytest.mark.parametrize("space", FROM_RGB)
def test_colors_are_opencvs_to_rounding(space):
    converted = ConvertColor(f"RGB2{space}")(row_of(RGB))
    assert np.abs(converted.astype(int) - row_of(FROM_RGB[space])).max() <= 1
    swapped = ConvertColor(f"BGR2{space}")(row_of(RGB)[::-1])
    assert np.array_equal(swapped, converted)


@pytest.mark.parametrize("space", TO_RGB)
def test_colors_back_are_opencvs_to_rounding(space):
    given = row_of(RGB)
    given[0] %= 180
    converted = ConvertColor(f"{space}2RGB")(given)
    assert np.abs(converted.astype(int) - row_of(TO_RGB[space])).max() <= 1
    assert np.array_equal(ConvertColor(f"{space}2BGR")(given), converted[::-1])


@pytest.mark.parametrize("space", ["HSV", "HLS", "LAB", "YCrCb"])
def test_colors_survive_the_way_there_and_back(space):
    back = ConvertColor(f"{space}2RGB")(ConvertColor(f"RGB2{space}")(RANDOM))
    assert np.abs(back.astype(int) - RANDOM).mean() < 2.5


def test_bgr_is_rgb_the_other_way_round():
    assert np.array_equal(ConvertColor("BGR2RGB")(RANDOM), RANDOM[::-1])


def test_gray_becomes_three_equal_channels():
    assert np.array_equal(ConvertColor("GRAY2BGR")(RANDOM[:1]), np.repeat(RANDOM[:1], 3, axis=0))


@pytest.mark.parametrize("code", ["BGR2Lab", "bgr2lab", "COLOR_BGR2LAB"])
def test_codes_are_read_as_opencv_spells_them(code):
    assert colors.spaces(code) == ("BGR", "LAB")


@pytest.mark.parametrize("code", ["", "RGB", "RGB2RGB", "HSV2LAB", "RGB2CMYK", "RGB2GRAY2RGB"])
def test_other_codes_are_unknown(code):
    with pytest.raises(ValueError, match=r"unknown conversion .* one of RGB, BGR, GRAY, HSV, HLS, LAB, YCrCb"):
        colors.spaces(code)


def test_operations_are_done_in_their_order():
    operations = ImageOperations((("a", Resize((8, 8))), ("b", CenterCrop((4, 6))), ("c", ConvertColor("RGB2GRAY"))))
    assert operations.shape(RANDOM.shape) == operations.apply(RANDOM).shape == (1, 4, 6)


def test_what_an_operation_cannot_take_is_said_with_its_place():
    operations = ImageOperations((("x.transforms[0].convert_color", ConvertColor("RGB2HSV")),))
    expected = r"x\.transforms\[0\]\.convert_color: 'RGB2HSV' takes images of 3 channels, but they have 1 here"
    with pytest.raises(ConfigError, match=expected):
        operations.shape((1, 5, 5))
