import json
import pickle

import pytest
import torch
from torch import nn, optim
from torch.optim import lr_scheduler

from rayrml.errors import ConfigError
from rayrml.lr_schedulers import LR_SCHEDULERS, choose_schedule

# The keys that a row requires.
REQUIRED = {
    "Step": {"step_size": 3},
    "MultiStep": {"milestones": [2, 5]},
    "Exponential": {"gamma": 0.5},
    "Warmup": {"num_epochs": 4, "start_factor": 0.2},
}
LOSSES = [3.0, 2.0, 1.9, 1.9, 1.9, 1.9, 1.95, 1.0, 1.2, 1.2, 1.2, 1.2, 1.2, 0.5]


def sgd(rate=0.1):
    return optim.SGD([nn.Parameter(torch.zeros(1))], lr=rate)


def build(section, num_epochs=14, optimizer=None):
    return choose_schedule(section, "lr_scheduler").build(optimizer or sgd(), num_epochs)


def rates(schedule, losses=LOSSES):
    """The rate of each epoch, as set in the optimizer."""
    found = []
    for loss in losses:
        found.append(schedule.rate)
        schedule.step(loss)
    return found


def rates_of_pytorch(make, losses=LOSSES):
    optimizer = sgd()
    scheduler = make(optimizer)
    found = []
    for loss in losses:
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(*([loss] if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau) else []))
    return found


def mistakes(section):
    with pytest.raises(ConfigError) as caught:
        choose_schedule(section, "lr_scheduler")
    return [str(p) for p in caught.value.problems]


# Contract of every row


@pytest.mark.parametrize("num_epochs", [1, 2, 3, 14])
@pytest.mark.parametrize("name", LR_SCHEDULERS)
def test_a_row_gives_usable_rates_for_any_number_of_epochs(name, num_epochs):
    found = rates(build({"type": name, **REQUIRED.get(name, {})}, num_epochs), LOSSES[:num_epochs])
    assert len(found) == num_epochs
    assert all(0 < rate <= 0.1 + 1e-12 for rate in found)


@pytest.mark.parametrize("name", LR_SCHEDULERS)
def test_a_row_resumes_after_the_epochs_of_an_earlier_run(name):
    section = {"type": name, **REQUIRED.get(name, {}), **({"patience": 1} if name == "Plateau" else {})}
    whole = rates(build(section))
    resumed = build(section)
    resumed.replay(LOSSES[:6])
    assert rates(resumed, LOSSES[6:]) == whole[6:]


@pytest.mark.parametrize("name", LR_SCHEDULERS)
def test_a_row_is_built_elsewhere_from_a_pickled_choice(name):
    choice = choose_schedule({"type": name.lower(), **REQUIRED.get(name, {})}, "lr_scheduler")
    again = pickle.loads(pickle.dumps(choice))
    assert again.name == name
    assert again.settings[0]["type"] == name
    assert rates(again.build(sgd(), 5)) == rates(choice.build(sgd(), 5))


@pytest.mark.parametrize("name", LR_SCHEDULERS)
def test_a_row_says_whether_its_rate_is_printed(name):
    section = {"type": name, **REQUIRED.get(name, {})}
    assert not build(section).verbose
    assert build({**section, "verbose": True}).verbose


@pytest.mark.parametrize("name", LR_SCHEDULERS)
def test_a_row_stays_where_it_is_after_its_own_number_of_epochs(name):
    section = {"type": name, **REQUIRED.get(name, {}), "num_epochs": 3}
    found = rates(build(section), [1.0] * 14)
    assert len(set(found[3:])) == 1


# Against PyTorch


