"""Weights and networks in files: rayrml's checkpoints, Keras's HDF5 weights, and exports for other programs.

When a checkpoint is written is decided in `training`; what a run writes down beside it is in `reporting`.
"""
