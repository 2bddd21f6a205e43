"""What applications do with samples."""

import pytest
import torch

from rayrml.data.transforms import Transforms
from rayrml.inference.applications import APPLICATIONS, Pass, application_of
from rayrml.inference.detection_step import DetectionStep
from rayrml.inference.evaluation import EvaluationStep
from rayrml.planning.application import application_of as name_application
from rayrml.planning.preparation import prepare
from tests.box_data import configuration, write_images


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("boxes")
    write_images(folder)
    return prepare(configuration(folder, loss__anchors=[[9, 9]] * 4))


def make_pass(plan, **keys):
    of = {"config": plan.config.neural_network, "loss": plan.loss.build(), "autocast": None, **keys}
    return Pass(network=plan.network, source=plan.training, transforms=plan.datasets.transforms, **of)


def test_the_loss_says_which_application_it_is(plan):
    assert plan.config.neural_network.app == name_application(plan.loss) == "obj"
    assert name_application(None) == "dnn"
    assert application_of(plan.config.neural_network) is APPLICATIONS["obj"]
    assert APPLICATIONS["obj"].columns == ("xmin", "ymin", "xmax", "ymax", "score", "class")
    assert not APPLICATIONS["dnn"].columns and isinstance(plan.datasets.transforms, Transforms)


def test_detections_are_compared_with_boxes_or_only_made(plan):
    evaluator = APPLICATIONS["obj"].evaluator
    for compares, name, lowest in ((True, "map50", 0.001), (False, None, 0.25)):
        step = evaluator(make_pass(plan, compares=compares, metric="map50"))
        assert isinstance(step, DetectionStep) and step.finder.lowest_score == lowest
        assert (step.metric and step.metric.name) == name
    with pytest.raises(RuntimeError):
        evaluator(make_pass(plan, loss=None))


def test_other_outputs_are_compared_with_arrays_or_classes(plan):
    step = APPLICATIONS["dnn"].evaluator(make_pass(plan, loss=None, compares=True, metric="accuracy"))
    assert isinstance(step, EvaluationStep) and step.metric is None
    outputs = torch.ones(2, 3)
    assert step.written(outputs).tolist() == outputs.tolist()
