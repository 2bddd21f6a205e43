"""The job that `inference` is compared with: `read_images`, an actor with torchvision, `create_dataset` for each image.

`python -m tests.benchmarks.inference_by_hand FOLDER WEIGHTS FILE`
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np


class Predictor:
    """An actor with the network and torchvision's transforms."""

    def __init__(self, weights: str):
        import torch
        from torchvision.transforms import v2

        from tests.benchmarks.loops import digits_network

        self.network = digits_network()
        self.network.load_state_dict(torch.load(weights))
        self.network.eval()
        self.transform = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """Outputs for a batch of images (n, height, width)."""
        import torch

        images = torch.stack([self.transform(image) for image in batch["image"]])
        with torch.inference_mode():
            return {"path": batch["path"], "output": self.network(images).numpy()}


def predict(folder: str, weights: str, path: str) -> None:
    """Write a dataset for each image below a folder."""
    import h5py
    import ray

    ray.init(log_to_driver=False)
    images = ray.data.read_images(folder, mode="L", include_paths=True)
    outputs = images.map_batches(Predictor, fn_constructor_args=(weights,), batch_size=128, concurrency=1, num_cpus=0.5)
    with h5py.File(f"{path}.part", "w") as file:
        for batch in outputs.iter_batches(batch_size=128, batch_format="numpy"):
            for name, output in zip(batch["path"], batch["output"], strict=True):
                file.create_dataset(os.path.relpath(name, folder), data=output)
    Path(f"{path}.part").replace(path)
    ray.shutdown()


if __name__ == "__main__":
    predict(*sys.argv[1:])
