"""Class weights that follow from the training samples, and the warning where nothing makes up for rare classes."""

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from rayrml.errors import ConfigError
from rayrml.planning import summary
from rayrml.planning.preparation import prepare
from rayrml.reporting.console import Console
from rayrml.saving.checkpoints import Checkpoint, save


@pytest.fixture
def plan_of(tmp_path):
    """A function that plans a run on arrays: so many training samples of each class, and two of each for the test."""

    def plan(counts, loss=None, *, num_classes=None, trains=True, **nn):
        classes = num_classes or len(counts)
        labels = {"train": np.repeat(range(len(counts)), counts), "test": np.repeat(range(classes), 2)}
        for name, numbers in labels.items():
            np.save(tmp_path / f"x_{name}.npy", np.zeros((len(numbers), 3), "f4"))
            np.save(tmp_path / f"y_{name}.npy", numbers)
        data = {"input_type": "numpy", "target_type": "labels", "stacked": True, **nn.pop("data", {})}
        paths = {"": "train", "test_": "test"} if trains else {"test_": "test"}
        for key, name in paths.items():
            data |= {f"{key}input_path": f"{tmp_path}/x_{name}.npy", f"{key}target_path": f"{tmp_path}/y_{name}.npy"}
        config = {
            "layers": layers_of(classes),
            "data": data,
            "loss": {"function": "NLL", **(loss or {})},
            "optimizer": {"type": "SGD"},
            **nn,
        }
        return prepare({"neural_network": config}, {})

    return plan


def layers_of(classes):
    config = {"name": "d", "units": classes, "activation": "log_softmax", "batch_input_shape": [None, 3]}
    return [{"class_name": "Dense", "config": config}]


BALANCED = {"weight": "balanced"}


@pytest.mark.parametrize("function", ["NLL", "CrossEntropy", "Focal", "Dice"])
@pytest.mark.parametrize("counts", [(5, 5), (95, 5), (7, 1, 400)])
def test_weights_are_those_of_scikit_learn_whatever_the_test_samples_are(plan_of, counts, function):
    labels = np.repeat(range(len(counts)), counts)
    expected = compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    source = {"source": "log_softmax"}
    plan = plan_of(counts, {**BALANCED, **source, "function": function})
    assert plan.loss.arguments["weight"] == pytest.approx(tuple(expected), rel=1e-12)
    assert plan.loss.build().num_classes == len(counts)
    assert plan.config.neural_network.loss["weight"] == "balanced"


def test_an_ignored_class_has_no_weight_and_does_not_change_the_others(plan_of):
    assert plan_of((6, 50, 2), {**BALANCED, "ignore_index": 1}).loss.arguments["weight"] == (8 / 12, 0, 8 / 4)


def test_weights_are_shown_with_the_samples_that_they_follow_from(plan_of, capsys):
    plan = plan_of((1950, 50), BALANCED)
    summary.plan(Console(), plan, 1)
    expected = "* weight                      : balanced: 0 0.5128 (1,950 samples), 1 20 (50 samples)\n"
    assert expected in capsys.readouterr().out


def test_a_class_without_training_samples_is_named(plan_of):
    message = r"loss\.weight: 'balanced' divides by the training samples of each class, but there are none of: 1, 3"
    with pytest.raises(ConfigError, match=message):
        plan_of((4, 0, 2), BALANCED, num_classes=4)


@pytest.mark.parametrize("function", ["NLL", "Dice"])
def test_masks_are_not_counted(tmp_path, function):
    for name in ("x", "y"):
        np.save(tmp_path / f"{name}.npy", np.zeros((4, 1, 6, 6), "f4"))
    convolution = {"filters": 2, "kernel_size": 1, "activation": "log_softmax", "batch_input_shape": [None, 6, 6, 1]}
    config = {
        "layers": [{"class_name": "Conv2D", "config": convolution}],
        "data": {
            "type": "numpy",
            "stacked": True,
            "input_path": f"{tmp_path}/x.npy",
            "target_path": f"{tmp_path}/y.npy",
        },
        "loss": {"function": function, "source": "log_softmax", **BALANCED},
        "optimizer": {"type": "SGD"},
    }
    message = r"loss\.weight: 'balanced' counts the samples of each class, but targets are arrays here, "
    with pytest.raises(ConfigError, match=message):
        prepare({"neural_network": config}, {})


