"""Boxes from label files of YOLO, COCO and VOC: finding them, reading them, and making one table of a dataset's boxes.

`read_labels(images, options)` finds the label files of all images of an input path and reads them; its `Labels` know
the format, the classes, which images are used, and what the log says. `labels.take(numbers)` are those of a part, for
`test_share`. `make_boxes(labels, classes)` reads the images' headers and gives `LabelledBoxes`: the `BoxTable` in
pixels of the upright images, counts, notes, COCO's ids, and `bad`, the images that cannot be used, with reasons: raise
them by `refuse_bad()`, or leave them out with `on_bad_sample`. Images that COCO's file names but that are not there are
in `labels.samples.unreadable`, if `options.skips`. For the test, `classes` are training's, which go by name.
`recognize(folder)` finds the parts of a data set that others have laid out.

No step needs torch, and what is done to many boxes is done by numpy. What becomes of boxes in transforms, in the loss
and in metrics is no concern of it.
"""

from rayrml.data.box_labels.boxes import LabelledBoxes, make_boxes
from rayrml.data.box_labels.cleaning import turn_boxes
from rayrml.data.box_labels.image_lists import select_samples
from rayrml.data.box_labels.labels import LabelOptions, Labels
from rayrml.data.box_labels.reading import read_labels
from rayrml.data.box_labels.recognition import BoxPart, Recognized, recognize
from rayrml.data.box_labels.table import BoxTable

__all__ = [
    "BoxPart",
    "BoxTable",
    "LabelOptions",
    "LabelledBoxes",
    "Labels",
    "Recognized",
    "make_boxes",
    "read_labels",
    "recognize",
    "select_samples",
    "turn_boxes",
]
