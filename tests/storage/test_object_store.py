"""Data and results in an object store: what is read and written there, and what happens when requests fail."""

import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

import rayrml
from rayrml import storage
from rayrml.data import contents
from rayrml.data.box_labels import LabelOptions, make_boxes, read_labels, recognize
from rayrml.data.discovery import find_samples, label_by_folder
from rayrml.data.layout import Kinds, Listing, find_layout
from rayrml.data.readers import READERS
from rayrml.errors import ConfigError, DataError
from rayrml.inference.prediction_files import Destination, PredictionFile
from rayrml.inference.prediction_reading import read_outputs
from rayrml.inference.prediction_shards import ShardWriter
from rayrml.inference.shard_collection import ShardCollection
from rayrml.inference.shard_folder import ShardFolder
from rayrml.planning.preparation import prepare
from rayrml.reporting import history
from rayrml.reporting.log_files import LogFile, set_aside
from rayrml.runs import earlier_run
from rayrml.saving import checkpoint_folder, checkpoints, resuming
from rayrml.storage import hdf5_reading, remote
from tests.conftest import dense_network, training_config
from tests.storage.object_store import Disturbance, served


@pytest.fixture(scope="module")
def store():
    with served() as store:
        yield store


@pytest.fixture
def disturbance(store, monkeypatch):
    monkeypatch.setattr(remote, "_FIRST_DELAY", 0.01)
    remote._told.clear()
    disturbance = Disturbance(store)
    yield disturbance
    disturbance.close()


def test_files_are_written_read_listed_moved_and_removed(store):
    folder = store.uri("life/of files")
    storage.write(storage.join(folder, "a b#1.txt"), b"one")
    storage.write(storage.join(folder, "below", "c.txt"), b"two")
    assert store.names("life") == ["life/of files/a b#1.txt", "life/of files/below/c.txt"]
    assert storage.read(storage.join(folder, "a b#1.txt")) == b"one"
    assert list(storage.files(folder)) == ["a b#1.txt"]
    assert storage.walk(folder) == (["a b#1.txt", "below/c.txt"], ["below"])
    assert storage.is_folder(folder)
    assert storage.is_file(storage.join(folder, "a b#1.txt"))
    storage.move(storage.join(folder, "a b#1.txt"), storage.join(folder, "d.txt"))
    storage.remove(storage.join(folder, "below", "c.txt"))
    storage.remove(storage.join(folder, "below", "c.txt"))
    assert list(storage.files(folder)) == ["d.txt"]
    assert storage.files(store.uri("nothing here")) == {}


def test_kept_shards_in_a_store_have_an_index_and_no_file_of_links(store):
    path = store.uri("sharded/output_1.h5")
    storage.write(path, b"predictions of before")
    to = Destination(["b/1", "a"], path, shards="keep")
    folder = ShardFolder(path)
    collection = ShardCollection(to, folder, print)
    part = {"place": np.arange(2), "output": np.eye(2, dtype=np.float32), "error": np.array(["", ""], object)}
    for block in ShardWriter(to, folder, collection.token, np.arange(2)).write([part]):
        collection.take(block["place"], block["shard"][0], whole=block["whole"][0])
    assert storage.read(path) == b"predictions of before"
    collection.close()
    names = [f"sharded/output_1_shards/{name}" for name in (f"{collection.token}-000000000.h5", "index.csv")]
    assert store.names("sharded") == names
    assert to.paths == [folder.index]
    assert [(name, output.tolist()) for name, output in read_outputs(folder.index)] == [("a", [0, 1]), ("b/1", [1, 0])]


def test_an_earlier_run_in_a_store_moves_aside(store, tmp_path, write_digits):
    write_digits(tmp_path / "training", "training", (1, 4, 7), 3)
    write_digits(tmp_path / "testing", "testing", (1, 4, 7), 3)
    for name in ("best.pt", "model_checkpoint_2.pt", "plots/loss.png", "notes.txt"):
        store.write(f"earlier/model/{name}", b"earlier")
    save = store.uri("earlier/model")
    plan = prepare(training_config(tmp_path, tmp_path), {"checkpoints.save": save, "checkpoints.load": None})
    room = earlier_run.make_room(plan)
    assert store.names("earlier") == [
        "earlier/model-1/best.pt",
        "earlier/model-1/model_checkpoint_2.pt",
        "earlier/model-1/plots/loss.png",
        "earlier/model/notes.txt",
    ]
    assert room.moved[storage.join(save, "best.pt")] == storage.join(store.uri("earlier/model-1"), "best.pt")


