"""Whether a run can resume from a checkpoint, and what is different since."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from rayrml.config.tables import Choice
from rayrml.data.reader_keys import DATA, describe_targets
from rayrml.errors import ConfigError, DataError, Problem
from rayrml.formatting import format_path, shorten
from rayrml.losses import detection
from rayrml.losses.outputs import BALANCED
from rayrml.networks.comparison import Differences, compare_networks
from rayrml.networks.graph import read_graph
from rayrml.networks.network import Network
from rayrml.planning.class_balance import with_recorded_weights
from rayrml.planning.critic import LAYERS, CriticPlan
from rayrml.planning.grids import ANCHORS, format_anchors, with_recorded_anchors
from rayrml.planning.loss_statistics import with_recorded_statistics
from rayrml.planning.plan import Plan, TrainingPlan
from rayrml.saving import checkpoints
from rayrml.saving.checkpoints import Checkpoint
from rayrml.training.optimizer_state import find_usable, list_trained

_MOST_NAMED = 3
_LAYERS = "neural_network.layers"


def resume_plan(plan: Plan, resume_from: Sequence[str]) -> tuple[Plan, list[str]]:
    """The plan as it continues, and sentences on what has changed since, in ways that a resumed run can honor.

    Balanced class weights, the mean and deviation of standardized numbers, and anchors that were found stay those of
    the first run: the loss remains the same, and outputs stand for the same numbers.

    Args:
        plan: the plan of the run.
        resume_from: the files to resume from, the first of which says what it was; () if it does not resume.

    Raises:
        ConfigError: the network is another one.
        DataError: the classes are others, or the file cannot be read.
    """
    if not resume_from or not isinstance(plan, TrainingPlan):
        return plan, []
    checkpoint = checkpoints.load(resume_from[0])
    changes = _check_resumable(plan, checkpoint, resume_from[0])
    given, loss = plan.config.neural_network.loss or {}, plan.loss
    for keep in (_keep_weights, _keep_statistics, _keep_anchors):
        kept, what = keep(loss, given, checkpoint.loss)
        if kept.settings != loss.settings:
            changes.append(f"The training samples have changed. {what}")
        loss = kept
    plan = dataclasses.replace(plan, loss=loss)
    return plan, [*changes, *_describe_changes(plan, checkpoint)]


def _keep_weights(loss: Choice, given: Mapping[str, Any], recorded: Mapping[str, Any]) -> tuple[Choice, str]:
    """The loss with the class weights of the first run if these are balanced, and a sentence on them."""
    if given.get("weight") != BALANCED:
        return loss, ""
    kept = with_recorded_weights(loss, recorded) or loss
    weights = shorten([f"{weight:.4g}" for weight in kept.arguments["weight"]])
    return kept, f"The class weights stay those of the first epochs: {weights}"


def _keep_statistics(loss: Choice, given: Mapping[str, Any], recorded: Mapping[str, Any]) -> tuple[Choice, str]:
    """The same with the mean and deviation of standardized numbers."""
    if given.get("standardize") is not True:
        return loss, ""
    kept = with_recorded_statistics(loss, recorded)
    pairs = zip(*kept.arguments["standardize"].values(), strict=True)
    shown = shorten([f"{mean:.4g} and {std:.4g}" for mean, std in pairs])
    return kept, f"Mean and deviation of the numbers stay those of the first epochs: {shown}"


def _keep_anchors(loss: Choice, given: Mapping[str, Any], recorded: Mapping[str, Any]) -> tuple[Choice, str]:
    """The same with anchors that were found."""
    if loss.name not in detection.LOSSES or given.get(ANCHORS, detection.AUTO) != detection.AUTO:
        return loss, ""
    kept = with_recorded_anchors(loss, recorded)
    return kept, f"The anchors stay those of the first epochs: {format_anchors(kept.settings[ANCHORS])}"


def _check_resumable(plan: TrainingPlan, checkpoint: Checkpoint, path: str) -> list[str]:
    """Sentences on what has changed in the layers."""
    _check_classes(plan, checkpoint, path)
    _check_weights(plan.network, checkpoint, path)
    differences = _compare_layers(plan.network, checkpoint)
    if differences.outputs:
        raise _other_network(path, differences.outputs)
    critic = checkpoint.of_critic()
    if plan.critic is not None and critic is not None:
        _check_weights(plan.critic.network, critic, path, LAYERS)
    return list(_describe_training(differences.training))


def _check_classes(plan: TrainingPlan, checkpoint: Checkpoint, path: str) -> None:
    before, now = checkpoint.classes, plan.classes
    if before and now and tuple(before) != tuple(now):
        message = (
            f"'{format_path(path)}' distinguishes the classes {shorten(before)}, but the samples have {shorten(now)}"
        )
        cure = "Expected the same classes, or another folder in checkpoints.save"
        raise DataError(Problem("neural_network.checkpoints.save", f"{message}. {cure}"))
    _check_columns(checkpoint.targets, describe_targets(plan.config.neural_network.data), path)


def _check_columns(before: Mapping[str, Any], now: Mapping[str, Any], path: str) -> None:
    """Raise DataError if a network that learned columns of a table is to go on with others."""
    if not before.get("target_kind") or not now.get("target_kind"):
        return
    # The columns of classes may be named otherwise: the classes are the same.
    keys = ("target_kind", "target_column") if before["target_kind"] == "number" else ("target_kind",)
    for key in keys:
        if before.get(key) != now.get(key):
            message = f"'{format_path(path)}' was trained with {before.get(key)!r}, but now it is {now.get(key)!r}"
            cure = "Expected the same, or another folder in checkpoints.save"
            raise DataError(Problem(f"{DATA}.{key}", f"{message}. {cure}"))


def _check_weights(network: Network, checkpoint: Checkpoint, path: str, where: str = _LAYERS) -> None:
    own: Mapping[str, torch.Tensor] = network.state_dict()
    before = checkpoint.network
    differences = [
        *(f"'{name}' is new" for name in own if name not in before),
        *(f"'{name}' is gone" for name in before if name not in own),
        *(
            f"'{name}' had the shape {list(before[name].shape)} and now has {list(tensor.shape)}"
            for name, tensor in own.items()
            if name in before and before[name].shape != tensor.shape
        ),
    ]
    if differences:
        raise _other_network(path, differences, where)


def _compare_layers(network: Network, checkpoint: Checkpoint) -> Differences:
    """What has changed in the layers since a checkpoint whose weights fit; nothing if it does not know its layers."""
    if not isinstance(checkpoint.layers, dict | list):
        return Differences()
    weighted = [name for name, layer in network.layers().items() if layer.weights]
    return compare_networks(read_graph(checkpoint.layers), network.graph, weighted)


def _other_network(path: str, differences: Sequence[str], where: str = _LAYERS) -> ConfigError:
    what = "network" if where == _LAYERS else "critic"
    message = f"the {what} is not that of '{format_path(path)}': {shorten(differences, _MOST_NAMED)}"
    cure = f'Use another folder in checkpoints.save, and "load": "{format_path(path)}" to start from its weights'
    return ConfigError(Problem(where, f"{message}. {cure}"))


def _describe_training(differences: Sequence[str]) -> Iterator[str]:
    if differences:
        yield f"Layers have changed in ways that only matter for training: {shorten(differences, _MOST_NAMED)}"


def _list_trained_before(plan: TrainingPlan, checkpoint: Checkpoint) -> list[str]:
    """The parameters that the plan trains in the checkpoint's last epoch; of an unfinished one in that before it."""
    modules = plan.network.module_names
    frozen = {modules[name] for name, first in plan.unfreezing.items() if first > max(checkpoint.epoch, 1)}
    return [name for name in list_trained(plan.network) if name.split(".")[0] not in frozen]


