"""Ultralytics's training of classifiers, with the network of the others and no augmentation.

`python -m tests.benchmarks.peers_by_hand.ultralytics FOLDER SIZE EPOCHS TIMES`
"""

from __future__ import annotations

import sys
from pathlib import Path

from ultralytics import YOLO

from tests.benchmarks.peers_by_hand.task import note_end_of_epoch

_NETWORK = """
nc: 10
backbone:
  - [-1, 1, nn.Conv2d, [3, 8, 3, 4]]
  - [-1, 1, nn.ReLU, []]
  - [-1, 1, nn.Conv2d, [8, 16, 3, 2]]
  - [-1, 1, nn.ReLU, []]
head:
  - [-1, 1, nn.AdaptiveAvgPool2d, [1]]
  - [-1, 1, nn.Flatten, []]
  - [-1, 1, nn.Linear, [16, 10]]
"""

if __name__ == "__main__":
    folder, size, epochs, times = sys.argv[1:]
    network = Path(times).with_name("small-cls.yaml")
    network.write_text(_NETWORK)
    model = YOLO(str(network), task="classify")
    model.add_callback("on_train_epoch_end", lambda trainer: note_end_of_epoch(times))
    model.train(
        data=folder,
        imgsz=int(size),
        epochs=int(epochs),
        batch=64,
        workers=2,
        device="cpu",
        amp=False,
        cache="ram",
        optimizer="Adam",
        lr0=1e-4,
        auto_augment=None,
        erasing=0.0,
        scale=0.0,
        fliplr=0.0,
        hsv_h=0.0,
        hsv_s=0.0,
        hsv_v=0.0,
        val=False,
        plots=False,
        save=False,
        project=str(Path(times).parent),
    )
