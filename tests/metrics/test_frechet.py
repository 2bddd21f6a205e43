"""The Frechet distance and the variety of samples against figures computed apart, and formulas."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import linalg

from rayrml.metrics.frechet import frechet_distance, measure_variety

CASES = json.loads(Path(__file__).with_name("distances.json").read_text())["frechet"]


def features(count, size, seed=0):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(count, size)) @ generator.normal(size=(size, size)) + generator.normal(size=size)


@pytest.mark.parametrize("case", CASES)
def test_the_distance_is_that_of_the_reference(case):
    assert frechet_distance(np.array(case["a"]), np.array(case["b"])) == pytest.approx(case["frechet"], rel=1e-6)


def test_the_distance_is_that_of_the_matrices_square_root():
    one, other = features(300, 6), features(200, 6, 1)
    covariances = np.cov(one.T), np.cov(other.T)
    root = linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = np.square(one.mean(0) - other.mean(0)).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(other, one) == pytest.approx(expected, rel=1e-9)


def test_fewer_samples_than_features_are_enough():
    one = features(5, 20)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-4 * np.trace(np.cov(one.T)))
    assert frechet_distance(one, one + 1) == pytest.approx(20, rel=1e-4)


def test_a_single_feature_is_enough():
    one, other = features(30, 1), features(40, 1, 1)
    expected = (one.mean() - other.mean()) ** 2 + (one.std(ddof=1) - other.std(ddof=1)) ** 2
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("bad", [features(1, 3), np.zeros((0, 3)), np.full((4, 3), np.nan), np.full((4, 3), np.inf)])
def test_what_has_no_covariance_has_no_distance(bad):
    assert frechet_distance(bad, features(5, 3)) is None
    assert frechet_distance(features(5, 3), bad) is None


def test_variety_is_the_entropy_of_the_classes_seen_and_the_mean_of_the_largest_probability():
    probabilities = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.9, 0.1, 0.0], [0.5, 0.25, 0.25]])
    found = measure_variety(probabilities)
    assert found.entropy == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert found.sure == pytest.approx(0.675)
    assert found.shares.tolist() == [0.75, 0.25, 0]


def test_all_classes_alike_have_the_largest_entropy_and_one_class_has_none():
    assert measure_variety(np.eye(10)).entropy == pytest.approx(math.log(10))
    assert measure_variety(np.tile(np.eye(10)[3], (5, 1))).entropy == 0


def test_a_single_column_is_the_probability_of_class_1():
    found = measure_variety(np.array([[0.9], [0.2], [0.6]]))
    assert found.shares.tolist() == pytest.approx([1 / 3, 2 / 3])
    assert found.sure == pytest.approx((0.9 + 0.8 + 0.6) / 3)


def test_nothing_has_no_variety():
    assert measure_variety(np.zeros((0, 3))) is None
    assert measure_variety(np.full((2, 3), np.nan)) is None
