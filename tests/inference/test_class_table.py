import csv
import typing

import numpy as np
import pytest
import torch

from rayrml.endings import Ending, probabilities
from rayrml.inference.class_table import classifier, write_table
from rayrml.losses import LOSSES, Loss
from rayrml.networks.network import build_network

CLASSES = ("ant", "bee", "cow", "dog", "elk", "fox")
LOGITS = torch.tensor([0.5, -1.0, 3.0, 0.0, 2.0, -4.0])


def ending_with(*layers, units=6, activation=None):
    dense = {"name": "dense", "units": units, **({"activation": activation} if activation else {})}
    return [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 4], "name": "input"}},
        {"class_name": "Dense", "config": dense},
        *({"class_name": kind, "config": {"name": f"last_{i}", **more}} for i, (kind, more) in enumerate(layers)),
    ]


def layer_outputs(layers):
    """The outputs of the layers after the dense one for `LOGITS`."""
    network = build_network(layers)
    with torch.no_grad():
        network.layers()["dense"].weight.zero_()
        network.layers()["dense"].bias.copy_(LOGITS)
        return network.eval()(torch.zeros(1, 4))[0].numpy()


ENDINGS = {
    "logits": ending_with(),
    "linear": ending_with(activation="linear"),
    "softmax of the layer": ending_with(activation="softmax"),
    "log_softmax of the layer": ending_with(activation="log_softmax"),
    "softmax layer": ending_with(("Softmax", {})),
    "log_softmax layer": ending_with(("LogSoftmax", {})),
    "activation layer": ending_with(("Activation", {"activation": "softmax"})),
    "dropout behind softmax": ending_with(("Softmax", {}), ("Dropout", {"rate": 0.5})),
    "linear behind softmax": ending_with(("Softmax", {}), ("Activation", {"activation": "linear"})),
    "reshaped softmax": ending_with(("Softmax", {}), ("Reshape", {"target_shape": [6]}), ("Flatten", {})),
}


@pytest.mark.parametrize("loss", [{"function": "NLL"}, {"function": "CrossEntropy"}, {}])
@pytest.mark.parametrize("name", ENDINGS)
def test_probabilities_are_right_whatever_the_network_ends_with(name, loss):
    layers = ENDINGS[name]
    found = classifier(layers, loss, CLASSES).probabilities(layer_outputs(layers))
    assert np.allclose(found, LOGITS.softmax(0).numpy(), atol=1e-6)


@pytest.mark.parametrize("source", ["softmax", "log_softmax", "logits"])
def test_the_source_of_a_loss_decides_where_the_network_does_not_say(source):
    given = {"softmax": LOGITS.softmax(0), "log_softmax": LOGITS.log_softmax(0), "logits": LOGITS}[source]
    found = classifier(ending_with(), {"function": "Focal", "source": source}, CLASSES).probabilities(given.numpy())
    assert np.allclose(found, LOGITS.softmax(0).numpy(), atol=1e-6)


def test_sigmoids_of_several_channels_are_probabilities_of_each_class_by_itself():
    layers = ending_with(activation="sigmoid")
    found = classifier(layers, {"function": "BCE"}, CLASSES).probabilities(layer_outputs(layers))
    assert np.allclose(found, LOGITS.sigmoid().numpy(), atol=1e-6)


@pytest.mark.parametrize(("activation", "output"), [("sigmoid", 0.8), (None, np.log(4.0))])
def test_one_channel_is_the_second_of_two_classes(activation, output):
    loss = {"function": "Focal", "source": "logits"}
    how = classifier(ending_with(units=1, activation=activation), loss, ("no", "yes"))
    row = how.row("a.jpg", np.array([output], np.float32))
    assert row.classes == ("yes", "no")
    assert row.probabilities == pytest.approx((0.8, 0.2), abs=1e-6)


@pytest.mark.parametrize("takes", typing.get_args(Ending))
def test_a_new_loss_needs_no_more_than_its_row_for_right_probabilities(takes, monkeypatch, tmp_path):
    def brier() -> Loss:
        """The squared distance of the probabilities from the true ones."""

        def squares(output, target):
            truth = torch.nn.functional.one_hot(target, output.shape[1])
            return (probabilities(output, takes) - truth).square().sum(1).mean()

        return Loss(squares, targets="labels", metric="accuracy", takes=takes)

    monkeypatch.setitem(LOSSES, "Brier", brier)
    expected = LOGITS.softmax(0)
    given = {"logits": LOGITS, "log_softmax": expected.log()}.get(takes, expected)
    assert LOSSES["Brier"]()(given[None], torch.tensor([2])).item() == pytest.approx(
        (expected - torch.eye(6)[2]).square().sum().item(), rel=1e-5
    )
    how = classifier(ending_with(), {"function": "brier"}, CLASSES)
    (row,) = write_table(tmp_path / "predictions.csv", [how.row("a.jpg", given.numpy())])
    assert row.classes[0] == "cow"
    (read,) = csv.DictReader((tmp_path / "predictions.csv").read_text().splitlines())
    found = [float(read[f"probability{end}"]) for end in ("", "_2", "_3", "_4", "_5")]
    assert found == pytest.approx(expected.sort(descending=True).values[:5].tolist(), rel=1e-5)


@pytest.mark.parametrize("source", ["softmax", "sigmoid", "log_softmax"])
def test_one_channel_of_probabilities_stays_what_the_loss_took_it_for(source):
    how = classifier(ending_with(units=1), {"function": "Dice", "source": source}, ("no", "yes"))
    given = np.log(0.8) if source == "log_softmax" else 0.8
    assert how.probabilities(np.array([given])) == pytest.approx([0.2, 0.8])


def test_extreme_logits_do_not_overflow():
    found = classifier(ending_with(), {}, CLASSES).probabilities(np.array([1e4, -1e4, 0, 0, 0, 0], np.float32))
    assert found.tolist() == [1, 0, 0, 0, 0, 0]


def test_images_and_other_numbers_are_no_classes():
    assert not classifier(ending_with(), {"function": "NLL"}, CLASSES).applies((6, 8, 8))
    assert not classifier(ending_with(), {"function": "MSE"}, ()).applies((6,))
    assert classifier(ending_with(), {"function": "NLL"}, ()).applies((6,))
    assert classifier(ending_with(), {}, CLASSES).applies((6,))


def test_the_table_has_the_five_best_classes(tmp_path):
    how = classifier(ending_with(), {}, CLASSES)
    rows = [how.row(name, LOGITS.numpy()) for name in ("a, b.jpg", "ä/c.jpg")]
    assert list(write_table(tmp_path / "t.csv", rows)) == rows
    first, second = csv.DictReader((tmp_path / "t.csv").read_text().splitlines())
    assert (first["path"], second["path"]) == ("a, b.jpg", "ä/c.jpg")
    ends = ("", "_2", "_3", "_4", "_5")
    assert [first[f"class{end}"] for end in ends] == ["cow", "elk", "ant", "dog", "bee"]
    expected = LOGITS.softmax(0).sort(descending=True).values[:5].tolist()
    assert [float(second[f"probability{end}"]) for end in ends] == pytest.approx(expected, rel=1e-5)


def test_classes_without_names_go_by_their_numbers():
    assert classifier(ending_with(), {"function": "NLL"}, ()).row("x", LOGITS.numpy()).classes[0] == "2"