def test_the_address_may_come_from_the_environment(store):
    store.write("environment/x.txt", b"found")
    environment = {**os.environ, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{store.port}", "AWS_REGION": "us-east-1"}
    code = "from rayrml import storage; print(storage.read('s3://box/environment/x.txt').decode())"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "found\n"


def test_local_files_need_no_pyarrow(tmp_path):
    code = (
        "import sys; from rayrml import storage; import rayrml.data.decoding, rayrml.config\n"
        f"storage.write({str(tmp_path / 'x')!r}, b''); storage.files({str(tmp_path)!r})\n"
        "print('pyarrow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_samples_and_classes_are_found_as_in_a_folder_of_this_machine(store):
    for name in ("train/7/1.jpg", "train/7/0.JPG", "train/1 b/x.jpg", "train/1 b/notes.txt", "train/.hidden/y.jpg"):
        store.write(f"found/{name}", b"x")
    samples = find_samples(store.uri("found/train"), frozenset({".jpg"}), "data")
    assert samples.names == ["1 b/x.jpg", "7/0.JPG", "7/1.jpg"]
    assert samples.ignored == {".txt": 1}
    assert label_by_folder(samples, None, "data").labels.tolist() == [0, 1, 1]
    assert label_by_folder(samples, "train", "data").classes == ("1 b", "7")
    assert storage.read(samples.path(0)) == b"x"
    one = find_samples(store.uri("found/train/7/1.jpg"), frozenset({".jpg"}), "data")
    assert (one.names, storage.read(one.path(0))) == (["1.jpg"], b"x")


@pytest.mark.parametrize(
    ("uri", "complaint"),
    [
        (lambda store: store.uri("none at all"), "data: no such folder or file: 's3://box/none at all?"),
        (lambda store: store.uri("x", bucket="nobox"), "data: no such folder or file: 's3://nobox/x?"),
    ],
)
def test_what_is_not_there_is_named_in_one_line(store, uri, complaint):
    with pytest.raises(DataError) as caught:
        find_samples(uri(store), frozenset({".jpg"}), "data")
    assert str(caught.value).startswith(complaint)
    assert "\n" not in str(caught.value)


def test_a_missing_bucket_is_named_before_a_run_begins(store):
    with pytest.raises(DataError, match=r"cannot be listed\. No such bucket: 'nobox'"):
        checkpoint_folder.list_checkpoints(store.uri("model", bucket="nobox"))
    with pytest.raises(DataError, match=r"cannot be written\. No such bucket: 'nobox'"):
        LogFile(store.uri("out_train.txt", bucket="nobox"), append=False)


def test_keys_that_cannot_be_read_are_found_before_anything_is_computed(store):
    for key in ("a//b.jpg", "a/c.jpg"):
        store.put(f"empty parts/{key}", jpeg())
    with pytest.raises(DataError, match=r"^input_path: cannot read 'a//b\.jpg' in '.*'\. Expected names without empty"):
        find_samples(store.uri("empty parts"), READERS["images"]().extensions, "input_path")


def test_keys_that_cannot_name_predictions_are_found_before_anything_is_computed(store, tmp_path):
    for key in ("a.jpg", "a.jpg/b.jpg"):
        store.put(f"nested/{key}", jpeg())
    data = {"input_type": "images", "grayscale": True, "test_input_path": store.uri("nested")}
    section = {"layers": dense_network(2), "data": data}
    assert len(prepare({"neural_network": section}).test.samples) == 2
    data["test_output_path"] = str(tmp_path)
    with pytest.raises(DataError) as caught:
        prepare({"neural_network": section})
    (line,) = str(caught.value).splitlines()
    assert line.startswith("neural_network.data.test_input_path: ")
    assert "'a.jpg' would be a dataset and contain another, 'a.jpg/b.jpg'" in line


def jpeg():
    content = io.BytesIO()
    Image.new("L", (28, 28)).save(content, "JPEG")
    return content.getvalue()


def test_an_option_that_no_store_has_is_a_mistake_of_the_configuration():
    with pytest.raises(ConfigError, match=r"is not a usable URI\. Unexpected query parameter .*'nonsense'"):
        storage.read("s3://box/x?nonsense=1")


def test_arrays_are_read_from_copies_that_go_with_the_process(store, tmp_path):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["ct/amplitude"] = np.arange(24.0).reshape(1, 4, 6)
    uri = store.write("arrays/scan.h5", (tmp_path / "scan.h5").read_bytes())
    np.save(array := io.BytesIO(), np.arange(6).reshape(1, 6))
    np.savez(archive := io.BytesIO(), a=np.zeros((1, 2)), b=np.ones((1, 2)))
    store.write("arrays/x.npy", array.getvalue())
    store.write("arrays/y.npz", archive.getvalue())
    reader = READERS["hdf5"]()
    location = contents.locate(store.uri("arrays/scan.h5/ct"), reader, "training", "data")
    assert list(contents.list_arrays(location, reader, "data").names) == ["ct/amplitude"]
    assert reader.decode(uri, "ct/amplitude")[0, 1].tolist() == [6, 7, 8, 9, 10, 11]
    numpy = READERS["numpy"]()
    assert numpy.decode(store.uri("arrays/x.npy")).tolist() == [[0, 1, 2, 3, 4, 5]]
    assert list(numpy.contents(store.uri("arrays/y.npz"))) == ["a", "b"]
    assert numpy.decode(store.uri("arrays/y.npz"), "b").tolist() == [[1, 1]]
    copy = storage.local_copy(uri)
    code = f"from rayrml import storage; print(storage.local_copy({uri!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == copy
    assert Path(copy).exists(), "another process that ends must not take the copy along"


def test_checkpoints_are_kept_and_found(store):
    folder = store.uri("model")
    assert resuming.find_resumable(folder) == []
    for epoch in (9, 10):
        path = checkpoint_folder.checkpoint_path(folder, epoch)
        checkpoints.save(path, checkpoints.Checkpoint(epoch, {"w": torch.ones(3)}, [], (1,)))
    assert store.names("model") == ["model/model_checkpoint_10.pt", "model/model_checkpoint_9.pt"]
    assert checkpoints.load(resuming.find_resumable(folder)[0]).epoch == 10
    assert not _left_in_temporary_folder("model_checkpoint")
    with pytest.raises(DataError, match="no such file"):
        checkpoints.load(store.uri("model/model_checkpoint_11.pt"))


def _left_in_temporary_folder(name):
    return list(Path(tempfile.gettempdir()).glob(f".{name}*.{os.getpid()}-*"))


def test_a_log_is_there_after_each_epoch_and_goes_on_later(store):
    path = store.uri("logs/out_train.txt")
    log = LogFile(path, append=False)
    log.write("1 1 0.5\n")
    log.flush()
    log.publish()
    assert store.read("logs/out_train.txt") == b"1 1 0.5\n"
    log.write("2 1 0.7\n")
    log.close()
    log = LogFile(path, append=True)
    assert log.keep((1,), num_fields=3) == (1,)
    log.close()
    assert store.read("logs/out_train.txt") == b"1 1 0.5\n"
    assert set_aside([path]) == [store.uri("logs/out_train.1.txt")]
    assert store.names("logs") == ["logs/out_train.1.txt"]


def test_predictions_appear_when_they_are_whole(store):
    file = PredictionFile(store.uri("predictions/output_1.h5"))
    file.write(["a.jpg"], np.ones((1, 3)))
    assert not store.files.get_file_info("box/predictions/output_1.h5").is_file
    file.close()
    with hdf5_reading.opened_in_memory(store.read("predictions/output_1.h5"), "predictions") as read:
        assert read["a.jpg"][()].tolist() == [1, 1, 1]
    assert not _left_in_temporary_folder("output_1.h5")


@pytest.mark.parametrize("how", [503, 500, "reset"])
def test_what_is_transient_is_tried_again_and_told_once(store, disturbance, caplog, how):
    store.write("again/x.txt", b"content")
    uri = store.uri("again/x.txt", disturbance.port)
    disturbance.how = how
    for question in (lambda: storage.read(uri), lambda: storage.exists(uri), lambda: storage.write(uri, b"content")):
        disturbance.left = 3
        assert question() in (b"content", True, None)
        assert disturbance.left <= 0
    assert store.read("again/x.txt") == b"content"
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith("rayrml: s3://box is busy or unreachable, retrying: ")
    assert "testing" not in told


def test_a_store_that_stays_busy_is_given_up(store, disturbance):
    disturbance.left = 1000
    with pytest.raises(OSError, match=r"after 7 attempts") as caught:
        storage.read(store.uri("again/x.txt", disturbance.port))
    assert len(disturbance.requests) == 7
    assert "\n" not in caught.value.strerror


# A reader without permission is refused when it requests the size, which is the first request.
@pytest.mark.parametrize("method", ["HEAD", "PUT"])
def test_what_is_denied_is_not_tried_again(store, disturbance, method):
    store.write("denied/x.txt", b"content")
    uri = store.uri("denied/x.txt", disturbance.port)
    disturbance.how, disturbance.left, disturbance.methods = 403, 1000, {method}
    with pytest.raises(PermissionError, match=r"Access denied .*Expected credentials that allow it"):
        storage.write(uri, b"x") if method == "PUT" else storage.read(uri)
    assert len([request for request in disturbance.requests if request[0] == method]) == 1
    disturbance.requests.clear()
    disturbance.left = 0
    with pytest.raises(FileNotFoundError):
        storage.read(store.uri("denied/none.txt", disturbance.port))
    assert len(disturbance.requests) == 1


def test_a_key_that_is_denied_is_one_line_for_the_user(store, disturbance):
    disturbance.how, disturbance.left = 403, 1000
    with pytest.raises(DataError) as caught:
        find_samples(store.uri("denied", disturbance.port), frozenset({".jpg"}), "neural_network.data.input_path")
    (line,) = str(caught.value).splitlines()
    assert line.startswith("neural_network.data.input_path: cannot list 's3://box/denied?")
    assert "Access denied" in line


def configuration(store, epochs):
    return {
        "neural_network": {
            "outfile": store.uri("run/out.txt"),
            "num_epochs": epochs,
            "layers": store.uri("run/network.json"),
            "checkpoints": {"save": store.uri("run/model")},
            "data": {
                "input_type": "images",
                "target_type": "labels",
                "input_path": store.uri("run/training"),
                "test_input_path": store.uri("run/testing"),
                "test_output_path": store.uri("run/predictions"),
                "batch_size": 8,
                "grayscale": True,
                "preload": True,
            },
            "optimizer": {"type": "SGD", "learning_rate": 0.1},
            "loss": {"function": "NLL"},
        }
    }


@pytest.mark.ray
def test_a_run_whose_files_are_all_in_a_store_goes_on_from_there(ray_cluster, store, tmp_path, write_digits):
    for part, count in (("training", 9), ("testing", 3)):
        for path in write_digits(tmp_path / part, part, (1, 4, 7), count).rglob("*.jpg"):
            store.write(f"run/{path.relative_to(tmp_path)}", path.read_bytes())
    store.write("run/network.json", json.dumps(dense_network(3)).encode())
    first = rayrml.run(configuration(store, 1), quiet=True)
    left = ["classes.json", "config.resolved.json", "environment.json", "history.csv", "metrics.json"]
    pictures = ["confusion_matrix.png", "learning_rate.png", "loss.png", "metric.png", "predictions.png"]
    expected = ["best.pt", *left, "model_checkpoint_1.pt", *(f"plots/{name}" for name in pictures), "run.log"]
    assert store.names("run/model") == [f"run/model/{name}" for name in expected]
    second = rayrml.run(configuration(store, 2), num_workers=2, resume=True, quiet=True)
    assert [figures["epoch"] for figures in second.history] == [1, 2]
    assert second.history[0] == first.history[0]
    (read,) = history.read_runs([store.uri("run/model")])
    assert read.history == second.history
    lines = store.read("run/out_train.txt").decode().splitlines()
    assert [line.split()[:2] for line in lines] == [[e, str(b)] for e in "12" for b in range(1, 5)]
    assert store.names("run/predictions") == ["run/predictions/output_1.h5", "run/predictions/output_2.h5"]
    config = configuration(store, 1)
    del config["neural_network"]["data"]["input_path"], config["neural_network"]["data"]["target_type"]
    config["neural_network"]["checkpoints"] = {"load": second.checkpoints[-1]}
    config["neural_network"]["data"]["test_output_path"] = store.uri("run/inference")
    result = rayrml.run(config, quiet=True)
    assert result.metrics == {"num_predictions": 9}
    with (
        hdf5_reading.opened_in_memory(store.read("run/inference/output_1.h5"), "alone") as alone,
        hdf5_reading.opened_in_memory(store.read("run/predictions/output_2.h5"), "trained") as trained,
    ):
        for digit in "147":
            for name in alone[digit]:
                assert np.allclose(alone[digit][name], trained[digit][name], atol=1e-5)


def test_the_parts_of_a_data_set_are_told_apart_as_in_a_folder_of_this_machine(store):
    for name in ("train/a b/1.jpg", "val/a b/1.jpg", "test/a b/1.jpg", "notes.txt", "docs/x.txt"):
        store.write(f"parts/photos/{name}", b"x")
    layout = find_layout(Listing(store.uri("parts")), Kinds(frozenset({".jpg"}), classes=True), "data")
    assert layout is not None
    parts = (layout.training, layout.validation, layout.test)
    assert [part.input for part in parts] == [store.uri(f"parts/photos/{name}") for name in ("train", "val", "test")]
    assert find_samples(layout.test.input, frozenset({".jpg"}), "data").names == ["a b/1.jpg"]


def test_boxes_are_read_from_a_store(store):
    image = io.BytesIO()
    Image.new("RGB", (20, 10)).save(image, "JPEG")
    folder = "boxes/set ü"
    for name in ("a b.jpg", "c.jpg"):
        store.write(f"{folder}/images/train/{name}", image.getvalue())
    store.write(f"{folder}/labels/train/a b.txt", b"1 0.5 0.5 0.5 0.5\n")
    store.write(f"{folder}/data.yaml", b"train: images/train\nnames: [cat, dog]\n")
    document = {"images": [{"id": 4, "file_name": "c.jpg"}], "categories": [{"id": 7, "name": "cat"}]}
    document["annotations"] = [{"image_id": 4, "category_id": 7, "bbox": [1, 2, 3, 4]}]
    store.write(f"{folder}/labels.json", json.dumps(document).encode())
    store.write(f"{folder}/list.txt", b"a b\n")
    home = storage.join(store.uri("boxes"), "set ü")
    images = find_samples(storage.join(home, "images", "train"), {".jpg"}, "input_path")
    labels = read_labels(images, LabelOptions(samples=storage.join(home, "list.txt")))
    assert labels.classes == ("cat", "dog")
    boxes = make_boxes(labels)
    assert boxes.table.corners.tolist() == [[5, 2.5, 15, 7.5]]
    assert boxes.table.sizes.tolist() == [[10, 20]]
    boxes = make_boxes(read_labels(images, LabelOptions(target_path=storage.join(home, "labels.json"))))
    assert boxes.table.corners.tolist() == [[1, 2, 4, 6]]
    found = recognize(home)
    assert found is not None
    part = found.parts["training"]
    assert storage.is_folder(str(part.input_path))
    assert part.target_path is not None
    assert storage.is_folder(part.target_path)


def test_only_the_beginning_of_a_file_can_be_read(store):
    uri = store.write("start/a.bin", bytes(range(100)))
    assert storage.read_start(uri, 3) == b"\0\1\2"
    assert storage.read_start(uri, 1000) == bytes(range(100))


@pytest.mark.parametrize("num_folders", [3, 40])
def test_a_listing_goes_on_after_an_error_where_it_was(store, disturbance, monkeypatch, num_folders):
    wanted = [f"{folder:02}/deep/er/{number}.txt" for folder in range(num_folders) for number in range(3)]
    for name in [*wanted, "top.txt"]:
        store.write(f"many{num_folders}/{name}", b"x")
    asked = []
    listed = remote.listed
    monkeypatch.setattr(remote, "listed", lambda uri, **how: asked.append(uri) or listed(uri, **how))
    disturbance.left = 5
    files, folders = storage.walk(store.uri(f"many{num_folders}", disturbance.port))
    assert files == sorted([*wanted, "top.txt"])
    assert len(folders) == 3 * num_folders
    assert len(asked) == len(set(asked)) > num_folders  # each folder was asked for once, whatever failed
