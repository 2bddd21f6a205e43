"""Keys that need or exclude one another: each rule is a function of the settings, and all of them are in one table.

What depends on files or on the network is checked where these are read. `schema.key_rules` has the same
rules for editors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from rayrml import extras, storage
from rayrml.config.mistakes import Findings
from rayrml.config.names import find
from rayrml.config.sections import Data
from rayrml.data.discovery import quote_some
from rayrml.data.reader_keys import (
    BOXES,
    DATA,
    LABELS,
    NO_FILES,
    TABLE_KEYS,
    TARGET_PATHS,
    list_reader_options,
)
from rayrml.errors import Problem
from rayrml.losses import pde
from rayrml.losses.outputs import BALANCED
from rayrml.metrics import METRICS
from rayrml.optimizers import needs_closure, refuse_clipping
from rayrml.planning import adversarial_rules, box_rules
from rayrml.planning.data_types import DataTypes
from rayrml.planning.settings import Settings
from rayrml.reporting import trackers

Rule = Callable[[Settings], Iterable[Problem]]  # may also raise a ConfigError


def check_consistency(settings: Settings, findings: Findings) -> None:
    """Add every violation of a rule to the findings."""
    for rule in RULES:
        with findings.gathering():
            findings.mistakes.extend(rule(settings))


def _needed_sections(settings: Settings) -> Iterator[Problem]:
    nn, data = settings.nn, settings.data
    compares = data.targets in NO_FILES or data.test_target_path
    if (data.trains or (data.tests and compares)) and nn.loss is None:
        yield Problem("neural_network", "the section 'loss' is missing")
    if data.trains and nn.optimizer is None:
        yield Problem("neural_network", "the section 'optimizer' is missing")


def _event_files(settings: Settings) -> Iterator[Problem]:
    """Event files need a folder on this machine."""
    section, where = settings.nn.checkpoints, "neural_network.checkpoints.tensorboard"
    if section.tensorboard and (section.save is None or storage.is_uri(section.save)):
        yield Problem(where, "event files are written into checkpoints.save. Expected a folder on this machine")


def _tracking_servers(settings: Settings) -> Iterator[Problem]:
    """Tracking servers need optional packages, and a folder that keeps the run's name there."""
    section = settings.nn.checkpoints
    for name in filter(lambda name: getattr(section, name), trackers.PACKAGES):
        where = f"neural_network.checkpoints.{name}"
        if lacking := extras.missing(name):
            yield Problem(where, lacking)
        if section.save is None:
            yield Problem(where, "the run's name there is kept in checkpoints.save. Expected a folder")


def _equations(settings: Settings) -> Iterator[Problem]:
    if settings.nn.app == "pde" and settings.loss is not None and settings.loss.name not in pde.LOSSES:
        equations = ", ".join(pde.LOSSES)
        yield Problem("neural_network.app", f"'pde' learns from an equation. Expected one of the losses {equations}")


def _clipping(settings: Settings) -> Iterable[Problem]:
    if settings.optimizer is not None and settings.nn.gradient_clip is not None:
        refuse_clipping(settings.optimizer.builder)
    return ()


def _loss_scaling(settings: Settings) -> Iterator[Problem]:
    """A line search compares losses and gradients of many points, none of which may be skipped."""
    optimizer = settings.optimizer
    if settings.nn.precision == "fp16" and optimizer is not None and needs_closure(optimizer.builder):
        message = f"'fp16' skips steps, which the line search of {optimizer.name} cannot. Expected another one"
        yield Problem("neural_network.precision", message)


def _metric(settings: Settings) -> Iterable[Problem]:
    """A requested metric exists; whether the network's outputs suit it is known later."""
    if settings.nn.metric is not None:
        find(METRICS, settings.nn.metric, "neural_network.metric")
    return ()


def _something_to_do(settings: Settings) -> Iterator[Problem]:
    data = settings.data
    if not data.trains and not data.tests and not adversarial_rules.generates(settings):
        names = ("num_examples", "num_test_examples") if settings.types.generated else ("input_path", "test_input_path")
        yield Problem(DATA, f"nothing to do. Expected {names[0]}, {names[1]}, or both")
    if data.trains and data.targets is None and not adversarial_rules.generates(settings):
        kind = BOXES if box_rules.finds_objects(settings) else LABELS
        yield Problem(DATA, f'training needs targets. Expected target_type, for example "{kind}"')


