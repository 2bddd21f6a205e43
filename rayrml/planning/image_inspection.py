"""A look at the headers of some image files and at the names of their folders, for what the pixels do not show."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from rayrml import extras, storage
from rayrml.data.readers.images import ImageHeader, images, read_header
from rayrml.data.readers.masks import LOSSY
from rayrml.data.sources import Side, Source
from rayrml.data.value_rules import ClassNumbers
from rayrml.errors import DataError
from rayrml.formatting import shorten

_MOST_FILES = 50
_MOST_DEEP = 10  # images of 16 bits whose values are looked at
_DEEP, _DEEP_WHITE, _DARK = 16, 2**16 - 1, 1 / 8
_MOST_BYTES = 2**27  # of files that are read for their headers
_SAME_PROPORTIONS = 0.02
_MOST_NAMED = 3


def warn_of_images(source: Source) -> Iterator[str]:
    """Sentences on image files of which a part is not used, and on inputs and targets of different proportions."""
    headers = {name: _read_headers(side) for name, side in source.sides.items()}
    for name, found in headers.items():
        kind = f"{source.name} {name}s"
        if several := [path for path, header in found.items() if header.several]:
            yield f"{len(several)} of {len(found)} {kind} sampled have several frames: only the first is read"
        if source.sides[name].pixels and (clear := [path for path, header in found.items() if header.alpha]):
            yield f"{len(clear)} of {len(found)} {kind} sampled have transparency, which is not read: colors stay"
        yield from _warn_of_depth(kind, source.sides[name], found)
    rule = None if source.target is None else source.target.decoding.rule
    lossy = [header for header in headers.get("target", {}).values() if header.format in LOSSY]
    if lossy and isinstance(rule, ClassNumbers) and (rule.num_classes > 2 or rule.ignore_index is not None):
        count = f"{len(lossy)} of {len(headers['target'])} {source.name} targets sampled"
        yield f"{count} are {lossy[0].format} files, whose compression may change class numbers. Expected PNG"
    if "target" in headers:
        yield from _warn_of_proportions(*headers.values())


def warn_of_folders(source: Source) -> Iterator[str]:
    """A sentence if folders of one name in different places make one class, which they may not be meant to."""
    samples = source.samples
    if not samples.classes or not samples.folders:
        return
    known, places = set(samples.classes), dict[str, list[str]]()
    for folder in samples.folders:
        above, _, name = folder.rpartition("/")
        if above and name in known:
            places.setdefault(name, []).append(above)
    for name, above in places.items():
        if len(above) > 1:
            root = storage.split(samples.root)[1]
            shown = shorten([f"'{place}/{name}'" for place in sorted(above)], _MOST_NAMED)
            others = shorten(sorted({place.partition("/")[0] for place in above}), _MOST_NAMED)
            yield (
                f"the folders {shown} are one class, '{name}', of the {source.name} images. "
                f"If the classes are {others}: "
                f'"{"training" if source.name == "training" else "test"}_tag": "{root}"'
            )
            return


def _read_headers(side: Side) -> dict[str, ImageHeader]:
    """The headers of some image files of this machine, by path; without those that cannot be read."""
    samples = side.samples
    found: dict[str, ImageHeader] = {}
    if side.decoding.reader.name != "images" or storage.is_uri(samples.root):
        return found
    room = _MOST_BYTES
    for index in samples.spread(_MOST_FILES):
        path = samples.path(index)
        with contextlib.suppress(DataError, OSError):  # reported by whoever needs the file
            found[path] = read_header(path)
            room -= Path(path).stat().st_size
        if room < 0:
            break
    return found


def _warn_of_depth(kind: str, side: Side, headers: dict[str, ImageHeader]) -> Iterator[str]:
    """Sentences on images of 16 bits that are dark, because their cameras had fewer, or of which bits are lost."""
    scale = side.decoding.reader.arguments.get("scale")
    deep = [path for path, header in headers.items() if header.bits == _DEEP]
    if not deep or not side.pixels or scale is None:
        return
    counted = f"{len(deep)} of {len(headers)} {kind} sampled have 16 bits per value"
    colors = [path for path in deep if headers[path].format == "PNG" and not headers[path].gray]
    if colors and (lacking := extras.missing("imagecodecs", "tiff")):
        yield f"{counted}, of which the upper 8 of PNG files in color are read: {lacking}"
    largest = _find_largest(deep[:_MOST_DEEP])
    if scale == "range" and 0 < largest < _DARK * _DEEP_WHITE:
        bits = max(int(largest).bit_length(), 1)
        dark = f"{counted}, and values up to {largest:,} of 65,535: nearly black"
        yield f'{dark}. "scale": {2**bits - 1} makes them bright'
    elif not isinstance(scale, str) and largest > scale:
        yield f'{counted}, and values up to {largest:,}, above white, which is {scale:g} by "scale"'


def _find_largest(paths: Sequence[str]) -> int:
    """The largest value of some images of 16 bits as they are stored."""
    read = images(grayscale=False, scale="range", pages="channels").read
    found = [0]
    for path in paths:
        with contextlib.suppress(DataError):
            found.append(round(float(read(path).max()) * _DEEP_WHITE) if read is not None else 0)
    return max(found)


def _warn_of_proportions(inputs: dict[str, ImageHeader], targets: dict[str, ImageHeader]) -> Iterator[str]:
    if len(inputs) != len(targets):
        return  # some could not be read
    for (path, own), (other_path, other) in zip(inputs.items(), targets.items(), strict=True):
        (height, width), (other_height, other_width) = own.size, other.size
        if abs(height * other_width - other_height * width) > _SAME_PROPORTIONS * height * other_width:
            tags = {name: header.orientation for name, header in (("input", own), ("target", other))}
            turned = [f"the {name} is turned (EXIF orientation {tag})" for name, tag in tags.items() if tag > 1]
            yield (
                f"'{path}' is {height} x {width} (height x width), but its target '{other_path}' is "
                f"{other_height} x {other_width}, so that they do not lie on each other"
                f"{': ' if turned else ''}{', '.join(turned)}"
            )
            return
