import pickle

import numpy as np
import pytest

from rayrml.metrics import ClassCounts, ColumnDetails, Evaluation, PartNames

COUNTS = np.array([[3, 1], [2, 0]])


def test_classes_without_a_name_go_by_their_numbers():
    found = ClassCounts(COUNTS).by_part(PartNames(("cat",)))
    assert list(found) == ["cat", "1"]
    assert found["cat"] == {"samples": 4, "recall": 0.75, "precision": 0.6, "f1": pytest.approx(2 / 3)}


def test_masks_have_the_overlap_of_their_classes():
    found = ClassCounts(COUNTS).by_part(PartNames(("sky", "road"), pixels=True))
    assert found["sky"] == {
        "pixels": 4,
        "recall": 0.75,
        "precision": 0.6,
        "iou": pytest.approx(0.5),
        "dice": pytest.approx(2 / 3),
    }


def test_columns_go_by_the_names_of_what_they_are():
    sums = np.array([2.0, 0.0, 4.0, 1.0, 2.0, 2.0])  # found of each class, said to be there, there
    found = ColumnDetails(sums, "classes").by_part(PartNames(("cat", "dog")))
    assert found["cat"] == {"samples": 2, "recall": 1, "precision": 0.5, "f1": pytest.approx(2 / 3)}
    assert found["dog"]["recall"] == 0


def test_what_arrives_in_another_process_cannot_be_written_to_but_has_its_figures():
    sent = pickle.loads(pickle.dumps(Evaluation(0.5, "accuracy", 0.75, ClassCounts(COUNTS))))
    sent.details.counts.setflags(write=False)
    assert sent.figures == {"accuracy": 0.75}
    assert sent.details.by_part(PartNames())["0"]["samples"] == 4


def test_a_metric_that_is_undefined_is_no_figure():
    assert Evaluation(0.5, "auroc", None).figures == {}
