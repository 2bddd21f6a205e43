"""Data and results in an object store: what is read and written there, and what happens when requests fail."""

import dataclasses
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

import rayrml
from rayrml import storage
from rayrml.config.tables import Choice
from rayrml.data import contents, packing
from rayrml.data.box_labels import LabelOptions, make_boxes, read_labels, recognize
from rayrml.data.decoding import Decoding
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
from rayrml.reporting import history, stored_logs
from rayrml.reporting.log_files import LogFile, set_aside
from rayrml.runs import earlier_run
from rayrml.saving import checkpoint_folder, checkpoints, resuming
from rayrml.storage import hdf5_reading, pieces, remote
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


def test_a_log_of_many_epochs_is_uploaded_a_few_times_only(store, disturbance):
    """In parts: at each moment, the file is a valid log, and with its parts the log is complete."""
    path = store.uri("long/out_train.txt", disturbance.port)
    log = LogFile(path, append=False)
    content = ""
    disturbance.num_received = 0
    for epoch in range(1, 1001):
        lines = "".join(f"{epoch} {batch} 0.512312 0.12345678 0.87654321\n" for batch in range(1, 11))
        content += lines
        log.write(lines)
        log.flush()
        if epoch % 5 == 0:  # 200 times: uploads of the whole log would come to a hundred times its size
            log.publish()
        if epoch % 200 == 0:
            readable = store.read("long/out_train.txt").decode()
            assert content.startswith(readable)
            assert readable.endswith("\n")
            assert len(readable) >= 0.7 * len(content)
            assert stored_logs.read(path).decode() == content
        if epoch == 600:  # the process is killed, and another one resumes the run after epoch 590
            log = LogFile(path, append=True)
            assert log.keep((590, 10), num_fields=5) == (590, 10)
            content = content[: content.index("591 1 ")]
            log.publish()
            assert stored_logs.read(path).decode() == content
    assert len(content) < disturbance.num_received < 8 * len(content)
    log.close()
    assert store.read("long/out_train.txt").decode() == content
    assert store.names("long") == ["long/out_train.txt"]


def test_the_parts_of_a_log_stay_with_it(store, tmp_path, write_digits):
    save, out = store.uri("killed/model"), store.uri("killed/out_train.txt")
    for path in (storage.join(save, "run.log"), out):
        log = LogFile(path, append=False)
        for number in range(2):
            log.write(f"{number} 1 0.5 0.5 0.5 {'x' * 49_982 * (1 - number)}\n")
            log.flush()
            log.publish()
    storage.write(storage.join(save, "best.pt"), b"earlier")
    assert [name for name in store.names("killed") if ".parts/" in name] == [
        "killed/model/run.log.parts/000000000049999",
        "killed/out_train.txt.parts/000000000049999",
    ]
    assert set_aside([out]) == [store.uri("killed/out_train.1.txt")]
    assert store.read("killed/out_train.1.txt").endswith(b"1 1 0.5 0.5 0.5 \n")
    write_digits(tmp_path / "training", "training", (1, 4, 7), 3)
    write_digits(tmp_path / "testing", "testing", (1, 4, 7), 3)
    earlier_run.make_room(
        prepare(training_config(tmp_path, tmp_path), {"checkpoints.save": save, "checkpoints.load": None})
    )
    assert store.names("killed") == [
        "killed/model-1/best.pt",
        "killed/model-1/run.log",
        "killed/model-1/run.log.parts/000000000049999",
        "killed/out_train.1.txt",
    ]
    LogFile(storage.join(store.uri("killed/model-1"), "run.log"), append=False).close()
    assert store.names("killed/model-1") == ["killed/model-1/best.pt", "killed/model-1/run.log"]


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


