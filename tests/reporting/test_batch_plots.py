"""A picture of a batch."""

import numpy as np
import pytest

from rayrml.reporting.batch_plots import LARGE, Panel, draw_batch, most_samples


@pytest.mark.parametrize("panels", [1, 2, 3])
def test_each_sample_has_its_panels_side_by_side(panels):
    count = most_samples(panels)
    samples = [[Panel(np.full((4, 6), i), True, title=f"{i}.{k}") for k in range(panels)] for i in range(count)]
    figure = draw_batch(samples, "A batch")
    shown = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert shown == [f"{i}.{k}" for i in range(count) for k in range(panels)]
    assert [int(axes.images[0].get_array()[0, 0]) for axes in figure.axes] == [
        i for i in range(count) for _ in range(panels)
    ]


def test_curves_have_a_line_for_each_channel():
    figure = draw_batch([[Panel(np.zeros((3, 50)), False, (0.0, 1.0), "signal")]], "A batch")
    assert len(figure.axes[0].lines) == 3


def test_large_panels_are_three_in_a_row_and_their_pixels_are_those_of_the_figure():
    panels = [[Panel(np.zeros((LARGE, LARGE, 3)), True, title=f"{number}", is_large=True)] for number in range(4)]
    figure = draw_batch(panels, "boxes")
    figure.draw_without_rendering()
    tops = [axes.get_position().y1 for axes in figure.axes[:6]]
    assert len(figure.axes) == 6 and tops[0] == tops[2] > tops[3]
    assert figure.axes[0].get_window_extent().width == pytest.approx(LARGE, rel=0.02)
