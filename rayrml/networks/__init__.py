"""From Keras JSON to a torch module: the graph, the layers, and the module that runs them.

Training is in `training`, reading weights in `saving`.
"""
