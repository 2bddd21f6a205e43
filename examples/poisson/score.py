"""Compares the predicted solutions with those of finite elements, and with the guess u = 1 - x."""

from pathlib import Path

import h5py
import numpy as np


def main():
    """Print the root of the mean square error of both."""
    with h5py.File(sorted(Path("predictions").glob("output_*.h5"), key=lambda p: int(p.stem[7:]))[-1]) as file:
        predicted = np.stack([file[name][0] for name in sorted(file)])  # (n, x, y)
    true = np.stack([np.load(path) for path in sorted(Path("solutions").glob("*.npy"))])
    guess = np.linspace(1, 0, true.shape[1])[None, :, None]
    errors = [np.sqrt(np.mean((u - true) ** 2)) for u in (predicted, guess)]
    print(f"RMS error of the network: {errors[0]:.4f}, of 1 - x: {errors[1]:.4f} ({errors[1] / errors[0]:.1f} times)")


if __name__ == "__main__":
    main()
