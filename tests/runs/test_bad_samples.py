"""Complete runs with unusable samples: one error that names them, or a run that continues without them."""

import os
import shutil
import struct

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

import rayrml
from rayrml.data.readers import READERS
from rayrml.networks.network import build_network
from rayrml.saving import checkpoints
from tests.conftest import datasets_of, dense_network, training_config, write_jpeg

pytestmark = pytest.mark.ray

CLASSES = ("1", "4", "7")
RUNS = [(1, True), (1, False), (2, True), (2, False)]


def spoil(folder, names, digits):
    """Write a file with each kind of fault, and return their number."""
    whole = write_jpeg(folder / "whole.jpg", digits["training"][0][0]).read_bytes()
    (folder / "whole.jpg").unlink()
    contents = {
        "truncated": whole[: len(whole) // 2],
        "empty": b"",
        "page": b"<html><body>404</body></html>",
        "archive": b"PK\x03\x04" + bytes(100),
        "nothing": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 0, 0, 1, 24, 0, 0, 0, 0, 0, 0),
    }
    for name, content in contents.items():
        (folder / f"{names}_{name}.jpg").write_bytes(content)
    write_jpeg(folder / f"{names}_large.jpg", np.zeros((30, 28), np.uint8))
    (folder / f"{names}_loop.jpg").symlink_to(f"{names}_loop.jpg")
    (folder / f"{names}_gone.jpg").symlink_to("nowhere.jpg")
    Image.new("1", (10_000, 10_000)).save(folder / f"{names}_bomb.png")
    return len(contents) + 4


@pytest.fixture(scope="session")
def spoiled(tmp_path_factory, write_digits, digits):
    """Folders of digits with 33 + 9 and 15 + 9 samples, nine of them bad: the first of all, and some in each class."""
    folder = tmp_path_factory.mktemp("spoiled")
    for part, count in (("training", 11), ("testing", 5)):
        write_digits(folder / part, part, (1, 4, 7), count)
        write_digits(folder / "clean" / part, part, (1, 4, 7), count)
        assert spoil(folder / part / "4", "0", digits) == 9
        shutil.move(folder / part / "4" / "0_empty.jpg", folder / part / "1" / "0.jpg")
    return folder


@pytest.fixture(scope="session")
def runs(ray_cluster, spoiled):
    """Result and folder of the same training on spoiled folders, by one and two workers, preloaded and streamed."""
    results = {}
    for num_workers, preload in RUNS:
        out = spoiled / f"run_{num_workers}_{preload}"
        out.mkdir()
        config = training_config(spoiled, out, on_bad_sample="skip", preload=preload)
        results[num_workers, preload] = (rayrml.run(config, num_workers=num_workers, quiet=True), out)
    return results


def weights_of(run, epoch=2):
    return checkpoints.load(run[1] / "model" / f"model_checkpoint_{epoch}.pt").network


def images_of(folder):
    read = READERS["images"](grayscale=True).decode
    files = sorted(folder.rglob("*.jpg"))
    labels = torch.tensor([CLASSES.index(f.parent.name) for f in files])
    return (
        [str(f.relative_to(folder)) for f in files],
        torch.from_numpy(np.stack([read(str(f)) for f in files])),
        labels,
    )


def lines_of(path):
    return [line.split() for line in path.read_text().splitlines()]


@pytest.mark.parametrize("key", RUNS)
def test_a_run_that_skips_evaluates_and_predicts_exactly_the_good_samples(runs, spoiled, key):
    result, out = runs[key]
    names, images, labels = images_of(spoiled / "clean" / "testing")
    network = build_network(dense_network(3)).eval()
    network.load_state_dict(weights_of(runs[key]))
    with torch.inference_mode():
        output = network(images / 255)
    assert result.skipped == {"training": 9, "test": 9}
    assert result.metrics["test_loss"] == pytest.approx(functional.nll_loss(output, labels).item(), abs=1e-6)
    assert result.metrics["accuracy"] == (output.argmax(1) == labels).double().mean().item()
    found = datasets_of(out / "predictions" / "output_2.h5")
    assert sorted(found) == names
    assert all(np.allclose(found[name], output[i].numpy(), atol=1e-5) for i, name in enumerate(names))


@pytest.mark.parametrize("key", RUNS)
def test_an_epochs_loss_is_the_mean_over_the_samples_that_were_used(runs, key):
    result, out = runs[key]
    rows = lines_of(out / "out_train.txt")
    for epoch, figures in enumerate(result.history, 1):
        losses = [float(row[3]) for row in rows if row[0] == str(epoch)]
        if key[1]:
            # 33 good samples in batches of 8; streamed, the folder's 42 samples come in six batches with gaps.
            assert len(losses) == 5
            assert figures["train_loss"] == pytest.approx(np.dot(losses, [8, 8, 8, 8, 1]) / 33, abs=1e-6)
        else:
            assert len(losses) == 6
            assert min(losses) <= figures["train_loss"] <= max(losses)


def test_several_workers_train_what_one_trains_without_the_bad_samples(runs):
    alone, together = runs[1, False], runs[2, False]
    for name, tensor in weights_of(alone).items():
        assert torch.allclose(weights_of(together)[name], tensor, atol=1e-6), name
    assert together[0].metrics["train_loss"] == pytest.approx(alone[0].metrics["train_loss"], abs=1e-5)


