"""The network to start from that finds objects: it can be built for every size, and its grids are known."""

import pytest
import torch

from rayrml.boxes.grids import find_layout
from rayrml.networks.network import build_network
from rayrml.planning.starter_detector import NUM_ANCHORS, build_detector, count_grids


@pytest.mark.parametrize("groups", [False, True])
@pytest.mark.parametrize("size", [(128, 128), (160, 192), (128, 224), (416, 320)])
def test_outputs_are_grids_for_the_classes(size, groups):
    network = build_network(build_detector((*size, 3), 4, groups=groups))
    layout = find_layout(network.output_shapes, size, 4)
    assert layout.strides == ((16, 8) if max(size) <= 192 else (32, 16, 8))
    assert layout.count_anchors() == NUM_ANCHORS * count_grids(size)
    outputs = network.eval()(torch.rand(2, 3, *size))
    assert [tuple(output.shape[1:]) for output in outputs] == list(network.output_shapes)


def test_each_image_is_normalized_by_itself_in_groups():
    torch.manual_seed(0)
    network = build_network(build_detector((128, 128, 1), 2, groups=True)).train()
    images = torch.rand(3, 1, 128, 128)
    for together, alone in zip(network(images), network(images[1:2]), strict=True):
        assert torch.allclose(together[1:2], alone, atol=1e-5)
