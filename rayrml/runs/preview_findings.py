"""What is suspicious about a batch and the values of its samples, and how the inputs would be normalized."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from rayrml.formatting import shorten
from rayrml.planning.named_network import find_family
from rayrml.planning.pixel_ranges import describe_range
from rayrml.planning.plan import Plan
from rayrml.planning.scaling_check import find_own_scaling
from rayrml.runs.channel_statistics import ChannelStatistics
from rayrml.runs.preview import Preview
from rayrml.runs.preview_panels import name_class

_DIGITS = 4
_MOST_NAMED = 3
_FAR = 1.5  # of a mean after `normalize` from 0; other data's mean and deviation, as of a loaded network, are nearer
_TIMES = 4.0  # of a deviation after `normalize` from 1


def describe_own_scaling(plan: Plan) -> str | None:
    """Why inputs are not to have mean 0 and deviation 1, in a sentence; None if nothing speaks against that."""
    layer = find_own_scaling(plan.network)
    if layer is not None:
        return f"the network's layer '{layer}' scales them itself"
    if plan.config.neural_network.app == "pde":
        return "an equation holds for them as they are"
    if plan.config.neural_network.app == "gan":
        return "the generator makes numbers of their range"
    return describe_range(find_family(plan.config.neural_network))


def propose_normalization(plan: Plan, statistics: ChannelStatistics) -> str | None:
    """The entry of `transforms` that gives each channel mean 0 and deviation 1.

    None if a channel is constant, or the network is made for other inputs.
    """
    if not (statistics.deviation > 0).all() or describe_own_scaling(plan) is not None:
        return None
    values = {"mean": _round(statistics.mean), "std": _round(statistics.deviation)}
    return json.dumps({"normalize": values})


def count_classes(plan: Plan, preview: Preview) -> str | None:
    """How often each class comes in the batch, None if its targets are neither one class each nor boxes."""
    targets = preview.targets if preview.boxes is None else preview.boxes.classes
    if targets is None or targets.ndim != 1 or targets.is_floating_point():
        return None
    counts = Counter(targets.tolist())
    return shorten([f"{name_class(label, plan.classes)}: {count}" for label, count in sorted(counts.items())])


def find_suspicious(plan: Plan, preview: Preview) -> Iterator[str]:
    """Sentences on what is probably wrong."""
    yield from _look_at_inputs(preview)
    if preview.normalized:
        yield from _look_at_normalization(preview)
    if preview.targets is not None:
        yield from _look_at_targets(plan, preview, preview.targets)
    if preview.skipped:
        yield f"{len(preview.skipped)} samples are skipped, such as {preview.skipped[0]}"


def _look_at_inputs(preview: Preview) -> Iterator[str]:
    seen = preview.after
    if seen.not_finite:
        bad = [name for name, x in zip(preview.names, preview.inputs, strict=True) if not torch.isfinite(x).all()]
        named = f", in the batch those of {shorten(bad, _MOST_NAMED)}" if bad else ""
        yield f"{seen.not_finite:,} values of {seen.num_samples} inputs are NaN or infinite{named}"
    constant = np.flatnonzero((seen.deviation == 0) & np.isfinite(seen.minimum))
    if len(constant):
        which = ", ".join(f"{channel} ({seen.mean[channel]:g})" for channel in constant[:_MOST_NAMED])
        more = ", ..." if len(constant) > _MOST_NAMED else ""
        yield f"the inputs' channel {which}{more} is the same number everywhere, in all {seen.num_samples} samples"
    elif preview.inputs[:1].numel() > preview.inputs.shape[1]:
        flat = preview.inputs.flatten(1)
        same = [name for name, x in zip(preview.names, flat, strict=True) if bool((x == x[0]).all())]
        if same:
            yield f"{len(same)} of {len(flat)} inputs of the batch hold one number alone: {shorten(same, _MOST_NAMED)}"


def _look_at_normalization(preview: Preview) -> Iterator[str]:
    seen = preview.after
    spread = np.abs(np.log(np.maximum(seen.deviation, np.finfo(float).tiny)))
    off = np.abs(seen.mean).max() > _FAR or spread.max() > math.log(_TIMES)
    if off and (seen.deviation > 0).all():
        means, deviations = (json.dumps(_round(values)) for values in (seen.mean, seen.deviation))
        yield f"after 'normalize' the inputs have mean {means} and deviation {deviations}. Expected about 0 and 1"


def _look_at_targets(plan: Plan, preview: Preview, targets: torch.Tensor) -> Iterator[str]:
    if targets.is_floating_point():
        bad = int((~torch.isfinite(targets)).sum())
        if bad:
            yield f"{bad:,} values of the batch's targets are NaN or infinite"
        elif len(targets) > 1 and bool((targets == targets.flatten()[0]).all()):
            yield f"all targets of the batch hold the number {float(targets.flatten()[0]):g} alone"
        return
    loss = None if plan.loss is None else plan.loss.build()
    counted = targets if loss is None or loss.ignore_index is None else targets[targets != loss.ignore_index]
    found = torch.unique(counted).tolist()
    if not found:
        yield "all targets of the batch are ignored"
    elif len(found) == 1 and len(targets) > 1:
        what = "targets" if targets.ndim == 1 else "pixels of the targets"
        yield f"all {what} of the batch are of class {name_class(found[0], plan.classes)}"
    channels = plan.network.output_shapes[0][0]
    if loss is not None and channels is not None:
        classes = loss.classes_of(channels)
        outside = [label for label in found if not 0 <= label < classes]
        if outside:
            yield f"the targets hold {_list(outside)}, but the network tells classes 0 to {classes - 1} apart"


def _list(numbers: Sequence[int]) -> str:
    return shorten([str(number) for number in numbers], _MOST_NAMED)


def _round(values: np.ndarray) -> list[float]:
    return [float(f"{value:.{_DIGITS}g}") for value in values]
