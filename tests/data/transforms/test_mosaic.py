import numpy as np
import pytest
import torch

from rayrml.boxes.batch import join_images, no_boxes
from rayrml.data.draws import Draws
from rayrml.data.transforms import parse_transforms, split_transforms
from rayrml.errors import ConfigError
from tests.data.transforms.test_with_boxes import MOVING, assert_painted, boxes_of, painted, split

SIZE = (60, 90)
GRAY = 114 / 255
COUNT = 11
CHAINS = [
    [{"mosaic": 0.6}],
    [{"random_horizontal_flip": 0.5}, {"mosaic": 1}, {"jitter_crop": 0.4}, {"mosaic": 0.5}],
    *[[{"random_vertical_flip": 0.5}, {name: value}] for name, value in MOVING.items() if name != "random_rotate_90"],
]


def tiled(images, boxes, probability=1.0, positions=None):
    positions = np.arange(len(images)) if positions is None else positions
    return split({"mosaic": probability}).batched(images, boxes, Draws(1, positions))


def test_each_image_fills_a_quarter_around_a_point_in_the_middle_half():
    """Images of one shade each: what is not gray are rectangles with a corner at the point."""
    shades = (torch.arange(400) % 4 + 1) / 8
    images = shades.view(-1, 1, 1, 1).expand(-1, 1, *SIZE)
    changed, _ = tiled(images, no_boxes(400))
    changed, factors, points = changed[:, 0].numpy(), [], []
    for image, own in zip(changed, shades.tolist(), strict=True):
        inside = np.abs(image - GRAY) > 1e-3
        left, right = inside[:, 22:23], inside[:, -23:-22]
        middle = image[30 - 15 : 30 + 15, 22:68]
        assert (np.abs(middle[:, :1] - GRAY) > 1e-3).any() or (np.abs(middle[:, -1:] - GRAY) > 1e-3).any()
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        assert left.any() or right.any()
        assert rows[0] <= 15 and rows[-1] >= 44 and columns[0] <= 22 and columns[-1] >= 67
        assert image[inside].min() > 0.1
        top = np.abs(image[14, 21] - own) < 1e-4  # its own quarter is above and to the left of the point
        points.append(top)
        factors.append(inside.mean())
    assert np.mean(points) == 1
    assert min(factors) < 0.75 < 0.85 < max(factors)


def test_the_images_of_a_mosaic_are_different_ones():
    shades = (torch.arange(9) + 1) / 20
    changed, _ = tiled(shades.view(-1, 1, 1, 1).expand(-1, 1, *SIZE), no_boxes(9))
    for image in changed:
        found = {shade for shade in shades.tolist() if (image - shade).abs().min() < 1e-4}
        assert len(found) == 4


def test_points_and_factors_are_uniform_and_boxes_are_where_the_draws_say():
    """A box around a whole image tells the point and, where it is not cut, the factor."""
    count = 3000
    images, boxes = torch.zeros(count, 1, 16, 20), boxes_of([[0, 0, 20, 16]]).select(torch.zeros(count).long())
    _, found = tiled(images, boxes)
    whole = found.counts == 4  # in the others, less than a tenth of an image is left
    assert whole.float().mean() > 0.9
    own, right, below, last = found.select(whole.nonzero()[:, 0]).corners.view(-1, 4, 4).unbind(1)
    for place, length in ((own[:, 2], 20), (own[:, 3], 16)):
        assert 0.25 * length <= place.min() < 0.27 * length and 0.73 * length < place.max() <= 0.75 * length
        assert place.mean() / length == pytest.approx(0.5, abs=0.01)
        assert place.var() / length**2 == pytest.approx(1 / 48, abs=0.003)
    for other, side in ((right, 0), (last, 0), (below, 1), (last, 1)):
        torch.testing.assert_close(other[:, side], own[:, side + 2])
    for side, length in ((0, 20), (1, 16)):
        factors = (own[:, side + 2] - own[:, side])[own[:, side] > 0] / length
        others = (last[:, side + 2] - last[:, side])[last[:, side + 2] < length] / length
        for found in (factors, others):
            assert 0.5 <= found.min() < 0.51


@pytest.mark.parametrize("probability", [1.0, 0.5])
def test_boxes_follow_the_pixels(probability):
    """Each image has one box, painted in a channel of its own; its partners' are those of the other channels."""
    height, width = SIZE
    images, corners = torch.zeros(32, 32, height, width), []
    random = np.random.default_rng(0)
    for number in range(32):
        high, wide = random.integers(12, 40), random.integers(12, 60)
        top, left = random.integers(0, height - high + 1), random.integers(0, width - wide + 1)
        images[number, number, top : top + high, left : left + wide] = 1
        corners.append([[left, top, left + wide, top + high]])
    boxes = join_images([boxes_of(rows) for rows in corners])
    boxes = type(boxes)(boxes.corners, torch.arange(32), boxes.ignored, boxes.starts)
    changed, found = tiled(images, boxes, probability)
    changed = torch.where((changed - GRAY).abs() < 1e-6, 0, changed)
    assert_painted(changed.numpy(), found, 1)
    still = (found.counts == 1) & (changed == images).flatten(1).all(1)
    assert still.float().mean() == pytest.approx(1 - probability, abs=0.25)
    for number in still.nonzero()[:, 0].tolist():
        assert found[number : number + 1].corners.tolist() == corners[number]


