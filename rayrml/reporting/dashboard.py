"""A run's figures on Ray's dashboard and for Prometheus, while it is running.

Ray adds the prefix `ray_` and serves them on each machine's metrics port, with the run's name as a tag.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rayrml.cluster import late_start
from rayrml.reporting.messages import BatchesTrained, EpochDone, Evaluated, Message, Started

if TYPE_CHECKING:
    from ray.util.metrics import Gauge

_MEANINGS = {
    "epoch": "Current epoch, from 1",
    "batch": "Current batch of the epoch, from 1",
    "workers": "Training workers",
    "train_loss": "Loss of the last batch",
    "gradient_norm": "Gradient norm of the last batch",
    "samples_per_second": "Samples trained on per second, over all workers",
    "data_wait_share": "Share of the time spent waiting for samples, 0 to 1",
    "exchange_share": "Share of the time that workers wait for each other's gradients, 0 to 1",
    "gpu_memory_bytes": "Peak GPU memory of the first worker so far",
    "learning_rate": "Learning rate of the last batch",
    "epoch_train_loss": "Mean loss of the last epoch",
    "epoch_seconds": "Duration of the last epoch",
    "test_loss": "Mean loss over the test samples",
    "test_metric": "Metric over the test samples",
}


class Gauges:
    """The gauges of one run. All are set again with each message, because Ray forgets those that are not.

    Args:
        run: name of the run.
    """

    def __init__(self, run: str):
        self._run = run
        self._gauges: dict[str, Gauge] = {}
        self._values: dict[str, tuple[float, dict[str, str]]] = {}
        self._before = 0.0

    def receive(self, message: Message) -> None:
        """Show the figures of a worker's message."""
        match message:
            case Started():
                self._before = message.seconds
                self._set("workers", message.num_workers)
            case BatchesTrained():
                self._batches(message)
            case Evaluated(found=found):
                if found.loss is not None:
                    self._set("test_loss", found.loss)
                if found.value is not None:
                    self._set("test_metric", found.value, metric=found.metric)
            case EpochDone(figures):
                for name, key in (
                    ("epoch_train_loss", "train_loss"),
                    ("epoch_seconds", "seconds"),
                ):
                    if key in figures:
                        self._set(name, figures[key])
            case _:
                pass
        self._show()

    def _batches(self, message: BatchesTrained) -> None:
        rows = message.rows
        last = rows[-1]
        data, exchange = sum(row.data for row in rows), sum(row.reduce for row in rows)
        total = (data + exchange + sum(row.compute for row in rows)) or 1.0
        self._set("epoch", last.epoch)
        self._set("batch", last.batch)
        self._set("train_loss", last.loss)
        self._set("gradient_norm", last.gradient_norm)
        self._set("learning_rate", message.learning_rate)
        self._set("data_wait_share", data / total)
        self._set("exchange_share", exchange / total)
        if last.seconds > self._before:
            self._set("samples_per_second", sum(row.num_samples for row in rows) / (last.seconds - self._before))
        self._before = last.seconds
        if message.gpu_bytes:
            self._set("gpu_memory_bytes", message.gpu_bytes)

    def _set(self, name: str, value: float, **more: str) -> None:
        self._values[name] = (value, {"run": self._run, **more})

    def _show(self) -> None:
        offer = late_start.find_offer()
        if offer is not None and not offer.is_up:
            return  # without Ray, there is no dashboard
        for name, (current, tags) in self._values.items():
            self._gauge(name, tags).set(current, tags=tags)

    def _gauge(self, name: str, tags: Iterable[str]) -> Gauge:
        from ray.util.metrics import Gauge

        if name not in self._gauges:
            self._gauges[name] = Gauge(f"rayrml_{name}", description=_MEANINGS[name], tag_keys=tuple(tags))
        return self._gauges[name]
