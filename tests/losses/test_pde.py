"""Losses of differential equations against other solvers: assembled finite elements, time stepping, and formulas."""

import itertools

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.sparse import linalg

from rayrml.errors import ConfigError
from rayrml.losses import LOSSES

SHAPES = [(5, 9), (9, 5), (2, 3), (4, 5, 6), (3, 2, 2)]


def poisson(shape):
    return LOSSES[f"Poisson{len(shape)}D_PDE"]()


def batch(*arrays, dtype=torch.float64):
    """Arrays of node values as a batch (N, 1, *spatial)."""
    return torch.tensor(np.array(arrays), dtype=dtype)[:, None].contiguous()


def linear(shape):
    """1 - x at the nodes."""
    return np.broadcast_to(np.linspace(1, 0, shape[0]).reshape(-1, *[1] * (len(shape) - 1)), shape)


def smooth_diffusivity(shape, seed=0):
    """The exponential of a few waves along all axes."""
    rng = np.random.default_rng(seed)
    places = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    waves = [np.prod([np.cos(rng.uniform(0, 5) * x + rng.uniform(0, 6)) for x in places], axis=0) for _ in range(4)]
    return np.exp(rng.uniform(-1, 1, 4) @ np.reshape(waves, (4, -1))).reshape(shape)


# The energy


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "accuracy"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_the_energy_of_a_linear_fall_is_the_diffusivity(shape, dtype, accuracy):
    u, nu = batch(linear(shape), dtype=dtype), batch(np.full(shape, 2.5), dtype=dtype)
    assert poisson(shape)(u, nu).item() == pytest.approx(2.5, rel=accuracy)


def energy_by_quadrature(u, nu, num_points=6):
    """The integral of nu |grad u|^2 with many points in each cell, from the shape functions and their slopes."""
    points, weights = np.polynomial.legendre.leggauss(num_points)
    points, weights = (points + 1) / 2, weights / 2
    sides = [n - 1 for n in u.shape]
    corners = list(itertools.product((0, 1), repeat=u.ndim))
    total = 0.0
    for cell in itertools.product(*map(range, sides)):
        values = {c: (u[tuple(np.add(cell, c))], nu[tuple(np.add(cell, c))]) for c in corners}
        for place in itertools.product(range(num_points), repeat=u.ndim):
            xi, weight = points[list(place)], weights[list(place)].prod()
            shares = {c: np.where(c, xi, 1 - xi) for c in corners}
            gradient = [
                sum(values[c][0] * np.delete(shares[c], a).prod() * (2 * c[a] - 1) * sides[a] for c in corners)
                for a in range(u.ndim)
            ]
            total += weight * np.square(gradient).sum() * sum(values[c][1] * shares[c].prod() for c in corners)
    return total / np.prod(sides)


@pytest.mark.parametrize("shape", [(4, 3), (2, 4), (3, 4, 2)])
def test_the_energy_is_the_exact_integral_for_any_values_at_the_nodes(shape):
    rng = np.random.default_rng(1)
    u, nu = rng.normal(size=shape), rng.uniform(0.1, 9, shape)
    u[0], u[-1] = 1, 0
    assert poisson(shape)(batch(u), batch(nu)).item() == pytest.approx(energy_by_quadrature(u, nu), rel=1e-12)


def test_the_energy_of_a_batch_is_the_mean_of_its_samples():
    rng = np.random.default_rng(2)
    u, nu = batch(*rng.normal(size=(3, 5, 4))), batch(*rng.uniform(1, 2, (3, 5, 4)))
    loss = poisson((5, 4))
    each = [loss(u[i : i + 1], nu[i : i + 1]).item() for i in range(3)]
    assert loss(u, nu).item() == pytest.approx(np.mean(each), rel=1e-12)


# The boundary


@pytest.mark.parametrize("shape", [(5, 4), (4, 3, 5)])
def test_what_the_network_says_at_the_boundary_does_not_count(shape):
    rng = np.random.default_rng(3)
    loss, nu = poisson(shape), batch(rng.uniform(1, 2, shape))
    output = batch(rng.normal(size=shape)).requires_grad_()
    before = output.detach().clone()
    value = loss(output, nu)
    value.backward()
    assert torch.equal(output.detach(), before)
    assert (output.grad[:, :, [0, -1]] == 0).all()
    assert (output.grad[:, :, 1:-1] != 0).all()
    with torch.no_grad():
        output[:, :, 0], output[:, :, -1] = 7, -9
    assert loss(output, nu).item() == value.item()


