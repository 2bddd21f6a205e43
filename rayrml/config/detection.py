"""Object detection: the keys of boxes in the section `data`, and the section `detection`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from rayrml.config.section import AnyCase, PathString, Section

Share = Annotated[float, Field(ge=0, le=1)]


class BoxKeys(Section):
    """How boxes are read, if they are the targets."""

    box_format: Annotated[Literal["auto", "yolo", "coco", "voc"], AnyCase] = Field(
        default="auto", description="`boxes`: how label files are written; auto: as they are found"
    )
    box_origin: Literal["auto", 0, 1] = Field(
        default="auto",
        description="`boxes` of VOC: what the first pixel is called; auto: 1 if all coordinates are whole numbers of "
        "at least 1",
    )
    classes: Annotated[list[str], Field(min_length=1)] | PathString | None = Field(
        default=None,
        description="`boxes`: class names in the order of the outputs, or a file with one a line (default: those that "
        "are found beside the labels, or those of the checkpoint)",
    )
    samples: PathString | None = Field(
        default=None, description="`boxes`: text file that names the training images to use, one a line (default: all)"
    )
    test_samples: PathString | None = Field(default=None, description="the same for the test images")
    final_test_samples: PathString | None = Field(default=None, description="the same for the images of the final test")


class Detection(Section):
    """What becomes of a detection network's outputs."""

    score_threshold: Share = Field(
        default=0.25, description="score below which a detection is neither shown nor predicted; mAP counts all"
    )
    nms_iou: Share = Field(default=0.45, description="of two boxes of a class that overlap more, the better one stays")
    max_detections: PositiveInt = Field(default=300, description="most detections of an image")
