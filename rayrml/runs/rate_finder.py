"""A learning-rate range test of a configuration: workers make some steps with growing rates; nothing is kept."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rayrml.config.reading import AnyConfiguration, read_configuration
from rayrml.errors import ConfigError, DivergenceError, Problem
from rayrml.reporting.messages import BatchesTrained, Message, Phase, Skipped
from rayrml.runs import launch
from rayrml.training.rate_range import RateRange, suggest_rate

if TYPE_CHECKING:
    from rayrml.cluster.allocation import Allocation
    from rayrml.config.sections import Config
    from rayrml.planning.plan import Plan, TrainingPlan
    from rayrml.reporting.console import Console
    from rayrml.training.interrupts import Interrupts
    from rayrml.training.job import Job


@dataclasses.dataclass(frozen=True)
class RateCurve:
    """What a range test has shown.

    Attributes:
        rates: the learning rate of each step.
        losses: the loss of each step's batch, before the step.
        suggested: the learning rate to train with, None if the loss has not come down clearly.
        configured: the learning rate of the configuration.
        planned_steps: how many steps there would have been if the loss had not diverged.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggested: float | None
    configured: float
    planned_steps: int

    @property
    def diverged(self) -> bool:
        """Whether the test ended early because the loss had risen too far."""
        return len(self.rates) < self.planned_steps


def find_rate(
    config: AnyConfiguration,
    *,
    rates: RateRange,
    quiet: bool = False,
    verbose: bool = False,
    on_mistake: Callable[[BaseException], None] | None = None,
) -> RateCurve:
    """The losses of a configuration's training while its learning rate grows, and the rate that follows from them.

    The network, the samples and their order, the loss, the optimizer, the precision and the workers are those of a
    training. Epochs repeat if they have fewer batches than the test has steps. No file is written.

    Raises:
        ConfigError, DataError, ClusterError: as in a training.
        KeyboardInterrupt: SIGINT or SIGTERM was received.
    """
    from rayrml.cluster import ray_client

    document = read_configuration(config)
    with document.locating_mistakes():
        _refuse_generators(document.parsed[0])
    address = None if document.parsed[0] is None else document.parsed[0].ray.address
    if document.parsed[0] is not None and ray_client.is_needed(address):
        return ray_client.run(document.checked(), find_rate, rates=rates, quiet=quiet, verbose=verbose)

    def carry_out(plan: Plan, allocation: Allocation, interrupts: Interrupts, console: Console) -> RateCurve:
        return _Test(plan, allocation, rates, console).run(interrupts)

    return launch.run_otherwise(document, carry_out, quiet=quiet, verbose=verbose, on_mistake=on_mistake)


