"""Rules between the keys of generative adversarial networks."""

from __future__ import annotations

from collections.abc import Iterator

from rayrml.errors import Problem
from rayrml.losses import adversarial
from rayrml.planning.application import GAN
from rayrml.planning.settings import Settings

_APP = "neural_network.app"


def _adversarial_application(settings: Settings) -> Iterator[Problem]:
    """The loss and the application go together."""
    nn, loss = settings.nn, settings.loss
    if loss is None:
        return
    generates = loss.name in adversarial.LOSSES
    if nn.app == GAN and not generates:
        yield Problem(_APP, f"'gan' generates samples, but the loss {loss.name} is another. Expected {_LOSSES}")
    if generates and nn.app not in (None, GAN):
        yield Problem(_APP, f"'{nn.app}' does not go with the loss {loss.name}. Expected gan, or no app")


def _unfinished(settings: Settings) -> Iterator[Problem]:
    """What is read but cannot be run."""
    if settings.nn.app == GAN:
        yield Problem(_APP, "'gan' is known, but not trained or run yet. Expected dnn, pde or obj")


_LOSSES = f"the loss {' or '.join(adversarial.LOSSES)}"
RULES = (_adversarial_application, _unfinished)