def test_an_image_alone_stays_as_it_is():
    images, boxes = painted([SIZE])
    changed, found = tiled(torch.from_numpy(np.stack(images)), boxes)
    assert torch.equal(changed, torch.from_numpy(images[0])[None] / 255)
    assert torch.equal(found.corners, boxes.corners)


@pytest.mark.parametrize("count", [2, 3])
def test_small_batches_have_the_other_images_repeatedly(count):
    boxes = boxes_of(*[[[0, 0, 90, 60]]] * count)
    boxes = type(boxes)(boxes.corners, torch.arange(count), boxes.ignored, boxes.starts)
    _, found = tiled(torch.zeros(count, 1, *SIZE), boxes)
    for number, classes in enumerate(found.classes.view(count, 4).tolist()):
        assert classes[0] == number
        assert number not in classes[1:]
        assert set(classes) == set(range(count))


def test_evaluation_has_no_mosaics():
    transforms = split({"mosaic": 1.0}).batched.evaluation()
    assert transforms.steps == ()


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ({}, "needs targets. Expected boxes"),
        ({"target_is_label": True}, "does not support targets that are labels. Expected boxes"),
        ({"target_is_values": True}, "does not support targets that are values. Expected boxes"),
    ],
)
def test_a_mosaic_of_anything_but_boxes_is_refused(kinds, message):
    with pytest.raises(ConfigError) as raised:
        split_transforms(parse_transforms([{"mosaic": 0.5}], "t"), **kinds)
    assert str(raised.value) == f"t[0].mosaic: {message}"


def test_a_mosaic_comes_after_sizes_are_equal_and_before_normalize():
    with pytest.raises(ConfigError, match=r"^t\[0\]\.mosaic: works on whole batches, but samples have different sizes"):
        split({"mosaic": 0.5}, {"letterbox": [9, 9]}, varying=("input",))
    with pytest.raises(ConfigError, match=r"^t\[1\]\.mosaic: works on pixels in \[0, 1\]\. Expected before 'normal"):
        parse_transforms([{"normalize": {"mean": 0.5}}, {"mosaic": 0.5}], "t")


def changed(positions, section, workers=None):
    """position -> its image, and its boxes."""
    images, boxes = painted([(30, 36)] * COUNT)
    images = torch.from_numpy(np.stack(images))[positions]
    more = () if workers is None else (workers,)
    found, moved = split(*section).batched(
        images, boxes.select(torch.from_numpy(positions)), Draws(7, positions), *more
    )
    return {p: (found[i].numpy(), moved[i : i + 1].corners.numpy()) for i, p in enumerate(positions.tolist())}


def parts(workers):
    """What a worker gets of batches that are dealt out in turn, in another order, and to the last worker alone."""
    rank, size = workers.rank, workers.size
    dealt = np.arange(COUNT)[rank::size]
    some = [dealt, dealt[::-1].copy(), dealt if rank == size - 1 else dealt[:0]]
    return [[changed(p, section, workers) for p in some] for section in CHAINS]


def test_images_and_boxes_are_changed_alike_by_any_number_of_workers(on_workers):
    everything = np.arange(COUNT)
    for size, results in on_workers(parts, 1, 2, 3).items():
        for number, section in enumerate(CHAINS):
            for case, positions in enumerate((everything, everything, everything[size - 1 :: size])):
                alone = changed(positions, section)
                together = {p: pair for worker in results for p, pair in worker[number][case].items()}
                assert sorted(together) == sorted(alone)
                for position, (image, corners) in alone.items():
                    np.testing.assert_allclose(together[position][0], image, atol=1e-5)
                    assert np.array_equal(together[position][1], corners)


def test_one_image_in_each_worker_is_put_together_with_those_of_others(on_workers):
    for worker in on_workers(one_each, 3)[3]:
        assert sorted(set(worker)) == [0, 1, 2]


def one_each(workers):
    boxes = boxes_of([[0, 0, 90, 60]])
    boxes = type(boxes)(boxes.corners, torch.tensor([workers.rank]), boxes.ignored, boxes.starts)
    draws = Draws(0, np.array([workers.rank]))
    return split({"mosaic": 1}).batched(torch.zeros(1, 1, *SIZE), boxes, draws, workers)[1].classes.tolist()
