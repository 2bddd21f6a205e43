"""CUDA graphs: a step that is captured once and then replayed with a single launch.

For a small network the CPU takes longer to launch the GPU's hundreds of operations than the GPU to execute them. A
graph contains them all, and takes only as long as the GPU does.
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
_FIRST_STEPS = 3  # warm-up: they load and choose kernels
_WAITING = "called a synchronizing CUDA operation"  # in torch's words
_MOST_OF_THE_CPU = 1.25  # a GPU that only waits for the CPU takes at most this multiple of the CPU's time


class Graphed:
    """Measures a function of a batch, and captures it as a graph if the GPU waits for the CPU in it.

    The function takes a batch and its target, returns tensors and leaves new gradients in the parameters' `grad`. What
    it computes must depend only on the shapes of its arguments and on the values in tensors. Only the first shapes that
    occur often enough are captured; batches of other shapes, such as an epoch's last, are computed without a graph.

    Args:
        parameters: the parameters that receive the gradients.
    """

    def __init__(self, parameters: Sequence[torch.Tensor]):
        self._parameters = parameters
        self._watched: dict[_Shapes, _Watch] | None = {}  # None once the decision is made
        self._graph: _Graph | None = None

    @property
    def recorded(self) -> bool:
        """Whether a graph was captured."""
        return self._graph is not None

    def __call__(self, function: Function, batch: torch.Tensor, target: torch.Tensor) -> Tensors:
        """The results of `function`, which must be the same in every call; the caller owns the tensors."""
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
    """A measured step: the CPU's seconds, the GPU events at start and end, and whether the GPU was idle before it."""

    seconds: float
    first: torch.cuda.Event
    last: torch.cuda.Event
    idle: bool


class _Watch:
    """Measures how long CPU and GPU take for steps of one shape, and whether the CPU waits for the GPU in a step."""

    def __init__(self):
        self._steps: list[_Step] = []
        self._waits = False

    @property
    def undecided(self) -> bool:
        """Whether more steps must be measured."""
        return len(self._steps) < _STEPS_TO_WATCH

    def step(self, function: Function, *arguments: torch.Tensor) -> Tensors:
        """Run and measure a step."""
        # The weights were updated after the end of the previous step.
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
        """Whether the GPU was idle before each step and done with it as soon as the CPU; waits for the last step.

        A step in which the CPU waits for values from the GPU cannot be captured.
        """
        if self._waits:
            return False
        steps = self._steps[_FIRST_STEPS:]
        steps[-1].last.synchronize()
        # A CPU that is far ahead also waits within steps: it then takes as long as the GPU, but the GPU is never idle.
        idle = statistics.median(step.idle for step in steps) == 1
        on_gpu = statistics.median(step.first.elapsed_time(step.last) / 1e3 for step in steps)
        return idle and on_gpu < _MOST_OF_THE_CPU * statistics.median(step.seconds for step in steps)


@contextlib.contextmanager
def _noticed_waiting() -> Iterator[list[str]]:
    """Yield a list that holds, after the block, torch's warnings about the CPU waiting for the GPU in it."""
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
    """Whether graphs are known to work on this device, and it is the current one, which events and captures use."""
    return torch.version.hip is None and device.index == torch.cuda.current_device()


def _has_room(device: torch.device) -> bool:
    """Whether there is enough free memory for another step: a graph keeps its working memory."""
    return torch.cuda.mem_get_info(device)[0] > 2 * torch.cuda.max_memory_allocated(device)


class _Graph:
    """A step's graph, with the tensors that it reads and returns and the gradients that it leaves."""

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
        self._shapes = shapes  # of the caller's tensors; their copies may have other strides
        self._arguments = arguments
        self._results = results
        self._gradients = gradients  # pairs of a parameter and its gradient

    def takes(self, *arguments: torch.Tensor) -> bool:
        """Whether the arguments have the shapes that were captured."""
        return _shapes(*arguments) == self._shapes

    def replay(self, *arguments: torch.Tensor) -> Tensors:
        """Replay the captured step with the values of `arguments`."""
        for own, other in zip(self._arguments, arguments, strict=True):
            own.copy_(other)
        self._graph.replay()
        if self._gradients and self._gradients[0][0].grad is not self._gradients[0][1]:
            # A batch of another shape was computed in between.
            for parameter, gradient in self._gradients:
                parameter.grad = gradient
        return tuple(result.clone() for result in self._results)


def _recorded(
    function: Function, parameters: Sequence[torch.Tensor], batch: torch.Tensor, target: torch.Tensor
) -> _Graph | None:
    """The function's graph for such arguments; None if it cannot be captured. Computes nothing."""
    device, shapes = batch.device, _shapes(batch, target)
    arguments = batch.clone(), target.clone()
    generator = torch.cuda.default_generators[device.index]
    before, cpu, stream = generator.get_state(), torch.get_rng_state(), torch.cuda.current_stream(device)
    graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
    # Other threads may use the GPU meanwhile without invalidating the capture.
    recording = torch.cuda.graph(graph, pool=pool, stream=torch.cuda.Stream(device), capture_error_mode="thread_local")
    try:
        with recording:
            results = function(*arguments)
        if not torch.equal(cpu, torch.get_rng_state()):
            raise RuntimeError("a graph would draw the same random numbers each time")
    except RuntimeError:
        # Clean up after a failed capture: torch would keep using the capture's stream and memory pool, and its
        # generator would refuse to draw numbers.
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
