"""What differs between applications when networks are trained: a row for each value of the key `app`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from rayrml.config.sections import NeuralNetwork
from rayrml.config.tables import Choice
from rayrml.networks.network import Network
from rayrml.reporting.messages import Emit
from rayrml.training.adversarial_trainee import AdversarialTrainee
from rayrml.training.generation_watch import GenerationWatch
from rayrml.training.job import Job
from rayrml.training.trainee import Trainee
from rayrml.training.watch import Watch
from rayrml.workers import Workers


@dataclasses.dataclass(frozen=True)
class Application:
    """What an application trains.

    Attributes:
        trainee: makes everything that training changes.
        watch: makes what a training shows beside its figures.
    """

    trainee: Callable[[Job, Choice, Network, Workers], Trainee] = Trainee
    watch: Callable[[Job, Network, Workers, Emit], Watch] = Watch


APPLICATIONS = {
    "dnn": Application(),
    "pde": Application(),
    "obj": Application(),
    "gan": Application(AdversarialTrainee, GenerationWatch),
}


def trained_application(config: NeuralNetwork) -> Application:
    """The row of a configuration."""
    return APPLICATIONS[config.app or "dnn"]
