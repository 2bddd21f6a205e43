"""Targets from tables in a plan: which rows belong to which samples, and what the columns mean for the loss."""

import csv

import numpy as np
import pytest
from PIL import Image

from rayrml.errors import ConfigError, DataError
from rayrml.planning.preparation import prepare

KINDS = ("cat", "dog", "owl")
NAMES = [f"{number}.png" for number in range(6)]


def layers(units, activation=None):
    return [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 8, 8, 3]}},
        {"class_name": "Flatten", "config": {}},
        {"class_name": "Dense", "config": {"name": "last", "units": units, "activation": activation or "linear"}},
    ]


def draw(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(len(name)).integers(0, 255, (8, 8, 3), np.uint8)).save(path)
    return folder


def write(path, header, *rows, delimiter=","):
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    return path


@pytest.fixture
def images(tmp_path):
    return draw(tmp_path / "images", *NAMES)


def configuration(images, table, loss="CrossEntropy", units=3, **data):
    section = loss if isinstance(loss, dict) else {"function": loss}
    if section["function"] == "BCE":
        section = {**section, "source": "logits"}
    data = {
        "input_type": "images",
        "target_type": "table",
        "input_path": str(images),
        "target_path": str(table),
        **data,
    }
    return {"neural_network": {"layers": layers(units), "loss": section, "optimizer": {"type": "Adam"}, "data": data}}


def animals(path, names=NAMES, more=()):
    return write(path, ["file", "animal"], *zip(names, KINDS * 2, strict=False), *more)


def message_of(config):
    with pytest.raises((ConfigError, DataError)) as caught:
        prepare(config)
    return str(caught.value)


def test_each_file_has_the_class_of_its_row(images, tmp_path):
    plan = prepare(configuration(images, animals(tmp_path / "labels.csv", NAMES[::-1])))
    samples = plan.training.samples
    assert plan.classes == KINDS
    assert samples.names == NAMES
    assert samples.labels.tolist() == [2, 1, 0] * 2
    assert plan.metric == "accuracy"
    assert "'animal': 3 classes" in plan.targets


def test_labels_with_a_file_as_target_path_are_a_table(images, tmp_path):
    plan = prepare(configuration(images, animals(tmp_path / "labels.csv"), target_type="labels"))
    assert plan.classes == KINDS


def test_what_was_found_is_in_the_configuration(images, tmp_path):
    plan = prepare(configuration(images, animals(tmp_path / "labels.csv")))
    data = plan.config.neural_network.data
    assert (data.target_column, data.target_kind, data.split_column) == ("animal", "class", None)


def test_the_classes_have_the_order_that_is_given(images, tmp_path):
    config = configuration(images, animals(tmp_path / "labels.csv"), class_names=["owl", "dog", "cat"])
    plan = prepare(config)
    assert plan.classes == ("owl", "dog", "cat")
    assert plan.training.samples.labels.tolist() == [2, 1, 0] * 2


def test_class_names_order_folders_too(tmp_path):
    draw(tmp_path / "data", "cat/1.png", "dog/1.png")
    config = configuration(tmp_path / "data", "", units=2, class_names=["dog", "cat"])
    data = config["neural_network"]["data"]
    data["target_type"] = "labels"
    del data["target_path"]
    assert prepare(config).training.samples.labels.tolist() == [1, 0]


def test_several_classes_become_ones(images, tmp_path):
    values = ["cat;dog", "owl", "", "dog;owl", "cat", "cat;dog;owl"]
    table = write(tmp_path / "labels.csv", ["file", "animals"], *zip(NAMES, values, strict=True))
    plan = prepare(configuration(images, table, "BCE"))
    assert plan.classes == KINDS
    ones = [[1, 1, 0], [0, 0, 1], [0, 0, 0], [0, 1, 1], [1, 0, 0], [1, 1, 1]]
    assert plan.training.samples.values.tolist() == ones
    assert plan.metric == "mean_average_precision"
    assert plan.datasets.target_shapes == ((3,),)


