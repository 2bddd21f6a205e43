"""Boxes follow the pixels of their images, in batches and while these are decoded, and find the way back."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rayrml.boxes.batch import Boxes, join_images, no_boxes
from rayrml.data.draws import Draws
from rayrml.data.transforms import TRANSFORMS, parse_transforms, split_transforms
from rayrml.data.transforms.mixing import PairTransform
from rayrml.data.transforms.transform import Transform
from rayrml.errors import ConfigError
from tests.data.transforms.test_transforms import VALUES

EXPECTED = json.loads((Path(__file__).parent / "moved_boxes.json").read_text())
FLIP = {"random_horizontal_flip": 0}  # defers everything else to the batch
SIZE = [40, 52]
MOVING = {
    "resize": [37, 90],
    "center_crop": [40, 100],
    "letterbox": [64, 64],
    "jitter_crop": 0.5,
    "random_zoom": 0.6,
    "random_resized_crop": {"size": [50, 44], "scale": [0.3, 1]},
    "random_horizontal_flip": 0.5,
    "random_vertical_flip": 0.5,
    "rotate": 30,
    "random_rotate": 50,
    "random_rotate_90": {},
    "trivial_augment": {},
}
ALONE = [name for name, row in TRANSFORMS.items() if not issubclass(row, PairTransform)]
STILL = sorted(name for name in ALONE if TRANSFORMS[name].motion is Transform.motion)
EXACT = ("center_crop", "random_horizontal_flip", "random_vertical_flip", "random_rotate_90")
TILTING = ("rotate", "random_rotate", "trivial_augment")
COUNT = 24


def split(*section, **kinds):
    return split_transforms(parse_transforms([*section], "t"), target_is_boxes=True, **kinds)


def boxes_of(*images):
    """The boxes of images, given as lists of corners; their classes are their numbers in the image."""
    parts = []
    for corners in images:
        rows = torch.tensor(corners, dtype=torch.float64).view(-1, 4)
        count = len(rows)
        parts.append(Boxes(rows, torch.arange(count), torch.zeros(count).bool(), torch.tensor([0, count])))
    return join_images(parts)


def painted(sizes, seed=0):
    """Black images of these sizes, and three boxes in each, each painted in a channel of its own."""
    random = np.random.default_rng(seed)
    images, corners = [], []
    for height, width in sizes:
        image, rows = np.zeros((3, height, width), np.uint8), []
        for channel in range(3):
            high, wide = random.integers(8, max(height // 2, 9)), random.integers(8, max(width // 2, 9))
            top, left = random.integers(0, height - high + 1), random.integers(0, width - wide + 1)
            image[channel, top : top + high, left : left + wide] = 255
            rows.append([left, top, left + wide, top + high])
        images.append(image)
        corners.append(rows)
    return images, boxes_of(*corners)


def extent(channel, least):
    """The box around what is at least this bright, None if nothing is."""
    rows, columns = (np.flatnonzero((channel >= least).any(axis)) for axis in (1, 0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) if len(rows) else None


def assert_painted(images, boxes, within, tilts=False):
    """Each box is around what is painted in its channel: within so many pixels, or exactly.

    If images are tilted, the box around corners that are cut off is larger.
    """
    assert len(images) == len(boxes)
    for image, start, stop in zip(images, boxes.starts, boxes.starts[1:], strict=False):
        part = zip(boxes.classes[start:stop].tolist(), boxes.corners[start:stop].numpy(), strict=True)
        rows = dict(part)
        for number, channel in enumerate(np.asarray(image, np.float64)):
            inner, outer = extent(channel, 0.5), extent(channel, 0.02)
            if number not in rows:  # a crop has left too little
                assert inner is None or (inner[2:] - inner[:2]).min() <= 3 or (channel >= 0.5).sum() < 0.2 * AREA
                continue
            sign = np.array([-1, -1, 1, 1])
            assert (sign * (inner - rows[number]) <= within + 1e-9).all(), (inner, rows[number])
            height, width = channel.shape
            if tilts and (rows[number].min() < 1e-6 or (rows[number][2:] > [width - 1e-6, height - 1e-6]).any()):
                continue
            assert (sign * (outer - rows[number]) >= -within - 1e-9).all(), (outer, rows[number])


AREA = 45 * 30  # of the largest boxes


def size_for(name):
    return (50, 50) if name == "random_rotate_90" else (60, 90)


def test_every_row_that_moves_pixels_is_tried():
    assert sorted([*MOVING, *STILL, "random_depth_flip"]) == sorted(ALONE)
    assert {"color_jitter", "convert_color", "normalize", "random_erasing"} <= set(STILL)


@pytest.mark.parametrize("resized", [False, True])
@pytest.mark.parametrize("name", MOVING)
def test_boxes_follow_the_pixels_in_batches(name, resized):
    images, boxes = painted([size_for(name)] * COUNT)
    transforms = split(
        FLIP, {name: MOVING[name]}, *([{"resize": SIZE}, {"random_vertical_flip": 0.5}] if resized else [])
    )
    given, draws = boxes, Draws(3, np.arange(COUNT) * 7)
    # A resize may be done while images are decoded.
    boxes = transforms.decoded_boxes(boxes, torch.tensor([size_for(name)] * COUNT), draws)
    images = torch.from_numpy(np.stack([transforms.input.apply(image) for image in images]))
    changed, moved = transforms.batched(images, boxes, draws)
    assert moved.corners.dtype == torch.float64
    if name == "trivial_augment":
        changed, moved = only_moved(changed, moved, transforms, given if not resized else None, draws)
    within = 0 if name in EXACT and not resized else 1.5 if resized else 1
    assert_painted(changed.numpy(), moved, within, tilts=name in TILTING)
    assert len(moved.corners) > len(moved)


def only_moved(images, boxes, transforms, given, draws):
    """Without the images whose colours were changed."""
    (step,) = (step for step in transforms.batched.steps if step.draw[0] == "trivial_augment")
    kinds, _, _ = step.transform._choose(step.transform.draw(len(images), draws.of(*step.draw)))
    chosen, others = (kinds < 5).nonzero()[:, 0], (kinds >= 5).nonzero()[:, 0]
    if given is not None:
        assert torch.equal(boxes.select(others).corners, given.select(others).corners)
    return images[chosen], boxes.select(chosen)


@pytest.mark.parametrize("name", ["resize", "center_crop", "letterbox", "rotate"])
def test_boxes_follow_the_pixels_while_images_are_decoded(name):
    sizes = [(60, 90), (41, 130), (90, 44), (75, 75), (33, 31)]
    sizes = sizes[:1] if name == "rotate" else sizes
    images, boxes = painted(sizes)
    transforms = split({name: MOVING[name]})
    assert transforms.input.steps
    moved = transforms.decoded_boxes(boxes, torch.tensor(sizes))
    assert_painted(
        [transforms.input.apply(image) / 255 for image in images],
        moved,
        0 if name in EXACT else 1,
        tilts=name in TILTING,
    )
    assert torch.equal(transforms.evaluated_boxes(boxes, torch.tensor(sizes)).corners, moved.corners)


RANDOM = [name for name in MOVING if TRANSFORMS[name].num_draws]


@pytest.mark.parametrize("name", RANDOM)
def test_boxes_follow_the_pixels_of_images_that_are_decoded_in_different_ways(name):
    """Crops are in whole pixels there."""
    sizes = [(60, 90), (41, 130), (90, 44), (75, 75), (33, 31), (64, 61)] * 4
    sizes = [(max(size),) * 2 for size in sizes] if name == "random_rotate_90" else sizes
    images, boxes = painted(sizes)
    end = [] if name == "random_resized_crop" else [{"resize" if name in TILTING else "center_crop": [80, 80]}]
    transforms = split({name: MOVING[name]}, *end, varying=("input",))
    draws = Draws(5, np.arange(len(sizes))[::-1] * 3)
    changed = [transforms.input.varying(image, draws.at(number)) / 255 for number, image in enumerate(images)]
    moved = transforms.decoded_boxes(boxes, torch.tensor(sizes), draws)
    if name == "trivial_augment":
        step = transforms.input.varying.steps[0]
        kinds, _, _ = step.transform._choose(step.transform.draw(len(images), draws.of(*step.draw)))
        changed = [image for image, kind in zip(changed, kinds, strict=True) if kind < 5]
        moved = moved.select((kinds < 5).nonzero()[:, 0])
    assert_painted(changed, moved, 0 if name in EXACT else 1, tilts=name in TILTING)
    plain = [transforms.input.varying(image) / 255 for image in images]
    assert_painted(plain, transforms.decoded_boxes(boxes, torch.tensor(sizes)), 0 if "center_crop" in str(end) else 1)


@pytest.mark.parametrize("name", ["jitter_crop", "random_zoom", "random_resized_crop"])
def test_crops_of_single_images_are_in_the_pixels_that_boxes_follow(name):
    """Windows that are one pixel further would show other pixels."""
    (row,) = (choice.build() for choice in parse_transforms([{name: MOVING[name]}], "t"))
    sizes = torch.randint(20, 300, (500, 2), generator=torch.Generator().manual_seed(0))
    draws = row.draw(500, Draws(1))
    found = row.motion_one(draws, sizes)
    for number in range(0, 500, 5):
        (height, width) = sizes[number].tolist()
        ramp = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")).double()
        shown = row.change_one(ramp[None], draws[number : number + 1], "nearest")[0]
        new = found.sizes[number].tolist()
        assert list(shown.shape[1:]) == new
        (scale_x, _, shift_x), (_, scale_y, shift_y) = found.maps[number].tolist()
        rows = ((np.arange(new[0]) + 0.5 - shift_y) / scale_y).astype(int)
        columns = ((np.arange(new[1]) + 0.5 - shift_x) / scale_x).astype(int)
        wrong = np.concatenate([shown[0, :, 0].numpy() - rows, shown[1, 0].numpy() - columns])
        assert np.abs(wrong).max() <= 1 and (wrong != 0).mean() < 0.05  # rounding in float32


@pytest.mark.parametrize("name", STILL)
def test_what_leaves_pixels_where_they_are_leaves_boxes_alone(name):
    images, boxes = painted([(17, 24)] * 3)
    for section in ([FLIP, {name: VALUES[name]}], [{name: VALUES[name]}]):
        transforms = split(*section)
        found = transforms.decoded_boxes(boxes, torch.tensor([[17, 24]] * 3), Draws(0))
        images_ = torch.from_numpy(np.stack([transforms.input.apply(image) for image in images]))
        _, found = transforms.batched(images_, found, Draws(0))
        assert torch.equal(found.corners, boxes.corners)


@pytest.mark.parametrize("case", EXPECTED["moved"], ids=lambda case: case["name"][:20])
@pytest.mark.parametrize("first", [[], [{"random_vertical_flip": 0}]])
def test_boxes_move_as_expected(case, first):
    transforms = split(*first, case["transform"])
    sizes = torch.tensor([case["size"]])
    image = transforms.input.apply(np.zeros((3, *case["size"]), np.uint8))
    given = transforms.decoded_boxes(boxes_of(case["boxes"]), sizes, Draws(0))
    changed, found = transforms.batched(torch.from_numpy(image)[None], given, Draws(0))
    assert list(changed.shape[2:]) == case["new_size"]
    kept = {number: box for number, box in enumerate(case["expected"]) if box is not None}
    assert found.classes.tolist() == list(kept)
    np.testing.assert_allclose(found.corners, list(kept.values()), rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("case", EXPECTED["letterbox"], ids=lambda case: case["name"])
@pytest.mark.parametrize("first", [[], [{"random_vertical_flip": 0}]])
def test_there_is_an_exact_way_back_from_a_letterbox(case, first):
    transforms = split(*first, {"letterbox": case["size"]})
    sizes, boxes = torch.tensor([case["original"]]), boxes_of(case["boxes"])
    found = transforms.evaluated_boxes(boxes, sizes)
    np.testing.assert_allclose(found.corners, case["mapped"], rtol=1e-5)
    back = transforms.original_boxes(found.corners, found.images, sizes)
    assert (back - boxes.corners).abs().max() < 1e-9
    outside = transforms.original_boxes(torch.tensor(case["outside"]), torch.tensor([0]), sizes)
    np.testing.assert_allclose(outside, case["outside_unmapped"], atol=1e-9)


def test_boxes_find_the_way_back_from_all_that_an_evaluation_does():
    sizes = torch.tensor([[333, 500], [97, 41], [1000, 999]])
    _, boxes = painted(sizes.tolist())
    transforms = split(
        {"letterbox": [320, 416]}, {"resize": [301, 275]}, {"random_zoom": 0.5}, {"center_crop": [400, 300]}, FLIP
    )
    found = transforms.evaluated_boxes(boxes, sizes)
    back = transforms.original_boxes(found.corners, found.images, sizes)
    assert back.dtype == torch.float64
    assert (back - boxes.corners).abs().max() < 1e-9
    one = transforms.original_boxes(found.corners[3:4].float(), torch.tensor([1]), sizes)
    assert (one - boxes.corners[3:4]).abs().max() < 1e-3


def test_a_turn_is_undone_by_the_box_around_the_corners():
    transforms = split({"rotate": 90}, {"resize": [45, 45]})
    size = torch.tensor([[90, 90]])
    assert transforms.original_boxes(torch.tensor([[32.5, 5, 42.5, 20]]), torch.tensor([0]), size).numpy() == (
        pytest.approx(np.array([[10, 5, 40, 25]]), abs=1e-9)
    )
    turned = split({"rotate": 45}).original_boxes(torch.tensor([[35.0, 35, 55, 55]]), torch.tensor([0]), size)
    half = 10 * 2**0.5
    np.testing.assert_allclose(turned, [[45 - half, 45 - half, 45 + half, 45 + half]])


def test_images_without_boxes_go_through_all_transforms():
    sizes = torch.tensor([[60, 90]] * 3)
    for name in (*MOVING, *STILL):
        transforms = split(FLIP, {name: MOVING.get(name, VALUES.get(name))})
        side = 60 if name == "random_rotate_90" else 90
        images = torch.zeros(3, 3, 60, side, dtype=torch.uint8)
        _, found = transforms.batched(images, transforms.decoded_boxes(no_boxes(3), sizes), Draws(0))
        assert (len(found), len(found.corners)) == (3, 0)
        assert len(transforms.batched(images[:0], no_boxes(0), Draws(0))[1]) == 0


def test_a_tenth_of_a_box_must_be_left_however_many_crops_there_are():
    """The second crop leaves more than a third of what the first one has left."""
    transforms = split({"center_crop": [100, 100]}, FLIP, {"center_crop": [100, 80]})
    for right, kept in ((46, True), (45.999, False)):
        boxes = boxes_of([[right - 60, 10, right, 70]])
        found = transforms.decoded_boxes(boxes, torch.tensor([[100, 160]]))
        assert found.corners.tolist() == [[0, 10, right - 30, 70]]
        _, found = transforms.batched(torch.zeros(1, 3, 100, 100), found, Draws(0))
        assert len(found.corners) == kept


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"mixup": 0.5}, "does not support targets that are boxes. Expected labels or values or images"),
        ({"cutmix": 1}, "does not support targets that are boxes. Expected labels or values or images or masks"),
        (
            {"random_patches": {"number": 1, "size": 3}},
            "does not support targets that are boxes. Expected no targets, or images",
        ),
    ],
)
def test_what_boxes_cannot_follow_is_refused(section, message):
    with pytest.raises(ConfigError) as raised:
        split(section)
    assert str(raised.value) == f"t[0].{next(iter(section))}: {message}"


def test_boxes_have_no_transforms_of_their_own():
    with pytest.raises(ConfigError) as raised:
        split_transforms((), parse_transforms([FLIP], "data.target_transforms"), target_is_boxes=True)
    place = "data.target_transforms[0].random_horizontal_flip"
    assert str(raised.value) == f"{place}: boxes follow the images. Move it to 'transforms'"


def test_volumes_have_no_boxes():
    with pytest.raises(ConfigError, match=r"^t\[0\]\.random_depth_flip: needs 3 spatial axes, but samples have 2"):
        split({"random_depth_flip": 0.5}).batched.shape((3, 20, 30))


def test_boxes_of_other_images_are_a_mistake_of_the_program():
    with pytest.raises(ValueError, match="expected the boxes of 2 images, got those of 3"):
        split(FLIP).batched(torch.zeros(2, 3, 5, 5), no_boxes(3), Draws(0))
