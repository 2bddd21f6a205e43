import contextlib
import io

import numpy as np
import pytest
import torch
from torch import nn, optim

from rayrml.config.tables import choose
from rayrml.errors import ConfigError
from rayrml.optimizers import OPTIMIZERS, needs_closure, refuse_clipping

ADAM = {"learning_rate": 0.01, "beta1": 0.9, "beta2": 0.999, "weight_decay": 0, "eps": 1e-8, "amsgrad": False}
SGD = {"learning_rate": 0.01, "momentum": 0, "weight_decay": 0, "dampening": 0, "nesterov": False}
DEFAULTS = {
    "SGD": SGD,
    "Adagrad": {"learning_rate": 0.01, "lr_decay": 0, "weight_decay": 0},
    "Adam": ADAM,
    "AdamW": ADAM,
    "RMSprop": {
        "learning_rate": 0.01,
        "momentum": 0,
        "alpha": 0.99,
        "eps": 1e-8,
        "centered": False,
        "weight_decay": 0,
    },
    "LARS": {**SGD, "eta": 1e-3},
    "LAMB": ADAM,
    "Hessian": {
        "learning_rate": 1.0,
        "max_iterations": 2000,
        "max_func_eval": 4000,
        "absolute_tolerance": 1e-8,
        "relative_tolerance": 1e-8,
    },
}


def chosen(section):
    return choose(OPTIMIZERS, section, "optimizer")


def mistakes(section):
    with pytest.raises(ConfigError) as caught:
        chosen(section)
    return [str(p) for p in caught.value.problems]


def weights():
    """A matrix, a bias, and a parameter that no loss depends on."""
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(s, generator=generator, dtype=torch.float64)) for s in ((3, 4), (4,), (2, 2))]


def objective(parameters):
    matrix, bias, _ = parameters
    return (matrix - 2).square().sum() + (bias + 1).square().sum()


def advance(optimizer, parameters, steps):
    for _ in range(steps):

        def closure():
            optimizer.zero_grad()
            loss = objective(parameters)
            loss.backward()
            return loss

        if needs_closure(optimizer):
            optimizer.step(closure)
        else:
            closure()
            optimizer.step()


# Contract of every row


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_row_has_the_defaults_of_the_manual(name):
    assert chosen({"type": name}).settings == DEFAULTS[name]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_row_goes_downhill_and_leaves_unused_parameters_alone(name):
    parameters = weights()
    before, unused = objective(parameters).item(), parameters[2].detach().clone()
    advance(chosen({"type": name}).build(parameters), parameters, 20)
    assert objective(parameters).item() < before
    assert torch.equal(parameters[2], unused)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_row_has_its_learning_rate_where_schedules_set_it(name):
    optimizer = chosen({"type": name, "learning_rate": 0.125}).build(weights())
    assert [group["lr"] for group in optimizer.param_groups] == [0.125]


STATEFUL = {"momentum": 0.9, "amsgrad": True, "centered": True, "nesterov": True, "max_iterations": 3}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_row_goes_on_from_its_saved_state_as_if_never_stopped(name):
    options = {k: v for k, v in STATEFUL.items() if k in DEFAULTS[name]}
    choice = chosen({"type": name, **options})
    parameters = weights()
    optimizer = choice.build(parameters)
    advance(optimizer, parameters, 3)
    file = io.BytesIO()
    torch.save((optimizer.state_dict(), [p.detach() for p in parameters]), file)
    file.seek(0)
    state, values = torch.load(file, weights_only=True)

    resumed = [nn.Parameter(v) for v in values]
    again = choice.build(resumed)
    again.load_state_dict(state)
    advance(optimizer, parameters, 3)
    advance(again, resumed, 3)
    assert all(torch.equal(a, b) for a, b in zip(parameters, resumed, strict=True))


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("rate", [0, -1, "0.1"])
def test_a_row_refuses_a_learning_rate_that_is_none(name, rate):
    assert [m.split(":")[0] for m in mistakes({"type": name, "learning_rate": rate})] == ["optimizer.learning_rate"]


