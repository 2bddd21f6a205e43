import json
import math
from pathlib import Path

import pytest
import torch
from torchvision import ops

from rayrml.boxes.batch import Boxes, cumulate, join_images, no_boxes
from rayrml.boxes.coding import assign, decode, list_priors
from rayrml.boxes.grids import find_layout
from rayrml.config.tables import choose
from rayrml.errors import ConfigError
from rayrml.losses import detection
from rayrml.losses.detection import LOSSES, TERMS, find_near

CASES = json.loads(Path(__file__).with_name("detection.json").read_text())
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
ANCHORS = [(9, 8), (12, 20), (21, 12), (24, 30), (40, 22), (50, 48)]
GRIDS = find_layout([(24, 20)], (64, 64), 3).with_anchors(ANCHORS)  # strides 32 and 16
BOX_LOSSES = ["yolo", "giou", "ciou"]


def build(**settings):
    return choose(LOSSES, {"function": "YOLOv3", **settings}, "neural_network.loss", "function").build().function


def images(*counts, ignored=0.0, seed=0):
    """Images with these numbers of boxes in 64 x 64 pixels."""
    generator = torch.Generator().manual_seed(seed)
    total = sum(counts)
    middles = torch.rand(total, 2, generator=generator, dtype=torch.float64) * 40 + 12
    halves = torch.rand(total, 2, generator=generator, dtype=torch.float64) * 9 + 2
    classes = torch.randint(3, (total,), generator=generator)
    marks = torch.rand(total, generator=generator) < ignored
    return Boxes(torch.cat([middles - halves, middles + halves], 1), classes, marks, cumulate(torch.tensor(counts)))


def outputs(count, scale=1.0, seed=0):
    return torch.randn(count, 24, 20, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def of_case(case, dtype):
    """Loss, outputs and boxes of a case of the reference."""
    strides, size = case["strides"], tuple(case["size"])
    output = torch.tensor(case["outputs"], dtype=dtype)
    layout = find_layout([output.shape[1:]], size, case["num_classes"], strides=strides)
    settings = {key: case[key] for key in ("anchors", "strides", "ignore_threshold", "box_loss", "weights")}
    rows = torch.tensor([box for image in case["targets"] for box in image], dtype=torch.float64).view(-1, 6)
    starts = cumulate(torch.tensor([len(image) for image in case["targets"]]))
    boxes = Boxes(rows[:, 1:5], rows[:, 0].long(), rows[:, 5].bool(), starts)
    return build(**settings).on(layout.with_anchors(case["anchors"])), output, boxes


@EVERY_CASE
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 1e-6)])
def test_terms_are_those_of_the_reference(case, dtype, tolerance):
    loss, output, boxes = of_case(case, dtype)
    terms, expected = loss.terms(output, boxes), case["expected"]
    assert list(terms) == list(TERMS)
    for name, term in terms.items():
        assert term.dtype == dtype
        assert term.item() == pytest.approx(expected[name], rel=tolerance, abs=1e-12)
    assert loss(output, boxes).item() == pytest.approx(expected["loss"], rel=tolerance)


@EVERY_CASE
def test_as_many_places_are_near_a_box_as_in_the_reference(case):
    loss, output, boxes = of_case(case, torch.float64)
    numbers = loss.grids.split(output)
    near = find_near(numbers, boxes, loss.grids, case["ignore_threshold"])
    place = assign(boxes.corners, loss.grids)
    taken = torch.zeros_like(near)
    true = ~boxes.ignored
    taken[boxes.images[true], place.anchors[true], place.positions[true]] = True
    counts = [taken.sum(), (~taken & ~near).sum(), (near & ~taken).sum()]
    assert [int(c) for c in counts] == [case["expected"][k] for k in ("positive", "negative", "ignored")]