def _predictions(settings: Settings) -> Iterator[Problem]:
    for key in _given(settings.data, "test_output_path", "hdf5_outfile"):
        if not settings.data.tests:
            yield Problem(f"{DATA}.{key}", "nothing to predict: test_input_path is missing")


def _precision_of_outputs(settings: Settings) -> Iterator[Problem]:
    data = settings.data
    if data.hdf5_precision != "single" and not _given(data, "test_output_path", "hdf5_outfile"):
        message = "has no effect: no predictions are kept. Expected test_output_path or hdf5_outfile"
        yield Problem(f"{DATA}.hdf5_precision", message)


def _shards(settings: Settings) -> Iterator[Problem]:
    data, where = settings.data, f"{DATA}.hdf5_shards"
    if data.hdf5_shards == "none":
        return
    if not data.test_output_path:
        yield Problem(where, "has no effect: no predictions are kept. Expected test_output_path")
    elif data.trains or data.targets or (adversarial_rules.generates(settings) and settings.loss is not None):
        message = "has no effect: only predictions without targets are written in shards"
        yield Problem(where, f'{message}. Expected "none", or no training and no target_type')


def _pictures(settings: Settings) -> Iterator[Problem]:
    data, types, where = settings.data, settings.types, f"{DATA}.test_output_images"
    if data.test_output_images == "auto":
        return
    reader = types.input_reader
    if not data.test_output_path:
        yield Problem(where, "has no effect: no predictions are kept. Expected test_output_path")
    elif data.test_output_images == "none":
        return  # whatever there is
    elif reader is not None and (reader.read is None or not reader.pixels):
        yield Problem(
            where, f"has no effect: there are pictures for image files only, but the inputs are {reader.noun}"
        )
    elif types.targets_are_labels:
        yield Problem(where, "has no effect: each sample has one class, not each pixel")
    elif types.targets_are_values:
        yield Problem(where, "has no effect: targets are rows of a table, not images")
    elif types.targets_are_boxes and data.test_output_images in ("masks", "pixels"):
        yield Problem(where, "has no effect: outputs are boxes, not images. Expected 'boxes'")


def _graphs(settings: Settings) -> Iterator[Problem]:
    if settings.nn.debug_interval is not None and not settings.nn.debug:
        yield Problem("neural_network.debug_interval", 'has no effect without "debug": true')


def _kept_epochs(settings: Settings) -> Iterator[Problem]:
    section = settings.nn.checkpoints
    for key in ("interval", "keep", "every_minutes"):
        if getattr(section, key) is not None and section.save is None:
            yield Problem(f"neural_network.checkpoints.{key}", "has no effect: 'save' is missing")
    if section.exist == "overwrite" and not settings.data.trains:
        yield Problem("neural_network.checkpoints.exist", "has no effect: nothing is trained")


def _test_share(settings: Settings) -> Iterator[Problem]:
    """The test samples are a share of the training samples, which must be files, or are given separately."""
    data, reader, where = settings.data, settings.types.input_reader, f"{DATA}.test_share"
    if data.test_share is None:
        return
    for key in _given(data, "test_input_path", "test_target_path"):
        yield Problem(where, f"cannot be combined with {key}. Expected one of the two")
    if reader is not None and (settings.types.generated or reader.read is None):
        yield Problem(where, f"takes a share of the files in a folder, but samples of type {data.inputs} are not files")
    elif data.input_path is None:
        yield Problem(where, "is a share of the images in input_path, which is missing")


def _final_test(settings: Settings) -> Iterator[Problem]:
    """The final test follows a training, and has targets where the training has them."""
    data, types = settings.data, settings.types
    inputs, targets = f"{DATA}.final_test_input_path", f"{DATA}.final_test_target_path"
    if data.final_test_target_path and not data.final_test_input_path:
        yield Problem(targets, "has no effect: final_test_input_path is missing")
    if data.final_test_input_path and not data.trains:
        yield Problem(inputs, "has no effect: nothing is trained. Expected test_input_path")
    from_files = data.target_path and (types.targets_are_arrays or types.labelled_by_arrays)
    if data.final_test_input_path and from_files and not data.final_test_target_path:
        yield Problem(DATA, "'final_test_target_path' is missing: the final test compares predictions with targets")


