"""Where samples' outputs are written: the files that a configuration names, and how workers open them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import ray

from rayrml import storage
from rayrml.config.sections import NeuralNetwork
from rayrml.data.sources import Source
from rayrml.inference.applications import application_of
from rayrml.inference.picture_destination import PictureDestination
from rayrml.inference.prediction_files import Destination, PredictionSink, RemotePredictions

if TYPE_CHECKING:
    from rayrml.inference.box_pictures import BoxDrawing
    from rayrml.inference.pictures import Drawing
    from rayrml.inference.sample_grid import SampleDrawing


@dataclasses.dataclass(frozen=True)
class Outputs:
    """How workers open prediction files: a single worker directly, several through the writer actor."""

    writer: Any = None

    def begin(self, destination: Destination) -> None:
        """Open an epoch's files for all workers; called by one of them."""
        if self.writer is not None:
            ray.get(self.writer.begin.remote(destination))

    def sink(self, destination: Destination) -> PredictionSink:
        """The sink for this worker's predictions of the epoch."""
        return destination.open() if self.writer is None else RemotePredictions(self.writer)

    def finish(self) -> None:
        """Close the files that all workers wrote to; called by one worker when all are done."""
        if self.writer is not None:
            ray.get(self.writer.finish.remote())

    def discard(self) -> None:
        """Remove the files that all workers wrote to; called by one of them."""
        if self.writer is not None:
            ray.get(self.writer.discard.remote())


def destination_of(
    source: Source,
    config: NeuralNetwork,
    epoch: int,
    classes: tuple[str, ...],
    *,
    drawing: Drawing | BoxDrawing | SampleDrawing | None = None,
) -> Destination:
    """The files that the configuration names for an epoch's predictions of the samples of `source`.

    `drawing` tells how the outputs become pictures, None if they do not.
    """
    data = config.data
    folder = data.test_output_path
    return Destination(
        names=application_of(config).names(config, source),
        path=None if folder is None else storage.join(folder, f"output_{epoch}.h5"),
        assembly_path=data.hdf5_outfile,
        precision=data.hdf5_precision,
        slices=source.samples.slices,
        classes=classes,
        columns=application_of(config).columns,
        partial=data.skips,
        shards=data.hdf5_shards,
        pictures=PictureDestination(folder, epoch, drawing, source.samples)
        if folder is not None and drawing is not None and data.draws
        else None,
    )
