"""CUDA graphs: work that a GPU has done once and does again at one word of the CPU's.

For a small network the CPU takes longer to name the GPU's hundreds of operations than the GPU to do them. A graph has
them all, and takes as long as the GPU does.
"""

from __future__ import annotations

import contextlib
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch

Tensors = tuple[torch.Tensor, ...]
Function = Callable[..., Tensors]

_STEPS_TO_WATCH = 10
_FIRST_STEPS = 3  # which load and choose kernels
_WAITING = "called a synchronizing CUDA operation"  # in torch's words
_MOST_OF_THE_CPU = 1.25  # how long the GPU may take, with the CPU's time as 1, where it only waits for the CPU


class Graphed:
    """A function of a batch that is watched, and becomes a graph if the GPU waits for the CPU in it.

    The function takes a batch and its target, gives tensors and leaves new gradients in the `grad` of parameters. What
    it computes must follow from the shapes of its arguments and the numbers in tensors alone. Batches of other shapes
    than those that came often enough first, such as the last of an epoch, are computed as before.

    Args:
        parameters: whose gradients these are.
    """

    def __init__(self, parameters: Sequence[torch.Tensor]):
        self._parameters = parameters
        self._watched: dict[_Shapes, _Watch] | None = {}  # None once all is decided
        self._graph: _Graph | None = None

    @property
    def recorded(self) -> bool:
        """Whether there is a graph."""
        return self._graph is not None

    def __call__(self, function: Function, batch: torch.Tensor, target: torch.Tensor) -> Tensors:
        """What the function, the same each time, gives; the tensors are the caller's."""
        if self._graph is not None and self._graph.takes(batch, target):
            return self._graph.replay(batch, target)
        if self._watched is None:
            return function(batch, target)
        watch = self._watched.setdefault(_shapes(batch, target), _Watch())
        if watch.undecided:
            return watch.step(function, batch, target)
        self._watched = None
        if watch.pays() and _is_possible(batch.device) and _has_room(batch.device):
            self._graph = _recorded(function, self._parameters, batch, target)
        return self(function, batch, target)


class _Shape(NamedTuple):
    size: torch.Size
    strides: tuple[int, ...]
    dtype: torch.dtype


_Shapes = tuple[_Shape, ...]


def _shapes(*tensors: torch.Tensor) -> _Shapes:
    return tuple(_Shape(tensor.shape, tensor.stride(), tensor.dtype) for tensor in tensors)


class _Step(NamedTuple):
    """A step that was watched: seconds of the CPU, beginning and end on the GPU, and if that had nothing else to do."""

    seconds: float
    first: torch.cuda.Event
    last: torch.cuda.Event
    idle: bool


class _Watch:
    """How long the CPU takes for steps of one shape, and how long the GPU; and if the CPU waits for it in a step."""

    def __init__(self):
        self._steps: list[_Step] = []
        self._waits = False

    @property
    def undecided(self) -> bool:
        """Whether more steps must be seen."""
        return len(self._steps) < _STEPS_TO_WATCH

    def step(self, function: Function, *arguments: torch.Tensor) -> Tensors:
        """Do a step."""
        # The end of the step before was followed by the update of the weights.
        idle = bool(self._steps) and self._steps[-1].last.query()
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        started = time.perf_counter()
        first.record()
        if len(self._steps) < _STEPS_TO_WATCH - 1:
            results = function(*arguments)
        else:
            with _noticed_waiting() as found:
                results = function(*arguments)
            self._waits = bool(found)
        last.record()
        self._steps.append(_Step(time.perf_counter() - started, first, last, idle))
        return results

    def pays(self) -> bool:
        """Whether the GPU waited for each step, and was done with it as soon as the CPU was; waits for the last one.

        A step in which the CPU waits for numbers cannot be recorded.
        """
        if self._waits:
            return False
        steps = self._steps[_FIRST_STEPS:]
        steps[-1].last.synchronize()
        # A CPU that is far ahead waits within steps, too: then it takes as long as the GPU, but the GPU is never idle.
        idle = statistics.median(step.idle for step in steps) == 1
        on_gpu = statistics.median(step.first.elapsed_time(step.last) / 1e3 for step in steps)
        return idle and on_gpu < _MOST_OF_THE_CPU * statistics.median(step.seconds for step in steps)


