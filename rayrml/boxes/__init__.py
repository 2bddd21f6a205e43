"""Boxes around objects: those of a batch, their overlap, and the grids of anchors by which networks predict them.

Not here: labels in files (`data/box_labels/`), the loss (`losses/`), mAP (`metrics/`), detections (`inference/`).
"""