class _Test:
    """Runs the test on a part of a cluster, and collects the losses."""

    def __init__(self, plan: Plan, allocation: Allocation, rates: RateRange, console: Console):
        from rayrml.runs.runner import refuse_too_many_workers

        self._plan = _check(plan)
        self._allocation = allocation
        self._rates = rates
        self._console = console
        self._losses: dict[tuple[int, int], float] = {}
        refuse_too_many_workers(plan, allocation)

    def run(self, interrupts: Interrupts) -> RateCurve:
        """The curve. Raises KeyboardInterrupt if the test was interrupted."""
        from rayrml.planning import summary

        summary.brief(self._console, self._plan, self._allocation)
        self._console.line()
        optimizer = self._plan.optimizer
        configured = float(optimizer.settings["learning_rate"])
        with contextlib.suppress(DivergenceError), _ray_folder(self._plan, self._allocation) as folder:
            self._work(self._job(), interrupts, folder)
        self._console.stop_waiting()
        if interrupts.requested:
            raise interrupts.error()
        losses = tuple(self._losses[step] for step in sorted(self._losses))
        rates = tuple(self._rates.rate(step) for step in range(len(losses)))
        return RateCurve(rates, losses, suggest_rate(rates, losses), configured, self._rates.num_steps)

    def _job(self) -> Job:
        """The training's job, without anything that it would write."""
        from rayrml.runs.training_run import make_job

        plan = self._plan
        datasets = dataclasses.replace(plan.datasets, test=None, final_test=None, test_targets=False)
        job = make_job(plan, state_folder=None, decode_cpus=self._allocation.decode_cpus)
        config = job.config.model_copy(
            update={
                "num_epochs": self._rates.num_steps,
                "checkpoints": job.config.checkpoints.model_copy(update={"save": None}),
                "data": job.config.data.model_copy(update={"test_output_path": None, "hdf5_outfile": None}),
            }
        )
        return dataclasses.replace(
            job, config=config, datasets=datasets, schedule=None, debug_path=None, rate_range=self._rates
        )

    def _work(self, job: Job, interrupts: Interrupts, folder: str) -> None:
        from rayrml.cluster.shared_files import refuse_unshared
        from rayrml.planning import summary
        from rayrml.training.in_driver import run_in_driver

        allocation = self._allocation
        if allocation.in_driver:
            self._console.wait_for("Preparing the samples")
            run_in_driver(job, self._receive, allocation, interrupts)
            return
        if not allocation.one_machine:
            refuse_unshared(self._plan.sources)
        from rayrml.training import trainer

        self._console.begin(f"Starting {summary.workers(allocation)}")
        where = {"storage": folder, "name": f"{self._plan.name}-find-lr"}
        trainer.run_on_workers(job, self._receive, allocation, interrupts, **where, max_failures=0)

    def _receive(self, message: Message) -> None:
        match message:
            case Phase(text):
                self._console.line(text)
            case Skipped(bad):
                self._console.lines(bad.lines())
            case BatchesTrained(rows):
                self._losses |= {(row.epoch, row.batch): row.loss for row in rows}
                step = len(self._losses)
                rate, loss = self._rates.rate(step - 1), rows[-1].loss
                text = f"Step {step} of {self._rates.num_steps}: learning rate {rate:.3g}, loss {loss:.4g}"
                self._console.wait_for(text)


def _check(plan: Plan) -> TrainingPlan:
    """The plan of a training. Raises ConfigError if there is none, or its optimizer chooses its steps itself."""
    from rayrml.optimizers import needs_closure
    from rayrml.planning.plan import TrainingPlan

    if not isinstance(plan, TrainingPlan):
        message = "is missing: a learning rate can only be found for a training"
        raise ConfigError(Problem("neural_network.data.input_path", message))
    if needs_closure(plan.optimizer.builder):
        message = f"{plan.optimizer.name} searches for the length of each step itself; there is no rate to be found"
        raise ConfigError(Problem("neural_network.optimizer.type", message))
    return plan


def _refuse_generators(config: Config | None) -> None:
    """Raise ConfigError if a generator is trained, before Ray is started."""
    from rayrml.losses import adversarial
    from rayrml.planning.application import GAN

    if config is None:
        return
    nn = config.neural_network
    loss = str((nn.loss or {}).get("function")).casefold()
    if nn.app == GAN or loss in map(str.casefold, adversarial.LOSSES):
        message = "the loss of a generator and its critic, which learn in turn, does not say which rate is better"
        raise ConfigError(Problem("neural_network.loss", f"{message}. Expected another loss"))


@contextlib.contextmanager
def _ray_folder(plan: Plan, allocation: Allocation) -> Iterator[str]:
    """The folder for Ray's own files; temporary on one machine."""
    from rayrml.runs.context import find_state_folder

    if allocation.one_machine:
        with tempfile.TemporaryDirectory(prefix="rayrml-", ignore_cleanup_errors=True) as folder:
            yield folder
        return
    folder = find_state_folder(plan)
    if folder is None:
        raise ConfigError(Problem("ray.storage_path", "is missing. Set it to a folder that all machines share"))
    yield folder