@pytest.mark.parametrize(
    ("section", "make"),
    [
        ({"type": "Step", "gamma": 0.5, "step_size": 3}, lambda o: lr_scheduler.StepLR(o, 3, 0.5)),
        ({"type": "Step", "step_size": 5}, lambda o: lr_scheduler.StepLR(o, 5)),
        (
            {"type": "MultiStep", "gamma": 0.5, "milestones": [2, 5, 6]},
            lambda o: lr_scheduler.MultiStepLR(o, [2, 5, 6], 0.5),
        ),
        ({"type": "Exponential", "gamma": 0.9}, lambda o: lr_scheduler.ExponentialLR(o, 0.9)),
        ({"type": "Warmup", "num_epochs": 5, "start_factor": 0.2}, lambda o: lr_scheduler.LinearLR(o, 0.2, 1.0, 5)),
        ({"type": "Cosine"}, lambda o: lr_scheduler.CosineAnnealingLR(o, 14)),
        ({"type": "Cosine", "final_factor": 0.5}, lambda o: lr_scheduler.CosineAnnealingLR(o, 14, 0.05)),
        ({"type": "OneCycle"}, lambda o: lr_scheduler.OneCycleLR(o, 0.1, 15, cycle_momentum=False)),
        (
            {"type": "OneCycle", "rising": 0.6, "start_factor": 0.1, "final_factor": 0.001},
            lambda o: lr_scheduler.OneCycleLR(
                o, 0.1, 15, pct_start=0.6, div_factor=10, final_div_factor=100, cycle_momentum=False
            ),
        ),
        ({"type": "Plateau"}, lambda o: lr_scheduler.ReduceLROnPlateau(o)),
        ({"type": "Plateau", "patience": 1}, lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1)),
        (
            {"type": "Plateau", "gamma": 0.5, "patience": 0, "cooldown": 2, "final_factor": 0.3, "threshold": 0.1},
            lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=0, cooldown=2, min_lr=0.03, threshold=0.1),
        ),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_rates_are_those_of_pytorch(section, make):
    # PyTorch's OneCycleLR refuses to step beyond its last epoch, so it gets one more.
    num_epochs = 15 if section["type"] == "OneCycle" else 14
    assert rates(build(section, num_epochs)) == pytest.approx(rates_of_pytorch(make), rel=1e-9)


def test_all_groups_of_parameters_keep_their_proportions():
    one, two = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimizer = optim.SGD([{"params": [one], "factor": 0.1}, {"params": [two]}], lr=1.0)
    schedule = build({"type": "Exponential", "gamma": 0.5}, optimizer=optimizer)
    schedule.step(None)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.5])
    assert schedule.rate == 0.5


# Plateau


def test_plateau_takes_a_negative_loss_that_falls_for_progress():
    schedule = build({"type": "Plateau", "patience": 0})
    assert rates(schedule, [-1.0, -2.0, -3.0, -3.0, -3.0]) == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.01])


def test_plateau_does_not_take_an_infinite_loss_for_progress():
    schedule = build({"type": "Plateau", "patience": 1})
    rates(schedule, [float("inf"), float("inf")])
    assert schedule.rate == pytest.approx(0.01)


def test_plateau_does_not_lower_the_rate_for_a_loss_that_is_not_a_number():
    schedule = build({"type": "Plateau", "patience": 1})
    assert rates(schedule, [1.0, *[float("nan")] * 9, 0.5, 0.6]) == [0.1] * 12
    rates(schedule, [0.6])
    assert schedule.rate == pytest.approx(0.01)


# Sequences


def test_a_schedule_begins_where_the_one_before_ends():
    warmup = {"type": "Warmup", "num_epochs": 3, "start_factor": 0.25}
    found = rates(build([warmup, {"type": "Cosine"}], 7), LOSSES[:7])
    assert found[:4] == pytest.approx([0.025, 0.05, 0.075, 0.1])
    assert found[3:] == pytest.approx(rates(build({"type": "Cosine"}, 4), LOSSES[:4]))


def test_schedules_of_a_sequence_last_as_long_as_they_say():
    parts = [
        {"type": "Exponential", "gamma": 0.5, "num_epochs": 2},
        {"type": "Step", "gamma": 0.5, "step_size": 1, "num_epochs": 2, "verbose": True},
        {"type": "Plateau"},
    ]
    schedule = build(parts, 6)
    verbose = []
    found = []
    for _ in range(6):
        verbose.append(schedule.verbose)
        found.append(schedule.rate)
        schedule.step(1.0)
    assert found == pytest.approx([0.1, 0.05, 0.1, 0.05, 0.1, 0.1])
    assert verbose == [False, False, True, True, False, False]


def test_a_sequence_resumes_after_the_epochs_of_an_earlier_run():
    parts = [
        {"type": "Warmup", "num_epochs": 3, "start_factor": 0.25},
        {"type": "Plateau", "patience": 1, "num_epochs": 8},
        {"type": "Cosine"},
    ]
    whole = rates(build(parts))
    for stop in (2, 3, 7, 12):
        resumed = build(parts)
        resumed.replay(LOSSES[:stop])
        assert rates(resumed, LOSSES[stop:]) == whole[stop:]


