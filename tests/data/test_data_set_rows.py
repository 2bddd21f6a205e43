import pytest

from rayrml.data.data_set_rows import Rows
from rayrml.errors import ConfigError, DataError
from tests.data.data_sets import image, write_rows


def open_rows(folder, label=None):
    found = sorted(folder.rglob("*.parquet"))
    return Rows({str(path.relative_to(folder)): str(path) for path in found}, label)


def names(rows):
    return [name for name, _ in rows.files()]


def write(folder, name="train.parquet", *, count=4, paths=None, images=("image",), class_names=None, **columns):
    contents = [(image(i), None if paths is None else paths[i]) for i in range(count)]
    write_rows(folder / name, columns, images=dict.fromkeys(images, contents), class_names=class_names)
    return folder


def test_images_are_in_folders_of_their_part_and_class_by_the_names_that_they_had(tmp_path):
    known = {"class_names": {"label": ["cat", "dog", "bird"]}}
    write(tmp_path, "train.parquet", paths=["x/b.jpg", "a.png", "b.png", "c.png"], label=[1, 0, 0, 1], **known)
    write(tmp_path, "test.parquet", count=2, label=[1, 1], **known)
    rows = open_rows(tmp_path)
    assert rows.count == 6
    assert names(rows) == [
        *("test/dog/1.png", "test/dog/2.png"),
        *("train/dog/b.png", "train/cat/a.png", "train/cat/b.png", "train/dog/c.png"),
    ]
    done = rows.describe()
    assert (done.parts, done.label, done.classes) == ({"test": 2, "train": 4}, "label", ("dog", "cat"))


def test_names_that_occur_twice_become_numbers_of_rows(tmp_path):
    write(tmp_path, count=12, paths=[f"{i // 2}/a.png" for i in range(12)], label=["cat"] * 12)
    assert names(open_rows(tmp_path))[:2] == ["cat/01.png", "cat/02.png"]


def test_a_column_of_classes_is_never_guessed_among_several(tmp_path):
    classes = {"fine": ["cat", "dog"], "coarse": ["pet", "other"]}
    write(tmp_path, fine=[0, 1, 0, 1], coarse=[0, 0, 0, 0], class_names=classes, age=[1.5, 2, 3, 4])
    with pytest.raises(ConfigError, match=r"--label: several columns of .* may tell the classes: 'fine', 'coarse'"):
        open_rows(tmp_path)
    rows = open_rows(tmp_path, "coarse")
    assert rows.describe().classes == ("pet",)
    assert rows.describe().left_out == ("fine", "age")
    with pytest.raises(ConfigError, match=r"no column of text or numbers is 'corse'"):
        open_rows(tmp_path, "corse")
    with pytest.raises(ConfigError, match=r"'age' holds numbers with fractions, which are no classes"):
        open_rows(tmp_path, "age")


def test_columns_of_a_data_set_without_classes_become_a_table(tmp_path):
    write(tmp_path, "train.parquet", target=[0.5, 1.5, 2.5, None], text=["a", 'b "c"', "d\ne", "f"])
    write(tmp_path, "test.parquet", count=1, target=[9.5], text=["g"])
    rows = open_rows(tmp_path)
    assert names(rows) == ["test/1.png", "train/1.png", "train/2.png", "train/3.png", "train/4.png"]
    rows.finish(tmp_path)
    assert (tmp_path / "labels.csv").read_text() == (
        'file,target,text\ntest/1.png,9.5,g\ntrain/1.png,0.5,a\ntrain/2.png,1.5,"b ""c"""\n'
        'train/3.png,2.5,"d\ne"\ntrain/4.png,,f\n'
    )
    assert rows.describe().has_table


def test_several_columns_of_images_have_a_folder_each(tmp_path):
    write(tmp_path, images=("image", "mask"), id=[1, 2, 3, 4])
    rows = open_rows(tmp_path)
    assert names(rows)[:3] == ["image/1.png", "mask/1.png", "image/2.png"]
    assert rows.describe().left_out == ("id",)


def test_samples_whose_class_is_kept_secret_have_none(tmp_path):
    known = {"class_names": {"label": ["cat", "dog"]}}
    write(tmp_path, "train.parquet", label=[0, 1, 1, 0], **known)
    write(tmp_path, "test.parquet", label=[-1] * 4, **known)
    rows = open_rows(tmp_path)
    assert names(rows)[3:5] == ["test/4.png", "train/cat/1.png"]
    assert rows.describe().without_classes == ("test",)
    write(tmp_path, "test.parquet", label=[0, -1, 1, -1], **known)
    with pytest.raises(DataError, match=r"column 'label' has no class in 2 of the 4 rows of 'test', first in row 2"):
        open_rows(tmp_path)
    write(tmp_path, "test.parquet", label=[0, 2, 1, 1], **known)
    with pytest.raises(DataError, match=r"column 'label' holds 2, but has names for 2 classes"):
        open_rows(tmp_path)