def test_the_prescribed_values_are_1_in_the_first_plane_and_0_in_the_last():
    output = torch.full((2, 1, 4, 3), 0.3)
    imposed = poisson((4, 3)).imposed(output)
    assert imposed[0, 0].tolist() == torch.tensor([[1.0] * 3, [0.3] * 3, [0.3] * 3, [0.0] * 3]).tolist()


# The minimizer


def stiffness(nu):
    """The matrix A for which u A u is the integral of nu |grad u|^2, from integrals of shape functions."""
    ends = (0, 1)
    products = np.array([[[1 / 4 if i == j == k else 1 / 12 for k in ends] for j in ends] for i in ends])
    slopes = np.array([[[(-1) ** (i + j) / 2 for _ in ends] for j in ends] for i in ends])
    cells = [n - 1 for n in nu.shape]
    corners = list(itertools.product(ends, repeat=nu.ndim))
    numbers = np.arange(nu.size).reshape(nu.shape)
    at = {c: tuple(slice(start, start + n) for start, n in zip(c, cells, strict=True)) for c in corners}
    matrix = sparse.csr_matrix((nu.size, nu.size))
    for a, b in itertools.product(corners, repeat=2):
        values = np.zeros(cells)
        for c, axis in itertools.product(corners, range(nu.ndim)):
            along = [slopes[a[i], b[i], c[i]] if i == axis else products[a[i], b[i], c[i]] for i in range(nu.ndim)]
            values += np.prod(along) * cells[axis] ** 2 / np.prod(cells) * nu[at[c]]
        places = numbers[at[a]].ravel(), numbers[at[b]].ravel()
        matrix += sparse.csr_matrix((values.ravel(), places), matrix.shape)
    return matrix


def solve(nu):
    """The finite-element solution at the nodes."""
    matrix, u = stiffness(nu), np.zeros(nu.shape)
    u[0] = 1
    inner = np.arange(nu.size).reshape(nu.shape)[1:-1].ravel()
    solution = u.ravel()
    solution[inner] = linalg.spsolve(matrix[inner][:, inner], -(matrix @ solution)[inner])
    return solution.reshape(nu.shape)