@contextlib.contextmanager
def _noticed_waiting() -> Iterator[list[str]]:
    """The block in which torch reports each time that the CPU waits for the GPU; the reports are there after it."""
    before = torch.cuda.get_sync_debug_mode()
    found: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode(before)
            found += [text for text in (str(warning.message) for warning in caught) if _WAITING in text]


def _is_possible(device: torch.device) -> bool:
    """Whether graphs were seen to work on such a device, and it is the one that events and recordings are for."""
    return torch.version.hip is None and device.index == torch.cuda.current_device()


def _has_room(device: torch.device) -> bool:
    """Whether there is memory for all that a step takes once more: a graph keeps what it works with."""
    return torch.cuda.mem_get_info(device)[0] > 2 * torch.cuda.max_memory_allocated(device)


class _Graph:
    """The graph of a step: what it reads, what it gives, and the gradients that it leaves."""

    def __init__(
        self,
        graph: torch.cuda.CUDAGraph,
        shapes: _Shapes,
        arguments: Tensors,
        results: Tensors,
        *,
        gradients: Sequence[tuple[torch.Tensor, torch.Tensor]],
    ):
        self._graph = graph
        self._shapes = shapes  # of what was there to be copied, which may lie otherwise in memory
        self._arguments = arguments
        self._results = results
        self._gradients = gradients  # of each parameter

    def takes(self, *arguments: torch.Tensor) -> bool:
        """Whether the arguments are like those of the recording."""
        return _shapes(*arguments) == self._shapes

    def replay(self, *arguments: torch.Tensor) -> Tensors:
        """Do what was recorded, with other numbers."""
        for own, other in zip(self._arguments, arguments, strict=True):
            own.copy_(other)
        self._graph.replay()
        if self._gradients and self._gradients[0][0].grad is not self._gradients[0][1]:
            # A batch of another shape came between.
            for parameter, gradient in self._gradients:
                parameter.grad = gradient
        return tuple(result.clone() for result in self._results)


def _recorded(
    function: Function, parameters: Sequence[torch.Tensor], batch: torch.Tensor, target: torch.Tensor
) -> _Graph | None:
    """The graph of the function for such arguments; None if it cannot be recorded. Computes nothing."""
    device, shapes = batch.device, _shapes(batch, target)
    arguments = batch.clone(), target.clone()
    generator = torch.cuda.default_generators[device.index]
    before, cpu, stream = generator.get_state(), torch.get_rng_state(), torch.cuda.current_stream(device)
    graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
    # What other threads do on the GPU meanwhile does not end the recording.
    recording = torch.cuda.graph(graph, pool=pool, stream=torch.cuda.Stream(device), capture_error_mode="thread_local")
    try:
        with recording:
            results = function(*arguments)
        if not torch.equal(cpu, torch.get_rng_state()):
            raise RuntimeError("a graph would draw the same random numbers each time")
    except RuntimeError:
        # What a recording leaves that went wrong: torch goes on with its stream and its memory, and its generator gives
        # no more numbers.
        torch.cuda.set_stream(stream)
        with contextlib.suppress(RuntimeError, AttributeError):
            torch._C._cuda_endAllocateToPool(device.index, pool)
        again = torch.Generator(device)
        again.set_state(before)
        generator.graphsafe_set_state(again.graphsafe_get_state())
        torch.set_rng_state(cpu)
        return None
    gradients = [(p, p.grad) for p in parameters if p.grad is not None]
    return _Graph(graph, shapes, arguments, results, gradients=gradients)
