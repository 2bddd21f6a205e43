"""Configurations for folders of images, and the command that writes them."""

import gzip
import json
import typing

import numpy as np
import pytest
from PIL import Image

import rayrml
from rayrml import cli
from rayrml.commands.new import KINDS
from rayrml.config.json_comments import decode_with_comments
from rayrml.config.sections import TargetKind
from rayrml.planning import starter_config
from rayrml.planning.preparation import prepare
from tests.conftest import write_jpeg

COLORS = {"red": (200, 0, 0), "green": (0, 200, 0), "blue": (0, 0, 200)}


def fill(folder, count=5, *, names=tuple(COLORS), mode="RGB", size=None):
    """Images in one colour per class, half of them JPEG and half PNG, of different sizes or of one."""
    random = np.random.default_rng(0)
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            width, height = size or random.integers(20, 90, 2).tolist()
            ending = ("jpg", "png")[number % 2]
            Image.new("RGB", (width, height), COLORS[name]).convert(mode).save(folder / name / f"{number}.{ending}")
    return folder


def answer(capsys, *arguments):
    code = cli.main(["new", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def test_a_folder_of_classes_gives_a_configuration_that_is_right(tmp_path, elsewhere, capsys):
    code, out, err = answer(capsys, fill(tmp_path / "my images"))
    assert (code, err) == (0, "")
    assert "3 classes: blue, green, red\n15 images; a fifth of each class is kept for the test\n" in out
    assert out.endswith("Wrote my images.json. Next:\n    rayrml 'my images.json'\n")
    plan = prepare("my images.json", {})
    assert plan.classes == ("blue", "green", "red")
    assert (len(plan.training.samples), len(plan.test.samples)) == (12, 3)
    assert not plan.config.neural_network.data.grayscale


@pytest.mark.parametrize(
    ("training", "test", "named"),
    [("training", "test", "the test"), ("Train", "VAL", "validation"), ("train", "validation", "validation")],
)
def test_folders_for_training_and_test_are_found(tmp_path, capsys, training, test, named):
    fill(tmp_path / "images" / training)
    fill(tmp_path / "images" / test, 2)
    _, out, _ = answer(capsys, tmp_path / "images")
    assert f"15 images for training, 6 for {named}\n" in out
    plan = prepare("images.json", {})
    assert (len(plan.training.samples), len(plan.test.samples), plan.final_test) == (15, 6, None)


def test_a_folder_for_the_final_test_is_kept_for_the_end(tmp_path, capsys):
    for part, count in (("train", 4), ("val", 2), ("test", 3)):
        fill(tmp_path / "images" / "inner" / part, count)
    (tmp_path / "images" / "inner" / "test" / "red" / "9.svg").touch()
    _, out, _ = answer(capsys, tmp_path / "images")
    assert "12 images for training, 6 for validation, 9 for the final test\n" in out
    rows = [line.split()[-1] for line in out.splitlines() if "/inner/" in line]
    assert rows == ["12", "6", "9"]
    assert "1 file with other endings left out: 1 .svg\n" in out
    plan = prepare("images.json", {})
    assert [len(source.samples) for source in plan.sources] == [12, 6, 9]


def paint(folder, count=4, values=(0, 255), mask="png"):
    """Images with masks of these values, `images/0.jpg` and `masks/0.png`."""
    random = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        shapes = random.choice(np.array(values, np.uint8), (2, 2)).repeat(16, 0).repeat(16, 1)
        shapes[0, : len(values)] = values
        Image.fromarray(shapes).convert("RGB").save(folder / "images" / f"{number}.jpg")
        Image.fromarray(shapes).save(folder / "masks" / f"{number}.{mask}")
    return folder


@pytest.mark.parametrize(
    ("values", "line", "outputs"),
    [
        ((0, 255), "Masks with 2 classes: they hold 0, 255\n", 1),
        ((0, 1), "Masks with 2 classes: they hold 0, 1\n", 1),
        ((0, 1, 2, 3), "Masks with 4 classes: they hold 0, 1, 2, 3\n", 4),
        ((0, 1, 255), "Masks with 2 classes: they hold 0, 1; 255 stands for no class\n", 2),
    ],
)
def test_images_and_masks_give_a_configuration_that_is_right(tmp_path, capsys, values, line, outputs):
    code, out, err = answer(capsys, paint(tmp_path / "cells", 10, values))
    assert (code, err) == (0, "")
    assert line in out
    assert "10 images with masks; a fifth is kept for the test\n" in out
    plan = prepare("cells.json", {})
    assert [len(source.target.samples) for source in plan.sources] == [8, 2]
    assert plan.network.output_shapes[0][0] == outputs
    assert plan.observations["training"].target_values is not None


def test_images_and_masks_for_validation_and_test_are_found(tmp_path, capsys):
    for part, count in (("train", 5), ("val", 2), ("test", 3)):
        paint(tmp_path / "cells" / part, count)
    _, out, _ = answer(capsys, tmp_path / "cells")
    assert "5 images with masks for training, 2 for validation, 3 for the final test\n" in out
    plan = prepare("cells.json", {})
    assert [len(source.target.samples) for source in plan.sources] == [5, 2, 3]


@pytest.mark.parametrize(
    ("values", "message"),
    [((0, 128), "which look like shades of gray"), (tuple(range(0, 256, 40)), "which look like shades of gray")],
)
def test_masks_of_shades_are_refused(tmp_path, capsys, values, message):
    code, _, err = answer(capsys, paint(tmp_path / "cells", values=values))
    assert (code, len(err.splitlines())) == (3, 1)
    assert message in err


def test_small_images_of_one_size_keep_it_and_gray_ones_have_one_channel(tmp_path, capsys):
    _, out, _ = answer(capsys, fill(tmp_path / "images", mode="L", size=(20, 30)))
    assert "Images of 30 to 30 x 20 to 20 pixels become 30 x 20, gray\n" in out
    assert prepare("images.json", {}).datasets.shape == (1, 30, 20)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (16, 16), (600, 500)])