def _targets(settings: Settings) -> Iterator[Problem]:
    data, types = settings.data, settings.types
    if types.targets_are_arrays or adversarial_rules.generates(settings):
        return
    by_path = types.labelled_by_files or types.labelled_by_arrays or types.labelled_by_table or types.targets_are_boxes
    told = by_path or (data.trains and data.targets is None)
    for key in () if told else _given(data, *TARGET_PATHS):
        reason = "the class is the name of the folder" if data.targets else "there is no target_type"
        yield Problem(f"{DATA}.{key}", f"has no effect: {reason}")
    options = filter(Data.model_fields.__contains__, (f"target_{option}" for option in list_reader_options()))
    # A prediction has no targets, but a network that may have learned from masks.
    unused = _given(data, "target_transforms", *(("target_is_mask",) if data.targets else ()))
    for key in (*unused, *(key for key in options if data.targets and getattr(data, key) is not None)):
        yield Problem(f"{DATA}.{key}", "has no effect: targets are not images or arrays")


def _tags(settings: Settings) -> Iterator[Problem]:
    data = settings.data
    by_folder = data.targets in (None, "labels") and not settings.types.labelled_by_table
    for key in () if by_folder or adversarial_rules.generates(settings) else _given(data, "training_tag", "test_tag"):
        yield Problem(f"{DATA}.{key}", "has no effect: targets are not the classes of folders")


def _tables(settings: Settings) -> Iterator[Problem]:
    """A table says which targets belong to which samples; its keys need one."""
    data, types = settings.data, settings.types
    if types.labelled_by_table:
        if data.trains and not data.target_path:
            yield Problem(DATA, "'target_path' is missing: the file of the table with the training targets")
        if data.tests and not (data.target_path or data.test_target_path):
            yield Problem(DATA, "'test_target_path' is missing: the file of the table with the test targets")
        if data.target_suffix:
            yield Problem(f"{DATA}.target_suffix", "has no effect: targets are rows of a table")
        for key in _given(data, "test_input_path", "test_share", "test_target_path") if data.split_column else ():
            message = f"cannot be combined with {key}: the column says which samples are for the test"
            yield Problem(f"{DATA}.split_column", message)
        if data.separator is not None and data.target_kind not in (None, "classes"):
            yield Problem(f"{DATA}.separator", f'has no effect: target_kind is "{data.target_kind}"')
    else:
        # A prediction has no table, but a network that may have learned one.
        for key in _given(data, *TABLE_KEYS, *(("threshold",) if data.targets else ())):
            message = "has no effect: targets are not in a table. Expected target_path, a file such as labels.csv"
            yield Problem(f"{DATA}.{key}", message)
    if data.class_names is not None:
        yield from _class_names(data, types)


def _class_names(data: Data, types: DataTypes) -> Iterator[Problem]:
    where = f"{DATA}.class_names"
    if types.targets_are_arrays or data.target_kind == "number" or not data.targets:
        yield Problem(where, "has no effect: targets are not classes")
    elif types.labelled_by_files or types.labelled_by_arrays:
        yield Problem(where, "has no effect: the classes are numbers in files. Expected folders of classes, or a table")
    elif repeated := sorted(name for name, count in Counter(data.class_names).items() if count > 1):
        yield Problem(where, f"names {quote_some(repeated)} more than once")


def _target_suffix(settings: Settings) -> Iterator[Problem]:
    if settings.data.target_suffix is None or settings.types.labelled_by_table:
        return
    if not _given(settings.data, "target_path", "test_target_path"):
        yield Problem(f"{DATA}.target_suffix", "has no effect: there are no target files")


def _sampling(settings: Settings) -> Iterator[Problem]:
    """Only training samples with one class each can be drawn by class, and they are balanced once."""
    data, where = settings.data, f"{DATA}.sampling"
    if data.sampling != "balanced":
        return
    if not data.trains:
        yield Problem(where, "has no effect: nothing is trained")
    elif not settings.types.targets_are_labels:
        yield Problem(where, "draws each class equally often, but the targets are not classes of whole samples")
    if settings.loss is not None and settings.loss.arguments.get("weight") == BALANCED:
        message = 'cannot be combined with "weight": "balanced" in loss, which would balance the classes twice'
        yield Problem(where, f"{message}. Expected one of the two")


