"""What is told about a batch."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from rayrml.planning.preparation import prepare
from rayrml.runs import preview_findings
from rayrml.runs.channel_statistics import ChannelStatistics
from rayrml.runs.preview import preview

LAYERS = [
    {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 6, 6, 2], "name": "input"}},
    {"class_name": "Conv2D", "config": {"name": "out", "filters": 3, "kernel_size": 1, "activation": "softmax"}},
]


@pytest.fixture
def arrays(tmp_path):
    """A function that writes inputs (N, 2, 6, 6) and class numbers (N, 1, 6, 6), and returns warnings about them."""

    def look(inputs, targets, layers=LAYERS, **data):
        for name, samples in (("x", inputs), ("y", targets)):
            (tmp_path / name).mkdir(exist_ok=True)
            for number, sample in enumerate(samples):
                np.save(tmp_path / name / f"{number}.npy", sample)
        paths = {"input_path": str(tmp_path / "x"), "target_path": str(tmp_path / "y")}
        network = {"layers": layers, "data": {"type": "numpy", **paths, "target_is_mask": True, **data}}
        network |= {"loss": {"function": "NLL", "source": "softmax"}, "optimizer": {"type": "SGD"}}
        plan = prepare({"neural_network": network})
        return plan, preview(plan)

    return look


def samples(count=8):
    random = np.random.default_rng(0)
    return random.normal(3, 2, (count, 2, 6, 6)).astype(np.float32), random.integers(0, 3, (count, 1, 6, 6))


def warnings(plan, seen):
    return list(preview_findings.find_suspicious(plan, seen))


def test_usual_samples_are_not_suspicious(arrays):
    assert warnings(*arrays(*samples())) == []


def test_what_transforms_make_of_valid_samples_is_looked_at(arrays):
    plan, seen = arrays(*samples())
    inputs, statistics = seen.inputs.clone(), ChannelStatistics()
    inputs[2, 0, 1, 1:3] = torch.nan
    statistics.add(inputs)
    seen = dataclasses.replace(seen, inputs=inputs, after=statistics, targets=seen.targets + 1)
    assert warnings(plan, seen) == [
        f"2 values of 8 inputs are NaN or infinite, in the batch those of {seen.names[2]}",
        "the targets hold 3, but the network tells classes 0 to 2 apart",
    ]


def test_a_channel_of_one_number_is_named_and_is_not_normalized(arrays):
    inputs, targets = samples()
    inputs[:, 1] = 7
    plan, seen = arrays(inputs, targets)
    (said,) = warnings(plan, seen)
    assert said.startswith("the inputs' channel 1 (7) is the same number everywhere")
    assert preview_findings.propose_normalization(plan, seen.before) is None


def test_an_input_of_one_number_is_named(arrays):
    inputs, targets = samples()
    inputs[5] = 0
    (said,) = warnings(*arrays(inputs, targets))
    assert said == "1 of 8 inputs of the batch hold one number alone: 5.npy"


def test_targets_of_one_class_are_named(arrays):
    inputs, targets = samples()
    assert "all pixels of the targets of the batch are of class 2" in warnings(*arrays(inputs, 0 * targets + 2))


def test_a_wrong_normalization_is_named_and_the_proposed_one_is_right(arrays):
    inputs, targets = samples()
    wrong = [{"normalize": {"mean": 120, "std": 60}}]
    plan, seen = arrays(inputs, targets, input_transforms=wrong)
    (said,) = warnings(plan, seen)
    assert said.startswith("after 'normalize' the inputs have mean [-1.9")
    right = json.loads(preview_findings.propose_normalization(plan, seen.before))
    plan, seen = arrays(inputs, targets, input_transforms=[right])
    assert np.abs(seen.after.mean).max() < 1e-3
    assert np.abs(seen.after.deviation - 1).max() < 1e-3
    assert warnings(plan, seen) == []


def scaled_by(class_name, **config):
    layer = {"class_name": class_name, "config": {"name": "scaling", **config}}
    first, last = LAYERS
    return [first, {"class_name": "Activation", "config": {"name": "idle", "activation": "linear"}}, layer, last]


@pytest.mark.parametrize(
    ("layers", "scales"),
    [
        (scaled_by("Rescaling", scale=1 / 255), True),
        (scaled_by("Normalization", mean=[3.0, 3.0], variance=[4.0, 4.0]), True),
        (scaled_by("Normalization"), False),
        (scaled_by("Rescaling", scale=1.0), False),
        (scaled_by("BatchNormalization"), False),
    ],
)
def test_nothing_is_proposed_for_a_network_that_scales_its_inputs_itself(arrays, layers, scales):
    plan, seen = arrays(*samples(), layers=layers)
    assert (preview_findings.propose_normalization(plan, seen.before) is None) == scales
    reason = "the network's layer 'scaling' scales them itself" if scales else None
    assert preview_findings.describe_own_scaling(plan) == reason