def test_files_of_different_data_sets_are_refused(tmp_path):
    write(tmp_path, "train.parquet", label=[0, 1, 1, 0])
    write(tmp_path, "test.parquet", kind=[0, 1, 1, 0])
    with pytest.raises(DataError, match=r"train\.parquet: has other columns than '.*test\.parquet'"):
        open_rows(tmp_path)


def test_classes_are_told_apart_by_their_names_whatever_their_numbers_are_in_each_file(tmp_path):
    write(tmp_path, "train.parquet", label=[0, 1, 1, 0], class_names={"label": ["cat", "dog"]})
    write(tmp_path, "test.parquet", count=2, label=[0, 1], class_names={"label": ["dog", "cat"]})
    assert names(open_rows(tmp_path))[:3] == ["test/dog/1.png", "test/cat/2.png", "train/cat/1.png"]
    write(tmp_path, "test.parquet", count=2, label=[0, 1])
    with pytest.raises(DataError, match=r"has names for the classes of column 'label', the other has not"):
        open_rows(tmp_path)
    write(tmp_path, "test.parquet", count=2, label=["0", "1"])
    with pytest.raises(DataError, match=r"has other columns than .*: 'label' holds whole numbers, there text"):
        open_rows(tmp_path)


def test_two_classes_of_one_name_are_refused(tmp_path):
    write(tmp_path, label=[0, 1, 1, 0], class_names={"label": ["cat", "cat"]})
    with pytest.raises(DataError, match=r"column 'label' has several classes named 'cat'"):
        open_rows(tmp_path)


@pytest.mark.parametrize("labels", [["a", "b", "a", "b"], [0.0, 1.0, 0.0, 1.0]])
def test_names_of_classes_are_for_whole_numbers_alone(tmp_path, labels):
    write(tmp_path, label=labels, class_names={"label": ["cat", "dog"]})
    assert open_rows(tmp_path).describe().classes == (("a", "b") if labels[0] == "a" else ())


def test_numbers_of_classes_are_names_in_a_table(tmp_path):
    write(tmp_path, label=[0, 1, -1, None], class_names={"label": ["train", "test"]})
    rows = open_rows(tmp_path, "none")
    names(rows)
    rows.finish(tmp_path)
    assert (tmp_path / "labels.csv").read_text() == "file,label\n1.png,train\n2.png,test\n3.png,\n4.png,\n"


def test_classes_that_folders_cannot_be_are_refused(tmp_path):
    write(tmp_path, label=["train", "test", "car", "car"])
    with pytest.raises(DataError, match=r"the folders 'train', 'test' would be read as parts.* `--label none`"):
        open_rows(tmp_path)
    write(tmp_path, label=["", "test", "car", "car"])
    with pytest.raises(DataError, match=r"no class in 1 of the 4 rows of 'train', first in row 1"):
        open_rows(tmp_path)


def test_a_file_without_rows_is_left_out(tmp_path):
    write(tmp_path, "train.parquet", label=["cat", "dog", "cat", "dog"])
    write(tmp_path, "test.parquet", count=0, label=[])
    rows = open_rows(tmp_path)
    assert names(rows)[0] == "cat/1.png"
    assert rows.describe().left_out == ("'test.parquet', which has no rows",)
    (tmp_path / "train.parquet").unlink()
    with pytest.raises(DataError, match=r"test\.parquet: has no rows"):
        open_rows(tmp_path)


def test_no_name_leads_out_of_the_folder(tmp_path):
    write(tmp_path, images=("../a", "/b"), paths=["..", "../..", "a/..", "x\ny.png"])
    assert names(open_rows(tmp_path))[:2] == ["_.._a/1.png", "_b/1.png"]


def test_a_row_without_an_image_is_named_with_its_file(tmp_path):
    write(tmp_path, "train-00000-of-00002.parquet")
    contents = [(image(0), None), (b"broken", None)]
    write_rows(tmp_path / "train-00001-of-00002.parquet", {}, images={"image": contents})
    with pytest.raises(DataError, match=r"train-00001-of-00002\.parquet: row 2 holds no image in column 'image'"):
        names(open_rows(tmp_path))


def test_parts_that_a_column_tells_are_not_mixed(tmp_path):
    write(tmp_path, label=["cat", "dog", "cat", "dog"], split=["train", "train", "test", "test"])
    with pytest.raises(ConfigError, match=r"--label: column 'split' tells the parts 'test', 'train'.* `--label none`"):
        open_rows(tmp_path)
    assert open_rows(tmp_path, "none").describe().has_table
    write(tmp_path, label=["cat", "dog", "cat", "dog"], split=["a", "train", "train", "train"])
    assert open_rows(tmp_path).describe().left_out == ("split",)
