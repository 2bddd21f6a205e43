"""Colour space conversions, on the scales that OpenCV uses for 8-bit images.

Hue is 0..179 (half degrees), or 0..255 in `HSV_FULL` and `HLS_FULL`; every other channel is 0..255. L*a*b* is
(L * 255 / 100, a + 128, b + 128), L*u*v* is (L * 255 / 100, (u + 134) * 255 / 354, (v + 140) * 255 / 262). The same
formulas serve single images during decoding and batches on the compute device: a function's `xp` is numpy or torch. The
channel axis comes before the last two axes. Source: the OpenCV manual, "Color conversions".
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from rayrml.errors import ConfigError, Problem

Array = Any  # a numpy array or a torch tensor
Convert = Callable[[Array, Any], Array]

_PLAIN = frozenset({"RGB", "BGR", "RGBA", "BGRA"})  # one side of each conversion
_CHANNELS = {"GRAY": 1, "RGBA": 4, "BGRA": 4}  # of the spaces that do not have three
_WHITE = (0.950456, 1.0, 1.088754)  # D65
_WHITE_UV = (0.19793943, 0.46831096)  # its coordinates u' and v'
_XYZ_OF_RGB = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_TURN, _FULL_TURN, _FULL_TURN_BACK = 180, 256, 255  # hues of the full circle, as OpenCV has them
_RGB_OF_XYZ = ((3.240479, -1.537150, -0.498535), (-0.969256, 1.875991, 0.041556), (0.055648, -0.204043, 1.057311))


def convert(code: str, pixels: Array, xp: Any) -> Array:
    """Convert pixels (..., C, H, W) by a code such as `BGR2HSV`, from 0..255 to whole numbers 0..255."""
    source, destination = parse_code(code)
    return xp.clip(FROM_RGB[destination](TO_RGB[source](pixels, xp), xp), 0, 255)


def convert_shape(code: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape (C, H, W) of converted images.

    Raises:
        ConfigError: images of `shape` do not have the number of channels that the code expects.
    """
    source, destination = (_CHANNELS.get(space, 3) for space in parse_code(code))
    if shape[0] != source:
        raise ConfigError(Problem("", f"'{code}' expects {source}-channel images but gets {shape[0]}-channel ones"))
    return (destination, *shape[1:])


@functools.cache
def parse_code(code: str) -> tuple[str, str]:
    """The two colour spaces that a code names, as this module spells them.

    Raises:
        ValueError: the code is unknown; the message lists the known ones.
    """
    names = {_plain(name): name for name in TO_RGB}
    source, _, destination = _plain(code).removeprefix("COLOR").partition("2")
    # OpenCV writes HSV2RGB_FULL: the ending belongs to the code, not to the colour space.
    if destination in ("RGBFULL", "BGRFULL"):
        source, destination = f"{source}FULL", destination.removesuffix("FULL")
    source, destination = (names.get(part, part) for part in (source, destination))
    if source == destination or not {source, destination} <= set(TO_RGB) or not {source, destination} & _PLAIN:
        listed = ", ".join(TO_RGB)
        raise ValueError(f"unknown conversion '{code}'. Expected X2RGB, X2BGR, RGB2X or BGR2X, with X one of {listed}")
    return source, destination


def to_hsv(rgb: Array, xp: Any) -> tuple[Array, Array, Array]:
    """Hue in [0, 6), saturation in [0, 1] and value on the scale of RGB, each (..., H, W)."""
    high, low = xp.amax(rgb, -3), xp.amin(rgb, -3)
    return _hue(rgb, high, low, xp), (high - low) / _nonzero(high, xp), high


def from_hsv(hue: Array, saturation: Array, value: Array, xp: Any) -> Array:
    """RGB (..., 3, H, W) on the scale of `value`; hue in [0, 6); other values wrap around."""
    k = [(hue + n) % 6 for n in (5, 3, 1)]
    return xp.stack([value - value * saturation * xp.clip(xp.minimum(x, 4 - x), 0, 1) for x in k], -3)


def _rgb_to_hsv(rgb: Array, xp: Any, turn: int = _TURN) -> Array:
    hue, saturation, value = to_hsv(rgb, xp)
    return xp.stack([_wrapped(hue, turn, xp), xp.round(saturation * 255), value], -3)


def _hsv_to_rgb(hsv: Array, xp: Any, turn: int = _TURN) -> Array:
    hue, saturation, value = _split(hsv)
    return xp.round(from_hsv(hue * (6 / turn), saturation / 255, value, xp))


def _rgb_to_hls(rgb: Array, xp: Any, turn: int = _TURN) -> Array:
    high, low = xp.amax(rgb, -3), xp.amin(rgb, -3)
    total, spread = high + low, high - low
    saturation = spread / _nonzero(xp.where(total < 255, total, 510 - total), xp)
    hue = _wrapped(_hue(rgb, high, low, xp), turn, xp)
    return xp.stack([hue, xp.floor(total / 2 + 0.5), xp.round(saturation * 255)], -3)