def test_images_of_any_size_have_a_network(tmp_path, capsys, size):
    assert answer(capsys, fill(tmp_path / "images", 2, size=size))[0] == 0
    assert prepare("images.json", {}).network.output_shapes[0] == (3,)


def test_the_file_has_a_line_for_each_layer(tmp_path, elsewhere, capsys):
    answer(capsys, fill(tmp_path / "images"), "--output", "other.json")
    lines = (elsewhere / "other.json").read_text().splitlines()
    content, _ = decode_with_comments((elsewhere / "other.json").read_bytes(), "other.json")
    layers = content["neural_network"]["layers"]
    assert sum('"class_name"' in line for line in lines) == len(layers)
    assert max(map(len, lines)) < 140


def test_the_file_says_what_can_be_changed(tmp_path, elsewhere, capsys):
    answer(capsys, fill(tmp_path / "images"))
    found = (elsewhere / "images.json").read_text()
    comments = [line for line in found.splitlines() if line.strip().startswith("//")]
    assert 3 <= len(comments) <= 6
    expected = starter_config.configuration(starter_config.look(tmp_path / "images"), "images")
    assert decode_with_comments(found.encode(), "images.json")[0] == expected


def test_proportions_are_kept_and_the_command_says_so(tmp_path, elsewhere, capsys):
    _, out, _ = answer(capsys, fill(tmp_path / "images"))
    assert "Their proportions differ and are kept" in out and "flipped left to right" in out
    assert "letterbox" in (elsewhere / "images.json").read_text()
    _, out, _ = answer(capsys, fill(tmp_path / "wide", size=(200, 100)))
    assert "proportions" not in out
    assert prepare("wide.json", {}).datasets.shape == (3, 48, 96)


def test_small_gray_images_are_not_flipped(tmp_path, elsewhere, capsys):
    _, out, _ = answer(capsys, fill(tmp_path / "images", mode="L", size=(20, 28)))
    assert "not flipped: small gray images may be digits or letters\n" in out
    assert "flip" not in (elsewhere / "images.json").read_text()