def test_columns_of_zeros_and_ones_are_several_classes(images, tmp_path):
    rows = [(name, i % 2, 1, i // 3) for i, name in enumerate(NAMES)]
    table = write(tmp_path / "labels.csv", ["file", *KINDS], *rows)
    plan = prepare(configuration(images, table, "BCE"))
    assert plan.classes == KINDS
    assert plan.training.samples.values.tolist() == [list(row[1:]) for row in rows]
    assert plan.config.neural_network.data.target_column == list(KINDS)


def test_numbers_are_targets_of_losses_of_values(images, tmp_path):
    rows = [(name, 10 + i, -i / 2) for i, name in enumerate(NAMES)]
    table = write(tmp_path / "labels.csv", ["file", "age", "depth"], *rows)
    plan = prepare(configuration(images, table, "MSE", 2, target_column=["depth", "age"]))
    assert plan.training.samples.values.tolist() == [[row[2], row[1]] for row in rows]
    assert plan.datasets.value_names == ("depth", "age")
    assert plan.metric == "mean_absolute_error"


def test_whole_numbers_are_classes_or_numbers_as_the_loss_takes_them(images, tmp_path):
    table = write(tmp_path / "labels.csv", ["file", "grade"], *zip(NAMES, [1, 2, 3] * 2, strict=True))
    assert prepare(configuration(images, table)).classes == ("1", "2", "3")
    assert prepare(configuration(images, table, "MAE", 1)).datasets.value_names == ("grade",)


def test_statistics_of_the_training_rows_are_in_the_loss(images, tmp_path):
    rows = [(name, 10 * i, "train" if i < 4 else "val") for i, name in enumerate(NAMES)]
    table = write(tmp_path / "labels.csv", ["file", "age", "split"], *rows)
    plan = prepare(configuration(images, table, {"function": "MSE", "standardize": True}, 1))
    assert plan.loss.arguments["standardize"] == {"mean": [15.0], "std": [pytest.approx(np.std([0, 10, 20, 30]))]}


def test_constant_numbers_cannot_be_standardized(images, tmp_path):
    table = write(tmp_path / "labels.csv", ["file", "age"], *((name, 3.5) for name in NAMES))
    config = configuration(images, table, {"function": "MSE", "standardize": True}, 1)
    assert "same value in 'age'" in message_of(config)


def test_standardizing_needs_numbers_of_a_table(tmp_path):
    for part in ("x", "y"):
        np.save(tmp_path / f"{part}.npy", np.zeros((4, 3), np.float32))
    data = {"type": "numpy", "input_path": str(tmp_path / "x.npy"), "target_path": str(tmp_path / "y.npy")}
    network = [{"class_name": "InputLayer", "config": {"batch_input_shape": [None, 3]}},
               {"class_name": "Dense", "config": {"units": 3}}]  # fmt: skip
    section = {"layers": network, "data": data, "optimizer": {"type": "SGD"}}
    loss = {"function": "MSE", "standardize": True}
    assert "no numbers of a table" in message_of({"neural_network": {**section, "loss": loss}})


def test_a_column_says_which_samples_are_for_what(images, tmp_path):
    parts = ["train", "train", "Test", "val", "validation", "TRAIN"]
    table = write(tmp_path / "labels.csv", ["file", "animal", "split"], *zip(NAMES, KINDS * 2, parts, strict=True))
    plan = prepare(configuration(images, table))
    assert plan.training.samples.names == ["0.png", "1.png", "5.png"]
    assert plan.test.samples.names == ["3.png", "4.png"]
    assert plan.final_test.samples.names == ["2.png"]
    assert plan.config.neural_network.data.split_column == "split"


def test_without_validation_epochs_are_evaluated_on_the_test(images, tmp_path):
    parts = ["train"] * 4 + ["test"] * 2
    table = write(tmp_path / "labels.csv", ["file", "animal", "split"], *zip(NAMES, KINDS * 2, parts, strict=True))
    plan = prepare(configuration(images, table))
    assert plan.test.samples.names == NAMES[4:]
    assert plan.final_test is None


def test_a_share_of_a_table_has_some_of_each_class(images, tmp_path):
    plan = prepare(configuration(images, animals(tmp_path / "labels.csv"), test_share=0.5))
    assert sorted(plan.training.samples.labels.tolist()) == sorted(plan.test.samples.labels.tolist()) == [0, 1, 2]
    assert not set(plan.training.samples.names) & set(plan.test.samples.names)
    assert not any("training and in the test" in warning for warning in plan.warnings)


def test_each_part_may_have_its_own_table(images, tmp_path):
    training, test = (
        write(tmp_path / f"{part}.csv", ["file", "animal"], *zip(names, KINDS * 2, strict=False))
        for part, names in (("train", NAMES[:4]), ("test", NAMES[4:]))
    )
    plan = prepare(configuration(images, training, test_target_path=str(test)))
    assert plan.training.samples.names == NAMES[:4]
    assert plan.test.samples.names == NAMES[4:]


def test_one_table_serves_several_folders(tmp_path):
    folder = draw(tmp_path / "data", *(f"train/{n}" for n in NAMES[:4]), *(f"test/{n}" for n in NAMES[4:]))
    names = [*(f"train/{n}" for n in NAMES[:4]), *(f"test/{n}" for n in NAMES[4:])]
    plan = prepare(configuration(folder, animals(tmp_path / "labels.csv", names)))
    assert plan.training.samples.names == NAMES[:4]
    assert plan.test.samples.names == NAMES[4:]
    assert plan.test.samples.labels.tolist() == [1, 2]


def test_a_column_that_repeats_the_parts_of_folders_is_no_target(tmp_path):
    names = [*(f"train/{n}" for n in NAMES[:4]), *(f"test/{n}" for n in NAMES[4:])]
    rows = [(name, kind, name.partition("/")[0]) for name, kind in zip(names, KINDS * 2, strict=True)]
    plan = prepare(
        configuration(draw(tmp_path / "data", *names), write(tmp_path / "l.csv", ["f", "animal", "split"], *rows))
    )
    assert plan.config.neural_network.data.target_column == "animal"
    assert plan.test.samples.labels.tolist() == [1, 2]


def test_a_sample_in_training_and_test_is_told_of(images, tmp_path):
    test = animals(tmp_path / "test.csv", NAMES[:2])
    plan = prepare(configuration(images, animals(tmp_path / "labels.csv"), test_target_path=str(test)))
    assert any("2 files are in the training and in the test" in warning for warning in plan.warnings)


def test_arrays_have_rows_too(tmp_path):
    folder = tmp_path / "arrays"
    folder.mkdir()
    for name in NAMES:
        np.save(folder / f"{name[0]}.npy", np.zeros((3, 8, 8), np.float32))
    names = [f"{name[0]}.npy" for name in NAMES]
    plan = prepare(configuration(folder, animals(tmp_path / "labels.csv", names), input_type="numpy"))
    assert plan.training.samples.labels.tolist() == [0, 1, 2] * 2


@pytest.mark.parametrize("ending", ["", ".npz", ".npz/x"])
def test_files_of_one_array_are_named_like_other_files(tmp_path, ending):
    folder = tmp_path / "arrays"
    folder.mkdir()
    for name in NAMES:
        np.savez(folder / f"{name[0]}.npz", x=np.zeros((3, 8, 8), np.float32))
    names = [f"{name[0]}{ending}" for name in NAMES]
    plan = prepare(configuration(folder, animals(tmp_path / "labels.csv", names), input_type="numpy"))
    assert plan.training.samples.labels.tolist() == [0, 1, 2] * 2
    np.savez(folder / "0.npz", x=np.zeros((3, 8, 8), np.float32), y=np.zeros((3, 8, 8), np.float32))
    if ending == ".npz":  # which of the two arrays is not known
        with pytest.raises(DataError, match=r"no column names the files|name no file"):
            prepare(configuration(folder, animals(tmp_path / "labels.csv", names), input_type="numpy"))


@pytest.mark.parametrize("skip", [False, True])
def test_files_without_a_row_are_an_error_or_left_out(images, tmp_path, skip):
    draw(images, "more.png")
    config = configuration(images, animals(tmp_path / "labels.csv"), on_bad_sample="skip" if skip else "error")
    expected = f"1 file of '{images}' has no row in the table: 'more.png'"
    if not skip:
        assert expected in message_of(config)
        return
    plan = prepare(config)
    assert plan.training.samples.names == NAMES
    assert any(expected in warning for warning in plan.warnings)


@pytest.mark.parametrize("skip", [False, True])
def test_rows_without_a_file_are_an_error_or_left_out(images, tmp_path, skip):
    table = animals(tmp_path / "labels.csv", more=[("gone.png", "cat"), ("lost.png", "dog")])
    config = configuration(images, table, on_bad_sample="skip" if skip else "error")
    expected = "labels.csv: 2 rows name no file that is used; the first is line 8"
    if not skip:
        assert expected in message_of(config)
        return
    assert any(expected in warning for warning in prepare(config).warnings)


@pytest.mark.parametrize(
    ("values", "loss", "expected"),
    [
        (
            ["a;b", "a", "b", "c", "c;a", "b"],
            "CrossEntropy",
            "CrossEntropy takes one class for each sample. Expected BCE",
        ),
        ([0.5, 1.5, 2.5, 3.5, 4.5, 5.5], "CrossEntropy", "takes one class for each sample. Expected MSE, MAE or Huber"),
        ([0.5, 1.5, 2.5, 3.5, 4.5, 5.5], "BCE", "go from 0.5 to 5.5, but BCE takes classes, or numbers from 0 to 1"),
        (["cat", "dog", "owl"] * 2, "MSE", "column 'value' holds 'cat'. Expected a number"),
        (["cat", "dog", "", "owl", "dog", "cat"], "CrossEntropy", "labels.csv, line 4: column 'value' is empty"),
        (["cat", "Cat", "dog", "dog", "owl", "owl"], "CrossEntropy", "'cat' (1 rows) and 'Cat' (1 rows), which differ"),
    ],
)
def test_columns_that_do_not_suit_the_loss_are_told_of(images, tmp_path, values, loss, expected):
    table = write(tmp_path / "labels.csv", ["file", "value"], *zip(NAMES, values, strict=True))
    assert expected in message_of(configuration(images, table, loss, 1 if loss in ("MSE", "BCE") else 3))


def test_an_unknown_class_of_a_test_row_is_told_of(images, tmp_path):
    test = write(tmp_path / "test.csv", ["file", "animal"], ("5.png", "emu"))
    config = configuration(images, animals(tmp_path / "labels.csv", NAMES[:5]), test_target_path=str(test))
    assert "test.csv, line 2: column 'animal' holds 'emu'" in message_of(config)


@pytest.mark.parametrize(
    ("units", "loss", "values", "expected"),
    [
        (
            2,
            "BCE",
            ["a;b", "c", "a", "b", "c;a", "b"],
            "outputs 2 values per sample, but the table has 3 classes: a, b, c",
        ),
        (2, "MSE", [1, 2, 3, 4, 5, 6], "outputs 2 values per sample, but the table has 1 number: value"),
        (4, "CrossEntropy", ["a", "b", "c"] * 2, "outputs 4 values per sample, but there are 3 classes: a, b, c"),
    ],
)
def test_a_network_with_other_outputs_is_refused(images, tmp_path, units, loss, values, expected):
    table = write(tmp_path / "labels.csv", ["file", "value"], *zip(NAMES, values, strict=True))
    assert expected in message_of(configuration(images, table, loss, units))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"target_suffix": "_mask"}, "target_suffix: has no effect: targets are rows of a table"),
        ({"split_column": "animal", "test_share": 0.5}, "split_column: cannot be combined with test_share"),
        ({"training_tag": "training"}, "training_tag: has no effect"),
        ({"target_kind": "class", "separator": ";"}, 'separator: has no effect: target_kind is "class"'),
        ({"class_names": ["a", "a"]}, "class_names: names 'a' more than once"),
        ({"target_kind": "number", "class_names": ["a", "b"]}, "class_names: has no effect"),
        ({"target_column": "wrong"}, "labels.csv: has no column 'wrong'"),
        ({"file_column": "wrong"}, "labels.csv: has no column 'wrong'"),
        ({"target_column": "file"}, "column 'file' names files"),
        ({"split_column": "animal"}, "column 'animal' holds 'cat' (so do 2 rows), which is no part of the data"),
        ({"target_path": None}, "'target_path' is missing: the file of the table"),
        ({"target_path": "gone.csv"}, "no such file"),
        ({"target_path": "labels.xlsx", "target_type": "table"}, "Save the table as CSV"),
    ],
)
def test_keys_that_cannot_be_honoured_are_refused(images, tmp_path, data, expected):
    table = animals(tmp_path / "labels.csv")
    assert expected in message_of(configuration(images, table, **data))


