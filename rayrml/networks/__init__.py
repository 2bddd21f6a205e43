"""From Keras's JSON to a torch module: the graph, the layers and the module that runs them.

It neither trains nor reads weights: `training` does the one, `saving` the other.
"""
