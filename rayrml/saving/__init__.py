"""Weights and networks in files: rayrml's checkpoints, Keras's HDF5 weights, and exports for other programs.

`training` decides when a checkpoint is written; the other files of a run are in `reporting`.
"""
