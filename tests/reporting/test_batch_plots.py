"""A picture of a batch."""

import numpy as np
import pytest

from rayrml.reporting.batch_plots import Panel, draw_batch, most_samples


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