def test_preloaded_samples_without_the_bad_ones_train_as_a_folder_without_them(runs, spoiled, tmp_path):
    # One batch with all samples: their order and their worker make no difference.
    settings = {"batch_size": 99, "preload": True}
    weights = []
    for folder in (spoiled, spoiled / "clean"):
        for num_workers in (1, 2) if folder == spoiled else (1,):
            out = tmp_path / str(len(weights))
            out.mkdir()
            config = training_config(folder, out, on_bad_sample="skip", **settings)
            rayrml.run(config, num_workers=num_workers, quiet=True)
            weights.append(weights_of((None, out)))
    for name, tensor in weights[-1].items():
        assert all(torch.allclose(w[name], tensor, atol=1e-6) for w in weights), name


@pytest.mark.parametrize("preload", [True, False])
def test_what_is_skipped_is_named_once_in_the_log(ray_cluster, spoiled, tmp_path, capsys, preload):
    config = training_config(spoiled, tmp_path, on_bad_sample="skip", preload=preload)
    rayrml.run(config)
    log = capsys.readouterr().out
    for part, count in (("training", 42), ("testing", 24)):
        folder = spoiled / part
        bad = [p for p in folder.rglob("0*.*") if p.name[:2] in ("0_", "0.")]
        assert len(bad) == 9
        # Other samples' messages name the first sample only as long as it is usable.
        assert all(log.count(f"{path}: ") == 1 for path in bad), log
        name = "test" if part == "testing" else part
        assert log.count(f"9 of {count} {name} samples cannot be used") == 1
        assert log.count(f"Skipping them: {count - 9} {name} samples remain") == 1
    assert ("33 training samples remain, in 5 batches per epoch" in log) == preload


@pytest.mark.parametrize(("num_workers", "preload"), RUNS)
def test_a_run_that_does_not_skip_ends_with_all_of_them_named(
    ray_cluster, tmp_path, write_digits, num_workers, preload
):
    write_digits(tmp_path / "training", "training", (1, 4, 7), 11)
    for number in range(12):
        (tmp_path / "training" / "4" / f"bad_{number:02}.jpg").write_bytes(b"no image")
    config = training_config(tmp_path, tmp_path, preload=preload)
    for key in ("test_input_path", "test_output_path"):
        config["neural_network"]["data"].pop(key)
    with pytest.raises(rayrml.DataError) as caught:
        rayrml.run(config, num_workers=num_workers, quiet=True)
    lines = str(caught.value).splitlines()
    assert [line.partition(": ")[0][-10:] for line in lines[:10]] == [f"bad_{n:02}.jpg" for n in range(10)]
    assert lines[10:] == ["... and 2 more", "12 of 45 training samples cannot be used"]


@pytest.mark.parametrize(("num_workers", "preload"), [(1, True), (2, False)])
def test_more_bad_samples_than_good_ones_are_an_error_in_any_case(ray_cluster, tmp_path, digits, num_workers, preload):
    images, _ = digits["training"]
    for number in range(5):
        write_jpeg(tmp_path / "training" / CLASSES[number % 3] / f"{number}.jpg", images[number])
        (tmp_path / "training" / CLASSES[number % 3] / f"bad_{number}.jpg").write_bytes(b"")
    (tmp_path / "training" / "1" / "bad_5.jpg").write_bytes(b"")
    config = training_config(tmp_path, tmp_path, preload=preload, on_bad_sample="skip", batch_size=2)
    for key in ("test_input_path", "test_output_path"):
        config["neural_network"]["data"].pop(key)
    with pytest.raises(rayrml.DataError, match=r"6 of 11 training samples cannot be used\nmore than half"):
        rayrml.run(config, num_workers=num_workers, quiet=True)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_inference_skips_bad_samples_and_reads_any_name(ray_cluster, runs, tmp_path, digits, capsys, num_workers):
    images, _ = digits["testing"]
    names = [b"gr\xfcn.jpg", b"a" * 251 + b".jpg", "日本.jpg".encode(), b"new\nline.jpg", b"plain.jpg"]
    for name, image in zip(names, images, strict=False):
        path = write_jpeg(tmp_path / "in" / "image.jpg", image)
        os.rename(os.fsencode(path), os.fsencode(tmp_path / "in") + b"/" + name)  # noqa: PTH104
    (tmp_path / "in" / os.fsdecode(b"bad\xff.jpg")).write_bytes(b"no image")
    (tmp_path / "in" / "0.jpg").write_bytes(b"no image")
    config = training_config(tmp_path, tmp_path, on_bad_sample="skip", test_input_path=str(tmp_path / "in"))
    nn = config["neural_network"]
    nn["checkpoints"] = {"load": runs[1, True][0].checkpoints[0]}
    for key in ("input_path", "target_type"):
        nn["data"].pop(key)
    for key in ("optimizer", "loss", "outfile"):
        nn.pop(key)
    result = rayrml.run(config, num_workers=num_workers)
    assert result.metrics == {"num_predictions": 5}
    with h5py.File(result.predictions[0]) as file:
        assert sorted(os.fsencode(name) for name in file) == sorted(names)
        assert all(file[os.fsencode(name)].shape == (3,) for name in names)
    log = capsys.readouterr().out
    assert "2 of 7 inference samples cannot be used" in log
    assert r"bad\udcff.jpg: cannot be read" in log
    nn["data"]["on_bad_sample"] = "error"
    (tmp_path / "in" / "0.jpg").unlink()
    with pytest.raises(rayrml.DataError, match=r"bad\\udcff.*\n1 of 6 samples have no prediction; the other 5 have"):
        rayrml.run(config, num_workers=num_workers, quiet=True)
