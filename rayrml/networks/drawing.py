"""Draws a network as a Graphviz graph."""

from __future__ import annotations

from pathlib import Path

from rayrml import storage
from rayrml.errors import explaining
from rayrml.networks.network import Network


def write_dot(network: Network, path: str | Path, *, statistics: bool = False) -> None:
    """Write one box per layer call and one arrow per tensor.

    With `statistics`, a box also shows the mean and standard deviation of its layer's weights and gradients.

    Raises:
        DataError: the file cannot be written.
    """
    lines = [f"digraph {_quoted(network.name)} {{", "  node [shape=box, fontname=monospace];"]
    for number, (node, row) in enumerate(zip(network.graph.nodes, network.summary(), strict=True)):
        label = [row.name, row.class_name, str(row.output_shape), f"{row.num_parameters:,} parameters"]
        label += _statistics(network, row.name) if statistics else []
        lines.append(f"  n{number} [label={_quoted(chr(10).join(label))}];")
        lines += [f"  n{source} -> n{number};" for source in node.inputs]
    with explaining(path, "cannot be written"):
        storage.write(path, "\n".join([*lines, "}", ""]).encode())


def _statistics(network: Network, layer: str) -> list[str]:
    lines = []
    for name, parameter in network.named_parameters():
        if name.rpartition(".")[0] != layer:
            continue
        short = name.rpartition(".")[2]
        for what, tensor in ((short, parameter.detach()), (f"d {short}", parameter.grad)):
            if tensor is not None and tensor.numel() > 0:
                lines.append(f"{what}: {tensor.mean().item():.3g} +- {tensor.std(correction=0).item():.3g}")
    return lines


def _quoted(text: str) -> str:
    escaped = text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'"{escaped}"'
