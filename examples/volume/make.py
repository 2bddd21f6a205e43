"""Makes blocks of rock as seismic waves show them: amplitudes and the number of the layer that each cell belongs to.

training.h5 and test.h5, each with the datasets `amplitude` (x, y, z) float32 and `layer` (x, y, z) uint8.
"""

import argparse

import h5py
import numpy as np

NUM_LAYERS = 4


def block(random, shape):
    """Amplitudes (x, y, z) float32 and layers (x, y, z) uint8 of folded, faulted ground."""
    x, y, z = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in shape), indexing="ij", sparse=True)
    folds = 4 * np.sin(x / 13 + random.uniform(0, 6)) * np.cos(y / 17 + random.uniform(0, 6))
    fault = np.where(x + 0.4 * y > 0.6 * (shape[0] + 0.4 * shape[1]), 5.0, 0.0)
    depth = z + folds + fault  # what was flat once
    bounds = np.linspace(0, shape[2] + 6, NUM_LAYERS + 1)[1:-1]
    layer = np.digitize(depth, bounds).astype(np.uint8)
    # Each layer is bedded in its own way, and reflects in its own strength.
    thickness, strength = np.array([3.0, 5.0, 2.2, 8.0]), np.array([0.5, 1.0, 0.8, 0.3])
    beds = strength[layer] * np.sin(2 * np.pi * depth / thickness[layer])
    noise = random.normal(0, 0.25, shape)
    return (beds + noise).astype(np.float32), layer


def main():
    """Write both files into the current folder."""
    parser = argparse.ArgumentParser(description="Make blocks of layered ground.")
    parser.add_argument("--size", type=int, nargs=3, default=[96, 80, 64], help="cells of the training block")
    parser.add_argument("--test-size", type=int, nargs=3, default=[50, 80, 64], help="cells of the test block")
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    for name, size in (("training", arguments.size), ("test", arguments.test_size)):
        amplitude, layer = block(random, tuple(size))
        with h5py.File(f"{name}.h5", "w") as file:
            file["amplitude"], file["layer"] = amplitude, layer
        print(f"{name}.h5: {' x '.join(map(str, size))} cells, {NUM_LAYERS} layers")


if __name__ == "__main__":
    main()
