"""From a trained network to its outputs: evaluation of a batch, the Ray job that predicts, and its output files.

`losses` and `metrics` compare outputs with targets; the loop that evaluates after each epoch is in `training`.
"""
