"""Weights and networks in files: rayrml's checkpoints, weights of Keras and darknet, and exports for other programs.

`training` decides when a checkpoint is written; the other files of a run are in `reporting`.
"""
