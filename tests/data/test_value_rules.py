"""Values of samples: which are valid, which classes they stand for, and what is said of the others."""

import numpy as np
import pytest

from rayrml.data.value_rules import ClassNumbers, Finite, Scaling, UnitInterval

BYTES = np.uint8
SHARES = Scaling(pixels=True)
NUMBERS = Scaling(pixels=True, steps=((0.0, 0.00392),))  # what makes class numbers of shares of white


@pytest.mark.parametrize(
    ("rule", "values", "dtype", "labels"),
    [
        (ClassNumbers(3), [0, 1, 2], BYTES, [0, 1, 2]),
        (ClassNumbers(3), [2.0, 0.0, 0.9999], np.float32, [2, 0, 1]),
        (ClassNumbers(300), [299, 0], np.int32, [299, 0]),
        (ClassNumbers(3, 255), [0, 255, 2], BYTES, [0, 255, 2]),
        (ClassNumbers(3, -100), [0, -100, 2], np.int64, [0, -100, 2]),
        (ClassNumbers(2, black_and_white=True), [0, 255], BYTES, [0, 1]),
        (ClassNumbers(2, black_and_white=True), [255, 255], BYTES, [1, 1]),
        (ClassNumbers(2, black_and_white=True), [0, 1], BYTES, [0, 1]),
        (ClassNumbers(2, 255, black_and_white=True), [0, 1, 255], BYTES, [0, 1, 255]),
        (ClassNumbers(256, black_and_white=True), [0, 255], BYTES, [0, 255]),
        (ClassNumbers(2), [True, False], bool, [1, 0]),
    ],
)
def test_class_numbers_come_out_in_a_type_that_holds_them(rule, values, dtype, labels):
    array = np.array(values, dtype).reshape(1, -1)
    result = rule(array)
    assert result.tolist() == [labels]
    assert result.dtype == rule.dtype(array.dtype)
    assert rule.labels(result).tolist() == [labels]


@pytest.mark.parametrize(
    ("rule", "values", "message"),
    [
        (ClassNumbers(3), [0, 1, 255], 'holds 255. Expected class numbers from 0 to 2. If 255 .* "ignore_index": 255'),
        (ClassNumbers(3, 255), [0, 3], "holds 3. Expected class numbers from 0 to 2, or 255 to be ignored"),
        (ClassNumbers(2), [0, -1], "holds -1. Expected class numbers from 0 to 1"),
        (ClassNumbers(2), [0.0, 0.5], "holds 0.5. Expected class numbers"),
        (ClassNumbers(2), [0.0, 1e30], r"holds 1e\+30"),
        (ClassNumbers(2, can_ignore=False), [0, 2], "holds 2. Expected class numbers from 0 to 1$"),
        (ClassNumbers(3, black_and_white=True), [0, 255], "holds 255. Expected class numbers from 0 to 2"),
        (ClassNumbers(2, black_and_white=True), [0, 3, 128, 255], '"normalize": {"std": 1}} in target_transforms'),
        (ClassNumbers(2, black_and_white=True), [0, 1, 255], 'holds 255. .*"ignore_index": 255 in the loss'),
        (ClassNumbers(2, black_and_white=True), [0, 3, 252, 255], "holds 3. Expected class numbers from 0 to 1"),
        (ClassNumbers(2), [0, 255], 'If 255 is class 1, {"normalize": {"std": 255}} in target_transforms makes it so'),
        (ClassNumbers(2, black_and_white=True), [0, 65535], 'If 65535 is class 1, {"normalize": {"std": 1}} in target'),
        (ClassNumbers(2, scaling=NUMBERS), [0, 1, 2], "holds 2. Expected class numbers from 0 to 1"),
        (ClassNumbers(2, scaling=Scaling(steps=((0.0, 2.0),))), [0, 8], "holds 8, which becomes 4"),
        (Finite(), [0.0, np.nan], "1 of 2 values that are not finite numbers .NaN"),
        (Finite(), [np.inf, -np.inf], "2 of 2 values that are not finite numbers .infinite"),
        (ClassNumbers(2), [0.0, np.nan], "not finite"),
        (UnitInterval("BCE"), [0.0, 255.0], 'BCE compares .*{"normalize": {"std": 255}} in target_transforms'),
        (UnitInterval("BCE"), [-1.0, 1.0], r"holds -1. BCE compares outputs with targets in \[0, 1\]$"),
        (UnitInterval("BCE", Scaling(True, ((0.0, 0.5),))), [0, 255], "holds 255, which becomes 2"),
    ],
)
def test_an_invalid_value_is_named_with_what_to_do(rule, values, message):
    dtype = BYTES if all(isinstance(value, int) and 0 <= value < 256 for value in values) else None
    with pytest.raises(ValueError, match=message):
        rule(np.array(values, dtype)[None])  # (C, x)


@pytest.mark.parametrize(
    ("rule", "array"),
    [
        (Finite(), np.full(4, 6e4, np.float16)),  # their sum is more than the type holds
        (Finite(), np.array([3e38, 3e38], np.float32)),
        (UnitInterval("BCE"), np.array([0.0, 1.0])),
        (UnitInterval("BCE", SHARES), np.array([0, 255], BYTES)),
        (ClassNumbers(2, scaling=SHARES), np.array([0, 100, 255], BYTES)),
        (ClassNumbers(3, scaling=NUMBERS), np.array([0, 1, 2], BYTES)),
    ],
)
def test_valid_values_that_are_no_class_numbers_yet_stay_as_they_are(rule, array):
    assert rule(array) is array
    assert rule.dtype(array.dtype) == array.dtype


def test_scaled_values_are_rounded_as_the_loss_rounds_them():
    rule = ClassNumbers(3, scaling=NUMBERS)
    assert rule.labels(np.array([0, 1, 2], BYTES)).tolist() == [0, 1, 2]
    assert ClassNumbers(2, scaling=SHARES).labels(np.array([0, 127, 128, 255], BYTES)).tolist() == [0, 0, 1, 1]


def test_a_number_outside_of_the_unit_interval_gets_a_cure_that_transforms_are_not_needed_for():
    with pytest.raises(ValueError, match=r"holds 7\. BCE compares .*\. Divide the targets by the largest of them"):
        UnitInterval("BCE")(np.array([7.0]))
    with pytest.raises(ValueError, match=r"holds -7\. BCE compares outputs with targets in \[0, 1\]$"):
        UnitInterval("BCE")(np.array([-7.0]))


@pytest.mark.parametrize("wrong", [1e300, -1e39])
def test_a_number_that_32_bits_cannot_hold_is_invalid(wrong):
    with pytest.raises(ValueError, match=r"^holds .*e\+\d+\. Expected numbers up to 3\.4e\+38 in size$"):
        Finite()(np.array([0.0, wrong]))
    largest = np.array([np.finfo(np.float32).max], np.float64)
    assert Finite()(largest) is largest
