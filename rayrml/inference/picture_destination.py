"""The folders for pictures of outputs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from rayrml import storage
from rayrml.data.discovery import Samples

if TYPE_CHECKING:
    from rayrml.inference.box_pictures import BoxDrawing
    from rayrml.inference.pictures import Drawing
    from rayrml.inference.sample_grid import SampleDrawing

MASKS, OVERLAYS, IMAGES, BOXES, CLASSES = "masks", "overlays", "images", "boxes", "classes"
FOLDERS = (MASKS, OVERLAYS, IMAGES, BOXES)  # with a picture for each sample


@dataclasses.dataclass(frozen=True)
class PictureDestination:
    """The folders for pictures of an epoch's outputs.

    Attributes:
        folder: which contains them.
        epoch: part of their names.
        drawing: how outputs become pictures.
        samples: the images that outputs belong to.
    """

    folder: str
    epoch: int
    drawing: Drawing | BoxDrawing | SampleDrawing
    samples: Samples

    @property
    def paths(self) -> dict[str, str]:
        """The path of each folder, and of the table of classes, by what they contain."""
        if self.drawing.kind != "masks":
            only = BOXES if self.drawing.kind == "boxes" else IMAGES
            return {only: self._path(only)}
        return {MASKS: self._path(MASKS), OVERLAYS: self._path(OVERLAYS), CLASSES: self._path(CLASSES, ".csv")}

    @property
    def folders(self) -> list[str]:
        """The folders with a picture for each sample."""
        return [path for kind, path in self.paths.items() if kind in FOLDERS]

    def _path(self, kind: str, ending: str = "") -> str:
        return storage.join(self.folder, f"{kind}_{self.epoch}{ending}")