# Names and ranges


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"type": "sgd", "momentum": 0.5, "dampening": 0.25}, {"momentum": 0.5, "dampening": 0.25}),
        ({"type": "adagrad", "lr_decay": 0.5, "weight_decay": 0.25}, {"lr_decay": 0.5, "weight_decay": 0.25}),
        ({"type": "adam", "beta1": 0.5, "beta2": 0.75, "eps": 0.125}, {"betas": (0.5, 0.75), "eps": 0.125}),
        ({"type": "adamw", "beta1": 0.5, "amsgrad": True}, {"betas": (0.5, 0.999), "amsgrad": True}),
        ({"type": "rmsprop", "alpha": 0.5, "centered": True}, {"alpha": 0.5, "centered": True}),
        (
            {"type": "hessian", "max_iterations": 3, "max_func_eval": 4, "absolute_tolerance": 0.5},
            {"max_iter": 3, "max_eval": 4, "tolerance_grad": 0.5, "tolerance_change": 1e-8},
        ),
    ],
)
def test_names_of_the_json_reach_pytorch(section, expected):
    group = chosen(section).build(weights()).param_groups[0]
    assert {name: group[name] for name in expected} == expected


def test_the_decay_of_adam_is_a_gradient_and_that_of_adamw_is_not():
    section = {"learning_rate": 0.1, "weight_decay": 0.5}
    moved = {}
    for name in ("Adam", "AdamW"):
        weight = nn.Parameter(torch.tensor([10.0]))
        weight.grad = torch.tensor([-1.0])
        chosen({"type": name, **section}).build([weight]).step()
        moved[name] = weight.item()
    assert moved["Adam"] == pytest.approx(10 - 0.1)  # the gradient's sign is that of -1 + 0.5 * 10
    assert moved["AdamW"] == pytest.approx(10 * (1 - 0.1 * 0.5) + 0.1)


@pytest.mark.parametrize("name", ["SGD", "LARS"])
@pytest.mark.parametrize("others", [{}, {"momentum": 0.9, "dampening": 0.5}])
def test_nesterov_without_plain_momentum_is_a_mistake(name, others):
    expected = ["optimizer.nesterov: needs a momentum above 0 and no dampening"]
    assert mistakes({"type": name, "nesterov": True, **others}) == expected


def test_all_values_out_of_range_are_named():
    section = {"type": "Adam", "beta1": 1.0, "beta2": -0.1, "eps": 0, "weight_decay": -1}
    assert [m.split(":")[0].removeprefix("optimizer.") for m in mistakes(section)] == [
        "beta1",
        "beta2",
        "weight_decay",
        "eps",
    ]


# Layer-wise adaptation, against numpy


def lars_by_hand(w, gradients, *, lr, momentum, decay, eta):
    """Algorithm 1 of arXiv 1708.03888."""
    velocity = np.zeros_like(w)
    for g in gradients:
        local = eta * np.linalg.norm(w) / (np.linalg.norm(g) + decay * np.linalg.norm(w))
        velocity = momentum * velocity + lr * local * (g + decay * w)
        w = w - velocity
    return w


def lamb_by_hand(w, gradients, *, lr, betas, decay, eps):
    """Algorithm 2 of arXiv 1904.00962."""
    m = v = np.zeros_like(w)
    for t, g in enumerate(gradients, 1):
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        r = m / (1 - betas[0] ** t) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
        update = r + decay * w
        w = w - lr * np.linalg.norm(w) / np.linalg.norm(update) * update
    return w


def gradients_of(shape, count=4):
    return np.random.default_rng(1).normal(size=(count, *shape))


def follow(section, start, gradients):
    weight = nn.Parameter(torch.tensor(start))
    optimizer = chosen(section).build([weight])
    for gradient in gradients:
        weight.grad = torch.tensor(gradient)
        optimizer.step()
    return weight.detach().numpy()


MATRIX = np.arange(1.0, 7.0).reshape(2, 3)


def test_lars_takes_the_steps_of_its_paper():
    section = {"type": "LARS", "learning_rate": 0.5, "momentum": 0.9, "weight_decay": 0.1, "eta": 0.02}
    gradients = gradients_of((2, 3))
    expected = lars_by_hand(MATRIX, gradients, lr=0.5, momentum=0.9, decay=0.1, eta=0.02)
    np.testing.assert_allclose(follow(section, MATRIX, gradients), expected, rtol=1e-12)


