"""Weights and networks in files: rayrml's checkpoints, and weights of Keras and darknet.

`training` decides when a checkpoint is written; the other files of a run are in `reporting`.
"""
