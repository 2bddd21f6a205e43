"""Networks by name: generators of the Keras JSON of well-known families, one row of the table for each network.

Layers that `keras.applications` has are named as there, so that files of weights match by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayrml.config.named_networks import KEY, is_named
from rayrml.config.tables import Table, choose
from rayrml.errors import ConfigError, Problem
from rayrml.networks.families import convnext, densenet, efficientnet, inception, mobilenet, resnet, segmentation, vgg
from rayrml.networks.families.family import Classifier, Family
from rayrml.networks.families.sizes import describe_multiples

__all__ = ["NETWORKS", "Classifier", "Family", "choose_network", "is_named"]

CHAPTERS = (resnet, vgg, densenet, mobilenet, efficientnet, inception, convnext, segmentation)
NETWORKS: Table = {name: row for chapter in CHAPTERS for name, row in chapter.NETWORKS.items()}


def choose_network(section: Mapping[str, Any], path: str) -> Family:
    """The network that `section` names, with the section's other keys.

    Raises:
        ConfigError: every mistake in the section, each with its JSON path below `path`.
    """
    family: Family = choose(NETWORKS, section, path, KEY).build()
    if (conflict := family.find_conflict()) is not None:
        key, message = conflict
        raise ConfigError(Problem(f"{path}.{key}" if path else key, message))
    if family.input is not None and (misfit := family.find_misfit(family.input)) is not None:
        raise ConfigError(Problem(f"{path}.input" if path else "input", f"{misfit}{describe_multiples(family)}"))
    return family