def test_lars_takes_a_step_that_can_be_reckoned_in_the_head():
    # |w| = 5, |g| = 10, so the step is 0.1 * 0.02 * 5 / (10 + 0.5 * 5) * (g + 0.5 w).
    moved = follow(
        {"type": "LARS", "learning_rate": 0.1, "weight_decay": 0.5, "eta": 0.02},
        np.array([[3.0, 4.0]]),
        [np.array([[6.0, 8.0]])],
    )
    np.testing.assert_allclose(moved, [[3 - 0.0008 * 7.5, 4 - 0.0008 * 10]], rtol=1e-12)


def test_lamb_takes_the_steps_of_its_paper():
    section = {"type": "LAMB", "learning_rate": 0.5, "beta1": 0.8, "beta2": 0.9, "weight_decay": 0.1, "eps": 1e-3}
    gradients = gradients_of((2, 3))
    expected = lamb_by_hand(MATRIX, gradients, lr=0.5, betas=(0.8, 0.9), decay=0.1, eps=1e-3)
    np.testing.assert_allclose(follow(section, MATRIX, gradients), expected, rtol=1e-12)


@pytest.mark.parametrize("others", [{}, {"nesterov": True}, {"dampening": 0.25}])
def test_lars_moves_biases_as_sgd_does_without_decay(others):
    section = {"learning_rate": 0.5, "momentum": 0.9, **others}
    bias, gradients = np.array([1.0, 2.0]), gradients_of((2,))
    plain = follow({"type": "SGD", **section}, bias, gradients)
    np.testing.assert_allclose(follow({"type": "LARS", "weight_decay": 0.1, **section}, bias, gradients), plain)


@pytest.mark.parametrize("amsgrad", [False, True])
def test_lamb_moves_biases_as_adam_does_without_decay(amsgrad):
    section = {"learning_rate": 0.5, "beta2": 0.5, "amsgrad": amsgrad}
    bias, gradients = np.array([1.0, 2.0]), gradients_of((2,)) * np.array([[9.0], [1.0], [0.1], [1.0]])
    plain = follow({"type": "Adam", **section}, bias, gradients)
    np.testing.assert_allclose(follow({"type": "LAMB", "weight_decay": 0.1, **section}, bias, gradients), plain)


@pytest.mark.parametrize("name", ["LARS", "LAMB"])
def test_weights_and_gradients_of_zero_give_finite_steps(name):
    zero, one = np.zeros((2, 2)), np.ones((2, 2))
    section = {"type": name, "learning_rate": 0.1, "weight_decay": 0.1}
    assert np.isfinite(follow(section, one, [zero])).all()
    away = follow(section, zero, [one])
    assert np.isfinite(away).all()
    assert (away < 0).all()


# Second order


def test_the_hessian_optimizer_finds_the_bottom_of_a_banana_in_one_step():
    point = nn.Parameter(torch.tensor([-1.2, 1.0], dtype=torch.float64))
    optimizer = chosen({"type": "Hessian"}).build([point])

    def closure():
        optimizer.zero_grad()
        loss = (1 - point[0]) ** 2 + 100 * (point[1] - point[0] ** 2) ** 2
        loss.backward()
        return loss

    optimizer.step(closure)
    assert point.tolist() == pytest.approx([1, 1], abs=1e-4)


def test_only_the_hessian_optimizer_needs_a_closure():
    assert [name for name in OPTIMIZERS if needs_closure(chosen({"type": name}).build(weights()))] == ["Hessian"]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_row_and_what_it_builds_agree_on_closures_and_clipping(name):
    row, built = OPTIMIZERS[name], chosen({"type": name}).build(weights())
    assert needs_closure(row) == needs_closure(built)
    for optimizer in (row, built):
        expected = pytest.raises(ConfigError, match=name) if needs_closure(row) else contextlib.nullcontext()
        with expected:
            refuse_clipping(optimizer)


def test_optimizers_are_those_of_pytorch():
    assert all(isinstance(chosen({"type": name}).build(weights()), optim.Optimizer) for name in OPTIMIZERS)