def _hls_to_rgb(hls: Array, xp: Any, turn: int = _TURN) -> Array:
    hue, lightness, saturation = _split(hls)
    spread = saturation / 255 * xp.minimum(lightness, 255 - lightness)
    k = [(hue * (12 / turn) + n) % 12 for n in (0, 8, 4)]
    return xp.round(xp.stack([lightness - spread * xp.clip(xp.minimum(x - 3, 9 - x), -1, 1) for x in k], -3))


def _rgb_to_gray(rgb: Array, xp: Any) -> Array:
    # OpenCV's integer coefficients; all products are exact in single precision.
    red, green, blue = _split(rgb)
    return xp.floor((red * 9798 + green * 19235 + blue * 3735 + 16384) / 32768)[..., None, :, :]


def _gray_to_rgb(gray: Array, xp: Any) -> Array:
    return xp.concatenate([gray, gray, gray], -3)


def _rgb_to_ycrcb(rgb: Array, xp: Any) -> Array:
    luma, blue, red = _luma_and_differences(rgb, xp, red_factor=11682, blue_factor=9241)
    return xp.stack([luma, red, blue], -3)


def _luma_and_differences(rgb: Array, xp: Any, *, red_factor: int, blue_factor: int) -> list[Array]:
    """Luma, and how much more blue and red there is, in OpenCV's integer arithmetic."""
    red, green, blue = _split(rgb)
    luma = xp.floor((red * 4899 + green * 9617 + blue * 1868 + 8192) / 16384)
    pairs = ((blue - luma, blue_factor), (red - luma, red_factor))
    return [luma, *(xp.floor((x * factor + 8192) / 16384) + 128 for x, factor in pairs)]


def _ycrcb_to_rgb(ycrcb: Array, xp: Any) -> Array:
    luma, cr, cb = _split(ycrcb)
    cr, cb = cr - 128, cb - 128
    return _add_to_luma(luma, (cr * 22987, cb * -5636 + cr * -11698, cb * 29049), xp)


def _rgb_to_yuv(rgb: Array, xp: Any) -> Array:
    return xp.stack(_luma_and_differences(rgb, xp, red_factor=14369, blue_factor=8061), -3)


def _yuv_to_rgb(yuv: Array, xp: Any) -> Array:
    luma, u, v = _split(yuv)
    u, v = u - 128, v - 128
    return _add_to_luma(luma, (v * 18678, u * -6472 + v * -9519, u * 33292), xp)


def _add_to_luma(luma: Array, added: tuple[Array, Array, Array], xp: Any) -> Array:
    return xp.stack([luma + xp.floor((x + 8192) / 16384) for x in added], -3)


def _rgb_to_xyz(rgb: Array, xp: Any) -> Array:
    return xp.round(xp.stack([_weighed(rgb, row) for row in _XYZ_OF_RGB], -3))


def _xyz_to_rgb(xyz: Array, xp: Any) -> Array:
    return xp.round(xp.stack([_weighed(xyz, row) for row in _RGB_OF_XYZ], -3))


def _rgb_to_luv(rgb: Array, xp: Any) -> Array:
    x, y, z = (_weighed(_linear(rgb / 255, xp), row) for row in _XYZ_OF_RGB)
    lightness = xp.where(y > 0.008856, 116 * y ** (1 / 3) - 16, 903.3 * y)
    total = _nonzero(x + 15 * y + 3 * z, xp)
    u, v = (13 * lightness * (part / total - white) for part, white in zip((4 * x, 9 * y), _WHITE_UV, strict=True))
    return xp.round(xp.stack([lightness * 2.55, (u + 134) * (255 / 354), (v + 140) * (255 / 262)], -3))


def _luv_to_rgb(luv: Array, xp: Any) -> Array:
    lightness, u, v = _split(luv)
    lightness = lightness / 2.55
    y = xp.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / 903.3)
    u, v = (
        part + 13 * lightness * white
        for part, white in zip((u * (354 / 255) - 134, v * (262 / 255) - 140), _WHITE_UV, strict=True)
    )
    inverse = xp.clip(0.25 / _nonzero(v, xp), -0.25, 0.25)  # OpenCV limits it so
    x, z = 9 * u * inverse * y, ((156 * lightness - 3 * u) * inverse - 5) * y
    return _from_linear(xp.stack([x, y, z], -3), xp)