@pytest.mark.parametrize("key", ["file_column", "target_column", "target_kind", "separator", "split_column"])
def test_keys_of_tables_need_one(tmp_path, key):
    draw(tmp_path / "data", "cat/1.png", "dog/1.png")
    value = "class" if key == "target_kind" else "x"
    config = configuration(tmp_path / "data", "", units=2, target_type="labels", **{key: value})
    del config["neural_network"]["data"]["target_path"]
    assert f"{key}: has no effect: targets are not in a table" in message_of(config)


def test_a_threshold_is_for_samples_that_may_have_several_classes(images, tmp_path):
    several = ["a;b", "c", "a", "b", "c;a", "b"]
    table = write(tmp_path / "labels.csv", ["file", "value"], *zip(NAMES, several, strict=True))
    assert prepare(configuration(images, table, "BCE", threshold=0.3)).config.neural_network.data.threshold == 0.3
    single = configuration(images, animals(tmp_path / "animals.csv"), threshold=0.3)
    assert 'threshold: has no effect: it is for samples that may have several classes, but target_kind is "class"' in (
        message_of(single)
    )


@pytest.fixture
def stack(tmp_path):
    """One array of six samples, whose values are their numbers."""
    array = np.broadcast_to(np.arange(6, dtype=np.float32)[:, None, None, None], (6, 8, 8, 3))
    np.save(tmp_path / "x.npy", array)
    return str(tmp_path / "x.npy")


