"""Whether the network suits the samples, the loss, the targets and the classes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TypeGuard

from rayrml.config.cluster import Ray
from rayrml.config.mistakes import Findings
from rayrml.config.tables import Choice
from rayrml.data.datasets import Datasets
from rayrml.data.discovery import Samples
from rayrml.data.reader_keys import DATA
from rayrml.data.sources import Side, Source
from rayrml.errors import Problem
from rayrml.formatting import shorten
from rayrml.losses import Loss, detection
from rayrml.networks.affine import list_without_affine
from rayrml.networks.ending import find_ending, find_other_activation
from rayrml.networks.graph import LayerSpec
from rayrml.networks.layer_patterns import choose_layers
from rayrml.networks.layers.layer import Layer
from rayrml.networks.layers.normalization import BatchNormalization
from rayrml.networks.layers.wrappers import unwrapped
from rayrml.networks.network import Network
from rayrml.networks.shapes import fits

_LOSS = "neural_network.loss"
_CHECKPOINTING = "neural_network.activation_checkpointing"
_FEW = 8  # samples whose mean and variance are too uncertain to normalize by
_LEAST_MOMENTUM = 0.5
_LARGE_SHARE = 0.05  # of initial statistics: that after 3 / (1 - momentum) steps
_UNIT_INTERVAL = ("softmax", "sigmoid")
_LIKE_PROBABILITIES = ("hard_sigmoid", "hard_sigmoid_keras_3")


def check_outputs(network: Network, datasets: Datasets, loss: Choice | None, findings: Findings) -> None:
    """Add to the findings what keeps the loss from comparing the network's output with the targets."""
    if len(network.output_shapes) > 1 and (loss is None or loss.build().join is None):
        names = ", ".join(f"'{network.graph.layers[network.graph.nodes[i].layer].name}'" for i in network.graph.outputs)
        message = f"the network has {len(network.output_shapes)} outputs: {names}. Expected a network with one output"
        message += "" if loss is not None else f", or a loss that takes several: {', '.join(detection.LOSSES)}"
        if not findings.concern(_LOSS):  # otherwise it may be one that takes several
            findings.add("neural_network.layers", message)
        return
    if loss is not None and network.penalizes_outputs and loss.build().weight is not None:
        # A worker's part of the mean would have another weight than its part of the penalty.
        message = (
            f"{loss.name} with these keys divides by the weights of the samples, but regularized outputs "
            "(activity_regularizer, ActivityRegularization) by their number, and workers add up one mean. "
            "Expected a loss without weight and ignore_index, or regularized weights (kernel_regularizer)"
        )
        findings.add("neural_network.loss", message)
    if loss is None or (len(datasets.classes) == 1 and findings) or findings.concern(f"{DATA}.target_type"):
        return  # of a single class, or an unknown type, somebody has been told already
    for shape, target in zip(datasets.shapes, datasets.target_shapes, strict=True):
        output = _output_shape(network, shape, findings)
        problem = None if output is None else _find_misfit(network, output, target, datasets=datasets, loss=loss)
        if problem is not None:
            findings.add(problem.where, problem.message)
            return


def warn_of_ending(network: Network, loss: Choice | None) -> Iterator[str]:
    """Sentences on a loss that takes what the network's last layer does not give; none if that cannot be told."""
    if loss is None:
        return
    takes = loss.build().takes
    ending = find_ending(network.graph) or find_other_activation(network.graph)
    if ending is None or takes is None:
        return
    takes = "logits" if takes == "sigmoid_logits" else takes
    cure = _find_cure(ending, takes, has_source="source" in loss.settings)
    if cure is not None:
        gives = "has no activation" if ending == "linear" else f"ends with {ending}"
        wants = "logits (no activation)" if takes == "logits" else takes
        name = find_last_layer(network).name
        yield f"the loss {loss.name} expects {wants}, but the network's last layer '{name}' {gives}. {cure}"


def warn_of_batch_norm(network: Network) -> Iterator[str]:
    """Sentences on batch normalization whose statistics are those of few batches, or that has nothing to train.

    The latter concerns what is left free in a network with frozen layers.
    """
    untrained = list(list_without_affine(network.graph))
    if untrained and not all(layer.trainable for layer in network.graph.layers):
        which = f"batch normalization ({shorten(untrained)}) is not frozen, but has neither gamma nor beta to train"
        yield f'{which}: "center" and "scale" are false. "train_batch_norm": "affine" gives it both'
    short = {name: layer.momentum for name, layer in network.layers().items() if _forgets(layer)}
    if short:
        which = (
            f"batch normalization ({shorten(list(short))}) has a momentum of {min(short.values()):g}, the share that"
        )
        yield (
            f"{which} its running statistics keep at each step: they are hardly more than those of the last batch, and "
            "evaluation may be far worse than training. Use 0.9 or more"
        )


