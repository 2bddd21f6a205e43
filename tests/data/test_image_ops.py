import numpy as np
import pytest
from PIL import Image

from rayrml.data import colors, image_ops
from rayrml.data.image_ops import CenterCrop, ConvertColor, ImageOperations, Letterbox, Resize, Rotate
from rayrml.data.readers import READERS
from rayrml.errors import ConfigError

RANDOM = np.random.default_rng(0).integers(0, 256, (3, 17, 24), dtype=np.uint8)
CORNER = np.zeros((1, 4, 4), np.uint8)
CORNER[0, 0, 0] = 255  # top left
OPERATIONS = [
    Resize((9, 30)),
    CenterCrop((10, 40)),
    Letterbox((20, 30)),
    Rotate(30),
    ConvertColor("RGB2GRAY"),
    ConvertColor("BGR2HLS"),
]
ARRAY_TYPES = ["float16", "float32", "int8", "int16", "uint8"]

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
    "LUV": [[135, 222, 173], [223, 37, 241], [82, 90, 10], [255, 96, 136], [0, 96, 136],
            [88, 132, 161], [182, 52, 175], [144, 171, 70]],
    "YUV": [[76, 91, 255], [150, 54, 0], [29, 239, 103], [255, 128, 128], [0, 128, 128],
            [79, 105, 171], [138, 126, 22], [103, 176, 255]],
    "XYZ": [[105, 54, 5], [91, 182, 30], [46, 18, 242], [242, 255, 255], [0, 0, 0],
            [81, 75, 41], [103, 156, 151], [143, 75, 196]],
    "HSV_FULL": [[0, 255, 255], [85, 255, 255], [171, 255, 255], [0, 0, 255], [0, 0, 0],
                 [14, 191, 128], [112, 233, 200], [222, 245, 250]],
    "HLS_FULL": [[0, 128, 255], [85, 128, 255], [170, 128, 255], [0, 255, 0], [0, 0, 0],
                 [14, 80, 153], [112, 108, 215], [221, 130, 245]],
    "GRAY": [[76], [150], [29], [255], [0], [79], [138], [103]],
}  # fmt: skip
# The same numbers read as colours of each space, the first one below 180, as a hue must be.
TO_RGB = {
    "HSV": [[0, 0, 0], [0, 0, 0], [255, 255, 255], [0, 255, 128], [0, 0, 0],
            [26, 24, 32], [133, 88, 29], [192, 200, 195]],
    "HLS": [[0, 0, 0], [255, 255, 255], [0, 0, 0], [255, 255, 255], [0, 0, 0],
            [60, 56, 72], [229, 204, 171], [2, 18, 7]],
    "LAB": [[0, 112, 255], [0, 0, 195], [0, 45, 0], [226, 0, 0], [0, 64, 194],
            [0, 154, 255], [92, 0, 16], [0, 88, 0]],
    "YCrCb": [[0, 210, 0], [178, 0, 0], [0, 48, 225], [253, 0, 255], [0, 135, 0],
              [38, 207, 0], [118, 0, 26], [0, 129, 198]],
    "YUV": [[0, 200, 0], [0, 24, 255], [145, 0, 0], [220, 0, 255], [0, 125, 0],
            [19, 209, 0], [23, 0, 163], [152, 75, 0]],
    "XYZ": [[243, 0, 4], [0, 255, 0], [0, 11, 255], [0, 255, 222], [0, 0, 0],
            [255, 0, 28], [0, 255, 101], [112, 0, 213]],
    "HSV_FULL": [[0, 0, 0], [0, 0, 0], [255, 255, 255], [60, 255, 0], [0, 0, 0],
                 [24, 32, 32], [133, 70, 29], [195, 200, 192]],
    "HLS_FULL": [[0, 0, 0], [255, 255, 255], [0, 0, 0], [255, 255, 255], [0, 0, 0],
                 [56, 72, 72], [229, 194, 171], [8, 18, 2]],
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


def test_a_letterbox_keeps_proportions_and_has_gray_borders():
    image = np.full((1, 2, 4), 9, np.uint8)
    assert Letterbox((4, 4))(image).tolist() == [[[114] * 4, [9] * 4, [9] * 4, [114] * 4]]
    assert Letterbox((4, 4))(image.swapaxes(1, 2)).tolist() == [[[114, 9, 9, 114]] * 4]
    shades = Letterbox((4, 4))((image / 255).astype(np.float32))
    np.testing.assert_allclose(shades * 255, Letterbox((4, 4))(image), rtol=1e-6)


def test_zeros_are_around_masks_and_other_numbers_in_a_letterbox():
    image = np.full((1, 2, 4), 9, np.uint8)
    for letterbox in (Letterbox((4, 4), "nearest"), Letterbox((4, 4), pixels=False)):
        assert letterbox(image).tolist() == [[[0] * 4, [9] * 4, [9] * 4, [0] * 4]]


@pytest.mark.parametrize(
    ("old", "new", "fitted"),
    [
        ((480, 640), (416, 416), (312, 416)),
        ((31, 57), (128, 128), (70, 128)),
        ((1, 500), (64, 64), (1, 64)),
        ((339, 480), (64, 192), (64, 91)),
        ((709, 437), (256, 256), (256, 158)),
        ((3, 6), (3, 3), (2, 3)),  # 1.5 is rounded up, and 2.5, too
        ((5, 6), (3, 3), (3, 3)),
    ],
)
def test_sizes_in_a_letterbox_are_rounded_halves_up(old, new, fitted):
    found = Letterbox(new)(np.full((1, *old), 200, np.uint8))[0] == 200
    assert (found.any(1).sum(), found.any(0).sum()) == fitted
    assert np.argmax(found.any(1)) == (new[0] - fitted[0]) // 2
    assert np.argmax(found.any(0)) == (new[1] - fitted[1]) // 2


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (700, 3), (64, 64), (200, 300)])
def test_every_image_fits_into_a_letterbox(size):
    for resampling in ("bilinear", "nearest"):
        found = Letterbox((64, 48), resampling)(np.full((3, *size), 200, np.uint8))
        assert found.shape == (3, 64, 48) and found.max() == 200
        inside = (found == 200).any(0)
        assert inside.any(0).all() or inside.any(1).all()  # one of the sides is filled


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