@pytest.mark.parametrize("header", [("label",), ("id", "label")])
def test_rows_of_a_table_belong_to_rows_of_one_array(stack, tmp_path, header):
    rows = [(i, kind)[-len(header) :] for i, kind in enumerate("abcabc")]
    table = write(tmp_path / "labels.csv", header, *rows)
    plan = prepare(configuration(stack, table, input_type="numpy", channels="last"))
    assert plan.training.samples.labels.tolist() == [0, 1, 2] * 2
    assert plan.training.samples.names[5] == "x/0000005"
    assert plan.targets.endswith("; rows in the order of the samples")


def test_a_wrong_number_of_rows_is_told_with_both_counts(stack, tmp_path):
    table = write(tmp_path / "labels.csv", ["label"], *["a", "b", "c", "a", "b"])
    with pytest.raises(DataError, match=r"labels\.csv: has 5 rows, but '.*x\.npy' holds 6 samples"):
        prepare(configuration(stack, table, input_type="numpy", channels="last"))


def test_rows_in_another_order_than_their_numbers_are_refused(stack, tmp_path):
    rows = [(i, "abc"[i % 3]) for i in (3, 0, 1, 2, 5, 4)]
    table = write(tmp_path / "labels.csv", ["id", "label"], *rows)
    with pytest.raises(DataError, match=r"labels\.csv, line 2: column 'id' numbers the rows, but holds '3' here"):
        prepare(configuration(stack, table, input_type="numpy", channels="last"))


