import os
import time

import numpy as np
import pytest

from rayrml.data.discovery import Samples, describe_ignored, find_samples, label_by_folder, select_part
from rayrml.errors import DataError

IMAGES = {".jpg", ".png"}


def fill(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return str(root)


def find(root):
    return find_samples(str(root), IMAGES, "input_path")


def test_folders_are_searched_to_the_bottom_and_listed_by_name(tmp_path):
    fill(tmp_path, "b/2.jpg", "a/deep/er/1.PNG", "a/0.jpg")
    assert find(tmp_path).names == ["a/0.jpg", "a/deep/er/1.PNG", "b/2.jpg"]


def test_other_files_are_counted_and_hidden_ones_passed_over(tmp_path):
    fill(tmp_path, "a/0.jpg", "a/notes.db", "README", "a/.hidden.jpg", ".git/1.jpg")
    samples = find(tmp_path)
    assert samples.names == ["a/0.jpg"]
    assert samples.ignored == {".db": 1, "no extension": 1}


def test_what_systems_add_is_neither_read_nor_counted(tmp_path):
    added = ("Thumbs.db", "desktop.ini", ".DS_Store", "._0.jpg", "__MACOSX/a/0.jpg", "@eaDir/0.jpg", ".git/0.jpg")
    fill(tmp_path, "a/0.jpg", *(f"a/{name}" for name in added), *added)
    samples = find(tmp_path)
    assert (samples.names, samples.ignored, sorted(samples.folders)) == (["a/0.jpg"], {}, ["", "a"])


def test_files_with_other_endings_are_named_by_ending(tmp_path):
    fill(tmp_path, "a/0.jpg", "a/1.txt", "a/2.TXT", "b.svg")
    assert describe_ignored(find(tmp_path).ignored) == "3 files with other endings left out: 2 .txt, 1 .svg"
    assert describe_ignored({}) is None


def test_a_folder_without_samples_names_the_other_endings(tmp_path):
    fill(tmp_path, "a/1.svg")
    with pytest.raises(DataError, match=r"no files to read in .*\. 1 file with other endings left out: 1 \.svg"):
        find(tmp_path)


def test_one_file_is_one_sample(tmp_path):
    fill(tmp_path, "digit.jpg")
    samples = find(tmp_path / "digit.jpg")
    assert (list(samples.names), samples.path(0)) == (["digit.jpg"], str(tmp_path / "digit.jpg"))


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=r"input_path: no such folder or file: '.*nowhere'"):
        find(tmp_path / "nowhere")


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no files to read in"):
        find(tmp_path)


def test_a_link_that_leads_back_ends_nowhere(tmp_path):
    fill(tmp_path, "a/0.jpg")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert find(tmp_path).names == ["a/0.jpg"]


def test_links_to_other_folders_are_followed(tmp_path):
    fill(tmp_path / "elsewhere", "0.jpg")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cat").symlink_to(tmp_path / "elsewhere")
    assert find(tmp_path / "data").names == ["cat/0.jpg"]


def test_names_that_are_no_text_are_kept(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / os.fsdecode(b"\xff.jpg")).touch()
    assert os.fsencode(find(tmp_path).names[0]) == b"a/\xff.jpg"


def test_classes_are_the_sorted_names_of_the_images_own_folders(tmp_path):
    fill(tmp_path, "x/dog/1.jpg", "cat/2.jpg", "x/cat/3.jpg")
    samples = label_by_folder(find(tmp_path), None, "input_path")
    assert samples.classes == ("cat", "dog")
    assert dict(zip(samples.names, samples.labels.tolist(), strict=True)) == {
        "cat/2.jpg": 0,
        "x/cat/3.jpg": 0,
        "x/dog/1.jpg": 1,
    }


