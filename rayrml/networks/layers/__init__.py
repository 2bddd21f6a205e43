"""Keras's layers in torch, one table row per class; the files follow the chapters of Keras's manual."""

from rayrml.networks.layers.choice import LayerChoice, choose_layer
from rayrml.networks.layers.table import TABLE, describe_chapters

__all__ = ["TABLE", "LayerChoice", "choose_layer", "describe_chapters"]
