"""Small images, a generator and a critic of them, and their training in this process, without Ray."""

import dataclasses

import numpy as np
import torch
from PIL import Image

from rayrml.inference.outputs import Outputs
from rayrml.planning.preparation import prepare
from rayrml.reporting.messages import BatchesTrained, EpochDone, Phase, Saved
from rayrml.runs.training_run import make_job
from rayrml.training.epoch_loop import Worker
from rayrml.training.preemption import Notice
from rayrml.workers import Workers

SIZE = 6
GENERATOR = [
    {"class_name": "Dense", "config": {"units": 36, "name": "first", "batch_input_shape": [None, 4]}},
    {"class_name": "BatchNormalization", "config": {"name": "norm", "axis": -1, "momentum": 0.5}},
    {"class_name": "ReLU", "config": {"name": "relu"}},
    {"class_name": "Dense", "config": {"units": 36, "name": "second", "activation": "sigmoid"}},
    {"class_name": "Reshape", "config": {"target_shape": [SIZE, SIZE, 1], "name": "image"}},
]
CRITIC = [
    {"class_name": "Flatten", "config": {"name": "flat", "batch_input_shape": [None, SIZE, SIZE, 1]}},
    {"class_name": "Dense", "config": {"units": 16, "name": "hidden"}},
    {"class_name": "LeakyReLU", "config": {"name": "leaky"}},
    {"class_name": "Dense", "config": {"units": 1, "name": "score"}},
]


def write_squares(folder, count):
    """Gray images of bright squares on a dark ground."""
    folder.mkdir(parents=True, exist_ok=True)
    draws = np.random.default_rng(count)
    for number in range(count):
        image = np.full((SIZE, SIZE), 20, np.uint8)
        top, left = draws.integers(0, SIZE - 3, 2)
        image[top : top + 3, left : left + 3] = draws.integers(150, 255)
        Image.fromarray(image).save(folder / f"{number:03}.png")
    return str(folder)


def configuration(folder, *, data=None, loss=None, **section):
    """The training of a generator of squares; images are written unless they are there."""
    if not (folder / "training").exists():
        write_squares(folder / "training", 22)
        write_squares(folder / "testing", 9)
    given = {
        "layers": GENERATOR,
        "critic": {"layers": CRITIC},
        "num_epochs": 3,
        "data": {
            "input_type": "images",
            "grayscale": True,
            "preload": True,
            "batch_size": 8,
            "test_batch_size": 4,
            "input_path": str(folder / "training"),
            "test_input_path": str(folder / "testing"),
            **(data or {}),
        },
        "optimizer": {"type": "Adam", "learning_rate": 1e-3, "beta1": 0.0},
        "loss": {"function": "Wasserstein", "critic_steps": 2, **(loss or {})},
        "checkpoints": {"save": str(folder / "run"), "interval": 2},
    }
    return {"neural_network": {**given, **section}}


class Listener:
    """The driver of a worker, which keeps its messages and can ask it to stop after a number of batches."""

    def __init__(self, batches=None):
        self.messages = []
        self._left = batches

    def emit(self, message):
        self.messages.append(message)

    def asked_to_stop(self):
        if self._left is None:
            return False
        self._left -= 1
        return self._left <= 0

    def unwritten(self):
        return []

    @property
    def history(self):
        return [message.figures for message in self.messages if isinstance(message, EpochDone)]

    @property
    def rows(self):
        return [row for message in self.messages if isinstance(message, BatchesTrained) for row in message.rows]

    @property
    def phases(self):
        return [message.text for message in self.messages if isinstance(message, Phase)]

    @property
    def saved(self):
        return [message.path for message in self.messages if isinstance(message, Saved)]


def run_here(
    config,
    *,
    workers=Workers(),  # noqa: B008
    resume_from=(),
    batches=None,
    run_id="run",
    device="cpu",
    notice=Notice(),  # noqa: B008
):
    """Train in this process, as one of the workers; returns what it has said."""
    plan = prepare(config)
    folder = plan.config.neural_network.checkpoints.save
    job = make_job(plan, state_folder=folder, resume_from=tuple(resume_from))
    datasets = {name: dataclasses.replace(source, here=True) for name, source in plan.datasets.sources.items()}
    job = dataclasses.replace(job, datasets=dataclasses.replace(plan.datasets, **datasets), run_id=run_id)
    listener = Listener(batches)
    Worker(job, workers, torch.device(device), driver=listener, outputs=Outputs(), notice=notice).run()
    return listener
