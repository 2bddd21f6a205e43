"""Critics: what is refused before any sample is read, what the samples tell, and what the plan gets."""

import json

import pytest
import torch

from rayrml.errors import ConfigError, DataError
from rayrml.planning import summary
from rayrml.planning.description import describe
from rayrml.planning.plan import EvaluationPlan, InferencePlan, TrainingPlan
from rayrml.planning.preparation import prepare
from rayrml.reporting.console import Console
from rayrml.saving.checkpoints import Checkpoint, save
from tests.gan_data import configuration, critic, generator

HALF = [{"normalize": {"mean": 0.5, "std": 0.5}}]
BATCH_NORM = {"class_name": "BatchNormalization", "config": {"name": "norm"}}
ALONE = {"input_path": None, "test_input_path": None, "input_type": None, "grayscale": None, "batch_size": None}
IN_INFERENCE = {f"data__{key}": value for key, value in ALONE.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_digits):
    folder = tmp_path_factory.mktemp("digits")
    write_digits(folder / "training", "training", (3, 5), 8)
    write_digits(folder / "testing", "testing", (3, 5), 3)
    return folder


def mistakes(raw):
    with pytest.raises((ConfigError, DataError)) as caught:
        prepare(raw)
    return [str(problem) for problem in caught.value.problems]


# With samples that do not exist: the networks are compared before any is read.
@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"layers": generator(declared=False)}, ".layers: the generator does not declare its input: how many random"),
        ({"layers": generator(channels=3)}, ".critic.layers: takes samples (1, 28, 28), but the generator makes (3, "),
        ({"layers": {"network": "resnet18"}}, ".layers: a network by name takes images. Expected a generator's"),
        ({"critic__layers": {"network": "resnet18"}}, ".critic.layers: a network by name tells classes apart"),
        ({"critic__layers": critic(units=2)}, ".critic.layers: the critic gives (2) for a sample. Expected one number"),
        ({"critic__layers": critic()[:1]}, ".critic.layers: the critic gives (3, 7, 7) for a sample. Expected one"),
        ({"critic__layers": critic(activation="sigmoid")}, ".critic.layers: the critic ends with sigmoid, but its"),
        ({"critic__layers": critic(activation="tanh")}, ".critic.layers: the critic ends with tanh, but its scores"),
        ({"critic__layers": critic(activation="softmax")}, ".critic.layers: the critic ends with softmax, but its"),
        ({"critic__layers": critic(activation="relu")}, ".critic.layers: the critic ends with relu, but its scores"),
        ({"critic__layers": critic(activation="exponential")}, ".critic.layers: the critic ends with exponential, "),
        (
            {"critic__layers": [*critic(), {"class_name": "ReLU", "config": {"name": "last", "max_value": 1}}]},
            ".critic.layers: the critic ends with ReLU, but its scores",
        ),
        ({"critic__layers": "/nothing.json"}, ".critic.layers: cannot read '/nothing.json'. No such file"),
        ({"critic__optimizer": {"type": "Hessian"}}, ".critic.optimizer.type: Hessian compares losses of many points"),
        ({"critic__optimizer": {"type": "Adam", "lr": 1}}, ".critic.optimizer.lr: unknown key"),
        (
            {"critic__optimizer": {"type": "SGD", "lr_scheduler": {"type": "Plateau"}}},
            ".critic.optimizer.lr_scheduler: Plateau goes by the loss",
        ),
    ],
)
def test_networks_that_do_not_go_together_are_refused_before_samples_are_read(tmp_path, changes, complaint):
    found = mistakes(configuration(tmp_path, **changes))
    assert any(each.startswith(f"neural_network{complaint}") for each in found), found
    assert any(str(tmp_path) in each for each in found)  # and what is wrong with the samples


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"data__grayscale": None},
            ".data: the critic takes inputs of shape (1, 28, 28), channels first, got (3, ",
        ),
        (
            {"data__input_transforms": [{"resize": [32, 32]}]},
            ".data: the critic takes inputs of shape (1, 28, 28), c",
        ),
        (
            {"critic__layers": critic(declared=False), "data__input_transforms": [{"resize": [32, 32]}]},
            ".layers: the generator makes samples (1, 28, 28), but those to learn from are (1, 32, 32)",
        ),
        ({"layers": generator("tanh")}, ".layers: the generator ends with tanh and gives -1 to 1, but images are from"),
        ({"data__input_transforms": HALF}, ".layers: the generator ends with sigmoid and gives 0 to 1, but images are"),
        ({"data__input_transforms": [{"mixup": 0.2}]}, ".data.input_transforms[0].mixup: mixes samples with each"),
        ({"early_stopping": {"metric": "train_loss"}}, ".early_stopping.metric: this run has no figure 'train_loss'"),
        ({"early_stopping": {"metric": "frechet"}}, ".early_stopping.metric: this run has no figure 'frechet'"),
        (
            {"early_stopping": {}, "data__test_input_path": None},
            ".early_stopping: needs test images: losses of a GAN cannot be compared",
        ),
        (
            {"data__input_path": None, "optimizer": None},
            ".critic: has no weights: nothing is loaded. Expected no critic, or the checkpoint of a GAN",
        ),
    ],
)
def test_what_does_not_go_with_the_samples_is_refused(folder, changes, complaint):
    (found,) = mistakes(configuration(folder, **changes))
    assert found.startswith(f"neural_network{complaint}")


def test_an_application_that_does_not_go_with_the_loss_is_told_as_such(folder):
    found = mistakes(configuration(folder, app="dnn"))
    assert found[0] == "neural_network.app: 'dnn' does not go with the loss Wasserstein. Expected gan, or no app"