def _transforms(settings: Settings) -> Iterator[Problem]:
    data = settings.data
    if data.transforms and (data.input_transforms or data.target_transforms):
        message = "applies to inputs and targets. Expected either this, or input_transforms and target_transforms"
        yield Problem(f"{DATA}.transforms", message)


def _computed_samples(settings: Settings) -> Iterator[Problem]:
    keys = ("input_path", "test_input_path", "final_test_input_path", *TARGET_PATHS) if settings.types.generated else ()
    for key in _given(settings.data, *keys):
        yield Problem(f"{DATA}.{key}", f"has no effect: samples of type {settings.data.inputs} are computed")


def _slices(settings: Settings) -> Iterator[Problem]:
    data, reader = settings.data, settings.types.input_reader
    if data.slicers and reader is not None and (reader.contents is None or reader.pixels):
        message = f"cuts arrays, but the inputs are {reader.noun}. Expected the type numpy or hdf5"
        yield Problem(f"{DATA}.slicers", message)
    if data.hdf5_outfile and not data.slicers:
        message = "reassembles slices, but 'slicers' is missing"
        yield Problem(f"{DATA}.hdf5_outfile", message)


def _stacks(settings: Settings) -> Iterator[Problem]:
    """Arrays hold many samples on both sides or on none; the labels of many samples are beside each of their paths."""
    data, types, where = settings.data, settings.types, f"{DATA}.stacked"
    if data.stacked and data.slicers:
        yield Problem(where, "cannot be combined with slicers, which cut samples out of arrays")
    readers = {name: getattr(types, f"{name}_reader") for name in ("input", "target")}
    for name, reader in readers.items():
        if data.stacked and reader is not None and reader.stacked is False:
            yield Problem(
                where, f"arrays that hold many samples need arrays on both sides, but {name}s are {reader.noun}"
            )
    if not types.labelled_by_arrays:
        return
    if data.stacked is False:
        yield Problem(where, "an array of labels belongs to an array of samples. Expected true, or no target_path")
    for given, needed in (("input_path", "target_path"), ("test_input_path", "test_target_path")):
        if getattr(data, given) and not getattr(data, needed):
            yield Problem(DATA, f"'{needed}' is missing: the labels of '{given}' are in an array of their own")
        if getattr(data, needed) and not getattr(data, given):
            yield Problem(f"{DATA}.{needed}", f"has no effect: {given} is missing")


def _given(data: Data, *keys: str) -> list[str]:
    """Those of the keys that have a value."""
    return [key for key in keys if getattr(data, key)]


def _evaluations(settings: Settings) -> Iterator[Problem]:
    if settings.nn.evaluate_every > 1 and not (settings.data.trains and settings.data.tests):
        yield Problem("neural_network.evaluate_every", "has no effect: there are no test samples beside training")


def _recomputation(settings: Settings) -> Iterator[Problem]:
    if settings.nn.activation_checkpointing and settings.nn.compile:
        message = "does not go with compile, which decides itself what to compute again"
        yield Problem("neural_network.activation_checkpointing", message)


def _division(settings: Settings) -> Iterator[Problem]:
    """Keys that need whole weights in one place at all times."""
    if settings.ray.sharding != "fsdp":
        return
    if settings.nn.compile:
        yield Problem("ray.sharding", "fsdp does not go with compile: weights come and go between the layers")
    if settings.nn.debug_interval is not None:
        yield Problem("ray.sharding", "fsdp does not go with debug_interval: no worker has all weights and gradients")


RULES: tuple[Rule, ...] = (
    _evaluations,
    _recomputation,
    _division,
    _needed_sections,
    _event_files,
    _tracking_servers,
    _equations,
    _clipping,
    _loss_scaling,
    _metric,
    _something_to_do,
    _predictions,
    _precision_of_outputs,
    _shards,
    _pictures,
    _graphs,
    _kept_epochs,
    _test_share,
    _final_test,
    _targets,
    _tags,
    _tables,
    _target_suffix,
    _sampling,
    _transforms,
    _computed_samples,
    _slices,
    _stacks,
    *box_rules.RULES,
    *adversarial_rules.RULES,
)
