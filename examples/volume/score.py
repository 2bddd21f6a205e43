"""Compares the assembled prediction with the true layers: precision, recall and F1 of each."""

import h5py
import numpy as np


def main():
    """Print a line for each layer, and the mean."""
    with h5py.File("prediction.h5") as file:
        predicted = file["bricks"][()].argmax(-1)  # (x, y, z, layers) -> (x, y, z)
    with h5py.File("test.h5") as file:
        true = file["layer"][()]
    print("layer  precision  recall  F1")
    scores = []
    for layer in range(4):
        both = np.sum((predicted == layer) & (true == layer))
        precision, recall = both / max(np.sum(predicted == layer), 1), both / max(np.sum(true == layer), 1)
        scores.append(2 * precision * recall / max(precision + recall, 1e-9))
        print(f"{layer:5}  {precision:9.3f}  {recall:6.3f}  {scores[-1]:.3f}")
    print(f"mean F1: {np.mean(scores):.3f}")


if __name__ == "__main__":
    main()
