import pytest

from rayrml.data.discovery import find_samples, label_by_folder
from rayrml.data.layout import Kinds, Layout, Listing, find_layout, refuse_names_of_parts
from rayrml.errors import DataError

IMAGES = frozenset({".png", ".jpg"})
CLASSES = Kinds(IMAGES, classes=True)
PAIRS = Kinds(IMAGES, IMAGES)
ARRAYS = Kinds(IMAGES)  # targets in a folder of their own, or no others than the inputs


def fill(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def find(root, kinds=CLASSES):
    return find_layout(Listing(str(root)), kinds, "input_path")


def shown(layout: Layout | None, root):
    """The folders of training, validation and final test relative to `root`, with what is left out."""
    if layout is None:
        return None

    def below(part):
        paths = () if part is None else (part.input, part.target)
        return " + ".join(path.removeprefix(f"{root}/") for path in paths if path) or None

    parts = [below(part) for part in (layout.training, layout.evaluated, layout.final_test)]
    return (*parts, *(f"{entry.path.removeprefix(f'{root}/')}: {entry.reason}" for entry in layout.left_out))


ALL = ("train/cat/1.png", "train/dog/1.png", "val/cat/1.png", "test/cat/1.png")
FOLDERS_OF_CLASSES = {
    "all three": (ALL, ("train", "val", "test")),
    "any case": (("TRAIN/cat/1.png", "Val/cat/1.png", "Test/cat/1.png"), ("TRAIN", "Val", "Test")),
    "long names": (
        ("training/a/1.png", "validation/a/1.png", "testing/a/1.png"),
        ("training", "validation", "testing"),
    ),
    "valid": (("train/a/1.png", "valid/a/1.png"), ("train", "valid", None)),
    "dev": (("train/a/1.png", "dev/a/1.png", "test/a/1.png"), ("train", "dev", "test")),
    "no folder for the test": (("train/a/1.png", "val/a/1.png"), ("train", "val", None)),
    "no folder for validation": (("train/a/1.png", "test/a/1.png"), ("train", "test", None)),
    "one level down": (
        tuple(f"dataset/{name}" for name in ALL),
        tuple(f"dataset/{n}" for n in ("train", "val", "test")),
    ),
    "two wrappers": (tuple(f"a/b/{name}" for name in ALL), tuple(f"a/b/{n}" for n in ("train", "val", "test"))),
    "beside other files": ((*ALL, "readme.md", "docs/a.txt"), ("train", "val", "test")),
    "beside hidden folders": (
        (*ALL, ".git/1.png", "__MACOSX/train/1.png", "@eaDir/1.png", ".ipynb_checkpoints/1.png"),
        ("train", "val", "test"),
    ),
    "beside a loose image": (
        (*ALL, "logo.png"),
        ("train", "val", "test", "ROOT: files beside the folders: 'logo.png'"),
    ),
    "beside labels in text files": (
        ("images/train/a/1.png", "images/val/a/1.png", "labels/train/1.txt", "labels/val/1.txt"),
        ("images/train", "images/val", None),
    ),
    "test images without classes": (
        ("train/a/1.png", "val/a/1.png", "test/1.png"),
        ("train", "val", None, "test: has no class folders"),
    ),
    "only test images without classes": (
        ("train/a/1.png", "test/1.png"),
        ("train", None, None, "test: has no class folders"),
    ),
    "an empty folder beside a full one": (
        ("train/a/1.png", "val/a/1.png", "validation/notes.txt"),
        ("train", "val", None, "validation: holds no samples"),
    ),
    "classes": (("cat/1.png", "dog/1.png"), None),
    "a class called train": (("train/1.png", "car/1.png", "bus/1.png"), None),
    "classes called train and truck": (("train/1.png", "truck/1.png"), None),
    "train alone": (("train/cat/1.png", "train/dog/1.png"), None),
    "a test without training": (("val/cat/1.png", "test/dog/1.png"), None),
    "nothing to train on": (("train/notes.txt", "val/cat/1.png"), None),
    "many classes, each with folders": (
        tuple(f"{n}/{part}/1.png" for n in range(9) for part in ("train", "test")),
        None,
    ),
    "flat": (("1.png", "2.png"), None),
    "empty": ((), None),
}


@pytest.mark.parametrize("name", FOLDERS_OF_CLASSES)
def test_the_folders_of_classes_for_training_and_test_are_told_apart(tmp_path, name):
    files, expected = FOLDERS_OF_CLASSES[name]
    found = shown(find(fill(tmp_path, *files)), tmp_path)
    assert found == (None if expected is None else tuple(e and e.replace("ROOT", str(tmp_path)) for e in expected))


def pairs(*folders):
    return tuple(f"{folder}/1.png" for folder in folders)


FOLDERS_OF_PAIRS = {
    "sides first": (
        pairs("images/train", "images/val", "images/test", "masks/train", "masks/val", "masks/test"),
        ("images/train + masks/train", "images/val + masks/val", "images/test + masks/test"),
    ),
    "parts first": (
        pairs("train/images", "train/masks", "val/images", "val/masks", "test/images", "test/masks"),
        ("train/images + train/masks", "val/images + val/masks", "test/images + test/masks"),
    ),
    "one level down": (
        pairs("data/Images/Train", "data/Images/Val", "data/Labels/training", "data/Labels/val"),
        ("data/Images/Train + data/Labels/training", "data/Images/Val + data/Labels/val", None),
    ),
    "no folders for the test": (pairs("images", "masks"), ("images + masks", None, None)),
    "annotations": (pairs("imgs", "annotations"), ("imgs + annotations", None, None)),
    "annotations one level down": (pairs("x/input", "x/target"), ("x/input + x/target", None, None)),
    "a test without masks": (
        pairs("train/images", "train/masks", "val/images", "val/masks", "test/images"),
        ("train/images + train/masks", "val/images + val/masks", None, "test: has no targets"),
    ),
    "a side of the test without masks": (
        pairs("images/train", "images/val", "images/test", "masks/train", "masks/val"),
        ("images/train + masks/train", "images/val + masks/val", None, "images/test: has no targets"),
    ),
    "no targets": (pairs("train", "val"), ("train", "val", None)),
    "labels in text files": (("images/1.png", "labels/1.txt"), None),
    "images alone": (pairs("images"), None),
    "one folder": (("1.png", "1_mask.png"), None),
}


@pytest.mark.parametrize("name", FOLDERS_OF_PAIRS)
def test_the_folders_of_images_and_masks_are_told_apart(tmp_path, name):
    files, expected = FOLDERS_OF_PAIRS[name]
    assert shown(find(fill(tmp_path, *files), PAIRS), tmp_path) == expected


AMBIGUOUS = {
    "two for validation": (
        CLASSES,
        (*ALL, "validation/cat/1.png"),
        "'val', 'validation' in .* could both be the validation",
    ),
    "train and training": (
        CLASSES,
        (*ALL, "training/cat/1.png"),
        "'train', 'training' in .* could both be the training",
    ),
    "another folder": (CLASSES, (*ALL, "extra/cat/1.png"), "'train', 'val', 'test', .* and also samples in 'extra'"),
    "vehicles": (CLASSES, pairs("train", "test", "car"), "'train', 'test', .* and also samples in 'car'.*test_share"),
    "two data sets": (
        CLASSES,
        (*(f"a/{n}" for n in ALL), *(f"b/{n}" for n in ALL)),
        "'a', 'b' in .* each hold folders for training and the test",
    ),
    "classes beside a data set": (CLASSES, (*(f"a/{n}" for n in ALL), "b/1.png"), "'a', .* and also samples in 'b'"),
    "two of masks": (PAIRS, pairs("images", "masks", "labels"), "'labels', 'masks' could both be the targets"),
    "images, masks and more": (PAIRS, pairs("images", "masks", "extra"), "and also samples in 'extra'"),
    "validation without masks": (
        PAIRS,
        pairs("train/images", "train/masks", "val/images"),
        "holds no folders of inputs and",
    ),
    "a side of validation without masks": (
        PAIRS,
        pairs("images/train", "images/val", "masks/train", "masks/test"),
        "images/val' has no partner in '.*masks'",
    ),
    "masks that are not divided": (PAIRS, pairs("images/train", "images/val", "masks"), "and also samples in 'masks'"),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_folders_that_could_mean_two_things_are_named(tmp_path, name):
    kinds, files, message = AMBIGUOUS[name]
    with pytest.raises(DataError, match=message):
        find(fill(tmp_path, *files), kinds)


def test_the_folders_of_each_class_are_not_taken_for_classes(tmp_path):
    fill(tmp_path, *(f"{n}/{part}/1.png" for n in range(9) for part in ("train", "test")))
    samples = label_by_folder(find_samples(str(tmp_path), IMAGES, "input_path"), None, "input_path")
    with pytest.raises(DataError, match="the classes would be 'test', 'train', the names of the folders in"):
        refuse_names_of_parts(samples, "input_path")


def test_images_and_masks_are_not_taken_for_classes(tmp_path):
    fill(tmp_path, *pairs("Images", "Masks"))
    samples = label_by_folder(find_samples(str(tmp_path), IMAGES, "input_path"), None, "input_path")
    with pytest.raises(DataError, match="'Images', 'Masks', which look like images and their masks"):
        refuse_names_of_parts(samples, "input_path")


def test_a_link_that_leads_back_is_followed_once(tmp_path):
    fill(tmp_path, *ALL, "docs/readme.txt")
    (tmp_path / "docs" / "up").symlink_to(tmp_path / "docs")
    assert shown(find(tmp_path), tmp_path) == ("train", "val", "test")
    assert shown(find(tmp_path, ARRAYS), tmp_path) == ("train", "val", "test")