@pytest.mark.parametrize("space", ["HSV", "HLS", "LAB", "LUV", "YCrCb", "YUV", "XYZ", "HSV_FULL"])
def test_colors_survive_the_way_there_and_back(space):
    back = ConvertColor(f"{space}2RGB")(ConvertColor(f"RGB2{space}")(RANDOM))
    assert np.abs(back.astype(int) - RANDOM).mean() < 2.5


def test_bgr_is_rgb_the_other_way_round():
    assert np.array_equal(ConvertColor("BGR2RGB")(RANDOM), RANDOM[::-1])


@pytest.mark.parametrize(("space", "back"), [("RGBA", "RGB"), ("BGRA", "BGR"), ("RGBA", "BGR"), ("BGRA", "RGB")])
def test_alpha_is_added_as_opaque_and_dropped(space, back):
    opaque = ConvertColor(f"RGB2{space}")(RANDOM)
    assert opaque.shape == (4, *RANDOM.shape[1:])
    assert set(np.unique(opaque[3])) == {255}
    expected = RANDOM if back == "RGB" else RANDOM[::-1]
    assert np.array_equal(ConvertColor(f"{space}2{back}")(opaque), expected)
    assert np.array_equal(ConvertColor(f"{space}2GRAY")(opaque), ConvertColor("RGB2GRAY")(RANDOM))
    with pytest.raises(ConfigError, match="expects 4-channel images but gets 3-channel ones"):
        ConvertColor(f"{space}2GRAY").shape(RANDOM.shape)


def test_gray_becomes_three_equal_channels():
    assert np.array_equal(ConvertColor("GRAY2BGR")(RANDOM[:1]), np.repeat(RANDOM[:1], 3, axis=0))


@pytest.mark.parametrize("code", ["BGR2Lab", "bgr2lab", "COLOR_BGR2LAB"])
def test_codes_are_read_as_opencv_spells_them(code):
    assert colors.parse_code(code) == ("BGR", "LAB")


@pytest.mark.parametrize(
    ("code", "spaces"),
    [("HLS2BGR_FULL", ("HLS_FULL", "BGR")), ("COLOR_RGB2HSV_FULL", ("RGB", "HSV_FULL")), ("RGB2Luv", ("RGB", "LUV"))],
)
def test_full_belongs_to_the_code(code, spaces):
    assert colors.parse_code(code) == spaces


@pytest.mark.parametrize(
    "code",
    ["", "RGB", "RGB2RGB", "HSV2LAB", "RGB2CMYK", "RGB2GRAY2RGB", "BGR2RGB_FULL", "HSV_FULL2RGB_FULL", "RGB2LAB_FULL"],
)
def test_other_codes_are_unknown(code):
    with pytest.raises(ValueError, match=r"unknown conversion .* one of RGB, BGR, GRAY, HSV, HLS, LAB, LUV, YCrCb, "):
        colors.parse_code(code)


@pytest.mark.parametrize("dtype", ARRAY_TYPES)
@pytest.mark.parametrize("spatial", [(11,), (11, 12), (6, 11, 12)])
@pytest.mark.parametrize("resampling", ["bilinear", "nearest"])
def test_arrays_come_out_in_the_declared_shape_and_type(dtype, spatial, resampling):
    array = (np.random.default_rng(0).random((2, *spatial)) * 99).astype(dtype)
    size = (5, 20, 9)[: len(spatial)]
    operations = ImageOperations((("a", Resize(size, resampling, pixels=False)), ("b", CenterCrop(size[::-1]))))
    changed = operations.apply(array)
    assert changed.shape == operations.shape(array.shape) == (2, *size[::-1])
    assert changed.dtype == operations.dtype(array.dtype)
    assert changed.dtype == (array.dtype if resampling == "nearest" else np.float32)
    assert changed.flags.c_contiguous
    assert CenterCrop(size).dtype(array.dtype) == CenterCrop(size)(array).dtype == array.dtype