def _rgb_to_lab(rgb: Array, xp: Any) -> Array:
    linear = _linear(rgb / 255, xp)
    x, y, z = (_weighed(linear, row) / white for row, white in zip(_XYZ_OF_RGB, _WHITE, strict=True))
    fx, fy, fz = (xp.where(t > 0.008856, t ** (1 / 3), 7.787 * t + 16 / 116) for t in (x, y, z))
    lightness = xp.where(y > 0.008856, 116 * fy - 16, 903.3 * y)
    return xp.round(xp.stack([lightness * 2.55, 500 * (fx - fy) + 128, 200 * (fy - fz) + 128], -3))


def _lab_to_rgb(lab: Array, xp: Any) -> Array:
    lightness, a, b = _split(lab)
    fy = (lightness / 2.55 + 16) / 116
    f = (fy + (a - 128) / 500, fy, fy - (b - 128) / 200)
    xyz = xp.stack(
        [xp.where(t > 6 / 29, t**3, (t - 16 / 116) / 7.787) * white for t, white in zip(f, _WHITE, strict=True)], -3
    )
    return _from_linear(xyz, xp)


def _linear(share: Array, xp: Any) -> Array:
    """Linear intensities of sRGB, both in [0, 1]."""
    return xp.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def _from_linear(xyz: Array, xp: Any) -> Array:
    """The sRGB values 0..255 of XYZ (..., 3, H, W)."""
    linear = xp.clip(xp.stack([_weighed(xyz, row) for row in _RGB_OF_XYZ], -3), 0, 1)
    share = xp.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return xp.round(share * 255)


def _hue(rgb: Array, high: Array, low: Array, xp: Any) -> Array:
    """Hue in [0, 6): 0 is red, 2 green, 4 blue; grays get 0."""
    red, green, blue = _split(rgb)
    spread = _nonzero(high - low, xp)
    green_or_blue = xp.where(high == green, 2 + (blue - red) / spread, 4 + (red - green) / spread)
    return xp.where(high == red, (green - blue) / spread, green_or_blue) % 6


def _wrapped(hue: Array, turn: int, xp: Any) -> Array:
    """Hue from [0, 6) to whole numbers, `turn` of which are the full circle."""
    return xp.round(hue * (turn / 6)) % turn


def _nonzero(x: Array, xp: Any) -> Array:
    return xp.where(x == 0, xp.ones_like(x), x)


def _split(pixels: Array) -> tuple[Array, Array, Array]:
    return pixels[..., 0, :, :], pixels[..., 1, :, :], pixels[..., 2, :, :]


def _weighed(pixels: Array, weights: tuple[float, ...]) -> Array:
    first, second, third = _split(pixels)
    return first * weights[0] + second * weights[1] + third * weights[2]


def _reversed(pixels: Array, xp: Any) -> Array:
    return xp.flip(pixels, (-3,))


def _without_alpha(pixels: Array, xp: Any) -> Array:
    return pixels[..., :3, :, :]


def _with_alpha(rgb: Array, xp: Any) -> Array:
    return xp.concatenate([rgb, xp.full_like(rgb[..., :1, :, :], 255)], -3)


def _bgra_to_rgb(pixels: Array, xp: Any) -> Array:
    return _reversed(_without_alpha(pixels, xp), xp)


def _rgb_to_bgra(rgb: Array, xp: Any) -> Array:
    return _with_alpha(_reversed(rgb, xp), xp)


def _same(pixels: Array, xp: Any) -> Array:
    return pixels


def _plain(name: str) -> str:
    return name.upper().replace("_", "")


TO_RGB: dict[str, Convert] = {
    "RGB": _same,
    "BGR": _reversed,
    "GRAY": _gray_to_rgb,
    "HSV": _hsv_to_rgb,
    "HLS": _hls_to_rgb,
    "LAB": _lab_to_rgb,
    "LUV": _luv_to_rgb,
    "YCrCb": _ycrcb_to_rgb,
    "YUV": _yuv_to_rgb,
    "XYZ": _xyz_to_rgb,
    "HSV_FULL": functools.partial(_hsv_to_rgb, turn=_FULL_TURN_BACK),
    "HLS_FULL": functools.partial(_hls_to_rgb, turn=_FULL_TURN_BACK),
    "RGBA": _without_alpha,
    "BGRA": _bgra_to_rgb,
}
FROM_RGB: dict[str, Convert] = {
    "RGB": _same,
    "BGR": _reversed,
    "GRAY": _rgb_to_gray,
    "HSV": _rgb_to_hsv,
    "HLS": _rgb_to_hls,
    "LAB": _rgb_to_lab,
    "LUV": _rgb_to_luv,
    "YCrCb": _rgb_to_ycrcb,
    "YUV": _rgb_to_yuv,
    "XYZ": _rgb_to_xyz,
    "HSV_FULL": functools.partial(_rgb_to_hsv, turn=_FULL_TURN),
    "HLS_FULL": functools.partial(_rgb_to_hls, turn=_FULL_TURN),
    "RGBA": _with_alpha,
    "BGRA": _rgb_to_bgra,
}