@pytest.mark.parametrize("count", [2, 12])
def test_a_configuration_for_few_or_many_classes_passes_the_check(tmp_path, capsys, count):
    folder, random = tmp_path / "images", np.random.default_rng(0)
    for number in range(count):
        (folder / f"class {number}").mkdir(parents=True)
        for index in range(5):
            pixels = random.integers(0, 256, (random.integers(30, 90), random.integers(30, 90), 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"class {number}" / f"{index}.png")
    assert answer(capsys, folder)[0] == 0
    assert cli.main(["check", "images.json"]) == 0
    assert "warning" not in capsys.readouterr().out.lower()
    assert prepare("images.json", {}).network.output_shapes == ((count,),)


def test_a_file_that_is_there_is_kept(tmp_path, elsewhere, capsys):
    (elsewhere / "images.json").write_text("mine")
    code, _, err = answer(capsys, fill(tmp_path / "images"))
    assert code == 2
    assert err == "rayrml: images.json: already exists. `--output FILE.json` names another file\n"
    assert (elsewhere / "images.json").read_text() == "mine"


def test_results_are_not_written_among_the_images(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(fill(tmp_path / "images"))
    code, _, err = answer(capsys, ".")
    assert code == 2
    assert err.startswith("rayrml: .: is or contains the current folder")
    assert not list((tmp_path / "images").glob("*.json"))
    fill(tmp_path / "apart" / "training")
    monkeypatch.chdir(tmp_path / "apart")
    assert answer(capsys, ".")[0] == 0


def mistakes():
    return {
        "nowhere": (3, "cannot be read. No such file or directory"),
        "empty": (3, "no files to read in"),
        "flat": (3, "must be inside a class folder"),
        "single": (2, "only one class found: 'red'. Expected a folder for each of several classes"),
        "damaged": (3, "cannot be read. It is not an image, or damaged"),
    }


@pytest.mark.parametrize("name", mistakes())
def test_what_is_no_folder_of_classes_is_one_line(tmp_path, capsys, name):
    fill(tmp_path / "single", names=("red",))
    (tmp_path / "empty").mkdir()
    (tmp_path / "flat").mkdir()
    Image.new("L", (9, 9)).save(tmp_path / "flat" / "0.png")
    for kind in "ab":
        (tmp_path / "damaged" / kind).mkdir(parents=True)
        (tmp_path / "damaged" / kind / "0.jpg").write_text("no image")
    code, _, err = answer(capsys, tmp_path / name)
    assert (code, len(err.splitlines())) == (mistakes()[name][0], 1)
    assert mistakes()[name][1] in err


def test_an_object_store_is_refused(capsys):
    assert answer(capsys, "s3://bucket/images")[2].endswith("expected a folder on this machine\n")


@pytest.mark.ray
def test_colours_are_told_apart(tmp_path, ray_cluster):
    found = starter_config.look(fill(tmp_path / "images", 20))
    config = starter_config.configuration(found, "colours")
    result = rayrml.run(config, overrides={"num_epochs": 8, "checkpoints.plots": False}, quiet=True)
    assert result.metrics["accuracy"] > 0.9


def write_table(path, *rows):
    path.write_text("\n".join(",".join(map(str, row)) for row in rows))


@pytest.mark.parametrize(
    ("column", "values", "kind", "loss", "outputs"),
    [
        ("animal", ["cat", "dog", "owl"], "class", "NLL", 3),
        ("animals", ["cat;dog", "", "owl;dog"], "classes", "BCE", 3),
        ("age", [10.5, 22.25, 31.75], "number", "MSE", 1),
    ],
)
def test_a_table_beside_the_images_gives_a_configuration_that_is_right(
    tmp_path, elsewhere, capsys, column, values, kind, loss, outputs
):
    folder = tmp_path / "photos"
    names = [f"{number}.jpg" for number in range(12)]
    for name in names:
        write_jpeg(folder / "images" / name, np.full((40, 40, 3), 100, np.uint8))
    rows = [(name, values[i % 3], "train" if i < 9 else "val") for i, name in enumerate(names)]
    write_table(folder / "labels.csv", ["file", column, "split"], *rows)
    assert cli.main(["new", str(folder)]) == 0
    out = capsys.readouterr().out
    assert f"column '{column}'" in out
    assert "9 images for training, 3 for the test" in out
    plan = prepare("photos.json")
    assert (plan.config.neural_network.data.target_kind, plan.loss.name) == (kind, loss)
    assert plan.network.output_shapes == ((outputs,),)
    assert not plan.warnings
    transforms = [name for entry in plan.config.neural_network.data.transforms for name in entry]
    assert ("random_horizontal_flip" in transforms) == (kind != "number")


def test_tables_named_like_parts_are_used_as_such(tmp_path, elsewhere, capsys):
    folder = tmp_path / "photos"
    for number in range(9):
        write_jpeg(folder / "images" / f"{number}.jpg", np.full((40, 40, 3), 100, np.uint8))
    for part, numbers in (("train", range(5)), ("val", (5, 6)), ("test", (7, 8))):
        write_table(folder / f"{part}.csv", ["id", "kind"], *((f"{n}.jpg", "ab"[n % 2]) for n in numbers))
    assert cli.main(["new", str(folder)]) == 0
    assert "5 images for training, 2 for validation, 2 for the final test" in capsys.readouterr().out
    plan = prepare("photos.json")
    assert [len(source.samples) for source in plan.sources] == [5, 2, 2]


def test_a_table_elsewhere_and_its_columns_can_be_named(tmp_path, elsewhere, capsys):
    for number in range(6):
        write_jpeg(tmp_path / "photos" / f"{number}.jpg", np.full((40, 40, 3), 100, np.uint8))
    rows = [(f"{n}.jpg", n / 2, n, "x") for n in range(6)]
    write_table(tmp_path / "all.csv", ["file", "age", "weight", "note"], *rows)
    named = ["new", str(tmp_path / "photos"), "--labels", str(tmp_path / "all.csv")]
    assert cli.main(named) == 3
    assert "has several columns that may be targets: 'age', 'weight', 'note'" in capsys.readouterr().err
    assert cli.main([*named, "--columns", "age", "weight"]) == 0
    assert prepare("photos.json").datasets.value_names == ("age", "weight")


def test_tables_that_name_no_image_are_told_of(tmp_path, elsewhere, capsys):
    write_jpeg(tmp_path / "photos" / "0.jpg", np.full((40, 40, 3), 100, np.uint8))
    write_table(tmp_path / "photos" / "labels.csv", ["file", "kind"], ("x.jpg", "a"), ("y.jpg", "b"))
    assert cli.main(["new", str(tmp_path / "photos")]) == 3
    assert "no column names the files" in capsys.readouterr().err


def test_a_file_about_one_image_is_no_table(tmp_path, elsewhere, capsys):
    for number in range(30):
        write_jpeg(tmp_path / "photos" / f"{number}.jpg", np.full((40, 40, 3), 100, np.uint8))
        (tmp_path / "photos" / f"{number}.json").write_text('{"label": 1}')
    assert cli.main(["new", str(tmp_path / "photos")]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("must be inside a class folder")
    for number in range(30):
        (tmp_path / "photos" / f"table_{number}.json").write_text('{"label": 1}')
    assert cli.main(["new", str(tmp_path / "photos")]) == 3
    assert len(capsys.readouterr().err.splitlines()) == 10


@pytest.mark.parametrize("files", ["{folder}/{name}", "{name}"])
def test_a_table_is_not_passed_over_for_the_folders_of_the_images(tmp_path, elsewhere, capsys, files):
    photos = tmp_path / "photos"
    names = [(f"camera_{n % 2}", f"{n}.jpg") for n in range(6)]
    for folder, name in names:
        write_jpeg(photos / folder / name, np.full((40, 40, 3), 100, np.uint8))
    rows = [(files.format(folder=folder, name=name), "ab"[n % 3 == 0]) for n, (folder, name) in enumerate(names)]
    write_table(photos / "labels.csv", ["file", "kind"], *rows)
    assert cli.main(["new", str(photos)]) == 3
    error = capsys.readouterr().err
    assert "'labels.csv' names the images" in error
    assert f"--labels {photos / 'labels.csv'}" in error
    assert cli.main(["new", str(photos), "--labels", str(photos / "labels.csv")]) == 0
    assert prepare("photos.json").datasets.classes == ("a", "b")


def test_a_table_that_repeats_the_folders_or_names_no_image_is_said_to_be_unused(tmp_path, elsewhere, capsys):
    photos = tmp_path / "photos"
    for n in range(6):
        write_jpeg(photos / "ab"[n % 2] / f"{n}.jpg", np.full((40, 40, 3), 100, np.uint8))
    write_table(photos / "labels.csv", ["file", "kind"], *((f"{n}.jpg", "ab"[n % 2]) for n in range(6)))
    write_table(photos / "patients.csv", ["patient", "age"], ("a", 31), ("b", 57))
    assert cli.main(["new", str(photos)]) == 0
    assert "Not used: labels.csv, patients.csv." in capsys.readouterr().out


@pytest.mark.parametrize("ending", ["csv.gz", "json", "jsonl.gz"])
def test_tables_of_each_format_are_found(tmp_path, elsewhere, ending):
    rows = [{"file": f"{n}.jpg", "kind": "ab"[n % 2]} for n in range(6)]
    for row in rows:
        write_jpeg(tmp_path / "photos" / row["file"], np.full((40, 40, 3), 100, np.uint8))
    texts = {
        "csv.gz": "file,kind\n" + "".join(f"{row['file']},{row['kind']}\n" for row in rows),
        "json": json.dumps(rows),
        "jsonl.gz": "\n".join(map(json.dumps, rows)),
    }
    content = texts[ending].encode()
    (tmp_path / "photos" / f"labels.{ending}").write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    assert cli.main(["new", str(tmp_path / "photos")]) == 0
    assert prepare("photos.json").datasets.classes == ("a", "b")


def test_the_mistakes_of_all_tables_are_shown(tmp_path, elsewhere, capsys):
    for n in range(6):
        write_jpeg(tmp_path / "photos" / f"{n}.jpg", np.full((40, 40, 3), 100, np.uint8))
    write_table(tmp_path / "photos" / "a_submission.csv", ["id", "kind"], *((n, "a") for n in range(10, 16)))
    write_table(
        tmp_path / "photos" / "train.csv", ["id", "kind"], *((n, "ab"[n % 2] if n < 5 else "") for n in range(6))
    )
    assert cli.main(["new", str(tmp_path / "photos")]) == 3
    error = capsys.readouterr().err
    assert "a_submission.csv: no column names the files" in error
    assert "train.csv, line 7: column 'kind' is empty" in error


def test_images_of_a_test_without_rows_are_left_out(tmp_path, elsewhere, capsys):
    for n in range(12):
        write_jpeg(
            tmp_path / "photos" / ("train" if n < 9 else "test") / f"{n}.jpg", np.full((40, 40, 3), 100, np.uint8)
        )
    write_table(tmp_path / "photos" / "train.csv", ["id", "kind"], *((n, "ab"[n % 2]) for n in range(9)))
    write_table(tmp_path / "photos" / "test.csv", ["id"], *((n,) for n in range(9, 12)))
    assert cli.main(["new", str(tmp_path / "photos")]) == 0
    out = capsys.readouterr().out
    assert "test have no row in the table. They are left out" in out
    assert "9 images; a fifth of each class is kept for the test" in out
    assert [len(source.samples) for source in prepare("photos.json").sources] == [7, 2]


def test_what_looks_otherwise_can_be_told(tmp_path, elsewhere, capsys):
    """Small whole numbers look like classes, and a column of numbers like names of files."""
    for number in range(12):
        write_jpeg(tmp_path / "photos" / f"{number}.jpg", np.full((40, 40, 3), 100, np.uint8))
    rows = [(11 - n, f"{n}.jpg", 30 + n % 3) for n in range(12)]
    write_table(tmp_path / "photos" / "labels.csv", ["index", "file", "age"], *rows)
    told = ["--file-column", "file", "--columns", "age", "--kind", "number"]
    assert cli.main(["new", str(tmp_path / "photos"), *told]) == 0
    data = prepare("photos.json").config.neural_network.data
    assert (data.file_column, data.target_column, data.target_kind) == ("file", "age", "number")
    assert prepare("photos.json").loss.name == "MSE"


def test_the_kinds_are_those_of_the_configuration():
    assert typing.get_args(TargetKind) == KINDS