@pytest.mark.parametrize("dtype", ARRAY_TYPES)
def test_arrays_are_shrunk_by_the_triangle_of_pillow(dtype):
    array = (np.random.default_rng(0).random((2, 23, 31)) * 99).astype(dtype)
    resized = Resize((9, 40), pixels=False)(array)
    for channel, given in zip(resized, array, strict=True):
        pillows = Image.fromarray(given.astype(np.float32)).resize((40, 9), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(channel, np.asarray(pillows), atol=1e-3)


def test_volumes_are_resized_along_one_axis_after_the_other():
    volume = np.random.default_rng(0).normal(size=(1, 12, 10, 8)).astype(np.float32)
    by_planes = np.stack([Resize((5, 16), pixels=False)(plane) for plane in volume[0][:, None]], 1)
    expected = Resize((4, 80), pixels=False)(by_planes.reshape(1, 12, 80)).reshape(1, 4, 5, 16)
    np.testing.assert_allclose(Resize((4, 5, 16), pixels=False)(volume), expected, atol=1e-5)


def test_a_signal_that_is_shrunk_keeps_its_mean_and_loses_what_is_too_fine():
    fine = np.tile(np.array([0, 100], np.int16), 600)[None]
    shrunk = Resize((60,), pixels=False)(fine)
    np.testing.assert_allclose(shrunk, 50, atol=1.5)


@pytest.mark.parametrize("size", [40, 120, 1])
def test_long_axes_are_resampled_as_short_ones(monkeypatch, size):
    array = np.random.default_rng(0).random((2, 57, 3)).astype(np.float32)
    expected = Resize((size, 3), pixels=False)(array)
    monkeypatch.setattr(image_ops, "LARGEST_TABLE", 0)
    np.testing.assert_allclose(Resize((size, 3), pixels=False)(array), expected, atol=1e-5)


@pytest.mark.parametrize("new", [1, 3, 4, 7, 14, 20])
def test_the_nearest_values_are_pillows(new):
    signal = np.arange(14, dtype=np.int16)[None]
    pillows = Image.fromarray(signal.astype(np.uint8)).resize((new, 1), Image.Resampling.NEAREST)
    assert np.array_equal(Resize((new,), "nearest", pixels=False)(signal), np.asarray(pillows))


def test_bytes_that_are_no_pixels_are_mixed_as_numbers():
    steps = np.array([[[0, 1]]], np.uint8)
    assert Resize((1, 4))(steps).tolist() == [[[0, 0, 1, 1]]]
    mixed = Resize((1, 4), pixels=False)(steps)
    np.testing.assert_allclose(mixed, [[[0, 0.25, 0.75, 1]]])
    assert mixed.dtype == np.float32


@pytest.mark.parametrize(
    ("operation", "shape", "message"),
    [
        (Resize((4, 4)), (1, 9), "expected 1 number, [width], got [4, 4]"),
        (Resize((4,)), (3, 9, 9), "expected 2 numbers, [height, width], got [4]"),
        (CenterCrop((4, 4)), (3, 9, 9, 9), "expected 3 numbers, [depth, height, width], got [4, 4]"),
        (
            Rotate(3),
            (3, 9, 9, 9),
            "works on images only, but samples have 3 spatial axes here. "
            "Expected a flip, random_rotate_90, a crop, resize or normalize",
        ),
        (Resize((4, 4)), (3, 9, 9, 9, 9), "needs 1, 2 or 3 spatial axes, but samples have 4 spatial axes here"),
    ],
)
def test_samples_of_another_dimension_are_told(operation, shape, message):
    with pytest.raises(ConfigError) as raised:
        ImageOperations((("x", operation),)).shape(shape)
    assert str(raised.value) == f"x: {message}"


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_pixels_stay_bytes(operation):
    assert ImageOperations((("x", operation),)).dtype(np.dtype(np.uint8)) == np.uint8


def test_operations_are_done_in_their_order():
    operations = ImageOperations((("a", Resize((8, 8))), ("b", CenterCrop((4, 6))), ("c", ConvertColor("RGB2GRAY"))))
    assert operations.shape(RANDOM.shape) == operations.apply(RANDOM).shape == (1, 4, 6)


def test_what_an_operation_cannot_take_is_said_with_its_place():
    operations = ImageOperations((("x.transforms[0].convert_color", ConvertColor("RGB2HSV")),))
    expected = r"x\.transforms\[0\]\.convert_color: 'RGB2HSV' expects 3-channel images but gets 1-channel ones"
    with pytest.raises(ConfigError, match=expected):
        operations.shape((1, 5, 5))


def test_images_that_pillow_decoded_are_resized_without_a_warning(tmp_path):
    Image.fromarray(np.arange(600, dtype=np.uint16).astype(np.uint8).reshape(20, 30)).save(tmp_path / "gray.png")
    image = READERS["images"](grayscale=True).decode(str(tmp_path / "gray.png"))
    assert Resize((10, 12))(image).shape == (1, 10, 12)