def minimize(loss, start, target, iterations=2000):
    """The values at the nodes that minimize the loss."""
    u = start.clone().requires_grad_()
    search = torch.optim.LBFGS(
        [u],
        max_iter=iterations,
        max_eval=2 * iterations,
        history_size=30,
        tolerance_grad=1e-9,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure():
        search.zero_grad()
        value = loss(u, target)
        value.backward()
        return value

    search.step(closure)
    return u.detach()


@pytest.mark.parametrize("shape", [(12, 12), (9, 13), (6, 5, 7)])
def test_the_minimizer_is_the_finite_element_solution(shape):
    nus = [smooth_diffusivity(shape, seed) for seed in range(2)]
    loss, nu = poisson(shape), batch(*nus)
    u = loss.imposed(minimize(loss, batch(*[linear(shape)] * 2), nu))
    expected = batch(*map(solve, nus))
    assert (expected - batch(linear(shape))).abs().max() > 0.05
    assert (u - expected).abs().max() < 1e-6


def errors_for_layers(shape_of):
    """Largest error of the finite-element minimizer for nu = exp(3 sin 4 x), for two resolutions of x."""
    fine = np.linspace(0, 1, 20001)
    resistance = np.exp(-3 * np.sin(4 * fine))
    integral = np.concatenate([[0], np.cumsum((resistance[1:] + resistance[:-1]) / 2)])
    for n in (33, 65):
        x = np.linspace(0, 1, n)
        shape = shape_of(n)
        nu = np.broadcast_to(np.exp(3 * np.sin(4 * x)).reshape(-1, *[1] * (len(shape) - 1)), shape)
        exact = 1 - np.interp(x, fine, integral / integral[-1])
        u = solve(np.ascontiguousarray(nu))
        gradient = batch(u).requires_grad_()
        poisson(shape)(gradient, batch(nu)).backward()
        assert gradient.grad.abs().max() < 1e-12  # it is the minimizer
        yield abs(np.moveaxis(u, 0, -1) - exact).max()


@pytest.mark.parametrize("shape_of", [lambda n: (n, 3), lambda n: (n, 2, 3)], ids=["2D", "3D"])
def test_layers_are_resistors_in_a_row_up_to_the_square_of_the_spacing(shape_of):
    coarse, fine = errors_for_layers(shape_of)
    assert fine < 1e-3
    assert coarse / fine == pytest.approx(4, rel=0.1)


# Breaking waves


def burgers(**arguments):
    return LOSSES["Burgers_PDE"](**arguments)


def raised_cosine(num_points, height=1.0):
    return height * (1 - np.cos(2 * np.pi * np.arange(num_points) / num_points)) / 2


def stepped(b, num_times, diffusion=0.0):
    """The scheme's solution (T, X) for b >= 0, row by row."""
    theta = max(0.0, 1 - 1 / b.max())
    rows = [b]
    for _ in range(num_times - 1):
        flux = rows[-1] ** 2 / 2
        known = rows[-1][1:] - (1 - theta) * np.diff(flux)
        rows.append(np.append(0.0, implicit(known, theta, diffusion)))
    return np.stack(rows)


def implicit(known, theta, diffusion):
    """The w for which w + theta (w^2)' / 2 - diffusion w'' = known, with 0 before it, by Newton's method."""
    size = len(known)
    backward = np.eye(size) - np.eye(size, k=-1)
    second = -backward.T @ backward
    second[0, 0], second[-1, -1] = -2, -1
    w = known.copy()
    for _ in range(30):
        rest = w + theta * backward @ (w**2 / 2) - diffusion * second @ w - known
        if abs(rest).max() < 1e-14:
            break
        w = w - np.linalg.solve(np.eye(size) + theta * backward * w - diffusion * second, rest)
    return w


@pytest.mark.parametrize("height", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("diffusion", [0.0, 0.7])
def test_the_solution_of_the_scheme_has_no_loss(height, diffusion):
    b = raised_cosine(40, height)
    u = stepped(b, 60, diffusion)
    loss = burgers(diffusion_coeff=diffusion)
    assert loss(batch(u), batch(b)).item() < 1e-24
    assert loss(batch(u + 1e-3), batch(b)).item() > 1e-7


@pytest.mark.parametrize(("num_times", "height"), [(4, 1.0), (12, 1.0), (8, 2.0)])
@pytest.mark.parametrize("diffusion", [0.0, 0.3])
def test_the_minimizer_is_the_solution_of_the_scheme_before_and_after_the_shock(num_times, height, diffusion):
    b = raised_cosine(12, height)  # breaks at t = 12 / (pi height)
    start = batch(np.tile(b, (num_times, 1)))
    u = minimize(burgers(diffusion_coeff=diffusion), start, batch(b), iterations=700)
    expected = batch(stepped(b, num_times, diffusion))
    assert (start - expected).abs().max() > 0.3
    assert (u - expected).abs().max() < 1e-3


def test_a_shock_goes_at_the_speed_of_the_mean_of_its_sides():
    b = np.where((np.arange(200) > 5) & (np.arange(200) < 60), 1.0, 0.0)
    # Behind the front the values fan out; until the fan reaches it, the front moves at speed 1/2.
    row = stepped(b, 81)[80]
    assert np.interp(-0.5, -row[60:], np.arange(60.0, 200)) == pytest.approx(59.5 + 40, abs=0.6)
    assert burgers()(batch(stepped(b, 81)), batch(b)).item() < 1e-24


def test_a_jump_upwards_becomes_a_fan_and_does_not_stay():
    b = np.where(np.arange(40) < 20, 0.0, 1.0)
    fan = np.clip((np.arange(40) - 19.5) / np.maximum(np.arange(15), 1e-9)[:, None], 0, 1)
    assert burgers()(batch(fan), batch(b)) < burgers()(batch(np.tile(b, (15, 1))), batch(b)) / 3


def test_values_of_both_signs_flow_both_ways():
    loss = burgers(boundary_factor=0.0)
    # A stationary shock between 1 and -1 solves the equation; the same jump in the other direction does not.
    rest = np.tile(np.where(np.arange(20) < 10, 1.0, -1.0), (8, 1))
    assert loss(batch(rest), batch(rest[0])).item() == 0
    assert loss(batch(-rest), batch(-rest[0])).item() > 0.01


def test_the_residual_of_a_line_that_flattens_vanishes_with_the_spacing():
    losses = []
    for size in (20, 40, 80):
        # The line ends in a constant, where the row ends too.
        x, t = np.minimum(np.arange(size), size - 2), np.arange(size)[:, None]
        exact = x / size / (1 + t / size)
        losses.append(burgers()(batch(exact), batch(exact[0])).item())
    assert losses[0] < 1e-4
    assert losses[0] > 4 * losses[1] > 16 * losses[2]


def test_diffusion_makes_solutions_smoother():
    b = raised_cosine(12)
    start = batch(np.tile(b, (6, 1)))
    solutions = [minimize(burgers(diffusion_coeff=nu), start, batch(b), iterations=300) for nu in (0.0, 0.1, 0.5)]
    steepest = [u.diff(dim=3)[:, :, -1].abs().max().item() for u in solutions]
    assert steepest[0] > 1.1 * steepest[1] > 1.1**2 * steepest[2]


def test_the_conditions_count_as_much_as_asked_for():
    b, u = np.array([0.0, 0.5, 1.0]), np.zeros((4, 3))
    u[:, 0] = 2.0
    residual = burgers(boundary_factor=0.0)(batch(u), batch(b)).item()
    conditions = (4 + 0.25 + 1) / 3 + 4
    assert burgers(boundary_factor=3.0)(batch(u), batch(b)).item() == pytest.approx(residual + 3 * conditions)


def test_initial_values_may_have_an_axis_for_the_one_time():
    b = raised_cosine(6)
    u = batch(np.random.default_rng(0).uniform(0, 1, (4, 6)))
    assert burgers()(u, batch(b)[:, None]).item() == burgers()(u, batch(b)).item()


# Shapes


@pytest.mark.parametrize(
    ("name", "output", "target", "message"),
    [
        ("Poisson2D_PDE", (2, 8, 8), None, "the network's output has shape (2, 8, 8). Expected (1, nx, ny): one"),
        ("Poisson2D_PDE", (10,), None, "the network's output has shape (10,). Expected (1, nx, ny): one channel"),
        ("Poisson2D_PDE", (1, 8, 1), None, "Expected (1, nx, ny): one channel, and at least 2 nodes along each axis"),
        ("Poisson3D_PDE", (1, 8, 8), None, "the network's output has shape (1, 8, 8). Expected (1, nx, ny, nz): one"),
        ("Poisson2D_PDE", (1, 8, 8), (1, 8, 9), "the target has shape (1, 8, 9), but for an output (1, 8, 8) the loss"),
        ("Poisson2D_PDE", (1, 8, 8), (3, 8, 8), "the target has shape (3, 8, 8), but for an output (1, 8, 8) the loss"),
        ("Burgers_PDE", (1, 8), None, "the network's output has shape (1, 8). Expected (1, T, X): one channel, with"),
        ("Burgers_PDE", (3, 4, 8), None, "the network's output has shape (3, 4, 8). Expected (1, T, X): one channel"),
        ("Burgers_PDE", (1, 4, 8), (1, 4), "(1, 4), but for an output (1, 4, 8) the loss needs (1, 8) or (1, 1, 8)"),
    ],
)
def test_shapes_that_do_not_fit_are_noticed_beforehand(name, output, target, message):
    assert message in LOSSES[name]().misfit(output, target)


def test_shapes_that_would_be_broadcast_are_refused():
    with pytest.raises(ConfigError, match=r"the target has shape \(1, 1, 4\), but for an output \(1, 4, 4\)"):
        poisson((4, 4))(torch.rand(2, 1, 4, 4), torch.rand(2, 1, 1, 4))
    with pytest.raises(ConfigError, match=r"the network's output has shape \(10,\)"):
        poisson((4, 4))(torch.rand(2, 10), torch.rand(2, 1, 4, 4))
