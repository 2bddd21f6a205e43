"""The sections that a run prints first, and the tables of `rayrml check`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rayrml.cluster.allocation import Allocation
from rayrml.config.named_networks import is_named
from rayrml.config.optimization import OptimizerOptions
from rayrml.data import kept_arrays, pairing
from rayrml.data.bad_samples import gather_bad_samples
from rayrml.data.discovery import Samples, Slices, describe_ignored
from rayrml.data.sources import Side, Source
from rayrml.data.value_rules import ClassNumbers
from rayrml.formatting import format_bytes, format_path, shorten
from rayrml.losses.outputs import BALANCED
from rayrml.lr_schedulers import ScheduleChoice
from rayrml.networks.layers.layout import Shape
from rayrml.networks.network import Network
from rayrml.planning import checks, class_balance, folder_table
from rayrml.planning.adversarial_warnings import count_updates
from rayrml.planning.flips_check import describe_flips
from rayrml.planning.plan import Plan
from rayrml.planning.updates import Updates
from rayrml.reporting.console import Console
from rayrml.workers import Workers

_BRIEF = 11  # columns, of the names in the short summary


def devices(console: Console, allocation: Allocation) -> None:
    """Print which part of the cluster the run uses."""
    console.section(
        "Device(s)",
        {
            "Workers": workers(allocation),
            "Machines": allocation.num_nodes,
            "GPUs per worker": 1 if allocation.use_gpu else 0,
        },
    )


def workers(allocation: Allocation) -> str:
    """The number and kind of the workers, in words."""
    number = allocation.num_workers
    kind = "GPU" if allocation.use_gpu else "CPU"
    if allocation.in_driver:
        return f"1 {kind} worker, in this process"
    if isinstance(number, tuple):
        return f"{number[0]} to {number[1]} {kind} workers"
    return f"{number} {kind} worker{'s' if number > 1 else ''}"


def plan(console: Console, plan: Plan, num_workers: int) -> None:
    """Print network, optimizer, loss and data of a plan that this many workers share."""
    network = plan.network
    console.section(
        "Neural Network",
        {
            "Model": network.name,
            **_parameters(console, network),
            "Layers": network.num_operations,
            "Input size": _input_size(network),
            "Loaded from": _loaded_from(plan),
        },
    )
    if plan.critic:
        console.section(
            "Critic",
            {"Model": plan.critic.network.name, **_parameters(console, plan.critic.network)}
            | {"Layers": plan.critic.network.num_operations},
        )
    if plan.optimizer:
        options = _options(plan.options, plan.schedule)
        averaging = plan.config.neural_network.ema
        average = averaging and f"decay {averaging.decay:g}; evaluated and kept in place of the weights"
        options |= {"Frozen at first": _frozen(plan), "Moving average": average}
        console.section("Optimizer", {"Type": plan.optimizer.name, **_as_json(plan.optimizer.settings | options)})
    row, options, schedule, *_ = plan.critic.updates if plan.critic else Updates()
    if row is not None:
        settings = row.settings | _options(options, schedule)
        console.section("Optimizer of the critic", {"Type": row.name, **_as_json(settings)})
    if plan.loss:
        reported = {"Metric": plan.metric} if plan.datasets.test_targets else {}
        weights = _class_weights(plan)
        settings = plan.loss.settings if weights is None else plan.loss.settings | {"weight": weights}
        settings |= _updates(plan)
        console.section("Loss", {"Function": plan.loss.name, **_as_json(settings), **reported})
    _folders(console, plan)
    console.lines(plan.notes)
    for source in plan.sources:
        _data(console, plan, source, num_workers)


def _options(options: OptimizerOptions, schedule: ScheduleChoice | None) -> dict[str, Any]:
    """The keys that all optimizers have, as far as they differ from the defaults."""
    rows = [_describe_row(**part) for part in schedule.settings] if schedule else []
    given = options.model_dump(exclude_defaults=True, exclude={"lr_scheduler"})
    return given | ({"lr_scheduler": ", then ".join(rows)} if rows else {})


def _updates(plan: Plan) -> dict[str, Any]:
    """How often a critic and its generator are updated in all epochs; {} for other networks."""
    if plan.loss is None or plan.critic is None or plan.training is None:
        return {}
    of_critic, of_generator = count_updates(plan.config.neural_network, plan.loss.build(), plan.datasets)
    return {"Updates": f"{of_generator:,} of the generator, {of_critic:,} of the critic"}


def _frozen(plan: Plan) -> str | None:
    """The layers that are frozen until an epoch, None if there are none."""
    epochs = sorted(set(plan.unfreezing.values()))
    full = plan.network.full_names()
    names = {epoch: [full[name] for name, first in plan.unfreezing.items() if first == epoch] for epoch in epochs}
    return "; ".join(f"until epoch {epoch}: {shorten(names[epoch])}" for epoch in epochs) or None


def _as_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with lists and objects as a configuration has them, in six digits."""
    return {
        name: json.dumps(_round(value)) if isinstance(value, list | tuple | dict) else value
        for name, value in settings.items()
    }