def deltas_of_darknet(output, boxes, grids, threshold):
    """What `forward_yolo_layer` of darknet's yolo_layer.c stores in `delta`, image by image and place by place."""
    net = grids.size[0]
    numbers = grids.split(output).clone()
    logits = [0, 1, *range(4, 5 + grids.num_classes)]
    numbers[:, :, logits] = numbers[:, :, logits].sigmoid()
    delta = torch.zeros_like(numbers)
    flat = sorted((w * h, w, h, o, a) for o, sizes in enumerate(grids.anchors) for a, (w, h) in enumerate(sizes))
    for b in range(len(numbers)):
        truths = boxes[b : b + 1]
        start = 0
        for o, (rows, columns) in enumerate(grids.cells):
            for n, (width, height) in enumerate(grids.anchors[o]):
                for p in range(rows * columns):
                    x, y, w, h, objectness = numbers[b, n, :5, start + p]
                    middle = (x + p % columns) / columns * net, (y + p // columns) / rows * net
                    size = w.exp() * width, h.exp() * height
                    sides = [middle[0] - size[0] / 2, middle[1] - size[1] / 2]
                    sides += [middle[0] + size[0] / 2, middle[1] + size[1] / 2]
                    best = ops.box_iou(torch.stack(sides)[None], truths.corners).max() if len(truths.corners) else 0
                    delta[b, n, 4, start + p] = 0 if best > threshold else 0 - objectness
            start += rows * columns
        for (left, top, right, bottom), of_class in zip(truths.corners, truths.classes, strict=True):
            w, h, x, y = right - left, bottom - top, (left + right) / 2, (top + bottom) / 2
            common = [min(w, aw) * min(h, ah) for _, aw, ah, *_ in flat]
            overlaps = [c / (w * h + f[0] - c) for c, f in zip(common, flat, strict=True)]
            _, width, height, o, n = flat[max(range(len(flat)), key=lambda i: (overlaps[i], -i))]
            rows, columns = grids.cells[o]
            i, j = int(x / net * columns), int(y / net * rows)
            p = sum(r * c for r, c in grids.cells[:o]) + j * columns + i
            scale = 2 - w * h / net**2
            wanted = [x / net * columns - i, y / net * rows - j, (w / width).log(), (h / height).log()]
            delta[b, n, :4, p] = scale * (torch.stack(wanted) - numbers[b, n, :4, p])
            delta[b, n, 4, p] = 1 - numbers[b, n, 4, p]
            delta[b, n, 5:, p] = torch.eye(grids.num_classes)[of_class] - numbers[b, n, 5:, p]
    return delta.flatten(1, 2)


@pytest.mark.parametrize("seed", range(4))
def test_the_gradient_is_minus_the_delta_of_darknet(seed):
    boxes, output = images(2, 0, 4, seed=seed), outputs(3, 0.5, seed).requires_grad_()
    place = assign(boxes.corners, GRIDS)
    shared = torch.stack([boxes.images, place.anchors, place.positions], 1).unique(dim=0)
    assert len(shared) == len(boxes.corners)  # else darknet counts only the last box of a place
    build(ignore_threshold=0.3).on(GRIDS)(output, boxes).backward()
    delta = deltas_of_darknet(output.detach(), boxes, GRIDS, 0.3)
    assert (delta.view(3, 3, 8, 20)[:, :, 4] == 0).any()
    assert torch.allclose(output.grad * 3, -delta, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("box_loss", ["yolo", "giou"])  # a part of CIoU has no gradient
def test_gradients_are_those_of_finite_differences(box_loss):
    loss, boxes = build(box_loss=box_loss, weights={"class": 0.5}).on(GRIDS), images(2, 0, 3, ignored=0.2)
    assert torch.autograd.gradcheck(lambda o: loss(o, boxes), (outputs(3, 0.3).requires_grad_(),))


@pytest.mark.parametrize(
    ("box_loss", "reference"), [("giou", ops.generalized_box_iou_loss), ("ciou", ops.complete_box_iou_loss)]
)
def test_losses_of_overlap_are_those_of_torchvision(box_loss, reference):
    boxes, output = images(3, 5), outputs(2).requires_grad_()
    build(box_loss=box_loss).on(GRIDS).terms(output, boxes)["box"].backward()
    own, output.grad = output.grad, None
    numbers, place = GRIDS.split(output), assign(boxes.corners, GRIDS)
    rows = numbers[boxes.images, place.anchors, :4, place.positions]
    decoded = decode(rows, list_priors(GRIDS, rows)[place.anchors, place.positions])
    scales = 2 - (boxes.corners[:, 2:] - boxes.corners[:, :2]).prod(1) / 64**2
    ((scales * reference(decoded, boxes.corners)).sum() / 2).backward()
    assert torch.allclose(own, output.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("box_loss", BOX_LOSSES)
@pytest.mark.parametrize("cuts", [[1, 3], [4], [2, 3]])
def test_parts_of_workers_weighed_by_their_images_give_the_loss_of_the_whole(box_loss, cuts):
    loss, boxes, output = build(box_loss=box_loss).on(GRIDS), images(2, 0, 3, 1, 5, 0, ignored=0.2), outputs(6)
    bounds = list(zip([0, *cuts], [*cuts, 6], strict=True))
    total = sum(loss(output[a:b], boxes[a:b]) * (b - a) for a, b in bounds)
    assert (total / 6).item() == pytest.approx(loss(output, boxes).item(), rel=1e-12)


def test_several_outputs_are_one_row_of_positions():
    loss, boxes, output = build().on(GRIDS), images(2, 3), outputs(2)
    parts = [output[..., :4].unflatten(2, (2, 2)), output[..., 4:].unflatten(2, (4, 4))]
    several = [part.contiguous(memory_format=torch.channels_last) for part in parts]
    assert loss(several, boxes) == loss(output, boxes)


def test_the_order_of_boxes_does_not_matter_even_if_they_share_a_place():
    boxes, output = images(6, 2), outputs(2)
    twins = boxes.select(torch.tensor([0, 1]))
    twins = twins.with_corners(twins.corners + torch.tensor([0.01, 0, 0.01, 0]))
    both = [Boxes(*(torch.cat(p) for p in pairs), cumulate(torch.tensor([12, 4]))) for pairs in orders(boxes, twins)]
    first, second = (build().on(GRIDS).terms(output, found) for found in both)
    assert all(first[name].item() == pytest.approx(second[name].item(), rel=1e-12) for name in TERMS)
    alone = build().on(GRIDS).terms(output, boxes)
    assert first["object"].item() == pytest.approx(alone["object"].item())
    assert first["box"] > 1.9 * alone["box"]


def orders(a, b):
    """The columns of two lists of boxes, image by image, once with the one and once with the other first."""
    for one, other in ((a, b), (b, a)):
        parts = [part for i in range(len(a)) for part in (one[i : i + 1], other[i : i + 1])]
        yield [[getattr(part, name) for part in parts] for name in ("corners", "classes", "ignored")]


def test_images_without_boxes_have_only_no_object():
    loss = build().on(GRIDS)
    for boxes in (no_boxes(2), images(0, 0)):
        output = outputs(2).requires_grad_()
        terms = loss.terms(output, boxes)
        assert [terms[name].item() for name in ("box", "object", "class")] == [0, 0, 0]
        assert terms["no_object"].item() == pytest.approx(
            torch.nn.functional.softplus(GRIDS.split(output)[:, :, 4]).sum().item() / 2
        )
        loss(output, boxes).backward()
        assert output.grad.isfinite().all()


def test_ignored_boxes_are_no_targets_but_what_lies_in_them_is_no_mistake():
    boxes, output = images(4, 3, ignored=2), outputs(2).requires_grad_()
    assert boxes.ignored.all()
    covering = boxes.with_corners(torch.tensor([[-1e3, -1e3, 1e3, 1e3]], dtype=torch.float64).repeat(7, 1))
    loss = build().on(GRIDS)
    terms = loss.terms(output, boxes)
    assert [terms[name].item() for name in ("box", "object", "class")] == [0, 0, 0]
    assert 0 < terms["no_object"] < loss.terms(output, no_boxes(2))["no_object"]
    nothing = loss(output, covering)
    nothing.backward()
    assert nothing.item() == 0
    assert not output.grad.any()


def test_a_batch_without_images_has_a_loss_of_0_with_a_gradient():
    output = outputs(0).requires_grad_()
    value = build().on(GRIDS)(output, no_boxes(0))
    value.backward()
    assert value.item() == 0
    assert output.grad.shape == (0, 24, 20)


@pytest.mark.parametrize("box_loss", BOX_LOSSES)
@pytest.mark.parametrize("scale", [1e2, 1e4, 1e15])
@pytest.mark.parametrize("sign", [-1, 0, 1])
def test_wild_outputs_give_finite_losses_and_gradients(box_loss, scale, sign):
    output = (outputs(2) if sign == 0 else sign * outputs(2).abs()).float().mul(scale).requires_grad_()
    value = build(box_loss=box_loss).on(GRIDS)(output, images(4, 2))
    value.backward()
    assert value.isfinite()
    assert output.grad.isfinite().all()


@pytest.mark.parametrize("box_loss", BOX_LOSSES)
def test_outputs_at_the_end_of_the_range_give_no_nan(box_loss):
    output = (outputs(2).sign() * 3e38).float().requires_grad_()
    value = build(box_loss=box_loss).on(GRIDS)(output, images(4, 2))
    value.backward()
    assert not value.isnan()
    assert not output.grad.isnan().any()


@pytest.mark.parametrize("box_loss", BOX_LOSSES)
@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_wild_anchors_give_finite_losses_and_gradients(box_loss, size):
    grids = find_layout([(24, 4)], (64, 64), 3).with_anchors([(size, size), (size, 10), (10, size)])
    output = outputs(2)[..., :4].float().mul(30).requires_grad_()
    value = build(box_loss=box_loss).on(grids)(output, images(4, 2))
    value.backward()
    assert value.isfinite()
    assert output.grad.isfinite().all()


def test_a_network_in_bf16_has_its_loss_in_float32():
    loss, boxes, output = build().on(GRIDS), images(2, 3), outputs(2).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(output, boxes)
    assert value.dtype == torch.float32
    assert value == loss(output.float(), boxes)


def test_a_term_of_weight_0_does_not_count_even_if_it_is_infinite():
    output = outputs(1).float()
    output[:, 2::8] = 1e30  # the width of all places
    output.requires_grad_()
    loss = build(weights={"box": 0}).on(GRIDS)
    assert loss.terms(output, images(2))["box"].isinf()
    value = loss(output, images(2))
    value.backward()
    assert value.isfinite()
    assert not output.grad[:, 2::8].any()


@pytest.mark.parametrize("pairs", [1, 61, 2**20])
def test_places_are_compared_with_boxes_part_by_part(pairs, monkeypatch):
    boxes, numbers = images(4, 0, 7, 1, ignored=0.3), GRIDS.split(outputs(4))
    expected = find_near(numbers, boxes, GRIDS, 0.3)
    monkeypatch.setattr(detection, "_count_pairs", lambda _: pairs)
    assert torch.equal(find_near(numbers, boxes, GRIDS, 0.3), expected)
    assert 0 < expected.sum() < expected.numel()


def test_a_place_is_near_a_box_of_its_own_image_and_of_any_class():
    numbers = GRIDS.split(outputs(3))
    corners = decode(numbers[:, :, :4].movedim(2, -1), list_priors(GRIDS, numbers))
    boxes = images(3, 0, 4, ignored=0.5)
    near = find_near(numbers, boxes, GRIDS, 0.4)
    for image in range(3):
        own = boxes[image : image + 1]
        flat = corners[image].flatten(0, 1)
        true, ignored = own.corners[~own.ignored], own.corners[own.ignored]
        common = ops.boxes._box_inter_union(flat, ignored)[0] / ops.box_area(flat)[:, None]
        expected = (ops.box_iou(flat, true) > 0.4).any(1) | (common > 0.4).any(1)
        assert torch.equal(near[image].flatten(), expected)


def test_an_untrained_network_starts_at_seven_tenths_of_its_places():
    value = build().on(GRIDS)(torch.zeros(1, 24, 20), no_boxes(1))
    assert value.item() == pytest.approx(math.log(2) * GRIDS.num_places)


def test_nothing_waits_for_the_device():
    """On the device `meta` there are no numbers that could be read."""
    boxes, output = images(2, 0, 3), outputs(3).to("meta").requires_grad_()
    for box_loss in BOX_LOSSES:
        build(box_loss=box_loss).on(GRIDS)(output, boxes.to("meta")).backward()
    assert output.grad.shape == output.shape


def test_boxes_of_other_images_are_no_target():
    with pytest.raises(ValueError, match="boxes of 2 images, got 3"):
        build().on(GRIDS)(outputs(2), join_images([images(1, 1), images(1)]))


MISTAKES = [
    ({"anchors": "aut"}, 'loss.anchors: "aut" is not a list of anchors. Expected "auto"'),
    ({"anchors": []}, "loss.anchors: [] is not a list of anchors"),
    ({"anchors": [10, 13]}, "loss.anchors: 10 is not the size of an anchor"),
    ({"anchors": [[10, 13], [16, 0]]}, "loss.anchors: [16, 0] is not the size of an anchor"),
    ({"anchors": [[[10, 13]], [[16]]]}, "loss.anchors: [16] is not the size of an anchor"),
    ({"anchors": [[1e9, 1]]}, "loss.anchors: [1000000000.0, 1] is not the size of an anchor"),
    ({"strides": [32, 0]}, "loss.strides.1: must be greater than 0, got 0"),
    ({"ignore_threshold": 2}, "loss.ignore_threshold: must be less than or equal to 1"),
    ({"box_loss": "iou"}, "loss.box_loss: must be 'yolo', 'giou' or 'ciou'"),
    ({"weights": {"no_objects": 1}}, "loss.weights.no_objects: must be 'box', 'object', 'no_object' or 'class'"),
    ({"weights": {"box": -1}}, "loss.weights.box: must be greater than or equal to 0"),
    ({"weights": dict.fromkeys(TERMS, 0)}, "loss.weights: are all 0"),
]


@pytest.mark.parametrize(("section", "message"), MISTAKES)
def test_wrong_settings_are_mistakes(section, message):
    with pytest.raises(ConfigError) as error:
        build(**section)
    assert message in str(error.value)
