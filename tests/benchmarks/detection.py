"""Data with boxes, training steps, the loss and mAP, against Ultralytics, a loop by hand, and pycocotools."""

from __future__ import annotations

import argparse
import contextlib
import copy
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import ray
import torch

from rayrml.boxes.batch import Boxes, cumulate
from rayrml.boxes.grids import find_layout
from rayrml.cluster.connection import hide_messages
from rayrml.losses.detection import TERMS, yolo_v3
from rayrml.metrics.average_precision import DetectionRows, average_precisions
from rayrml.metrics.box_matching import Detections, Truths
from rayrml.training.job import Job
from rayrml.training.step import Trained
from tests.benchmarks.detection_by_hand import Detector, YoloLoss
from tests.benchmarks.loops import RayrmlLoop, planned
from tests.benchmarks.material import detection_network, labelled_photographs, training
from tests.benchmarks.pairs import agree, cpus, environment, in_turn, need, options, row, table

CLASSES = 10
ANCHORS = ((20.0, 20.0), (50.0, 50.0), (120.0, 120.0))


def main() -> None:
    """Measure data with Ray up, then all that computes by itself, by the CPU seconds of one thread."""
    arguments = options(__doc__).parse_args()
    need("ultralytics", "pycocotools")
    rows = [mean_average_precision(arguments), loss_alone(arguments)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["YOLO_CONFIG_DIR"] = str(folder)
        count = 256 if arguments.quick else 1_024
        labelled_photographs(folder / "photographs", count, CLASSES)
        os.environ.update(environment(cpus()))
        hide_messages()
        ray.init(num_cpus=2, log_to_driver=False, logging_level="error", include_dashboard=False)
        rows += [data(folder, count, arguments.pairs, preload=preload) for preload in (False, True)]
        rows.append(training_step(folder, count, arguments.pairs))
        ray.shutdown()
    table("detection", rows, "Detection, by CPU seconds of all processes", arguments)


def data(folder: Path, count: int, pairs: int, *, preload: bool) -> dict[str, Any]:
    """Batches of images with their boxes, letterboxed and half of them flipped, that nothing computes with."""
    torch.set_num_threads(1)  # threads that wait for each other use CPU seconds
    size = 320
    ours, theirs = Batches(_job(folder, size, preload), size), UltralyticsLoader(folder, size, preload)
    measured = in_turn(lambda: count / ours.seconds(), lambda: count / theirs.seconds(), pairs)
    agree("boxes of an epoch", ours.num_boxes, theirs.num_boxes)
    what = "preloaded" if preload else "JPEGs decoded in each epoch"
    cache = ', cache="ram"' if preload else ""
    return row(
        f"images/CPU second of data alone, 500x375 in 320x320, {what}",
        f"Ultralytics's YOLODataset{cache} + DataLoader(num_workers=2)",
        measured,
        least=1.0 if preload else 0.7,  # decoded images are resized with antialiasing, unlike OpenCV's
    )


def training_step(folder: Path, count: int, pairs: int) -> dict[str, Any]:
    """Epochs of the same network on images in memory; images for each CPU second of one thread."""
    torch.set_num_threads(1)
    size = 160
    job = _job(folder, size, preload=True)
    network = copy.deepcopy(job.network)
    ours = RayrmlLoop(job, None, None)
    batches = list(ours.feed.batches(count, None))
    images = batches[0].input
    boxes = job.datasets.transforms.decoded_boxes(batches[0].target.boxes, batches[0].target.sizes)
    loss = YoloLoss(ANCHORS, stride=16)
    with torch.no_grad():
        outputs = network(images[:32].float() / 255)
        agree("losses", job.loss.build()(outputs, boxes[:32]).item(), loss(outputs, _lists(boxes[:32])).item(), 1e-4)
    theirs = Detector(network, loss, images, _lists(boxes))
    measured = in_turn(lambda: count / _cpu_seconds(ours), lambda: count / _cpu_seconds(theirs), pairs)
    agree("losses", ours.loss, theirs.loss, 0.3)
    return row(
        "images/CPU second of training, preloaded, 160x160", "loop by hand, loss image by image", measured, least=1.0
    )


def loss_alone(arguments: argparse.Namespace) -> dict[str, Any]:
    """The loss and its gradient on outputs for 416x416 pixels."""
    torch.set_num_threads(1)
    num_images, each, num_classes = (2, 7, 80) if arguments.quick else (16, 7, 80)
    random = torch.Generator().manual_seed(0)
    middles = 40 + 336 * torch.rand(num_images * each, 2, generator=random)
    halves = 4 + 36 * torch.rand(num_images * each, 2, generator=random)
    corners = torch.cat([middles - halves, middles + halves], 1)
    classes = torch.randint(num_classes, (len(corners),), generator=random)
    starts = cumulate(torch.full((num_images,), each))
    boxes = Boxes(corners.double(), classes, torch.zeros(len(corners), dtype=torch.bool), starts)
    anchors = [(10.0 * 1.5**i, 10.0 * 1.5**i) for i in range(9)]
    grids = find_layout([(255, 3549)], (416, 416), num_classes).with_anchors(anchors)
    loss = yolo_v3(grids)
    outputs = torch.randn(num_images, 255, 3549, generator=random, requires_grad=True)

    def ours() -> None:
        loss.parts(outputs, boxes)[0].backward()

    theirs = _ultralytics_loss(boxes, num_classes)
    measured = in_turn(lambda: _cpu_seconds(ours), lambda: _cpu_seconds(theirs), arguments.pairs)
    what = f"CPU seconds of the loss and its gradient, {num_images} images, 10,647 places, 80 classes"
    return row(what, "Ultralytics's v8DetectionLoss, 3,549 places", measured, most=1.0)


def mean_average_precision(arguments: argparse.Namespace) -> dict[str, Any]:
    """mAP of 100 detections in each of 5,000 images."""
    num_images = 200 if arguments.quick else 5_000
    found, truths = _made_up(num_images, 100, 7, 80)
    ours, theirs = OurMap(found, truths, 80), CocoMap(found, truths, 80)
    measured = in_turn(lambda: _cpu_seconds(ours), lambda: _cpu_seconds(theirs), arguments.pairs)
    agree("mAP", ours.value, theirs.value, 1e-12)
    return row(f"CPU seconds of mAP, {num_images:,} images x 100 detections", "pycocotools", measured, most=0.2)


class Batches:
    """rayrml's epochs with a step that only counts boxes."""

    def __init__(self, job: Job, size: int):
        self._loop = RayrmlLoop(job, None, None)
        self._loop.step = self._count
        self._size = size
        self.num_boxes = 0

    def seconds(self) -> float:
        """CPU seconds of an epoch, with those of Ray's processes."""
        self.num_boxes = 0
        others = {process.pid for process in multiprocessing.active_children()}
        return _cpu_seconds(self._loop, lambda process: process.pid not in others)

    def _count(self, images: torch.Tensor, target: Boxes, num_samples: int, **_: Any) -> Trained:
        if images.shape[1:] != (3, self._size, self._size) or images.dtype != torch.float32:
            raise SystemExit(f"images have shape {tuple(images.shape)} and type {images.dtype}")
        self.num_boxes += len(target.corners)
        return Trained(torch.zeros(()), torch.zeros(1), 0.0, 0.0, terms=torch.zeros(len(TERMS)))


class UltralyticsLoader:
    """Ultralytics's dataset with letterbox and flip alone; images become floats as its trainer makes them."""

    def __init__(self, folder: Path, size: int, preload: bool):
        from ultralytics.cfg import get_cfg
        from ultralytics.data.augment import Compose, Format, LetterBox, RandomFlip
        from ultralytics.data.dataset import YOLODataset

        names = {number: f"class {number}" for number in range(CLASSES)}
        self.dataset = YOLODataset(
            img_path=str(folder / "photographs" / "images"),
            imgsz=size,
            augment=False,
            hyp=get_cfg(),
            cache="ram" if preload else False,
            data={"names": names, "nc": CLASSES, "channels": 3},
            task="detect",
        )
        steps = [LetterBox((size, size)), RandomFlip(p=0.5, direction="horizontal"), Format(batch_idx=True)]
        self.dataset.transforms = Compose(steps)
        self.loader = torch.utils.data.DataLoader(
            self.dataset,
            batch_size=16,
            shuffle=True,
            num_workers=2,
            collate_fn=self.dataset.collate_fn,
            persistent_workers=True,
        )
        self.num_boxes = 0

    def seconds(self) -> float:
        """CPU seconds of an epoch, with those of the loader's processes."""
        self.num_boxes = 0
        return _cpu_seconds(
            self._read, lambda process: process.pid in {p.pid for p in multiprocessing.active_children()}
        )

    def _read(self) -> None:
        for batch in self.loader:
            batch["img"] = batch["img"].float() / 255
            self.num_boxes += len(batch["cls"])


class OurMap:
    """rayrml's figure, from batches of 16 images."""

    def __init__(self, found: Detections, truths: Truths, num_classes: int):
        self._found, self._truths, self._num_classes = found, truths, num_classes
        self.value = float("nan")

    def __call__(self) -> None:
        rows = DetectionRows(self._num_classes)
        found, truths = self._found, self._truths
        for start in range(0, len(found.starts) - 1, 16):
            end = min(start + 16, len(found.starts) - 1)
            of_found, of_true = (slice(one.starts[start], one.starts[end]) for one in (found, truths))
            rows.add(
                np.arange(start, end),
                Detections(found.rows[of_found], found.starts[start : end + 1] - found.starts[start]),
                Truths(
                    truths.corners[of_true],
                    truths.classes[of_true],
                    truths.ignored[of_true],
                    truths.starts[start : end + 1] - truths.starts[start],
                ),
            )
        self.value = average_precisions(rows.rows, rows.counts, 0.25).map


class CocoMap:
    """pycocotools' figure of boxes of all sizes; indices are made before."""

    def __init__(self, found: Detections, truths: Truths, num_classes: int):
        from pycocotools.coco import COCO

        self._true = COCO()
        corners, images = truths.corners, np.repeat(np.arange(len(truths.starts) - 1), np.diff(truths.starts))
        sizes = corners[:, 2:] - corners[:, :2]
        boxes = np.concatenate([corners[:, :2], sizes], 1)
        self._true.dataset = {
            "info": {},
            "images": [{"id": image} for image in range(len(truths.starts) - 1)],
            "categories": [{"id": number} for number in range(num_classes)],
            "annotations": [
                {
                    "id": n + 1,
                    "image_id": image,
                    "category_id": kind,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
                for n, (image, kind, box) in enumerate(
                    zip(images.tolist(), truths.classes.tolist(), boxes.tolist(), strict=True)
                )
            ],
        }
        self._true.createIndex()
        rows, images = found.rows.astype(np.float64), np.repeat(np.arange(len(found.starts) - 1), np.diff(found.starts))
        columns = [images[:, None], rows[:, :2], rows[:, 2:4] - rows[:, :2], rows[:, 4:]]
        self._found = self._true.loadRes(np.concatenate(columns, 1))
        self.value = float("nan")

    def __call__(self) -> None:
        from pycocotools.cocoeval import COCOeval

        evaluation = COCOeval(self._true, self._found, "bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = evaluation.params.areaRng[:1], ["all"]
        evaluation.params.maxDets = [100]
        evaluation.evaluate()
        evaluation.accumulate()
        precision = evaluation.eval["precision"]
        self.value = float(precision[precision > -1].mean())


def _job(folder: Path, size: int, preload: bool) -> Job:
    images = folder / "photographs" / "images"
    transforms = [{"letterbox": [size, size]}, {"random_horizontal_flip": 0.5}]
    layers = detection_network(size, len(ANCHORS) * (5 + CLASSES))
    config = training(
        images, layers, preload=preload, batch_size=16, transforms=transforms, target_type="boxes", num_epochs=1
    )
    # Later epochs than the last one are not begun ahead, which would take time from the other side.
    config["neural_network"]["loss"] = {"function": "YOLOv3", "anchors": ANCHORS}
    return planned(config)[1]


def _lists(boxes: Boxes) -> list[torch.Tensor]:
    """(n, 5) class and corners of each image's boxes, in float32."""
    rows = torch.cat([boxes.classes[:, None].float(), boxes.corners.float()], 1)
    return list(rows.split(boxes.counts.tolist()))


def _ultralytics_loss(boxes: Boxes, num_classes: int) -> Callable[[], None]:
    """The loss of Ultralytics's networks with a gradient of as many positions, for an input of 416x416 pixels."""
    from types import SimpleNamespace

    from ultralytics.utils.loss import v8DetectionLoss

    head = SimpleNamespace(stride=torch.tensor([8.0, 16.0, 32.0]), nc=num_classes, reg_max=16)
    gains = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)
    network = SimpleNamespace(parameters=lambda: iter([torch.zeros(1)]), args=gains, model=[head])
    loss = v8DetectionLoss(network)
    middles, sizes = (boxes.corners[:, :2] + boxes.corners[:, 2:]) / 2, boxes.corners[:, 2:] - boxes.corners[:, :2]
    batch = {
        "batch_idx": boxes.images.float(),
        "cls": boxes.classes.float(),
        "bboxes": (torch.cat([middles, sizes], 1) / 416).float(),
    }
    outputs = {
        "boxes": torch.randn(len(boxes), 64, 3549, requires_grad=True),
        "scores": torch.randn(len(boxes), num_classes, 3549, requires_grad=True),
        "feats": [torch.zeros(len(boxes), 1, side, side) for side in (52, 26, 13)],
    }

    def compute() -> None:
        loss.get_assigned_targets_and_loss(outputs, batch)[1].sum().backward()

    return compute


def _made_up(num_images: int, each: int, num_true: int, num_classes: int) -> tuple[Detections, Truths]:
    """Detections, a fifth of which are near a true box of their class."""
    random = np.random.default_rng(0)

    def boxes(*shape: int) -> np.ndarray:
        corner = random.uniform(0, 400, (*shape, 2))
        return np.concatenate([corner, corner + random.uniform(10, 200, (*shape, 2))], -1)

    true, classes = boxes(num_images, num_true), random.integers(0, num_classes, (num_images, num_true))
    picked = random.integers(0, num_true, (num_images, each))
    near = random.random((num_images, each)) < 0.2
    noise = random.normal(0, 3, (num_images, each, 4))
    corners = np.where(near[..., None], np.take_along_axis(true, picked[..., None], 1) + noise, boxes(num_images, each))
    kinds = np.where(near, np.take_along_axis(classes, picked, 1), random.integers(0, num_classes, near.shape))
    scores = random.random(near.shape)
    rows = np.concatenate([corners, scores[..., None], kinds[..., None]], -1).astype(np.float32).reshape(-1, 6)
    found = Detections(rows, np.arange(num_images + 1) * each)
    starts = np.arange(num_images + 1) * num_true
    return found, Truths(true.reshape(-1, 4), classes.reshape(-1), np.zeros(classes.size, bool), starts)


def _cpu_seconds(work: Callable[[], Any], counts: Callable[[psutil.Process], bool] = lambda process: False) -> float:
    """CPU seconds of this process, and of those below it that count."""
    before = time.process_time(), _used(counts)
    work()
    after = time.process_time(), _used(counts)
    others = sum(seconds - before[1].get(pid, 0) for pid, seconds in after[1].items())
    return after[0] - before[0] + others


def _used(counts: Callable[[psutil.Process], bool]) -> dict[int, float]:
    """CPU seconds of each process below this one that counts, with those of its children that have ended."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if counts(process):
                found[process.pid] = sum(process.cpu_times()[:4])
    return found


if __name__ == "__main__":
    main()