def _round(value: Any) -> Any:
    """The value with numbers of few digits: those that were found, such as anchors, have many."""
    if isinstance(value, Mapping):
        return {key: _round(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_round(part) for part in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _describe_row(type: str, **settings: Any) -> str:
    """A row of a table with its settings, without those that are null or false: `Step (step_size 2, gamma 0.1)`."""
    given = {name: value for name, value in _as_json(settings).items() if value is not None and value is not False}
    return f"{type} ({', '.join(f'{name} {value}' for name, value in given.items())})" if given else type


def brief(console: Console, plan: Plan, allocation: Allocation) -> None:
    """Print a line for each part of a plan, for people at a terminal."""
    network, optimizer, loss = plan.network, plan.optimizer, plan.loss
    rows = {
        "Network": _describe_size(network),
        "Critic": plan.critic and _describe_size(plan.critic.network),
        "Optimizer": optimizer and f"{optimizer.name}, learning rate {optimizer.settings.get('learning_rate')}",
        "Frozen": _frozen(plan),
        "Loss": loss and f"{loss.name}{f', metric {plan.metric}' if plan.datasets.test_targets else ''}",
        **_updates(plan),
        "Weights": _class_weights(plan),
        **{name.capitalize(): _samples(plan, source) for name, source in _sources(plan).items()},
        "Targets": plan.targets,
        "Runs on": workers(allocation),
    }
    console.line()
    console.rows(rows, _BRIEF, "")
    console.lines(plan.notes)
    _folders(console, plan)


def _describe_size(network: Network) -> str:
    weights = f"{network.num_parameters - network.num_running_statistics:,} parameters"
    return f"{network.name}, {network.num_operations} layers, {weights}"


def _class_weights(plan: Plan) -> str | None:
    """The class weights that follow from training samples, None if there are none."""
    given = plan.config.neural_network.loss or {}
    if plan.loss is None or given.get("weight") != BALANCED or class_balance.is_balanced(plan.loss):
        return None
    return class_balance.list_weights(plan.loss, plan.datasets)


def _folders(console: Console, plan: Plan) -> None:
    """Print the folders of a data set and what became of each."""
    if rows := folder_table.list_rows(plan):
        console.line()
        console.table(rows, folder_table.HEADINGS)


def _sources(plan: Plan) -> dict[str, Source]:
    return {"inference" if plan.is_inference else source.name: source for source in plan.sources}


def _samples(plan: Plan, source: Source) -> str:
    """How many samples there are, of which shape, in which batches."""
    data, samples = plan.config.neural_network.data, source.samples
    batch_size = data.batch_size if source is plan.training else data.test_batch_size
    shape = " or ".join(str(group.source.shape) for group in source.groups())
    classes = f" of {len(samples.classes)} classes" if samples.classes else ""
    where = f" in {format_path(_location(samples))}" if samples.root else ""
    batches = source.count_batches(batch_size)
    batched = f"{batches} batch{'es' if batches > 1 else ''} of {batch_size}"
    left_out = describe_ignored(samples.ignored)
    return f"{len(samples):,} samples {shape}{classes}{where}, {batched}{f'; {left_out}' if left_out else ''}"


def notices(console: Console, plan: Plan) -> None:
    """Print what became of the weights of a file, and warnings."""
    console.lines(plan.loaded.lines() if plan.loaded else ())
    of_critic = plan.critic and plan.critic.loaded
    console.lines(f"Critic: {line}" for line in (of_critic.lines() if of_critic else ()))
    observed = [warning for source in plan.sources for warning in plan.observations[source.name].warnings]
    console.lines(f"Warning: {warning}" for warning in (*plan.folders.notes, *plan.warnings, *observed))


def _parameters(console: Console, network: Network) -> dict[str, str]:
    """How many weights there are: for people, and for programs as the predecessor counts and writes them."""
    total, running, trainable = (
        network.num_parameters,
        network.num_running_statistics,
        network.num_trainable_parameters,
    )
    if not console.is_live:
        return {"Total parameters": f"{total - running}", "Trainable parameters": f"{trainable}"}
    statistics = f" ({running:,} of them running statistics)" if running else ""
    return {"Total parameters": f"{total:,}{statistics}", "Trainable parameters": f"{trainable:,}"}


def check(console: Console, checked: Plan) -> None:
    """Print a plan with a line for each layer and each class, the image sizes, and the memory that is needed."""
    asked = checked.config.ray.num_workers
    most, least = (asked[1], asked[0]) if isinstance(asked, tuple) else (asked or 1, asked or 1)
    plan(console, checked, most)
    notices(console, checked)
    _bad_samples(console, checked)
    _layers(console, checked.network, "Layer")
    if checked.critic is not None:
        _layers(console, checked.critic.network, "Layer of the critic")
    for part in (checks.classes(checked, console.width), checks.image_sizes(checked)):
        if lines := list(part):
            console.lines(["", *lines])
    # Estimated only now: PyTorch's compiler, which is imported for it, takes longer than everything before.
    console.lines(["", *checks.memory(checked, least)])
    console.line()
    console.line("The configuration is valid.")


def _layers(console: Console, network: Network, heading: str) -> None:
    """Print a line for each layer."""
    console.line()
    rows = [(r.name, r.class_name, r.output_shape, f"{r.num_parameters:,}") for r in network.summary()]
    console.table(rows, (heading, "Class", "Output shape", "Parameters"), folds=True)


def _bad_samples(console: Console, plan: Plan) -> None:
    """Print which samples are known to be skipped. Raises DataError if they are too many."""
    for name, source in _sources(plan).items():
        bad = gather_bad_samples(name, source.samples, {})
        if len(bad):
            console.lines(["", *bad.lines()])
        bad.refuse_too_many()


def _data(console: Console, plan: Plan, source: Source, num_workers: int) -> None:
    data, samples = plan.config.neural_network.data, source.samples
    testing = source is plan.test
    batch_size = data.batch_size if source is plan.training else data.test_batch_size
    first = Workers(0, num_workers)
    console.section(
        f"Dataset ({'inference' if plan.is_inference else source.name})",
        {
            "Type": data.inputs,
            "Location": format_path(_location(samples)) if samples.root else None,
            **{f"Slicer '{part.name}'": _slices(source, part) for part in samples.slices},
            "Targets": plan.targets if source.target is None else pairing.describe(samples, source.target.samples),
            "Number of samples": len(samples),
            "Stacked": _stacked(source),
            "Samples per worker": first.share(len(samples)),
            "Sample shape": " or ".join(str(group.source.shape) for group in source.groups()),
            "Sample type": _sample_type(source.input),
            "Number of classes": len(samples.classes) or None,
            "Classes": shorten(samples.classes) or None,
            "Target values": _target_values(plan, source),
            "Ignored files": describe_ignored(samples.ignored),
            "Batch size": batch_size,
            "Batch size per worker": first.share(batch_size),
            "Batches per epoch": source.count_batches(batch_size),
            "Preloaded": _preloaded(plan, source, num_workers),
            "Transforms": _list_transforms(data.transforms or data.input_transforms) or "none",
            "Target transforms": _list_transforms(data.target_transforms) or None,
            "Test transforms": None
            if source is plan.training
            else describe_flips(data.test_transforms, len(source.shape) - 1),
            "Output": format_path(data.test_output_path) if testing and data.test_output_path else None,
            "Shards": {"merge": "merged", "keep": "kept"}.get(data.hdf5_shards) if testing else None,
            "Assembled output": format_path(data.hdf5_outfile) if testing and data.hdf5_outfile else None,
        },
    )


def _sample_type(side: Side) -> str | None:
    """The type of values, None for bytes of images; and what was stored as another one for white."""
    scale = side.decoding.reader.arguments.get("scale")
    if scale is None:
        return None if side.pixels else side.dtype.name
    ways = {"range": "fractions of the type's range", "max": "fractions of each maximum", "values": "as stored"}
    way = ways[scale] if isinstance(scale, str) else f"divided by {scale:g}"
    return f"{side.dtype.name}, {way}"


def _slices(source: Source, part: Slices) -> str:
    """The number of slices of an array, and the shape of each if that depends on the slicer."""
    decoding, slicer = source.input.decoding, part.grid.slicer
    shape = f", samples {decoding.shapes[decoding.slicers.index(slicer)]}" if decoding.shapes else ""
    return f"{len(part.grid)} slices of {checks.times(part.grid.shape)}{shape}"


def _loaded_from(plan: Plan) -> str | None:
    """The file of the weights that the network starts from; None if all are initial ones."""
    config = plan.config.neural_network
    weights = config.layers.get("weights") if isinstance(config.layers, dict) and is_named(config.layers) else None
    path = config.checkpoints.load or weights
    return path and format_path(path)


def _input_size(network: Network) -> str | None:
    """The size of the samples, and the one that the network declares; None if it declares no other."""
    used, declared = network.input_shapes[0][1:], network.declared_shapes[0][1:]
    if used == declared:
        return None
    return f"{_times(used)} (declared: {_times(declared)})"


def _times(size: Shape) -> str:
    return checks.times(["any" if number is None else number for number in size])


def _target_values(plan: Plan, source: Source) -> str | None:
    """What the values of target images stand for, and what some of them are."""
    seen = plan.observations[source.name].target_values
    rule = None if source.target is None else source.target.decoding.rule
    if not isinstance(rule, ClassNumbers):
        return seen
    kind = "rounded to class numbers" if rule.scaling.changes_values else "class numbers"
    return f"{kind}: {seen}" if seen else kind


def _list_transforms(transforms: list[Any]) -> str:
    """The transforms in order, each with what its entry says."""
    return ", ".join(_describe(name, value) for entry in transforms for name, value in entry.items())


def _describe(name: str, settings: Any) -> str:
    return f"{name} {json.dumps(settings)}" if settings not in (None, {}, True) else name


def _preloaded(plan: Plan, source: Source, num_workers: int) -> str:
    """Whether samples are kept in memory, and how much of it they take."""
    if not plan.config.neural_network.data.preload or plan.is_inference or source is plan.final_test:
        return "no"
    if source.random:
        return "no: images of different sizes are changed at random before they have one size, so each epoch reads them"
    if arrays := kept_arrays.count_bytes(source):
        slices = format_bytes(source.bytes_in_total)
        return f"yes, {format_bytes(arrays)} on each machine: the arrays, not their slices, which would take {slices}"
    size = source.bytes_in_total
    each = f" ({format_bytes(size // num_workers)} in each worker)" if num_workers > 1 else ""
    return f"yes, {format_bytes(size)}{each}"


def _stacked(source: Source) -> str | None:
    """Whether arrays hold many samples each, where that may not be what was meant."""
    samples, reader = source.samples, source.input.decoding.reader.build()
    if samples.place(0).is_row:
        return f"yes: {format_path(samples.place(0).address)} is the first sample, row by row along the first axis"
    if len(samples) == 1 and not samples.slices and reader.stacked is None:
        return f"no: {format_path(samples.place(0).address)} is one sample"
    return None


def _location(samples: Samples) -> str:
    """The one file that holds all samples, or the folder of their files."""
    paths = {samples.path(0), samples.path(len(samples) - 1)}
    return paths.pop() if samples.places is not None and len(paths) == 1 else samples.root
