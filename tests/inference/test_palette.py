import numpy as np

from rayrml.inference.palette import NUM_COLORS, class_colors, colors_of


def test_every_class_has_its_own_color_and_the_first_is_black():
    colors = class_colors()
    assert len({tuple(color) for color in colors.tolist()}) == NUM_COLORS == len(colors)
    assert colors[0].tolist() == [0, 0, 0]
    assert [128, 128, 128] not in colors.tolist()


def test_further_classes_use_the_colors_again_but_not_that_of_class_0():
    assert colors_of(np.array([254, 255, 256, 509])).tolist() == class_colors()[[254, 2, 3, 2]].tolist()
    assert colors_of(np.arange(255, 2000)).any(-1).all()
