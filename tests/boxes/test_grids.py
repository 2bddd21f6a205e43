import pytest
import torch

from rayrml.boxes.grids import find_layout, join_outputs
from rayrml.errors import ConfigError

YOLO = [(10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326)]


def test_the_row_of_positions_of_yolov3_consists_of_three_grids():
    layout = find_layout([(255, 3549)], (416, 416), 80)
    assert layout.strides == (32, 16, 8)
    assert layout.cells == ((13, 13), (26, 26), (52, 52))
    assert layout.count_anchors() == 9
    grids = layout.with_anchors(YOLO)
    assert (grids.num_anchors, grids.num_positions, grids.num_places) == (3, 3549, 10647)
    assert grids.anchors[0][0] == (116, 90)


@pytest.mark.parametrize("strides", [[32, 16, 8], [32, 16], [32], [16, 8], [16], [8]])
def test_known_strides_are_found_by_the_number_of_positions(strides):
    positions = sum((96 // stride) * (64 // stride) for stride in strides)
    assert find_layout([(24, positions)], (96, 64), 3).strides == tuple(strides)


@pytest.mark.parametrize("size", [(96, 64), (416, 416), (320, 224)])
def test_both_kinds_of_outputs_are_the_same(size):
    several = [(24, size[0] // stride, size[1] // stride) for stride in (32, 16)]
    one = [(24, sum(rows * columns for _, rows, columns in several))]
    assert find_layout(several, size, 3) == find_layout(one, size, 3)
    outputs = [torch.randn(2, *shape) for shape in several]
    rows = [output.flatten(2) for output in outputs]
    assert torch.equal(join_outputs(outputs), torch.cat(rows, 2))
    assert torch.equal(join_outputs(torch.cat(rows, 2)), torch.cat(rows, 2))


def test_the_fine_grid_may_come_first_if_strides_tell():
    assert find_layout([(24, 30)], (96, 64), 3).strides == (32, 16)
    assert find_layout([(24, 30)], (96, 64), 3, strides=[16, 32]).cells == ((6, 4), (3, 2))


def test_a_channel_belongs_to_an_anchor_and_a_number():
    grids = find_layout([(16, 6)], (96, 64), 3, strides=[32]).with_anchors([(1, 2), (3, 4)])
    output = torch.arange(16.0).view(1, 16, 1).expand(1, 16, 6)
    assert grids.split(output)[0, 1, 4].tolist() == [1 * (5 + 3) + 4] * 6
    assert grids.split(output.bfloat16()).dtype == torch.float32
    assert grids.split(output.double()).dtype == torch.float64


def test_given_strides_may_leave_a_part_of_the_last_cells_outside():
    layout = find_layout([(8, 4, 4)], (100, 100), 3, strides=[32])
    assert (layout.strides, layout.cells) == ((32,), ((4, 4),))
    found = find_layout([(8, 13, 13)], (100, 100), 3)
    assert found == find_layout([(8, 13, 13)], (100, 100), 3, strides=found.strides)


MISTAKES = [
    ({"shapes": [(255, 507)], "size": (416, 416)}, "strides: is needed: the output has 507 positions.*3549"),
    ({"shapes": [(24, 7)], "size": (100, 100)}, "strides: is needed: the output has 7 positions"),
    ({"shapes": [(24, 5)], "strides": [32]}, r"strides: make 3 x 2 = 6 cells .* but the output has 5 positions"),
    ({"shapes": [(24, 3, 3)]}, r"an output has 3 x 3 cells for an input of 96 x 64 .*: 32 pixels .*, 21\.333 in width"),
    ({"shapes": [(24, 3, 2)], "strides": [16]}, "16 makes 6 x 4 cells .* but the output has 3 x 2"),
    ({"shapes": [(24, 3, 2)], "strides": [16, 32]}, "has 2 values, but the network has 1 output"),
    ({"shapes": [(24, 3, 2), (27, 6, 4)]}, "the outputs have 24 and 27 channels"),
    ({"shapes": [(24,)]}, r"shape \(24,\). Expected \(channels, rows, columns\)"),
    ({"shapes": [(24, 6), (24, 24)]}, r"shape \(24, 6\)"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_outputs_that_are_no_grids_are_a_mistake(arguments, message):
    with pytest.raises(ConfigError, match=message):
        find_layout(**{"size": (96, 64), "num_classes": 3, **arguments})


def test_other_channel_counts_name_both_numbers():
    layout = find_layout([(255, 6)], (96, 64), 3)
    with pytest.raises(ConfigError) as error:
        layout.with_anchors([(1, 2)] * 3)
    expected = "the output has 255 channels, but 3 anchors and 3 classes need 3 x (5 + 3) = 24"
    assert str(error.value) == f"neural_network.loss.function: {expected}"
    with pytest.raises(ConfigError, match=r"255 channels, but for 3 classes it needs a multiple of 5 \+ 3 = 8"):
        layout.count_anchors()


def test_anchors_of_each_output_stay_as_they_are():
    layout = find_layout([(16, 30)], (96, 64), 3)
    given = [[(30, 30), (12, 12)], [(20, 20), (6, 6)]]
    assert layout.with_anchors(given).anchors == (((30, 30), (12, 12)), ((20, 20), (6, 6)))
    with pytest.raises(ConfigError, match="has 1 list of anchors for 2 grids"):
        layout.with_anchors(given[:1])
    with pytest.raises(ConfigError, match="the same number of anchors for each output"):
        layout.with_anchors([given[0], given[1][:1]])


def test_outputs_of_another_size_are_a_mistake():
    grids = find_layout([(8, 6)], (96, 64), 3).with_anchors([(1, 2)])
    with pytest.raises(ConfigError, match=r"have \(8, 7\) channels and positions, but the grids have \(8, 6\)"):
        grids.split(torch.zeros(2, 8, 7))