def test_a_training_shorter_than_a_sequence_is_all_right():
    parts = [{"type": "Warmup", "num_epochs": 5, "start_factor": 0.5}, {"type": "Cosine"}]
    assert rates(build(parts, 2), LOSSES[:2]) == pytest.approx([0.05, 0.06])


def test_a_resumed_schedule_is_that_of_the_configuration_of_today():
    optimizer = sgd()
    schedule = build({"type": "Exponential", "gamma": 0.5}, optimizer=optimizer)
    schedule.replay(LOSSES[:3])
    assert schedule.rate == optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * 0.5**3)


# Mistakes


def test_every_mistake_of_a_sequence_is_named():
    parts = [{"type": "Step", "step_size": 0}, {"type": "Cosin"}, {"type": "Exponential"}, 5, {"gamma": 1}]
    assert mistakes(parts) == [
        "lr_scheduler.0.step_size: must be greater than 0, got 0",
        "lr_scheduler.1.type: unknown name \"Cosin\". Did you mean 'Cosine'?",
        "lr_scheduler.2.gamma: this key is missing and has no default",
        "lr_scheduler.3: expected an object with the key 'type'",
        f"lr_scheduler.4: 'type' is missing. Expected one of {', '.join(LR_SCHEDULERS)}",
    ]


def test_a_scheduler_that_is_followed_must_say_how_long_it_lasts():
    assert mistakes([{"type": "Exponential", "gamma": 0.5}, {"type": "Cosine"}]) == [
        "lr_scheduler.0.num_epochs: this key is missing. "
        "Every scheduler except the last must set how many epochs it lasts"
    ]


def test_an_empty_sequence_is_a_mistake():
    assert mistakes([]) == ["lr_scheduler: expected at least one scheduler, got an empty list"]


def test_milestones_are_in_order():
    section = {"type": "MultiStep", "milestones": [5, 2]}
    assert mistakes(section) == ["lr_scheduler.milestones: expected epochs in increasing order, got [5, 2]"]


# Within epochs


PER_STEP = {
    "Exponential": {"gamma": 0.5},
    "Warmup": {"num_epochs": 2, "start_factor": 0.2},
    "Cosine": {"final_factor": 0.1},
    "OneCycle": {"rising": 0.25},
}


def rates_in_epoch(schedule, parts):
    return [schedule.move(part) for part in parts]


@pytest.mark.parametrize("name", PER_STEP)
def test_rates_of_steps_begin_with_that_of_their_epoch_and_go_on_to_that_of_the_next(name):
    optimizer = sgd()
    schedule = build({"type": name, **PER_STEP[name], "per": "step"}, num_epochs=4, optimizer=optimizer)
    before = None
    for _ in range(4):
        assert schedule.per_step
        first, *inner, end = rates_in_epoch(schedule, [0, 0.25, 0.5, 0.75, 1])
        assert first == schedule.rate
        assert optimizer.param_groups[0]["lr"] == end
        assert before is None or first == pytest.approx(before)
        assert min(first, end) <= min(inner) <= max(inner) <= max(first, end)
        before = end
        schedule.step(1.0)


def test_a_warm_up_can_take_the_steps_of_one_epoch():
    rows = [{"type": "Warmup", "num_epochs": 1, "start_factor": 0.2, "per": "step"}, {"type": "Cosine"}]
    schedule = build(rows, num_epochs=3)
    assert rates_in_epoch(schedule, [0, 0.5, 0.75]) == pytest.approx([0.02, 0.06, 0.08])
    schedule.step(1.0)
    assert not schedule.per_step
    assert schedule.rate == 0.1


def test_the_end_of_a_curve_stays_within_later_epochs():
    schedule = build({"type": "Exponential", "gamma": 0.5, "num_epochs": 2, "per": "step"})
    for _ in range(3):
        schedule.step(1.0)
    assert rates_in_epoch(schedule, [0, 0.5]) == pytest.approx([0.025, 0.025])


@pytest.mark.parametrize("name", sorted(LR_SCHEDULERS.keys() - PER_STEP.keys()))
def test_schedulers_whose_rates_are_those_of_whole_epochs_refuse_steps(name):
    (mistake,) = mistakes({"type": name, **REQUIRED.get(name, {}), "per": "step"})
    assert mistake.startswith("lr_scheduler.per: unknown key")