def test_a_folder_is_packed_from_and_to_a_store(store, tmp_path):
    names = ["cat/1.png", "cat/ü 2#.png", "dog/3.png"]
    for number, name in enumerate(names):
        store.write(f"pack/files/{name}", bytes([number]) * 9)
    for source, out in (("pack/files", store.uri("pack/packed")), ("pack/files", str(tmp_path / "packed"))):
        packing.pack(store.uri(source), out, shard_bytes=10, say=lambda done, total: None)
        samples = label_by_folder(find_samples(out, {".png"}, "x"), None, "x")
        assert list(samples.names) == names
        assert samples.classes == ("cat", "dog")
        assert [storage.read(samples.path(i)) for i in range(3)] == [bytes([i]) * 9 for i in range(3)]
    assert len(find_samples(storage.join(store.uri("pack/packed"), "cat"), {".png"}, "x")) == 2
    with pytest.raises(ConfigError, match="already holds a pack"):
        packing.pack(store.uri("pack/files"), store.uri("pack/packed"), say=lambda done, total: None)


def test_packed_images_that_are_close_together_take_one_request(store, disturbance, tmp_path):
    for number in range(20):
        Image.new("L", (8, 8), number).save(tmp_path / f"{number:02}.png")
    packing.pack(str(tmp_path), store.uri("near"), say=lambda done, total: None)
    samples = find_samples(store.uri("near", disturbance.port), READERS["images"]().extensions, "x")
    decoding = Decoding(Choice("images", READERS["images"], {}), (3, 8, 8), np.dtype("u1"), "")
    for indices in (range(20), [7, 3, 19, 7]):
        disturbance.requests.clear()
        rows = np.empty((len(indices), 3, 8, 8), np.uint8)
        assert not any(decoding.fill([samples.place(i) for i in indices], rows))
        assert rows[:, 0, 0, 0].tolist() == list(indices)
        assert len(disturbance.requests) <= 2  # the size of the shard, once, and the range


def test_tar_files_in_a_store_are_read_by_ranges(store):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for number in range(4):
            info = tarfile.TarInfo(f"{number:03}.png")
            info.size = 700_000 * number
            archive.addfile(info, io.BytesIO(bytes([number]) * info.size))
    for place in ("tars/a-0.tar", "tars/b.tar.gz"):
        store.write(place, content.getvalue())
    store.write("tars_alone/a.tar", content.getvalue())
    for uri in (store.uri("tars/a-{0..0}.tar"), store.uri("tars_alone")):
        samples = find_samples(uri, {".png"}, "x")
        assert list(samples.names) == ["000.png", "001.png", "002.png", "003.png"]
        assert all(storage.read(samples.path(i)) == bytes([i]) * (700_000 * i) for i in range(4))
    with pytest.raises(DataError, match=r"b\.tar\.gz\S*: is compressed"):
        find_samples(store.uri("tars/b.tar.gz"), {".png"}, "x")


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
    left = ["classes.json", "config.resolved.json", "confusion_matrix.csv", "data.json", "environment.json"]
    left += ["history.csv", "metrics.json"]
    pictures = ["confusion_matrix", "examples", "learning_rate", "loss", "metric", "mistakes", "predictions"]
    drawn = [f"plots/{name}.png" for name in pictures]
    expected = ["best.pt", *left, "model_checkpoint_1.pt", *drawn, "report.html", "run.log"]
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


