import json
from pathlib import Path

import pytest
import torch

from rayrml.boxes import anchors
from rayrml.boxes.anchors import cluster_sizes, deal_out, mean_iou
from rayrml.errors import ConfigError

CASES = json.loads(Path(__file__).with_name("anchors.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
@pytest.mark.parametrize("chunk", [7, 2**17])
def test_anchors_are_those_of_the_reference(case, chunk, monkeypatch):
    monkeypatch.setattr(anchors, "_CHUNK", chunk)
    sizes = torch.tensor(case["sizes"])
    found = cluster_sizes(sizes.double(), case["num_anchors"])
    assert torch.tensor(found).flatten().tolist() == pytest.approx(torch.tensor(case["anchors"]).flatten().tolist())
    assert mean_iou(sizes, found) == pytest.approx(case["mean_iou"], rel=1e-6)


def test_a_group_without_boxes_stays():
    sizes = torch.tensor([[10.0, 10.0]] * 5)
    assert cluster_sizes(sizes, 5) == ((10.0, 10.0),) * 5


def test_fewer_boxes_than_anchors_are_a_mistake():
    with pytest.raises(ConfigError, match=r"loss\.anchors: .* there are 2 for 3 anchors"):
        cluster_sizes(torch.ones(2, 2), 3)


def test_the_smallest_anchors_go_to_the_smallest_stride_whatever_order_outputs_have():
    sizes = [(30, 61), (10, 13), (33, 23), (16, 30), (62, 45), (59, 119)]
    small, large = ((10, 13), (16, 30), (33, 23)), ((30, 61), (62, 45), (59, 119))
    assert deal_out(sizes, [32, 16]) == (large, small)
    assert deal_out(sizes, [16, 32]) == (small, large)


@pytest.mark.parametrize("count", [1, 5])
def test_anchors_that_cannot_be_dealt_out_evenly_are_a_mistake(count):
    with pytest.raises(ConfigError, match=rf"loss\.anchors: {count} anchors? .* 2 outputs"):
        deal_out([(1, 2)] * count, [32, 16])
