import pytest
import torch
from torchvision import ops

from rayrml.boxes.overlap import complete_ious, generalized_ious, iou_matrix, ious, ious_of_sizes


def boxes(count, seed=0):
    """Boxes of different sizes, of which many overlap."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 4, generator=generator, dtype=torch.float64) * 100
    return torch.cat([torch.minimum(corners[:, :2], corners[:, 2:]), torch.maximum(corners[:, :2], corners[:, 2:])], 1)


def test_overlaps_of_all_pairs_are_those_of_torchvision():
    a, b = boxes(50), boxes(40, seed=1)
    assert torch.allclose(iou_matrix(a, b), ops.box_iou(a, b), rtol=1e-12)
    assert torch.allclose(ious(a[:40], b), ops.box_iou(a[:40], b).diagonal(), rtol=1e-12)


def test_boxes_that_only_touch_or_have_no_area_do_not_overlap():
    a = torch.tensor([[0.0, 0, 2, 2], [1, 1, 1, 1], [0, 0, 2, 2]])
    b = torch.tensor([[2.0, 0, 4, 2], [1, 1, 1, 1], [5, 5, 6, 6]])
    assert ious(a, b).tolist() == [0, 0, 0]


def test_sizes_are_compared_with_one_middle():
    sizes = torch.tensor([[10.0, 20.0], [20.0, 10.0], [10.0, 20.0]])
    assert ious_of_sizes(sizes, sizes[:1]).tolist() == pytest.approx([1, 1 / 3, 1])


@pytest.mark.parametrize(
    ("function", "reference"),
    [(generalized_ious, ops.generalized_box_iou_loss), (complete_ious, ops.complete_box_iou_loss)],
)
def test_losses_and_their_gradients_are_those_of_torchvision(function, reference):
    a, b = boxes(200).requires_grad_(), boxes(200, seed=1)
    (1 - function(a, b)).sum().backward()
    own, a.grad = a.grad, None
    expected = reference(a, b)
    expected.sum().backward()
    assert torch.allclose(1 - function(a, b), expected, rtol=1e-12)
    assert torch.allclose(own, a.grad, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("function", [ious, generalized_ious, complete_ious])
def test_boxes_of_no_size_have_finite_overlaps_and_gradients(function):
    a = torch.tensor([[3.0, 3, 3, 3], [0, 0, 0, 5], [0, 0, 5, 0], [-1e9, -1e9, 1e9, 1e9]], requires_grad=True)
    found = function(a, torch.tensor([[0.0, 0, 4, 4]]))
    found.sum().backward()
    assert found.isfinite().all()
    assert a.grad.isfinite().all()
