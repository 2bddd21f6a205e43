"""The figures of each class or number of a table."""

import functools
import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics

from rayrml.metrics import ColumnSums, figures_of_columns

RNG = np.random.default_rng(1)


def figures(kind, output, target, parts):
    """The figures from sums that several workers added up."""
    workers = []
    for rows in np.array_split(np.arange(len(output)), parts):
        sums = ColumnSums(kind)
        for batch in np.array_split(rows, 2):
            sums.add(torch.tensor(output[batch]), torch.tensor(target[batch]))
        workers.append(sums)
    merged = functools.reduce(workers[0].merge, [sums.sums for sums in workers])
    return figures_of_columns(merged, kind)


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_classes_have_the_figures_of_sklearn(parts):
    target = (RNG.random((40, 4)) < [0.5, 0.1, 0.9, 0.0]).astype(np.float32)  # the last class never occurs
    output = np.round(RNG.random((40, 4)), 1).astype(np.float32)
    found = figures("classes", output, target, parts)
    expected = sklearn_metrics.precision_recall_fscore_support(target, output > 0.5, zero_division=0)
    for name, values in zip(("precision", "recall", "f1", "samples"), expected, strict=True):
        assert found[name] == pytest.approx(values.tolist(), abs=1e-9)


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_numbers_have_the_figures_of_sklearn(parts):
    target = RNG.normal(size=(30, 3)) * [1, 100, 0.01] + [0, 5000, 1]
    output = target + RNG.normal(size=(30, 3)) * [0.3, 50, 0.02]
    found = figures("number", output, target, parts)
    raw = {"multioutput": "raw_values"}
    assert found["mean_absolute_error"] == pytest.approx(sklearn_metrics.mean_absolute_error(target, output, **raw))
    root = sklearn_metrics.root_mean_squared_error(target, output, **raw)
    assert found["root_mean_squared_error"] == pytest.approx(root)
    assert found["r2"] == pytest.approx(sklearn_metrics.r2_score(target, output, **raw), abs=1e-9)


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_r2_of_numbers_far_from_0_is_that_of_sklearn(parts):
    target = RNG.normal([1e9, -1e8], 1, (30, 2))
    output = target + RNG.normal(size=(30, 2)) * 0.4
    expected = sklearn_metrics.r2_score(target, output, multioutput="raw_values")
    assert figures("number", output, target, parts)["r2"] == pytest.approx(expected, rel=1e-9)


def test_r2_of_numbers_that_do_not_vary_is_undefined():
    target = np.full((5, 2), [7.0, 0.0])
    assert all(map(math.isnan, figures("number", target + 1, target, 1)["r2"]))


def test_targets_of_another_shape_are_not_counted():
    sums = ColumnSums("classes")
    sums.add(torch.zeros(3, 4), torch.zeros(3))
    sums.add(torch.zeros(3, 4, 2, 2), torch.zeros(3, 4, 2, 2))
    assert sums.sums is None