def test_targets_that_are_no_classes_cannot_be_sampled_by_class_which_is_one_mistake(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((4, 3), "f4"))
    config = {
        "layers": layers_of(2),
        "data": {
            "type": "numpy",
            "stacked": True,
            "input_path": f"{tmp_path}/x.npy",
            "target_path": f"{tmp_path}/x.npy",
            "sampling": "balanced",
        },
        "loss": {"function": "MSE"},
        "optimizer": {"type": "SGD"},
    }
    with pytest.raises(ConfigError) as raised:
        prepare({"neural_network": config}, {})
    of_sampling = [problem for problem in raised.value.problems if problem.where.endswith("sampling")]
    assert [problem.message for problem in of_sampling] == [
        "draws each class equally often, but the targets are not classes of whole samples"
    ]


def recorded(path, plan, loss):
    save(path, Checkpoint(1, plan.network.state_dict(), plan.layers, (3,), classes=plan.classes, loss=loss))
    return {"checkpoints": {"load": str(path)}}


def test_an_evaluation_takes_the_weights_that_the_training_recorded(plan_of, tmp_path, capsys):
    trained = plan_of((30, 10), BALANCED)
    loss = {"function": "NLL", **trained.loss.arguments}
    plan = plan_of((30, 10), BALANCED, trains=False, **recorded(tmp_path / "m.pt", trained, loss))
    assert plan.loss == trained.loss
    summary.plan(Console(), plan, 1)
    assert "* weight                      : balanced: 0 0.6667, 1 2\n" in capsys.readouterr().out


@pytest.mark.parametrize("loss", [{"function": "NLL"}, {"function": "Focal", "weight": [1.0, 2.0]}, {}])
def test_an_evaluation_without_recorded_weights_is_refused(plan_of, tmp_path, loss):
    checkpoint = recorded(tmp_path / "m.pt", plan_of((30, 10)), loss)
    message = r"loss\.weight: 'balanced' counts training samples, but nothing is trained\. Expected a number for each"
    with pytest.raises(ConfigError, match=message):
        plan_of((30, 10), BALANCED, trains=False, **checkpoint)


def test_a_training_that_starts_from_a_checkpoint_counts_its_own_samples(plan_of, tmp_path):
    checkpoint = recorded(tmp_path / "m.pt", plan_of((30, 10)), {"function": "NLL", "weight": [5.0, 7.0]})
    assert plan_of((30, 10), BALANCED, **checkpoint).loss == plan_of((30, 10), BALANCED).loss


@pytest.mark.parametrize(("count", "warned"), [(20, False), (21, True)])
def test_classes_of_which_one_has_more_than_ten_times_the_samples_are_warned_of(plan_of, count, warned):
    warning = (
        f"class '1' has {count / 2:.0f} times the training samples of class '0'. To learn both, add "
        '"sampling": "balanced" to data, or "weight": "balanced" to loss'
    )
    assert plan_of((2, count, 5)).warnings == ((warning,) if warned else ())


def test_losses_without_class_weights_are_advised_to_sample(plan_of):
    (warning,) = plan_of((2, 90), {"function": "BCE", "source": "log_softmax"}).warnings
    assert warning.endswith('To learn both, add "sampling": "balanced" to data')


@pytest.mark.parametrize("nn", [{"loss": BALANCED}, {"loss": {"weight": [9, 1]}}, {"data": {"sampling": "Balanced"}}])
def test_whoever_balances_classes_is_not_warned(plan_of, nn):
    assert plan_of((2, 90), **nn).warnings == ()


def test_test_samples_of_unequal_classes_are_no_reason_for_a_warning(plan_of, tmp_path):
    plan = plan_of((50, 50), trains=False, **recorded(tmp_path / "m.pt", plan_of((2, 90)), {}))
    assert plan.warnings == ()