def warn_of_initial_statistics(network: Network, num_steps: int) -> Iterator[str]:
    """A sentence on running statistics that will still be largely the initial ones after this many steps.

    Loaded ones need no steps.
    """
    layers = {name: unwrapped(layer) for name, layer in network.layers().items()}
    slow = {
        name: layer.momentum
        for name, layer in layers.items()
        if isinstance(layer, BatchNormalization)
        and layer.mode is None
        and layer.momentum**num_steps > _LARGE_SHARE
        and _has_initial_statistics(layer)
    }
    if slow:
        momentum = max(slow.values())
        most = _LARGE_SHARE ** (1 / num_steps)
        smaller = f"a momentum of at most {math.floor(100 * most) / 100:g}, " if most >= _LEAST_MOMENTUM else ""
        yield (
            f"batch normalization ({shorten(list(slow))}) has a momentum of {momentum:g}, the share that its running "
            f"statistics keep at each step: after the {num_steps} steps of this training, {momentum**num_steps:.0%} of "
            "them are still the initial ones, and evaluation and predictions may be far worse than training. "
            f"Use {smaller}more epochs, or group normalization"
        )


def _has_initial_statistics(layer: BatchNormalization) -> bool:
    return not layer.running_mean.any() and bool((layer.running_var == 1).all())


def _forgets(layer: Layer) -> TypeGuard[BatchNormalization]:
    """Whether a layer's running statistics are updated, and mostly those of the last batch."""
    return isinstance(layer, BatchNormalization) and layer.mode is None and layer.momentum < _LEAST_MOMENTUM