def test_a_column_divides_the_rows_of_one_array(stack, tmp_path):
    rows = [("abc"[i % 3], "val" if i > 3 else "train") for i in range(6)]
    table = write(tmp_path / "labels.csv", ["label", "split"], *rows)
    plan = prepare(configuration(stack, table, input_type="numpy", channels="last"))
    assert plan.training.samples.labels.tolist() == [0, 1, 2, 0]
    side = plan.test.input
    assert [side.decoding.array(side.samples.place(i)).max() for i in range(2)] == [4, 5]


def test_equally_many_samples_of_other_files_have_rows_of_their_own(tmp_path):
    folder = draw(tmp_path / "images", *(f"{number}.png" for number in range(4)))
    single = [str(folder / f"{number}.png") for number in range(4)]
    table = write(tmp_path / "labels.csv", ["file", "animal"], *zip(("0", "1", "2", "3"), "aabb", strict=True))
    config = configuration(folder, table, units=2, test_input_path=single[2:])
    config["neural_network"]["data"]["on_bad_sample"] = "skip"
    plan = prepare(config)
    assert plan.training.samples.labels.tolist() == [0, 0, 1, 1]
    assert plan.test.samples.labels.tolist() == [1, 1]
    other = configuration(folder, table, units=2, test_input_path=single[:2], target_path=str(table))
    assert prepare(other).test.samples.labels.tolist() == [0, 0]
