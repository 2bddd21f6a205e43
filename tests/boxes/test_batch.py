import dataclasses

import torch
from hypothesis import given
from hypothesis import strategies as st

from rayrml.boxes.batch import Boxes, cumulate, join_images, no_boxes

COUNTS = st.lists(st.integers(0, 4), min_size=1, max_size=8)


def boxes(counts):
    """Images with these numbers of boxes, all different."""
    total = sum(counts)
    rows = torch.arange(total, dtype=torch.float64)
    return Boxes(rows[:, None] + torch.arange(4), rows.long(), rows % 2 == 1, cumulate(torch.tensor(counts)))


def listed(found):
    """Each image's class indices."""
    return [part.tolist() for part in found.classes.split(found.counts.tolist())]


@given(COUNTS, st.data())
def test_images_are_selected_with_their_boxes(counts, data):
    found = boxes(counts)
    numbers = data.draw(st.lists(st.integers(0, len(counts) - 1)))
    selected = found.select(torch.tensor(numbers, dtype=torch.int64))
    assert listed(selected) == [listed(found)[number] for number in numbers]
    assert (selected.corners[:, 0] == selected.classes).all()
    assert (selected.ignored == (selected.classes % 2 == 1)).all()


@given(COUNTS, st.integers(-9, 9), st.integers(-9, 9))
def test_slices_are_those_of_a_list(counts, start, stop):
    assert listed(boxes(counts)[start:stop]) == listed(boxes(counts))[start:stop]


@given(COUNTS, st.data())
def test_boxes_are_left_out_image_by_image(counts, data):
    found = boxes(counts)
    wanted = torch.tensor(
        data.draw(st.lists(st.booleans(), min_size=sum(counts), max_size=sum(counts))), dtype=torch.bool
    )
    kept = found.keep(wanted)
    assert listed(kept) == [[c for c in image if wanted[c]] for image in listed(found)]
    assert kept.images.tolist() == [number for number, image in enumerate(listed(kept)) for _ in image]


@given(st.lists(COUNTS, min_size=1, max_size=4))
def test_joined_images_come_one_part_after_the_other(parts):
    joined = join_images([boxes(counts) for counts in parts])
    assert listed(joined) == [image for counts in parts for image in listed(boxes(counts))]


def test_the_shares_that_crops_have_left_stay_with_their_boxes():
    cropped = dataclasses.replace(boxes([1, 3, 2]), shares=torch.arange(6, dtype=torch.float64) / 8)
    whole = torch.ones(2, dtype=torch.float64)
    joined = join_images([boxes([2]), cropped.to("cpu")])
    assert joined.shares.tolist() == [*whole, *cropped.shares]
    for found in (cropped[1:3], cropped.select(torch.tensor([2, 0])), cropped.keep(torch.arange(6) % 2 == 0)):
        assert torch.equal(found.shares * 8, found.classes.double())
    assert cropped.with_corners(cropped.corners + 1).shares is cropped.shares
    assert join_images([boxes([2]), boxes([1])]).shares is None


def test_images_without_boxes():
    assert listed(no_boxes(3)) == [[], [], []]
    assert listed(join_images([boxes([1]), no_boxes(2)])) == [[0], [], []]
