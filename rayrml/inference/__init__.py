"""From a trained network to its outputs: evaluation of a batch, the Ray job that predicts, and the files it writes.

What outputs are compared with is in `losses` and `metrics`; the loop that evaluates after each epoch is in `training`.
"""
