"""What a run with a generator needs besides its networks: a classifier that judges samples, and their pictures."""

from __future__ import annotations

from rayrml.config.mistakes import Findings
from rayrml.config.sections import NeuralNetwork
from rayrml.endings import UNIT
from rayrml.errors import Problem
from rayrml.inference.judge import Judge, load_judge
from rayrml.inference.sample_grid import SampleDrawing, can_draw
from rayrml.networks.ending import find_range
from rayrml.networks.layers.layer import smallest
from rayrml.networks.network import Network
from rayrml.planning.application import generates_alone

JUDGE = "neural_network.metric_network"
_PICTURES = "neural_network.data.test_output_images"


def choose_judge(nn: NeuralNetwork, network: Network, findings: Findings) -> Judge | None:
    """The classifier that judges a generator's samples, None without one; mistakes are added to the findings."""
    shape = network.output_shapes[0]
    if nn.metric_network is None or generates_alone(nn) or None in shape:
        return None
    with findings.gathering():
        return load_judge(nn.metric_network, smallest(shape), JUDGE)
    return None


def choose_drawing(nn: NeuralNetwork, network: Network, findings: Findings) -> SampleDrawing | None:
    """How samples that are generated alone become pictures, None if none are wanted."""
    if not generates_alone(nn) or nn.data.test_output_images not in ("pixels", "always"):
        return None
    shape = network.output_shapes[0]
    if not can_draw(shape):
        message = f"has no effect: samples have the shape {tuple(shape)}. Expected gray or RGB images"
        findings.mistakes.append(Problem(_PICTURES, message))
        return None
    return SampleDrawing(find_range(network.graph) or UNIT)
