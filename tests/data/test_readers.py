import io

import numpy as np
import pytest
from PIL import Image

from rayrml.data.readers import READERS
from rayrml.errors import DataError
from tests.conftest import write_jpeg

GRADIENT = np.linspace(0, 255, 20 * 30).reshape(20, 30).astype(np.uint8)
COLORS = np.stack([GRADIENT, GRADIENT[::-1], np.full_like(GRADIENT, 90)], axis=2)


def read(path, grayscale=False):
    return READERS["images"](grayscale=grayscale).decode(str(path))


@pytest.mark.parametrize("ending", ["png", "bmp", "tiff", "webp", "gif"])
def test_lossless_formats_give_the_pixels_back(tmp_path, ending):
    path = tmp_path / f"image.{ending}"
    image = Image.fromarray(GRADIENT)
    image.save(path, **({"lossless": True} if ending == "webp" else {}))
    assert np.array_equal(read(path, grayscale=True), GRADIENT[None])


def test_color_images_are_channels_first(tmp_path):
    Image.fromarray(COLORS).save(tmp_path / "image.png")
    assert np.array_equal(read(tmp_path / "image.png"), COLORS.transpose(2, 0, 1))


def test_gray_images_get_three_equal_channels_unless_one_is_asked_for(tmp_path):
    path = write_jpeg(tmp_path / "image.jpg", GRADIENT)
    gray, color = read(path, grayscale=True), read(path)
    assert gray.shape == (1, 20, 30)
    assert np.array_equal(color, np.repeat(gray, 3, axis=0))


def test_jpeg_agrees_with_pillow_to_rounding(tmp_path):
    path = write_jpeg(tmp_path / "image.jpg", COLORS)
    pillow = np.asarray(Image.open(path)).transpose(2, 0, 1).astype(int)
    assert np.abs(read(path).astype(int) - pillow).max() <= 3
    pillow = np.asarray(Image.open(path).convert("L")).astype(int)
    assert np.abs(read(path, grayscale=True)[0].astype(int) - pillow).max() <= 3


def test_palette_and_alpha_become_colors(tmp_path):
    Image.fromarray(COLORS).convert("RGBA").save(tmp_path / "alpha.png")
    Image.fromarray(COLORS).convert("P").save(tmp_path / "palette.png")
    assert np.array_equal(read(tmp_path / "alpha.png"), COLORS.transpose(2, 0, 1))
    assert read(tmp_path / "palette.png").shape == (3, 20, 30)


def test_cmyk_jpeg_becomes_rgb(tmp_path):
    Image.fromarray(COLORS).convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    assert read(tmp_path / "print.jpg").shape == (3, 20, 30)


def test_exif_orientation_is_followed(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    Image.fromarray(GRADIENT).save(tmp_path / "phone.jpg", exif=exif, quality=95)
    image = read(tmp_path / "phone.jpg", grayscale=True)
    assert image.shape == (1, 30, 20)
    assert np.abs(image[0].astype(int) - np.rot90(GRADIENT, -1).astype(int)).max() <= 6


@pytest.mark.parametrize("content", [b"", b"<html>no image</html>", b"\xff\xd8\xff\xe0 broken"])
def test_what_is_no_image_is_named(tmp_path, content):
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.jpg: cannot be"):
        read(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_truncated_image_is_named(tmp_path, kind):
    whole = io.BytesIO()
    Image.fromarray(COLORS).resize((200, 200)).save(whole, kind)
    path = tmp_path / "half.jpg"
    path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    with pytest.raises(DataError, match=r"half\.jpg: cannot be"):
        read(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.jpg: cannot be read\. No such file"):
        read(tmp_path / "gone.jpg")