def _describe_critic(critic: CriticPlan | None, before: Checkpoint | None) -> Iterator[str]:
    """The same of the critic of a generator, in whose layers any change only matters for training."""
    if critic is None or before is None or critic.updates.optimizer is None:
        return
    _, difference = find_usable(critic.updates.optimizer, list_trained(critic.network), before)
    changes = _compare_layers(critic.network, before)
    sentences = [*_describe_training([*changes.outputs, *changes.training]), *([difference] if difference else [])]
    yield from (f"Critic: {sentence}" for sentence in sentences)


def _describe_changes(plan: TrainingPlan, checkpoint: Checkpoint) -> Iterator[str]:
    _, difference = find_usable(plan.optimizer, _list_trained_before(plan, checkpoint), checkpoint)
    if difference is not None:
        yield difference
    yield from _describe_critic(plan.critic, checkpoint.of_critic())
    averaging = plan.config.neural_network.ema
    if averaging is not None and not checkpoint.ema:
        yield "The moving average of the weights begins with those of the checkpoint"
    elif averaging is None and checkpoint.ema:
        yield "The network goes on with its weights, no longer with their moving average"
    arguments = dict(checkpoint.loss)
    name, now = arguments.pop("function", plan.loss.name), plan.loss
    figures = "The figures of earlier epochs are of the former"
    if name != now.name:
        yield f"The loss was {name} and is now {now.name}. {figures}"
    elif (before := dataclasses.replace(now, arguments=arguments).settings) != now.settings and checkpoint.loss:
        changed = ", ".join(f"{key}: {before[key]}" for key in before if before[key] != now.settings[key])
        yield f"The loss was {name} with {changed}. {figures}"
