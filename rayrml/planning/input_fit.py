"""Whether a network takes samples of their shapes, and what may help if it does not."""

from __future__ import annotations

from rayrml import storage
from rayrml.config.mistakes import Findings
from rayrml.data.datasets import Datasets
from rayrml.data.reader_keys import DATA
from rayrml.data.sources import Side
from rayrml.networks.network import Network
from rayrml.networks.shapes import fits


def adapt_input(network: Network, datasets: Datasets, findings: Findings) -> None:
    """Make the network one for samples of this size. Adds to the findings what keeps it from taking them."""
    misfits = ((shape, misfit) for shape in datasets.shapes if (misfit := network.check_input(shape)) is not None)
    shape, misfit = next(misfits, (None, None))
    if shape is None or misfit is None:
        network.accept(*datasets.shapes)
        return
    first = next((s.input for s in (datasets.training, datasets.test) if s is not None), None)
    hint = _input_hint(network, shape, first)
    shapes, stop, reason = misfit.partition(". ")
    findings.add(DATA, f"{shapes} from '{first.decoding.first if first else ''}'{stop}{reason}{hint}")


def _input_hint(network: Network, shape: tuple[int, ...], side: Side | None) -> str:
    """What may help samples of this shape to fit."""
    expected = network.input_shapes[0]
    if (expected[0], shape[0]) == (1, 3) and side is not None and side.decoding.reader.name == "images":
        return '. "grayscale": true reads images with one channel'
    declared = None not in expected[1:] and expected[0] == shape[0]
    if side is not None and side.pixels and declared and len(shape) == len(expected) == 3:
        return f'. The transform {{"resize": [{expected[1]}, {expected[2]}]}} makes images that it takes'
    rows = (shape[1:], (1, *shape[1:]))
    takes_rows = any(fits(expected, row) for row in rows) or network.check_input(shape[1:]) is None
    if side is not None and not side.pixels and takes_rows:
        return _stacked_hint(shape, side)
    if (shape[-1], *shape[:-1]) == tuple(size or own for size, own in zip(expected, shape, strict=False)):
        return '. Its channels are last: "channels": "last" reads them so'
    return ""


def _stacked_hint(shape: tuple[int, ...], side: Side) -> str:
    """What to do about arrays that look like many samples each."""
    place = side.samples.place(0)
    one = (
        f". The path of a single array, such as '{storage.join(place.path, place.name)}', also does"
        if place.name
        else ""
    )
    looks = f"It looks like {shape[0]} samples in one array"
    return f'. {looks}: "stacked": true reads each array as many samples{one}'
