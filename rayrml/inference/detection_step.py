"""Evaluation of a network that finds objects: detections in the original images, their loss, and mAP."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from rayrml.boxes.batch import Boxes, OriginalBoxes
from rayrml.boxes.grids import Grids
from rayrml.config.detection import Detection
from rayrml.data.discovery import Samples
from rayrml.data.shards import Batch
from rayrml.data.transforms import Transforms
from rayrml.inference import arithmetic
from rayrml.inference.detection import Detections, detect
from rayrml.inference.each_sample import EachSample
from rayrml.losses import Loss
from rayrml.losses.detection import grids_of
from rayrml.metrics import Evaluation, Metric
from rayrml.metrics.average_precision import LOWEST_SCORE, DetectionRows, average_precisions, join_rows
from rayrml.metrics.box_matching import Detections as FoundBoxes
from rayrml.metrics.box_matching import Truths
from rayrml.metrics.evaluation import BoxDetails
from rayrml.tensors import to_input
from rayrml.workers import Workers


@dataclasses.dataclass(frozen=True)
class Finder:
    """From a detection network's outputs to rows of what was found in the original images.

    Attributes:
        grids: what the outputs stand for.
        transforms: what was done to images, and is undone.
        keys: the section `detection`.
        lowest_score: of a detection.
    """

    grids: Grids
    transforms: Transforms
    keys: Detection
    lowest_score: float

    def __call__(self, outputs: torch.Tensor, sizes: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Rows (D, 6) float32 xmin, ymin, xmax, ymax, score, class, and where those of each image start (N + 1,).

        Args:
            outputs: (N, channels, positions).
            sizes: (N, 2) height and width of the original images.
        """
        keys = self.keys
        found = detect(
            outputs,
            self.grids,
            score_threshold=self.lowest_score,
            nms_iou=keys.nms_iou,
            max_detections=keys.max_detections,
        )
        corners = self.transforms.original_boxes(found.corners.double(), _images_of(found), sizes)
        columns = [corners, found.scores.double()[:, None], found.classes.double()[:, None]]
        return torch.cat(columns, 1).float().cpu().numpy(), found.starts.numpy()


class DetectionStep(EachSample):
    """Loss and mAP of batches, added up over an epoch and over workers; see `EvaluationStep`.

    Args:
        network: whose outputs are grids.
        loss: which knows the grids.
        metric: the figure that is reported first, None if there are no boxes to compare with.
        finder: makes detections of outputs.
        samples: the images that are evaluated, with their boxes if there are any.
        workers: the workers that share them.
        autocast: see `arithmetic.autocast`.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Loss,
        metric: Metric | None,
        *,
        finder: Finder,
        samples: Samples,
        workers: Workers = Workers(),  # noqa: B008 (frozen)
        autocast: torch.dtype | None = None,
    ):
        self.network = network
        self.loss = loss
        self.metric = metric
        self.finder = finder
        self.workers = workers
        self.dtype = autocast
        self._order = _rank(samples.image_ids)
        self._losses: torch.Tensor | None = None
        self._num_images = 0
        self._rows = DetectionRows(finder.grids.num_classes)

    @torch.inference_mode()
    def __call__(self, batch: torch.Tensor, target: Boxes | None, original: Batch) -> list[np.ndarray]:
        """The detections (D, 6) in each image of a batch; loss and matches are added to the totals.

        Args:
            batch: the images as the network takes them.
            target: their boxes in the same pixels, None without any.
            original: the batch before transforms, which knows the sizes of the images.
        """
        if not isinstance(original.target, OriginalBoxes):
            raise RuntimeError("the sizes of the images are not known")
        with arithmetic.autocast(batch, self.dtype):
            outputs = self.network(to_input(batch))
        outputs = self.loss.of_network(outputs)
        rows, starts = self.finder(outputs, original.target.sizes)
        if target is not None and self.metric is not None:
            self._add(outputs, target)
            self._match(original.positions, original.target.boxes, FoundBoxes(rows, starts))
        return np.split(rows, starts[1:-1])

    def written(self, outputs: list[np.ndarray]) -> list[np.ndarray]:
        """The detections (D, 6) in each image, as prediction files take them."""
        return outputs

    def _add(self, outputs: torch.Tensor, target: Boxes) -> None:
        loss = self.loss.function(outputs, target).double() * len(outputs)
        self._losses = loss if self._losses is None else self._losses + loss
        self._num_images += len(outputs)

    def _match(self, positions: np.ndarray, true: Boxes, found: FoundBoxes) -> None:
        truths = Truths(*(part.numpy() for part in (true.corners, true.classes, true.ignored, true.starts)))
        numbers = positions if self._order is None else self._order[positions]
        self._rows.add(numbers, found, truths)

    def result(self, device: torch.device) -> Evaluation:
        """What was found in all images of all workers; every worker must call it."""
        own = (0.0 if self._losses is None else self._losses.item(), self._num_images)
        gathered = self.workers.gather((own, self._rows.rows, self._rows.counts))
        losses, numbers = zip(*(sums for sums, _, _ in gathered), strict=True)
        loss = sum(losses) / (sum(numbers) or 1)
        if self.metric is None:
            return Evaluation(loss)
        rows, counts = join_rows([rows for _, rows, _ in gathered]), sum(counts for _, _, counts in gathered)
        found = average_precisions(rows, np.asarray(counts), self.finder.keys.score_threshold)
        figures = {"map": found.map, "map50": found.map50}
        value = figures.pop(self.metric.name)
        others = {name: figure for name, figure in figures.items() if figure is not None}
        return Evaluation(loss, self.metric.name, value, BoxDetails(found), others)


def _images_of(found: Detections) -> torch.Tensor:
    """(D,) the image of each detection."""
    return torch.arange(len(found)).repeat_interleave(found.starts.diff()).to(found.corners.device)


def _rank(ids: Sequence[Any]) -> np.ndarray | None:
    """(N,) the place of each image among all in the order of their ids; None without ids, or if these have no order."""
    if not ids or not any(all(isinstance(one, kind) for one in ids) for kind in ((int, float), str)):
        return None
    ranks = np.empty(len(ids), np.int64)
    ranks[np.argsort(ids, kind="stable")] = np.arange(len(ids))
    return ranks


def make_finder(loss: Loss, transforms: Transforms, keys: Detection, *, compares: bool) -> Finder:
    """What makes detections of a network's outputs; all that mAP counts if they are compared with boxes."""
    grids = grids_of(loss)
    if grids is None:
        raise RuntimeError("what the outputs stand for is not known")
    return Finder(grids, transforms, keys, LOWEST_SCORE if compares else keys.score_threshold)
