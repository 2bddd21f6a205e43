"""`rayrml look`: a picture of a training batch as the network gets it, and what its values are."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from rayrml.commands.configuration import OF_RAY, add_options, read
from rayrml.commands.json_output import add_json
from rayrml.commands.picture_option import add_picture, write_picture

if TYPE_CHECKING:
    from rayrml.planning.plan import Plan
    from rayrml.reporting.console import Console
    from rayrml.runs.channel_statistics import ChannelStatistics
    from rayrml.runs.preview import Preview

HELP = "show a training batch as the network gets it, with its mean and deviation"
EXAMPLES = (
    "rayrml look config.json",
    "rayrml look config.json -o batch.svg data.batch_size=16",
    "rayrml look config.json seed=1",
)
_MOST_CHANNELS = 16  # in the table


def add(verb: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_options(verb, unlisted=(*OF_RAY, "--epochs", "--lr"))
    add_picture(verb, "batch.png")
    add_json(verb)


def do(options: argparse.Namespace) -> None:
    """Draw the first batch, and show statistics and what is suspicious. Raises ConfigError and DataError."""
    document = read(options)
    from rayrml.formatting import format_path
    from rayrml.planning import summary
    from rayrml.planning.preparation import prepare
    from rayrml.reporting.console import Console
    from rayrml.runs import preview_findings
    from rayrml.runs.preview import preview

    plan = prepare(document)
    console = Console(quiet=options.quiet, stamped=False)
    seen = preview(plan)
    summary.notices(console, plan)
    _show(console, plan, seen)
    warnings = list(preview_findings.find_suspicious(plan, seen))
    console.lines(f"Warning: {warning}" for warning in warnings)
    _draw(plan, seen, options.output)
    console.line(f"Saved picture: {format_path(options.output)}")
    options.document = _to_object(plan, seen) | {"warnings": warnings, "picture": options.output}


def _show(console: Console, plan: Plan, seen: Preview) -> None:
    from rayrml.runs import preview_findings

    trains, nn = plan.training is not None, plan.config.neural_network
    console.line(_describe_batch(seen, trains=trains))
    if trains and nn.data.preload and plan.config.ray.num_workers not in (None, 1):
        console.line("With several workers that preload, each batch consists of other samples")
    classes = preview_findings.count_classes(plan, seen)
    makes = plan.datasets.transforms.batched.makes_target
    if classes is not None:
        console.line(f"Targets of the batch: {classes}")
    elif seen.targets is None and nn.app not in ("pde", "gan") and plan.loss is not None and not makes:
        console.line("Targets of the batch: the inputs themselves")
    where = "before 'normalize'" if seen.normalized else "as the network gets them"
    console.line()
    console.line(f"Inputs {where}, {seen.before.num_samples:,} samples")
    console.table(_rows(seen.before), ("Channel", "Mean", "Deviation", "Minimum", "Maximum"))
    if seen.normalized:
        console.line()
        console.line("Inputs as the network gets them")
        console.table(_rows(seen.after), ("Channel", "Mean", "Deviation", "Minimum", "Maximum"))
    proposed = preview_findings.propose_normalization(plan, seen.before)
    console.line()
    reason = preview_findings.describe_own_scaling(plan)
    if reason is not None:
        console.line(f"No 'normalize' is proposed for the inputs: {reason}")
    elif proposed is not None:
        key = "input_transforms" if seen.source.target is not None else "transforms"
        instead = ", instead of 'normalize'" if seen.normalized else ""
        console.commands(f"For mean 0 and deviation 1, the last of the {key}{instead}:", [proposed])


def _describe_batch(seen: Preview, *, trains: bool) -> str:
    """Which samples are shown."""
    shape = " x ".join(map(str, seen.inputs.shape[1:]))
    what = "training samples" if trains else "test samples"
    which = f"{len(seen.inputs)} of the {seen.size}" if len(seen.inputs) < seen.size else f"{seen.size}"
    batch = "The first batch of epoch 1" if trains else "The first batch"
    return f"{batch}: {which} of {len(seen.source.samples):,} {what}, each {shape}"


def _rows(statistics: ChannelStatistics) -> list[tuple[str, ...]]:
    columns = (statistics.mean, statistics.deviation, statistics.minimum, statistics.maximum)
    rows = [(str(i), *(f"{value:.4g}" for value in row)) for i, row in enumerate(zip(*columns, strict=True))]
    left = len(rows) - _MOST_CHANNELS
    return rows if left <= 0 else [*rows[:_MOST_CHANNELS], ("...", f"{left} more", "", "", "")]


def _draw(plan: Plan, seen: Preview, path: str) -> None:
    from rayrml.reporting.batch_plots import draw_batch
    from rayrml.runs.preview_panels import make_panels

    panels = make_panels(plan, seen)
    trains = plan.training is not None
    title = _describe_batch(seen, trains=trains)
    shown = f"{title}; the first {len(panels)}" if len(panels) < len(seen.inputs) else title
    write_picture(draw_batch(panels, shown), path)


def _to_object(plan: Plan, seen: Preview) -> dict[str, Any]:
    """What the command found, for programs."""
    from rayrml.runs import preview_findings

    proposed = preview_findings.propose_normalization(plan, seen.before)
    return {
        "samples": list(seen.names),
        "shape": list(seen.inputs.shape[1:]),
        "looked_at": seen.before.num_samples,
        "before_normalize": _statistics(seen.before),
        "inputs": _statistics(seen.after),
        "normalize": proposed,
    }


def _statistics(statistics: ChannelStatistics) -> dict[str, list[float]]:
    names = ("mean", "deviation", "minimum", "maximum")
    return {name: getattr(statistics, name).tolist() for name in names}
