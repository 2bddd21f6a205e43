"""The application of a configuration that does not name it."""

from __future__ import annotations

from rayrml.config.sections import Data, NeuralNetwork
from rayrml.config.tables import Choice
from rayrml.losses import adversarial, detection, pde

GAN = "gan"
_BY_LOSS = {"obj": detection.LOSSES, "pde": pde.LOSSES, GAN: adversarial.LOSSES}


def application_of(loss: Choice | None, data: Data | None = None) -> str:
    """What the key `app` is, if it is not given: the loss tells, or samples to generate without inputs to read."""
    if loss is not None:
        return next((app for app, losses in _BY_LOSS.items() if loss.name in losses), "dnn")
    generates = data is not None and data.num_test_examples is not None and data.inputs is None and not data.trains
    return GAN if generates else "dnn"


def generates_alone(nn: NeuralNetwork) -> bool:
    """Whether samples are generated and compared with nothing, so that no file of samples is read."""
    data = nn.data
    return nn.app == GAN and not (data.trains or data.test_input_path or data.test_share)