def test_a_tag_names_the_folder_above_the_classes(tmp_path):
    fill(tmp_path, "v1/train/cat/a/1.jpg", "v2/train/dog/2.jpg")
    samples = label_by_folder(find(tmp_path), "train", "input_path")
    assert (samples.classes, samples.labels.tolist()) == (("cat", "dog"), [0, 1])


def test_a_tag_may_be_above_the_folder_that_is_searched(tmp_path):
    fill(tmp_path / "train", "cat/1.jpg", "dog/2.jpg")
    assert label_by_folder(find(tmp_path / "train"), "train", "input_path").classes == ("cat", "dog")


def test_an_image_outside_every_class_is_named(tmp_path):
    fill(tmp_path, "cat/1.jpg", "2.jpg")
    with pytest.raises(DataError, match=r"'2.jpg' in .* must be inside a class folder"):
        label_by_folder(find(tmp_path), None, "input_path")


def test_a_class_folder_without_images_is_named(tmp_path):
    fill(tmp_path, "cat/1.jpg", "dog/readme.txt")
    with pytest.raises(DataError, match=r"class folders without images in .*: 'dog'"):
        label_by_folder(find(tmp_path), None, "input_path")


def test_test_classes_get_the_indices_of_training(tmp_path):
    fill(tmp_path, "dog/1.jpg")
    assert label_by_folder(find(tmp_path), None, "test_input_path", ["cat", "dog"]).labels.tolist() == [1]


def test_a_class_that_training_does_not_know_is_named(tmp_path):
    fill(tmp_path, "dog/1.jpg", "bird/1.jpg")
    with pytest.raises(DataError, match=r"classes unknown to training in .*: 'bird'. Known: 'cat', 'dog'"):
        label_by_folder(find(tmp_path), None, "test_input_path", ["cat", "dog"])


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.99])
def test_a_share_is_that_of_each_class_and_of_all_but_the_smallest_some_of_both(tmp_path, share):
    sizes = {"a": 1, "b": 2, "c": 100}
    samples = label_by_folder(find(fill(tmp_path, *(f"{c}/{n}.jpg" for c in sizes for n in range(sizes[c])))), None, "")
    training, test = (select_part(samples, share, test=test) for test in (False, True))
    assert sorted([*training, *test]) == list(range(103))
    assert np.bincount(samples.labels[test], minlength=3).tolist() == [0, 1, round(100 * share)]


def test_which_files_are_for_the_test_does_not_depend_on_other_classes(tmp_path):
    fill(tmp_path, *(f"b/{n}.jpg" for n in range(40)))
    before = label_by_folder(find(tmp_path), None, "")
    fill(tmp_path, *(f"a/{n}.jpg" for n in range(3)))
    after = label_by_folder(find(tmp_path), None, "")
    kept = [{s.name(i) for i in select_part(s, 0.25, test=True)} for s in (before, after)]
    assert kept[0] < kept[1]
    assert kept[0] != {before.name(i) for i in range(10)}


def test_each_image_has_the_class_of_its_own_folder_however_names_are_sorted(tmp_path):
    folders = ("a", "a!", "a0", "a/b", "a/b/a", "a/0", "b", "b/z", "c")
    samples = label_by_folder(find(fill(tmp_path, *(f"{f}/{n}.jpg" for f in folders for n in ("!", 1, "z")))), None, "")
    assert len(samples) == 3 * len(folders)
    labelled = [samples.classes[label] for label in samples.labels]
    assert labelled == [name.split("/")[-2] for name in samples.names]


def test_the_time_that_labels_take_is_linear_in_the_number_of_classes():
    def seconds(num_classes):
        folders = [f"{number:06}" for number in range(num_classes)]
        samples = Samples("images", [f"{folder}/1.png" for folder in folders], folders=["", *folders])
        started = time.process_time()
        label_by_folder(samples, None, "input_path")
        return time.process_time() - started

    assert min(seconds(16_000) for _ in range(3)) < 64 * min(seconds(1_000) for _ in range(3))  # quadratic: 256
