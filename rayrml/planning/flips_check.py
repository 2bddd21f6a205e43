"""Whether the outputs for flipped samples can be averaged, as `data.test_transforms` asks for."""

from __future__ import annotations

from rayrml.config.mistakes import Findings
from rayrml.data.datasets import Datasets
from rayrml.data.reader_keys import DATA, FLIPS
from rayrml.inference.flips import list_flips
from rayrml.networks.layers.layer import format_shape
from rayrml.networks.network import Network
from rayrml.planning.settings import Settings

_WHERE = f"{DATA}.{FLIPS}"


def check_flips(settings: Settings, network: Network, datasets: Datasets, findings: Findings) -> None:
    """Add to the findings why the outputs for flipped samples cannot be averaged, if they are to be."""
    if settings.data.test_transforms != "none":
        problem = _find_problem(settings, network, datasets)
        if problem is not None:
            findings.add(_WHERE, problem)


def describe_flips(flips: str, num_axes: int) -> str | None:
    """How many outputs are averaged for each sample with this number of spatial axes; None without flips."""
    if flips not in ("flips", "horizontal_flip"):
        return None
    return f"{flips}: the mean over {len(list(list_flips(flips, num_axes)))} flips of each sample"


def _find_problem(settings: Settings, network: Network, datasets: Datasets) -> str | None:
    if settings.nn.app == "pde":
        return "an equation with its boundary values does not hold for flipped inputs"
    if datasets.test is None and datasets.final_test is None:
        return "has no effect: there are no test samples"
    num_axes, output = len(datasets.shape) - 1, network.output_shapes[0]
    if not num_axes:
        return "samples have no spatial axes that could be flipped"
    if len(output) > 1 and len(output) - 1 != num_axes:
        shapes = f"{format_shape(datasets.shape)} to outputs {format_shape(output)}"
        return f"the network turns inputs {shapes}, whose axes are others: they cannot be flipped back"
    return None
