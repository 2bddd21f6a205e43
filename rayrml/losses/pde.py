"""Losses that need no reference solution: how far an output is from solving a differential equation with given data.

The target is the equation's data, which is the network's input: a coefficient, or initial values.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from pydantic import NonNegativeFloat

from rayrml.losses.loss import Loss, wrong_target

_GAUSS_POINTS = (0.5 - 3**-0.5 / 2, 0.5 + 3**-0.5 / 2)  # of the unit interval; both have weight 1/2


def burgers(*, diffusion_coeff: NonNegativeFloat = 0.0, boundary_factor: NonNegativeFloat = 1.0) -> Loss:
    """Squared residual of u_t + u u_x = diffusion_coeff u_xx, plus boundary_factor times the conditions' squared error.

    The output (N, 1, T, X) has one row per time t = 0, 1, ..., and the target (N, 1, X) or (N, 1, 1, X) holds the
    initial values b. Both are given at x = 0, 1, ..., X - 1. The mean squared residual is taken over all times and
    all points except the first of each, for a conservative scheme with the same spacings of 1:

    - Godunov's flux F(v, w) = max(max(v, 0)^2, min(w, 0)^2) / 2 between neighbours v and w,
    - central differences of the new row for the diffusion,
    - the same value beyond the right end as at the end, that is, zero gradient,
    - the flux of the old row with weight 1 - theta and of the new row with weight theta = max(0, 1 - 1 / max |b|).

    This is the smallest theta for which the scheme is monotone, since by the maximum principle |u| never exceeds
    max |b|: the scheme is stable for all initial values, and its solution tends to the entropy solution. Up to
    max |b| = 1, theta is 0, with the least numerical diffusion. The loss is 0 only for the scheme's solution (if
    b(0) = 0) under the conditions u(t = 0) = b and u(x = 0) = 0, whose mean squared errors are summed.

    Source: Crandall & Majda, Math. Comp. 34 (1980), for monotone schemes.
    """
    function = functools.partial(_burgers, diffusion=diffusion_coeff, boundary_factor=boundary_factor)
    return Loss(function, targets="arrays", metric=None, shapes=_burgers_misfit)


def poisson_2d() -> Loss:
    """Energy of -div(nu grad u) = 0 on the unit square, with u = 1 at x = 0, u = 0 at x = 1, and no flux elsewhere.

    The target (N, 1, nx, ny) is the diffusivity nu > 0 at the nodes of a regular grid, the output u at the same nodes;
    x is the first axis. The values at x = 0 and x = 1 are imposed on the output. The loss is the mean over samples of
    the integral of nu |grad u|^2, whose minimizer is the solution. Both u and nu are bilinear in each cell, so the
    integrand is at most cubic along each axis, and two Gauss points per axis integrate it exactly.
    """
    return _poisson(2)


def poisson_3d() -> Loss:
    """Energy of -div(nu grad u) = 0 on the unit cube, with u = 1 at x = 0, u = 0 at x = 1, and no flux elsewhere.

    As in Poisson2D_PDE, for a target and an output (N, 1, nx, ny, nz) that are trilinear in each cell.
    """
    return _poisson(3)


# Heat flow through an inhomogeneous body


def _poisson(num_axes: int) -> Loss:
    misfit = functools.partial(_poisson_misfit, num_axes=num_axes)
    return Loss(_energy, targets="arrays", metric=None, impose=_between_1_and_0, shapes=misfit)


def _between_1_and_0(u: torch.Tensor) -> torch.Tensor:
    """The output (N, 1, nx, ...) with 1 in its first plane x = 0 and 0 in its last plane x = 1."""
    return torch.cat([torch.ones_like(u[:, :, :1]), u[:, :, 1:-1], torch.zeros_like(u[:, :, -1:])], dim=2)


def _energy(u: torch.Tensor, nu: torch.Tensor) -> torch.Tensor:
    nu = nu.to(u.dtype)
    return torch.stack([_energy_along(axis, u, nu) for axis in range(2, u.ndim)]).sum()


def _energy_along(axis: int, u: torch.Tensor, nu: torch.Tensor) -> torch.Tensor:
    """Mean over samples of the integral of nu (du/da)^2, for the coordinate a along `axis`."""
    # Along its own axis the slope is constant in a cell, so only the mean of nu counts there.
    slope = u.diff(dim=axis) * (u.shape[axis] - 1)
    nu = _between(nu, axis, 0.5)
    for other in range(2, u.ndim):
        if other != axis:
            slope, nu = (torch.cat([_between(f, other, p) for p in _GAUSS_POINTS], other) for f in (slope, nu))
    # All cells have the same size and all points the same weight: the integral over the domain of volume 1 is the mean.
    return (nu * slope.square()).mean()


def _between(values: torch.Tensor, axis: int, place: float) -> torch.Tensor:
    """Linear interpolation between all neighbours along an axis, at `place` in [0, 1] from one to the next."""
    count = values.shape[axis] - 1
    return torch.lerp(values.narrow(axis, 0, count), values.narrow(axis, 1, count), place)


def _poisson_misfit(output: Sequence[int | None], target: Sequence[int] | None, *, num_axes: int) -> str | None:
    nodes = ("nx", "ny", "nz")[:num_axes]
    too_few = any(side is not None and side < 2 for side in output[1:])
    if len(output) != 1 + num_axes or output[0] not in (None, 1) or too_few:
        expected = f"(1, {', '.join(nodes)}): one channel, and at least 2 nodes along each axis"
        return f"the network's output has shape {tuple(output)}. Expected {expected}"
    return wrong_target(output, target, [output])


# Breaking waves


def _burgers(output: torch.Tensor, target: torch.Tensor, *, diffusion: float, boundary_factor: float) -> torch.Tensor:
    u = output[:, 0]  # (N, T, X)
    b = target.reshape(len(u), -1).to(u.dtype)  # (N, X)
    residual = _burgers_residual(u, b, diffusion).square().mean()
    return residual + boundary_factor * ((u[:, 0] - b).square().mean() + u[:, :, 0].square().mean())


def _burgers_residual(u: torch.Tensor, b: torch.Tensor, diffusion: float) -> torch.Tensor:
    """The residual of the scheme for u (N, T, X) at all times and points from 1 on: (N, T - 1, X - 1)."""
    speed = b.abs().amax(1)[:, None, None]
    theta = 1 - 1 / speed.clamp(min=1.0)
    beyond = torch.cat([u, u[:, :, -1:]], dim=2)
    left, right = beyond[:, :, :-1].clamp(min=0.0), beyond[:, :, 1:].clamp(max=0.0)
    outflow = (torch.maximum(left.square(), right.square()) / 2).diff(dim=2)  # (N, T, X - 1)
    spreading = beyond[:, 1:].diff(n=2, dim=2)
    inner = u[:, :, 1:]
    return inner.diff(dim=1) + torch.lerp(outflow[:, :-1], outflow[:, 1:], theta) - diffusion * spreading


def _burgers_misfit(output: Sequence[int | None], target: Sequence[int] | None) -> str | None:
    too_few = any(side is not None and side < 2 for side in output[1:])
    if len(output) != 3 or output[0] not in (None, 1) or too_few:
        expected = "(1, T, X): one channel, with a row of X points for each of T times, both at least 2"
        return f"the network's output has shape {tuple(output)}. Expected {expected}"
    return wrong_target(output, target, [(1, output[2]), (1, 1, output[2])])


LOSSES = {"Burgers_PDE": burgers, "Poisson2D_PDE": poisson_2d, "Poisson3D_PDE": poisson_3d}
