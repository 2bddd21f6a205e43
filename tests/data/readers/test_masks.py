"""Images whose pixels are class numbers, in all the forms in which annotation tools write them."""

import numpy as np
import pytest
from PIL import Image

from rayrml.data.readers.masks import masks
from rayrml.data.value_rules import ClassNumbers
from rayrml.errors import DataError

NUMBERS = np.arange(12, dtype=np.uint8).reshape(3, 4) % 5


def palette(numbers):
    image = Image.new("P", numbers.shape[::-1])
    image.putdata(numbers.flatten().tolist())
    image.putpalette([255, 0, 0, 10, 200, 30, 0, 0, 90, 7, 7, 7, 250, 250, 250])
    return image


@pytest.mark.parametrize(
    ("name", "image", "expected"),
    [
        ("gray.png", Image.fromarray(NUMBERS), NUMBERS),
        ("palette.png", palette(NUMBERS), NUMBERS),
        ("palette.gif", palette(NUMBERS), NUMBERS),
        ("rgb.png", Image.fromarray(np.repeat(NUMBERS[:, :, None], 3, 2)), NUMBERS),
        ("rgba.png", Image.fromarray(np.repeat(NUMBERS[:, :, None], 3, 2)).convert("RGBA"), NUMBERS),
        ("la.png", Image.fromarray(NUMBERS).convert("LA"), NUMBERS),
        ("bits.png", Image.fromarray(NUMBERS > 2), (NUMBERS > 2).astype(int)),
        ("deep.png", Image.fromarray(NUMBERS.astype(np.uint16) + 300), NUMBERS.astype(int) + 300),
        ("deep.tif", Image.fromarray(NUMBERS.astype(np.uint16) + 300), NUMBERS.astype(int) + 300),
        ("wide.tif", Image.fromarray(NUMBERS.astype(np.int32)), NUMBERS),
        ("float.tif", Image.fromarray(NUMBERS.astype(np.float32)), NUMBERS),
    ],
)
def test_each_form_of_a_mask_holds_the_same_numbers(tmp_path, name, image, expected):
    image.save(tmp_path / name)
    assert masks().decode(str(tmp_path / name)).tolist() == [expected.tolist()]


def test_a_black_and_white_mask_survives_lossy_compression(tmp_path):
    mask = np.zeros((40, 40), np.uint8)
    mask[10:31, 5:22] = 255
    Image.fromarray(mask).save(tmp_path / "m.jpg", quality=90)
    assert set(np.unique(masks().decode(str(tmp_path / "m.jpg"))).tolist()) - {0, 255}, "compression left no noise"
    numbers = masks(two_shades=True).decode(str(tmp_path / "m.jpg"))[0]
    assert np.array_equal(ClassNumbers(2, black_and_white=True)(numbers), mask // 255)


@pytest.mark.parametrize(("name", "options"), [("m.webp", {"lossless": True}), ("m.png", {})])
@pytest.mark.parametrize("two_shades", [True, False])
def test_class_numbers_beside_white_are_not_taken_for_noise(tmp_path, name, options, two_shades):
    numbers = np.repeat(np.array([[0, 1, 2, 3, 255]], np.uint8), 4, 0)
    Image.fromarray(numbers).save(tmp_path / name, **options)
    assert np.array_equal(masks(two_shades=two_shades).decode(str(tmp_path / name))[0], numbers)


def test_small_numbers_are_not_taken_for_the_noise_of_black(tmp_path):
    Image.fromarray(np.full((8, 8), 2, np.uint8)).save(tmp_path / "m.jpg", quality=100)
    assert np.unique(masks().decode(str(tmp_path / "m.jpg"))).tolist() == [2]


def test_colors_are_no_class_numbers(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (4, 4, 3), np.uint8)).save(tmp_path / "c.png")
    with pytest.raises(DataError, match=r"c\.png.*It is a color image, expected one number per pixel"):
        masks().decode(str(tmp_path / "c.png"))


def test_a_mask_is_turned_as_its_orientation_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(NUMBERS).save(tmp_path / "m.png", exif=exif)
    assert np.array_equal(masks().decode(str(tmp_path / "m.png"))[0], np.rot90(NUMBERS, -1))


def test_pages_of_masks_are_those_of_images(tmp_path):
    stack = [Image.fromarray(NUMBERS + number) for number in range(3)]
    path = str(tmp_path / "stack.tif")
    stack[0].save(path, save_all=True, append_images=stack[1:])
    with pytest.raises(DataError, match=r"stack\.tif.*It has 3 pages"):
        masks().decode(path)
    assert np.array_equal(masks(pages="first").decode(path)[0], NUMBERS)
    reader = masks(pages="samples")
    with reader.open(path) as read:
        assert [int(read(name)[0, 0, 0]) for name in reader.contents(path)] == [0, 1, 2]
