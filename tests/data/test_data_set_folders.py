import pytest

from rayrml.data.data_set_folders import are_suited, find_part, find_parts, name_classes, name_folders
from rayrml.errors import DataError


def test_parts_are_those_that_the_names_of_files_tell():
    assert find_parts(["data/train-00000-of-00002.parquet", "data/train-00001-of-00002-0abc.parquet"]) == {
        "train": ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002-0abc.parquet"]
    }
    assert find_parts(["x/train/0000.parquet", "x/train/0001.parquet", "x/test/0000.parquet"]) == {
        "train": ["x/train/0000.parquet", "x/train/0001.parquet"],
        "test": ["x/test/0000.parquet"],
    }
    assert find_parts(["test.parquet", "0000.parquet"]) == {"test": ["test.parquet"], "": ["0000.parquet"]}


def test_parts_that_are_incomplete_or_of_several_data_sets_are_refused():
    with pytest.raises(DataError, match=r"only 1 of the 3 files of 'train' are there"):
        find_parts(["train-00001-of-00003.parquet"])
    with pytest.raises(DataError, match=r"'train' is in the folders 'big', 'small'"):
        find_parts(["big/train-00000-of-00001.parquet", "small/train-00000-of-00001.parquet"])


def test_folders_of_numbers_keep_their_order_and_those_of_names_can_be_read():
    assert name_folders([10, 2]) == {10: "10", 2: "02"}
    assert name_folders(["a/b", ".x", "", "cat"]) == {"a/b": "a_b", ".x": "_.x", "": "_", "cat": "cat"}
    with pytest.raises(DataError, match=r"'Cat' and 'cat' would both be in the folder 'cat'"):
        name_folders(["Cat", "cat"])


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (["train_0.parquet", "train_1.parquet", "test_0.parquet"], {"train": 2, "test": 1}),
        (["mnist_train.parquet", "mnist-test-00000-of-00001.parquet"], {"train": 1, "test": 1}),
        (["train.parquet/part.0.parquet", "train.parquet/part.1.parquet"], {"train": 2}),
        (["train/a/x.parquet", "train/y.parquet", "Val/x.parquet"], {"train": 2, "val": 1}),
        (["part-00000-ab12-c000.snappy.parquet", "part-00001-ab12-c000.snappy.parquet"], {"": 2}),
        (["cats/part-0.parquet", "dogs/part-0.parquet"], {"cats": 1, "dogs": 1}),
        (["fold1.parquet", "fold2.parquet"], {"fold1": 1, "fold2": 1}),
    ],
)
def test_files_of_one_part_are_joined_and_those_of_others_never_are(names, parts):
    assert {part: len(own) for part, own in find_parts(names).items()} == parts


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train-00000-of-00002-aa.parquet", "train-00000-of-00002-bb.parquet"], "two versions of 'train'"),
        (["train-00000-of-00001-aa.parquet", "train-00000-of-00001-bb.parquet"], "two versions of 'train'"),
        (["train-00000-of-00002.parquet", "train-00001-of-00003.parquet"], "two versions of 'train'"),
        (["train-00000-of-00001.parquet", "train.parquet"], "two versions of 'train'"),
        (["train.parquet", "train_extra.parquet"], "could both be 'train'"),
        (["label=cat/0.parquet", "label=dog/0.parquet"], "in the folder 'label=cat' of a partitioned table"),
    ],
)
def test_files_that_would_be_read_twice_or_lack_a_column_are_refused(names, message):
    with pytest.raises(DataError, match=message):
        find_parts(names)


def test_a_part_is_a_word_of_a_name():
    found = map(find_part, ["imagenet-val-000000.tar", "Train_7", "trained", "train-test", "data"])
    assert list(found) == ["val", "train", "", "", ""]


def test_classes_that_are_read_as_something_else_are_refused():
    assert name_classes(["train", "car"]) == {"train": "train", "car": "car"}
    for names in (["train", "val", "car"], ["image", "mask"]):
        with pytest.raises(DataError, match=r"would be read as parts of a data set\. Do this"):
            name_classes(names, "Do this")


def test_names_that_a_file_system_takes_for_the_same_are_refused():
    with pytest.raises(DataError, match="would both be in the folder"):
        name_folders(["\u00e9", "e\u0301"])
    with pytest.raises(DataError, match=r"'x{200}\.\.\.' is too long for the name of a folder"):
        name_folders(["x" * 300])
    assert are_suited(["a", "a"], ["cat", "dog"])
    assert not are_suited(["a", "A"], ["cat", "cat"])
    assert not are_suited(["a\nb"], ["cat"])
