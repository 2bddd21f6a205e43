"""What is drawn of each sample of a preview: its input, and its target in words or beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from rayrml.boxes.batch import Boxes
from rayrml.data.transforms.steps import Step
from rayrml.inference.box_pictures import draw_boxes
from rayrml.inference.palette import UNKNOWN, colors_of
from rayrml.planning.plan import Plan
from rayrml.runs.preview import Preview, is_normalization
from rayrml.storage import split

if TYPE_CHECKING:
    from rayrml.reporting.batch_plots import Panel

_MOST_NAMED = 2  # classes or numbers in a title
_TOLERANCE = 1e-3  # of pixels, which rounding may bring out of their range
_OUTSIDE, _MOST_SORTED = 0.005, 2**20  # share of the values that may be beyond black and beyond white
_SMALL_SHARE = 0.005  # of a class, which is not worth a word


def make_panels(plan: Plan, preview: Preview) -> list[list[Panel]]:
    """The panels of the first samples: the input, and the target unless its title says it."""
    from rayrml.reporting.batch_plots import most_samples

    inputs = _without_normalization(preview.inputs, plan.datasets.transforms.batched.steps, "input")
    beside = _beside(plan, preview)
    count = min(most_samples(1 if beside is None and preview.boxes is None else 2), len(inputs))
    limits = _limits(inputs[:count], preview.source.input.pixels)
    found: list[list[Panel]] = []
    for number in range(count):
        name = split(preview.names[number])[1] or preview.names[number]
        words = _words(plan, preview, number)
        title = f"{name}\n{words}" if words else name
        panels = [_panel(inputs[number].numpy(), limits, title)]
        if preview.boxes is not None:
            panels = [_boxed(panels[0], preview.boxes[number : number + 1], plan.classes)]
        if beside is not None:
            panels.append(_target_panel(plan, preview, (inputs, beside), number))
        found.append(panels)
    return found


def _beside(plan: Plan, preview: Preview) -> torch.Tensor | None:
    """Targets that are drawn themselves, as far as possible without their normalization; None if words say them."""
    targets = preview.targets
    if targets is None or (targets.is_floating_point() and targets.ndim < 3) or targets.ndim < 2:
        return None
    if not targets.is_floating_point():
        return targets
    return _without_normalization(targets, plan.datasets.transforms.batched.steps, "target")


def _target_panel(plan: Plan, preview: Preview, pair: tuple[torch.Tensor, torch.Tensor], number: int) -> Panel:
    """The target of a sample: class numbers in colors over its input, or an array like the input."""
    from rayrml.reporting.batch_plots import Panel

    inputs, targets = pair
    own = targets[number].numpy()
    if targets.is_floating_point():
        pixels = preview.source.target is not None and preview.source.target.pixels
        return _panel(own, _limits(targets, pixels), "target")
    classes = _count_classes(plan)
    title = f"classes {_list(np.unique(own))}"
    while own.ndim > 2:
        own = own[own.shape[0] // 2]  # as the input's middle slice
    if own.ndim < 2:
        return Panel(own[None].astype(np.float32), False, (0.0, float(max(classes - 1, 1))), title)
    known = (own >= 0) & (own < max(classes, 1))
    colors = np.where(known[..., None], colors_of(np.where(known, own, 0)), np.array(UNKNOWN)) / 255
    behind = _panel(inputs[number].numpy(), _limits(inputs, preview.source.input.pixels), "")
    if not behind.is_image or behind.values.shape[:2] != own.shape:
        return Panel(colors, True, title=title)
    gray = _in_range(behind.values, behind.limits)
    gray = gray.mean(-1) if gray.ndim == 3 else gray
    mixed = np.where((own == 0)[..., None], gray[..., None], 0.4 * gray[..., None] + 0.6 * colors)
    return Panel(mixed, True, title=title)


def _boxed(panel: Panel, boxes: Boxes, classes: Sequence[str]) -> Panel:
    """An image with its true boxes."""
    from rayrml.reporting.batch_plots import LARGE, Panel

    values = (
        panel.values if panel.values.ndim == 3 else np.repeat(_in_range(panel.values, panel.limits)[..., None], 3, 2)
    )
    columns = [boxes.corners, torch.ones(len(boxes.corners), 1), boxes.classes[:, None]]
    rows = torch.cat([column.double() for column in columns], 1).numpy()
    drawn = draw_boxes((values * 255).round().astype(np.uint8), rows, classes, scores=False, length=LARGE)
    return Panel(np.asarray(drawn) / 255, True, title=panel.title, is_large=True)


def _words(plan: Plan, preview: Preview, number: int) -> str:
    """A sample's target in a few words, "" if they cannot say it."""
    targets = preview.targets
    if targets is None or targets.ndim > 2 or (targets.ndim == 2 and not targets.is_floating_point()):
        return ""
    own, names = targets[number], preview.source.samples.value_names or plan.classes
    if targets.ndim == 1:
        return name_class(int(own), names)
    values = own.tolist()
    if preview.source.samples.columns == "number":
        said = [f"{name}={value:.4g}" for name, value in zip(names, values, strict=False)] or [f"{values[0]:.4g}"]
    else:
        order = sorted(range(len(values)), key=lambda i: -values[i])
        kept = [i for i in order if values[i] > _SMALL_SHARE]
        said = [name_class(i, names) + (f" {values[i]:.2f}" if values[i] < 1 else "") for i in kept] or ["no class"]
    return ", ".join(said[:_MOST_NAMED]) + (", ..." if len(said) > _MOST_NAMED else "")