def test_a_mistake_in_the_critics_file_has_its_line(folder, tmp_path):
    layers = critic()
    layers[1]["class_name"] = "Flaten"
    (tmp_path / "critic.json").write_text(json.dumps(layers, indent=0))
    (found,) = mistakes(configuration(folder, critic__layers=str(tmp_path / "critic.json")))
    assert 'unknown name "Flaten"' in found and "critic.json" in found


def test_a_plan_has_both_networks_each_with_its_updates(folder):
    plan = prepare(configuration(folder, early_stopping={}, optimizer__learning_rates={"conv": 0.5}))
    assert isinstance(plan, TrainingPlan) and plan.critic is not None
    assert (plan.config.neural_network.app, plan.metric) == ("gan", "swd")
    assert plan.config.neural_network.early_stopping.metric == "swd"
    assert plan.critic.updates.optimizer == plan.optimizer
    assert (dict(plan.rates), dict(plan.critic.updates.rates)) == ({"conv": 0.5}, {})
    assert not plan.warnings
    own = prepare(configuration(folder, critic__optimizer={"type": "SGD", "learning_rates": {"score": 0.1}}))
    assert own.critic.updates.optimizer.name == "SGD"
    assert own.critic.updates.rates == {"score": 0.1}


def test_the_weights_of_both_networks_follow_from_the_seed_alone(folder):
    one, same, other = (prepare(configuration(folder, seed=seed)) for seed in (0, 0, 1))
    late = prepare(configuration(folder, critic__layers=critic(declared=False)))  # built after the samples were found
    weights = [[*plan.network.parameters(), *plan.critic.network.parameters()] for plan in (one, same, other, late)]
    for index in (1, 3):
        assert all(torch.equal(a, b) for a, b in zip(weights[0], weights[index], strict=True))
    assert not torch.equal(weights[0][0], weights[2][0]) and not torch.equal(weights[0][4], weights[2][4])


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        (
            {"num_epochs": 1},
            "the generator is updated 1 times in this training, once after each 3 of the critic's 4 ",
        ),
        (
            {"layers": generator(momentum=0.999)},
            "batch normalization of the generator (norm) has a momentum of 0.999",
        ),
        ({"critic__layers": critic(BATCH_NORM)}, "the critic has batch normalization (norm) beside a gradient penalty"),
        (
            {"data__num_test_examples": 4},
            "num_test_examples: an evaluation generates 4 samples, which SWD compares with the first 4 of 6 test ",
        ),
        (
            {"loss__critic_steps": 1000, "num_epochs": 1},
            "the generator is never updated in this training: critic_steps is 1000, and the critic is updated 4 times",
        ),
        ({"layers": generator("linear")}, "the generator does not end with sigmoid or tanh, so its numbers may be out"),
    ],
)
def test_what_is_probably_wrong_is_warned_of(folder, changes, warning):
    assert any(each.startswith(warning) for each in prepare(configuration(folder, **changes)).warnings)


def test_batch_normalization_in_a_critic_without_penalty_is_left_alone(folder):
    clipped = {"loss__gradient_penalty": 0, "loss__clip": 0.01}
    assert not prepare(configuration(folder, critic__layers=critic(BATCH_NORM), **clipped)).warnings


def test_check_shows_both_networks_and_their_memory_together(folder, capsys):
    changes = {"data__preload": True, "critic__optimizer": {"type": "SGD", "learning_rate": 0.25}}
    plan = prepare(configuration(folder, **changes))
    summary.check(Console(), plan)
    shown = capsys.readouterr().out
    for line in ("Layer of the critic", "Optimizer of the critic", "0.25", "400 of the generator, 1200 of the critic"):
        assert line.replace("1200", "1,200") in shown
    described = describe(plan)
    assert described["critic"]["updates_of_generator"] == 400
    assert described["critic"]["optimizer"]["type"] == "SGD"
    for part in ("Weights", "Gradients"):
        own = described["memory"]["worker"][part] - 4 * plan.network.num_trainable_parameters
        assert own >= 4 * plan.critic.network.num_trainable_parameters
    assert described["memory"]["worker"]["One batch in the network"] > 0


def test_samples_are_generated_from_random_numbers_alone(folder, tmp_path):
    trained = prepare(configuration(folder))
    save(tmp_path / "gan.pt", Checkpoint(1, trained.network.state_dict(), trained.layers, (8,)))
    section = {"layers": generator(), "checkpoints": {"load": str(tmp_path / "gan.pt")}}
    section["data"] = {"num_test_examples": 3, "test_output_path": str(tmp_path / "out")}
    plan = prepare({"neural_network": section})
    assert isinstance(plan, InferencePlan) and plan.critic is None
    assert plan.config.neural_network.app == "gan"
    assert [plan.test.samples.names[i] for i in range(3)] == ["sample_000000", "sample_000001", "sample_000002"]
    first = plan.test.input.decoding.array(plan.test.samples.place(1))
    section["seed"] = 1
    other = prepare({"neural_network": section}).test
    assert first.shape == (8,) and first.dtype == "float32"
    assert not (other.input.decoding.array(other.samples.place(1)) == first).any()


def test_a_loaded_generator_is_evaluated_without_a_critic(folder, tmp_path):
    trained = prepare(configuration(folder))
    save(tmp_path / "gan.pt", Checkpoint(1, trained.network.state_dict(), trained.layers, (8,)))
    loaded = {"checkpoints": {"load": str(tmp_path / "gan.pt")}, "optimizer": None, "data__input_path": None}
    plan = prepare(configuration(folder, **loaded, critic=None))
    assert isinstance(plan, EvaluationPlan) and plan.metric == "swd"