def warn_of_small_parts(network: Network, batch_size: int, accumulate: int, ray: Ray) -> Iterator[str]:
    """A sentence on batch normalization that sees few samples at once, because a batch is divided."""
    layers = map(unwrapped, network.layers().values())
    if not any(isinstance(layer, BatchNormalization) and layer.mode is None for layer in layers):
        return
    asked = ray.num_workers
    workers = 1 if asked is None or ray.batch_norm == "global" else asked if isinstance(asked, int) else asked[1]
    seen = max(batch_size // (accumulate * workers), 1)
    if seen < min(_FEW, batch_size):
        cause = " and ".join(
            [*(["accumulate"] if accumulate > 1 else []), *(['"batch_norm": "local"'] if workers > 1 else [])]
        )
        cure = 'Use "batch_norm": "global"' if workers > 1 else "Use fewer micro-batches, or group normalization"
        yield f"with {cause}, batch normalization sees {seen} of the {batch_size} samples of a batch at once. {cure}"


def divide_activations(network: Network, wanted: bool | str | Sequence[str], findings: Findings) -> None:
    """Let the network keep fewer activations, if that is wanted; layers that do not exist are added to the findings."""
    if wanted is False:
        return
    if wanted is True:
        network.checkpoint_activations()
        return
    names: list[str] = []
    for pattern in [wanted] if isinstance(wanted, str) else wanted:
        chosen, mistake = choose_layers(network, pattern)
        names += chosen
        if mistake is not None:
            findings.add(_CHECKPOINTING, f"'{pattern}': {mistake}")
    network.checkpoint_activations(names)


def find_last_layer(network: Network) -> LayerSpec:
    """The layer that gives the first output, which need not be the last one of the file."""
    return network.graph.layers[network.graph.nodes[network.graph.outputs[0]].layer]


def _find_misfit(
    network: Network,
    output: tuple[int | None, ...],
    target: tuple[int, ...] | None,
    *,
    datasets: Datasets,
    loss: Choice,
) -> Problem | None:
    """What keeps the loss from comparing an output of this shape with a target; None if nothing does."""
    last, built = find_last_layer(network), loss.build()
    if output[0] == 1 and find_ending(network.graph) in ("softmax", "log_softmax"):
        message = f"layer '{last.name}' is a softmax of one channel, which is always 1. Expected sigmoid"
        return Problem(last.where, f"{message}, or a channel for each class")
    sources = tuple(datasets.sources.values())
    if target is None or not (datasets.training or datasets.test_targets):
        misfit = built.misfit(output)
    elif built.targets == "labels" and target and all(source.target is None for source in sources):
        return Problem(DATA, _describe_other_targets(loss.name, sources))
    elif (message := _describe_wrong_number(last.name, datasets, built, output)) is not None:
        return Problem(last.where, message)
    else:
        # Class indices have no channel axis.
        indices = built.targets == "labels" and target[:1] == (1,)
        sides = [source.target for source in sources if source.target is not None]
        misfit = (
            _color_hint(built, target, sides)
            or _one_hot_hint(built, output, target)
            or built.misfit(output, target[1:] if indices else target)
        )
        if misfit is not None and sides:
            misfit = f"{misfit} (first target: '{sides[0].decoding.first}')"
    return None if misfit is None else Problem(_LOSS, misfit)


def _describe_other_targets(loss: str, sources: Sequence[Source]) -> str:
    """What is wrong with targets that are no class numbers, where the loss needs them."""
    if not sources or sources[0].samples.values is None:
        return f"{loss} needs classes as targets. Expected target_path, or the type labels"
    if sources[0].samples.value_names:
        return f"{loss} needs classes as targets, but the table's columns are numbers. Expected MSE, MAE or Huber"
    return f"{loss} takes one class for each sample, but samples of the table may have several. Expected BCE"


def _describe_wrong_count(layer: str, samples: Samples, output: Sequence[int | None]) -> str | None:
    """What is wrong if the table has another number of values for a sample than the network; None if nothing is."""
    if samples.values is None or tuple(output) == samples.values.shape[1:]:
        return None
    count = samples.values.shape[1]
    names = samples.value_names or samples.classes
    kind = "classes" if samples.classes else "number" if count == 1 else "numbers"
    has = f"outputs {output[0]} values" if len(output) == 1 else f"outputs arrays {tuple(output)}"
    return f"the network's last layer '{layer}' {has} per sample, but the table has {count} {kind}: {shorten(names)}"


def _find_cure(ending: str, takes: str, *, has_source: bool) -> str | None:
    """What to change if a loss takes something else than the network's ending; None if the two go together."""
    if ending == takes or (ending == "linear" and takes == "logits"):
        return None
    if takes in _UNIT_INTERVAL and ending in (*_UNIT_INTERVAL, *_LIKE_PROBABILITIES):
        return None  # both are in [0, 1]
    if takes == "logits" and ending == "log_softmax":
        return None  # the softmax of log-probabilities is the same
    if takes == "log_softmax":
        return 'Use the activation "log_softmax"' + (", or the loss CrossEntropy" if ending == "linear" else "")
    if takes == "logits":
        return "Remove the activation, or use a loss of probabilities"
    source = {"linear": "logits", "log_softmax": "log_softmax"}.get(ending)
    return f'Use the activation "{takes}"' + (f', or "source": "{source}" in the loss' if has_source and source else "")


def _color_hint(loss: Loss, target: tuple[int, ...], sides: Sequence[Side]) -> str | None:
    """What to do about target images in colour where the loss takes class numbers."""
    if loss.targets != "labels" or target[:1] != (3,) or not sides or not all(side.pixels for side in sides):
        return None
    shades = "the target images have 3 channels, but the loss takes one class number for each pixel"
    return f'{shades}. "target_grayscale": true reads them with one channel'


def _one_hot_hint(loss: Loss, output: tuple[int | None, ...], target: tuple[int, ...]) -> str | None:
    """What to do about targets with a channel for each class where the loss takes class numbers."""
    if loss.targets != "labels" or not target or target[0] == 1 or target != tuple(output):
        return None
    shape = target[1:]
    return (
        f"the targets of shape {target} look one-hot, but the loss takes class numbers, of shape {shape} for each "
        "sample. numpy's argmax over the first axis makes them"
    )


def _output_shape(network: Network, shape: tuple[int, ...], findings: Findings) -> tuple[int | None, ...] | None:
    """The output's shape for inputs of this shape; None if it is not known."""
    if not fits(network.input_shapes[0], shape):
        output = network.output_shapes[0]
        return output if len(output) == 1 else None
    with findings.gathering():
        return network.outputs_of(shape)[0]
    return None


def _describe_wrong_number(layer: str, datasets: Datasets, loss: Loss, output: Sequence[int | None]) -> str | None:
    """What is wrong if the network distinguishes another number of classes than there are; None if nothing is."""
    samples = next((source.samples for source in datasets.sources.values()), None)
    if samples is not None and samples.values is not None:
        return _describe_wrong_count(layer, samples, output)
    classes, channels = datasets.classes, output[0]
    if not classes or channels is None or loss.classes_of(channels) == len(classes):
        return None
    outputs = f"the network's last layer '{layer}' outputs {channels} values per sample"
    return f"{outputs}, but there are {len(classes)} classes: {shorten(classes)}"
