"""Makes maps of the diffusivity nu(x, y) on the unit square, and the true solutions for the test maps.

diffusivity/training/*.npy and diffusivity/test/*.npy hold nu at the nodes of a regular grid, (x, y) float32.
solutions/*.npy hold u for the test maps, from finite elements, to compare predictions with.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy import sparse
from scipy.sparse import linalg

WAVE_NUMBERS = np.array([1.72, 4.05, 6.85, 9.82])


def diffusivity(random, size):
    """The exponential of a sum of products of waves along x and y, with random weights."""
    x = np.linspace(0, 1, size)
    a = WAVE_NUMBERS[:, None]
    waves = a / 2 * np.cos(a * x) + np.sin(a * x)  # (4, size)
    weights = random.uniform(-1.5, 1.5, 4) / (1 + 0.25 * WAVE_NUMBERS**2)
    return np.exp(np.einsum("k,kx,ky->xy", weights, waves, waves)).astype(np.float32)


def solution(nu):
    """The u with -div(nu grad u) = 0, u = 1 at x = 0, u = 0 at x = 1, no flux elsewhere; by bilinear elements."""
    size = len(nu)
    number = np.arange(size * size).reshape(size, size)
    corners = np.stack([number[:-1, :-1], number[1:, :-1], number[:-1, 1:], number[1:, 1:]], -1).reshape(-1, 4)
    stiffness = np.zeros((len(corners), 4, 4))
    points = np.array([-1, 1]) / np.sqrt(12) + 0.5
    for s in points:
        for t in points:
            shape = np.array([(1 - s) * (1 - t), s * (1 - t), (1 - s) * t, s * t])
            slope = np.array([[t - 1, 1 - t, -t, t], [s - 1, -s, 1 - s, s]])
            # In two dimensions, the sizes of cells and slopes cancel.
            stiffness += 0.25 * (nu.reshape(-1)[corners] @ shape)[:, None, None] * (slope.T @ slope)
    rows, columns = np.repeat(corners, 4, 1), np.tile(corners, (1, 4))
    matrix = sparse.csr_matrix((stiffness.ravel(), (rows.ravel(), columns.ravel())))
    u = np.zeros(size * size)
    u[number[0]] = 1
    inner = number[1:-1].ravel()
    u[inner] = linalg.spsolve(matrix[inner][:, inner], -(matrix @ u)[inner])
    return u.reshape(size, size)


def main():
    """Write all maps below the current folder."""
    parser = argparse.ArgumentParser(description="Make diffusivity maps.")
    parser.add_argument("--training", type=int, default=500, help="number of training maps")
    parser.add_argument("--test", type=int, default=40, help="number of test maps")
    parser.add_argument("--size", type=int, default=32, help="nodes along each side")
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    Path("solutions").mkdir(exist_ok=True)
    for part, count in (("training", arguments.training), ("test", arguments.test)):
        folder = Path("diffusivity", part)
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(count):
            nu = diffusivity(random, arguments.size)
            np.save(folder / f"nu_{index:04}.npy", nu)
            if part == "test":
                np.save(Path("solutions", f"nu_{index:04}.npy"), solution(nu.astype(float)))
        print(f"{count} maps of {arguments.size} x {arguments.size} nodes in {folder}")


if __name__ == "__main__":
    main()
