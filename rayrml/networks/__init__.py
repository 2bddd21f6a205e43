"""From Keras JSON to a torch module: the graph, the layers, and the module that runs them.

Training is the task of `training`, and reading weights that of `saving`.
"""