def write_arrays(folder, kind, number):
    """A file of 4 samples (1, 512, 512) of float32."""
    arrays = {f"s{number}_{i}": np.random.default_rng([number, i]).random((1, 512, 512), np.float32) for i in range(4)}
    (folder / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
    path = folder / "ab"[number % 2] / f"{number}.{kind}"
    if kind == "npz":
        (np.savez_compressed if number == 1 else np.savez)(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file.create_dataset(f"scans/{name}", data=array, **({"compression": "gzip"} if number == 1 else {}))


@pytest.mark.parametrize(("kind", "reader"), [("npz", "numpy"), ("h5", "hdf5")])
def test_planning_fetches_a_small_part_of_files_of_arrays(store, disturbance, tmp_path, kind, reader):
    folder = tmp_path / kind
    for number in range(5):
        write_arrays(folder, kind, number)
    files = {str(path.relative_to(tmp_path)): path.read_bytes() for path in folder.rglob(f"*.{kind}")}
    for name, content in files.items():
        storage.write(store.uri(f"planned/{name}", disturbance.port), content)
    disturbance.requests.clear()
    disturbance.num_sent = 0
    data = {"input_type": reader, "target_type": "labels"}
    section = {"layers": dense_network(2, (512, 512)), "data": data, "loss": {"function": "NLL"}}
    section["optimizer"] = {"type": "SGD", "learning_rate": 0.1}
    here, there = (
        prepare({"neural_network": {**section, "data": {**data, "input_path": path}}})
        for path in (str(folder), store.uri(f"planned/{kind}", disturbance.port))
    )
    samples, fetched = here.datasets.training.samples, there.datasets.training.samples
    assert list(fetched.names) == list(samples.names)
    assert fetched.labels.tolist() == samples.labels.tolist()
    decodings = [dataclasses.replace(plan.datasets.training.input.decoding, first="") for plan in (here, there)]
    assert decodings[0] == decodings[1]
    assert 0 < disturbance.num_sent < 0.3 * sum(map(len, files.values()))
    assert len(disturbance.requests) < 100
    assert (decodings[1].array(fetched.place(3)) == decodings[0].array(samples.place(3))).all()


@pytest.mark.parametrize(("kind", "reader"), [("npz", "numpy"), ("h5", "hdf5")])
@pytest.mark.parametrize("damage", [lambda content: content[:-1_100_000], lambda content: bytes(9) + content[9:-9]])
def test_damaged_files_of_arrays_are_named_as_those_of_this_machine(store, disturbance, tmp_path, kind, reader, damage):
    write_arrays(tmp_path, kind, 0)
    (path,) = tmp_path.rglob(f"*.{kind}")
    path.write_bytes(damage(path.read_bytes()))
    uri = store.uri(f"damaged.{kind}", disturbance.port)
    storage.write(uri, path.read_bytes())
    messages = []
    for address in (str(path), uri):
        with pytest.raises(DataError) as caught, storage.in_pieces():
            READERS[reader]().contents(address)
        messages.append(str(caught.value).removeprefix(address))
    assert messages[0] == messages[1]
    assert "\n" not in messages[0]


def test_a_file_that_changes_while_it_is_planned_is_named(store, disturbance, monkeypatch):
    monkeypatch.setattr(pieces, "_LARGEST_SHARE", 1)
    uri = store.uri("changing.npz", disturbance.port)
    np.savez(content := io.BytesIO(), a=np.zeros((1, 600, 600)), b=np.zeros((1, 600, 600)))
    storage.write(uri, content.getvalue())
    reader = READERS["numpy"]()
    with storage.in_pieces():
        assert list(reader.contents(uri)) == ["a", "b"]
        storage.write(uri, content.getvalue() + bytes(100))
        with (
            pytest.raises(DataError, match=r"cannot be read\. It has changed while it was read$"),
            reader.open(uri) as read,
        ):
            read("b")


def test_pieces_of_any_size_give_what_the_whole_file_gives(store, disturbance, monkeypatch, tmp_path):
    """Parts that are missing read as zeros, in the middle of any of HDF5's structures."""
    for name, value in (("_SMALL_BYTES", 0), ("_LARGEST_SHARE", 2), ("_MOST_ROUNDS", 10_000), ("_PIECE_BYTES", 97)):
        monkeypatch.setattr(pieces, name, value)
    reader = READERS["hdf5"]()
    for version in ("earliest", "latest"):
        path = tmp_path / f"{version}.h5"
        with h5py.File(path, "w", libver=version) as file:
            for i in range(5):
                file[f"group/{i}/values"] = np.arange(i, i + 30.0)
            file.create_dataset("packed", data=np.arange(400.0).reshape(20, 20), chunks=(5, 20), compression="gzip")
            file.attrs["notes"] = "x" * 500
        uri = store.uri(f"{version}.h5", disturbance.port)
        storage.write(uri, path.read_bytes())
        disturbance.num_sent = 0
        with storage.in_pieces():
            names = list(reader.contents(uri))
            assert names == list(reader.contents(str(path)))
            with reader.open(uri) as there, reader.open(str(path)) as here:
                for name in names:
                    assert there(name).shape == here(name).shape
                    assert (np.asarray(there(name)) == here(name)[()]).all()
                assert (there("packed")[3:7] == here("packed")[3:7]).all()
        assert disturbance.num_sent <= path.stat().st_size + 10_000  # no piece twice; the rest are lists