def name_class(number: int, names: Sequence[str]) -> str:
    """The name of a class, or its number if it has none."""
    return names[number] if 0 <= number < len(names) else str(number)


def _count_classes(plan: Plan) -> int:
    loss = None if plan.loss is None else plan.loss.build()
    channels = plan.network.output_shapes[0][0]
    return 0 if loss is None or channels is None else loss.classes_of(channels)


def _without_normalization(samples: torch.Tensor, steps: Sequence[Step], part: str) -> torch.Tensor:
    """Samples with their normalization undone, so that images look like images."""
    for step in reversed([step for step in steps if is_normalization(step, part)]):
        mean, std = (_by_channel(getattr(step.transform, name), samples) for name in ("mean", "std"))
        samples = samples * std + mean
    return samples


def _by_channel(value: float | tuple[float, ...], samples: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(value, dtype=samples.dtype).reshape(-1, *(1,) * (samples.ndim - 2))


def _limits(samples: torch.Tensor, pixels: bool) -> tuple[float, float]:
    """Which values are black and white: 0 and 1 for pixels that keep to them, else those that few values exceed."""
    finite = samples[torch.isfinite(samples)].numpy()
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    if pixels and low >= -_TOLERANCE and high <= 1 + _TOLERANCE:
        return 0.0, 1.0
    if pixels or samples.ndim < 4:
        return low, high
    few = np.quantile(finite[:: max(len(finite) // _MOST_SORTED, 1)], [_OUTSIDE, 1 - _OUTSIDE])
    return (float(few[0]), float(few[1])) if few[1] > few[0] else (low, high)


def _panel(sample: np.ndarray, limits: tuple[float, float], title: str) -> Panel:
    """A sample (C, *spatial): curves for at most one axis, else an image: the middle slice of a volume."""
    from rayrml.reporting.batch_plots import Panel

    if sample.ndim == 1:
        return Panel(sample[None], False, limits, title)
    if sample.ndim == 2:
        return Panel(sample, False, limits, title)
    if sample.ndim == 4:
        sample = sample[:, sample.shape[1] // 2]
    if len(sample) == 3:
        return Panel(_in_range(sample.transpose(1, 2, 0), limits), True, title=title)
    return Panel(sample[0], True, limits, title)


def _in_range(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Values as fractions of the range between the limits; those that are not finite are black."""
    low, high = limits
    return np.clip((np.nan_to_num(values, nan=low) - low) / ((high - low) or 1.0), 0, 1)


def _list(numbers: np.ndarray, most: int = 6) -> str:
    shown = ", ".join(f"{number}" for number in numbers[:most].tolist())
    return f"{shown}, ..." if len(numbers) > most else shown
