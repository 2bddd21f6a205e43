import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import ops

from rayrml.boxes.coding import decode, list_priors
from rayrml.boxes.grids import find_layout
from rayrml.inference import detection
from rayrml.inference.detection import detect, suppress

CASES = json.loads(Path(__file__).with_name("detection.json").read_text())
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
EVERY_DTYPE = pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
GRIDS = find_layout([(24, 20)], (64, 64), 3).with_anchors([(9, 8), (12, 20), (21, 12), (24, 30), (40, 22), (50, 48)])
ALL = {"score_threshold": 0.001, "nms_iou": 0.45, "max_detections": 10_000}


def outputs(count, scale=1.0, seed=0):
    return torch.randn(count, 24, 20, generator=torch.Generator().manual_seed(seed)) * scale


def of_case(case, dtype=torch.float64):
    """The output of a case of the reference, and its grids."""
    output = torch.tensor(case["output"], dtype=dtype)[None]
    layout = find_layout([output.shape[1:]], tuple(case["size"]), case["num_classes"], strides=case["strides"])
    return output, layout.with_anchors(case["anchors"])


@EVERY_CASE
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_outputs_are_decoded_as_in_the_reference(case, dtype):
    output, grids = of_case(case, dtype)
    numbers = grids.split(output)
    corners = decode(numbers[:, :, :4].movedim(2, -1), list_priors(grids, numbers))
    for place in case["some"]:
        found = corners[0, place["anchor"], place["position"]]
        assert found.tolist() == pytest.approx(place["box"], rel=1e-5, abs=1e-4)
        shares = numbers[0, place["anchor"], 4:, place["position"]].sigmoid()
        assert shares.tolist() == pytest.approx([place["objectness"], *place["classes"]], rel=1e-5)


@EVERY_CASE
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_detections_are_those_of_the_reference(case, dtype):
    output, grids = of_case(case, dtype)
    found = detect(output, grids, **{key: case[key] for key in ALL})
    (height, width), box = case["original"], case["letterbox"]
    offset = torch.tensor([box["left"], box["top"]] * 2)
    scale = torch.tensor([width / box["width"], height / box["height"]] * 2)
    corners = ((found.corners - offset) * scale).clamp(min=0).minimum(torch.tensor([width, height] * 2))
    expected = torch.tensor(case["detections"])
    assert found.starts.tolist() == [0, len(expected)]
    assert found.classes.tolist() == expected[:, 5].tolist()
    assert torch.allclose(found.scores, expected[:, 4], rtol=1e-5)
    assert torch.allclose(corners, expected[:, :4], rtol=1e-5, atol=1e-3)


def greedy(corners, scores, classes, most_iou):
    """Non-maximum suppression of one image, row by row: a list of rows, the best first."""
    kept = []
    for row in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        rivals = [other for other in kept if classes[other] == classes[row]]
        if not any(ops.box_iou(corners[[row]], corners[[other]]) > most_iou for other in rivals):
            kept.append(row)
    return sorted(kept, key=lambda i: (-scores[i], classes[i], i))


def detect_slowly(output, grids, score_threshold, nms_iou, max_detections):
    """Detections of one image by plain loops: (corners, scores, classes)."""
    numbers = grids.split(output[None].double())[0]
    boxes = decode(numbers[:, :4].movedim(1, -1), list_priors(grids, numbers)).float()
    rows = []
    for position in range(grids.num_positions):
        for anchor in range(grids.num_anchors):
            shares = numbers[anchor, 4:, position].sigmoid()
            for c, score in enumerate((shares[0] * shares[1:]).float().tolist()):
                if score >= score_threshold:
                    rows.append((boxes[anchor, position], score, c))
    rows = sorted(rows, key=lambda row: -row[1])[: detection.MOST_CANDIDATES]
    corners = torch.stack([row[0] for row in rows]) if rows else torch.empty(0, 4)
    scores, classes = [row[1] for row in rows], [row[2] for row in rows]
    kept = greedy(corners, scores, classes, nms_iou)[:max_detections]
    return corners[kept], [scores[i] for i in kept], [classes[i] for i in kept]


