"""Generative adversarial networks: the section `critic`."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from rayrml.config.section import Section


class Critic(Section):
    """The network that learns to tell generated samples from real ones, and how its weights are updated."""

    layers: str | list[Any] | dict[str, Any] = Field(
        description="path of a Keras JSON file, or the layers themselves: takes a sample, gives one number, (1,)"
    )
    optimizer: dict[str, Any] | None = Field(
        default=None, description="how its weights are updated, with `lr_scheduler` (default: like the generator's)"
    )
