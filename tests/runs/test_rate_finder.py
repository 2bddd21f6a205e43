"""Range tests of whole configurations."""

import pytest

from rayrml.errors import ConfigError
from rayrml.runs.rate_finder import find_rate
from rayrml.training.rate_range import RateRange
from tests import generation
from tests.conftest import training_config

pytestmark = pytest.mark.ray


@pytest.fixture
def config(tmp_path, write_digits):
    write_digits(tmp_path / "training", "training", (3, 5, 7), 8)
    write_digits(tmp_path / "testing", "testing", (3, 5, 7), 2)
    return training_config(tmp_path, tmp_path / "out")


def test_the_losses_do_not_depend_on_the_number_of_workers(config, tmp_path, ray_cluster):
    """More steps than an epoch has; an earlier run in `checkpoints.save` and its logs stay as they are."""
    (tmp_path / "out" / "model").mkdir(parents=True)
    (tmp_path / "out" / "model" / "best.pt").write_text("earlier")
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    rates = RateRange(1e-4, 0.1, 20)
    one = find_rate(config, rates=rates, quiet=True)
    assert len(one.losses) == 20
    assert not one.diverged
    assert one.rates == tuple(rates.rate(step) for step in range(20))
    assert one.losses[-1] < one.losses[0]
    config["ray"] = {"num_workers": 2}
    two = find_rate(config, rates=rates, quiet=True)
    assert two.losses == pytest.approx(one.losses, rel=1e-4)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before
    assert (tmp_path / "out" / "model" / "best.pt").read_text() == "earlier"


def test_what_has_no_rate_to_be_found_is_refused(config, ray_cluster):
    config["neural_network"]["optimizer"] = {"type": "Hessian"}
    with pytest.raises(ConfigError, match="searches for the length of each step itself"):
        find_rate(config, rates=RateRange(1e-4, 0.1, 20), quiet=True)


@pytest.mark.parametrize("function", ["Wasserstein", "wasserstein"])
def test_a_generator_has_no_rate_to_be_found_whatever_the_cluster(tmp_path, function):
    loss = {"function": function}
    config = {**generation.configuration(tmp_path, loss=loss), "ray": {"address": "ray://127.0.0.1:1"}}
    with pytest.raises(ConfigError, match="a generator and its critic, which learn in turn, does not say"):
        find_rate(config, rates=RateRange(1e-4, 0.1, 20), quiet=True)