@pytest.mark.parametrize("most", [10_000, 40])
@pytest.mark.parametrize("rounded", [False, True], ids=["", "many equal scores"])
@pytest.mark.parametrize("max_detections", [300, 7])
def test_a_batch_is_detected_as_each_image_by_itself(most, rounded, max_detections, monkeypatch):
    monkeypatch.setattr(detection, "MOST_CANDIDATES", most)
    monkeypatch.setattr(detection, "_MOST_SCORES", 400)  # two images at a time
    output = outputs(5)
    if rounded:
        output[:, [k for k in range(24) if k % 8 >= 4]] = output[:, [k for k in range(24) if k % 8 >= 4]].round()
    output[2] = -20  # nothing to find
    options = {"score_threshold": 0.2, "nms_iou": 0.3, "max_detections": max_detections}
    found = detect(output, GRIDS, **options)
    assert len(found) == 5
    for image in range(5):
        rows = slice(*found.starts[image : image + 2].tolist())
        corners, scores, classes = detect_slowly(output[image], GRIDS, **options)
        assert found.classes[rows].tolist() == classes
        assert found.scores[rows].tolist() == scores
        assert torch.equal(found.corners[rows], corners)


@EVERY_DTYPE
def test_several_outputs_are_one_row_of_positions(dtype):
    output = outputs(2).to(dtype)
    parts = [output[..., :4].unflatten(2, (2, 2)), output[..., 4:].unflatten(2, (4, 4))]
    one, several = detect(output, GRIDS, **ALL), detect(parts, GRIDS, **ALL)
    assert torch.equal(one.corners, several.corners)
    assert torch.equal(one.scores, several.scores)
    assert one.corners.dtype == one.scores.dtype == torch.float32


def test_only_the_best_candidates_count_and_of_equals_the_first(monkeypatch):
    monkeypatch.setattr(detection, "MOST_CANDIDATES", 10)
    output = torch.zeros(1, 24, 20)  # each place and class has the same score
    found = detect(output, GRIDS, **{**ALL, "nms_iou": 1.0})
    # Positions first, then anchors, then classes: three anchors of three classes at the first position, and one more.
    assert sorted(found.classes.tolist()) == [0] * 4 + [1] * 3 + [2] * 3
    assert found.classes.tolist() == sorted(found.classes.tolist())
    middles = (found.corners[:, 0] + found.corners[:, 2]) / 2
    assert middles[:4].tolist() == [16, 16, 16, 48]


def test_nothing_is_found_in_no_images_and_where_nothing_is():
    for output in (outputs(0), torch.full((3, 24, 20), -20.0), torch.full((3, 24, 20), torch.nan)):
        found = detect(output, GRIDS, **ALL)
        assert found.starts.tolist() == [0] * (len(output) + 1)
        assert found.corners.shape == (0, 4)
        assert len(found) == len(output)


def test_wild_outputs_have_finite_detections():
    found = detect(outputs(2, scale=1e30), GRIDS, **ALL)
    assert len(found.scores)
    assert found.corners.isfinite().all()
    assert (found.scores <= 1).all()


def boxes(count, seed, size):
    """Boxes on a grid of whole numbers: many are equal, and many overlap by the same IoU."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, size, (count, 2), generator=generator)
    return torch.cat([corners, corners + torch.randint(0, 6, (count, 2), generator=generator)], 1).float()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=6),
    st.sampled_from([1, 2, 5, 64]),
    st.sampled_from([0.0, 0.25, 0.45, 0.5, 1.0]),
    st.sampled_from([8, 30]),
    st.integers(0, 1000),
)
def test_suppression_keeps_exactly_what_the_greedy_rule_keeps(counts, block, most_iou, size, seed):
    groups = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)) * 3
    corners = boxes(len(groups), seed, size)
    kept = set()
    for row in range(len(groups)):
        rivals = [other for other in kept if groups[other] == groups[row]]
        if not rivals or not (ops.box_iou(corners[[row]], corners[rivals]) > most_iou).any():
            kept.add(row)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detection, "_BLOCK", block)
        patch.setattr(detection, "_count_overlaps", lambda _: 50)
        assert suppress(corners, groups, most_iou).tolist() == sorted(kept)


@pytest.mark.parametrize("num_classes", [1, 20])
def test_suppression_of_thousands_is_that_of_torchvision(num_classes):
    generator = torch.Generator().manual_seed(0)
    middles, sizes = (torch.rand(6000, 2, generator=generator) * limit for limit in (416, 150))
    corners = torch.cat([middles - sizes / 2, middles + sizes / 2], 1)
    groups = torch.randint(num_classes, (6000,), generator=generator).sort().values
    expected = []
    for group in range(num_classes):
        rows = (groups == group).nonzero().squeeze(1)
        best_first = torch.arange(len(rows), 0, -1).float()
        expected += rows[ops.nms(corners[rows], best_first, 0.45)].tolist()
    assert suppress(corners, groups, 0.45).tolist() == expected
