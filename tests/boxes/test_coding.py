import json
from pathlib import Path

import pytest
import torch

from rayrml.boxes.coding import assign, decode, list_priors
from rayrml.boxes.grids import find_layout

CASES = json.loads(Path(__file__).with_name("assignment.json").read_text())


def grids_of(case, num_classes=1):
    """The grids of a case, as one row of positions."""
    size, strides = case["size"], case["strides"]
    positions = sum((size[0] // stride) * (size[1] // stride) for stride in strides)
    channels = len(case["groups"][0]) * (5 + num_classes)
    layout = find_layout([(channels, positions)], tuple(size), num_classes, strides=strides)
    return layout.with_anchors(case["anchors"])


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_boxes_are_assigned_as_in_the_reference(case):
    grids = grids_of(case)
    assert [list(map(list, anchors)) for anchors in grids.anchors] == case["groups"]
    found = assign(torch.tensor(case["boxes"], dtype=torch.float64), grids)
    for row, expected in enumerate(case["expected"]):
        place = {"output": found.outputs, "anchor": found.anchors, "column": found.columns, "row": found.rows}
        assert {name: numbers[row].item() for name, numbers in place.items()} == {k: expected[k] for k in place}
        numbers = [expected[name] for name in "xywh"]
        assert found.numbers[row].tolist() == pytest.approx(numbers, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_what_is_assigned_to_a_place_is_decoded_there(case):
    grids, corners = grids_of(case), torch.tensor(case["boxes"], dtype=torch.float64)
    found = assign(corners, grids)
    priors = list_priors(grids, corners)
    assert priors.shape == (grids.num_anchors, grids.num_positions, 5)
    numbers = torch.cat([found.numbers[:, :2].logit(), found.numbers[:, 2:]], 1)
    assert torch.allclose(decode(numbers, priors[found.anchors, found.positions]), corners, rtol=1e-9)


def test_a_box_is_no_larger_than_62_and_a_half_anchors():
    numbers = torch.tensor([[0.0, 0.0, 1e30, -1e30]], requires_grad=True)
    found = decode(numbers, torch.tensor([[1.0, 2.0, 16.0, 10.0, 20.0]]))
    assert found[0].tolist() == pytest.approx([24 - 312.5, 40, 24 + 312.5, 40])
    found.sum().backward()
    assert numbers.grad.isfinite().all()


def test_equal_anchors_of_two_outputs_count_as_those_of_the_finer_one():
    layout = find_layout([(6, 20)], (64, 64), 1, strides=[32, 16])
    found = assign(torch.tensor([[8.0, 8, 24, 24]]), layout.with_anchors([[(16, 16)], [(16, 16)]]))
    assert found.outputs.tolist() == [1]


def test_no_boxes_have_no_places():
    assert assign(torch.empty(0, 4, dtype=torch.float64), grids_of(CASES[0])).numbers.shape == (0, 4)


def test_boxes_of_no_size_have_finite_numbers():
    """Transforms may leave nothing of a side that was next to nothing."""
    grids = find_layout([[16, 4, 4]], (32, 32), 3).with_anchors([[8, 8], [12, 12]])
    corners = torch.tensor([[10, 10, 10, 20], [3, 3, 3, 3]], dtype=torch.float64)
    assert assign(corners, grids).numbers.isfinite().all()
