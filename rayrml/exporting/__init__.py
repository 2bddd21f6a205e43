"""Networks for other programs: files, what these say of preprocessing and outputs, and how each file is checked.

Weights and checkpoints alone are in `saving/`.
"""
