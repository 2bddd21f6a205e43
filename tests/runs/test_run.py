"""Complete runs on the session's Ray, which has one CPU for one, two and three workers."""

import json
import shutil

import numpy as np
import pytest
import torch
from torch.nn import functional

import rayrml
from rayrml.cluster.allocation import allocate
from rayrml.config.cluster import Ray
from rayrml.data.decode_tasks import make_task
from rayrml.data.draws import mix_seed
from rayrml.data.ray_tasks import blocks
from rayrml.data.readers import READERS
from rayrml.data.sampling import Picks
from rayrml.inference import actors
from rayrml.inference.batch_job import InferenceJob
from rayrml.inference.outputs import destination_of
from rayrml.networks.network import build_network
from rayrml.reporting import history
from rayrml.saving import checkpoints
from tests.conftest import BATCH, datasets_of, dense_network, training_config, write_jpeg

pytestmark = pytest.mark.ray

CLASSES = (1, 4, 7)
NUM_TRAINING, NUM_TEST = 3 * 11, 3 * 5

PICTURES = ("confusion_matrix", "examples", "loss", "metric", "mistakes", "predictions")


@pytest.fixture(scope="session")
def folder(tmp_path_factory, write_digits):
    path = tmp_path_factory.mktemp("runs")
    write_digits(path / "training", "training", CLASSES, NUM_TRAINING // 3)
    write_digits(path / "testing", "testing", CLASSES, NUM_TEST // 3)
    return path


@pytest.fixture(scope="session")
def runs(ray_cluster, folder):
    """Result and folder of the same training, streamed by one, two and three workers and preloaded by one and two."""
    results = {}
    for num_workers, preload in ((1, False), (2, False), (3, False), (1, True), (2, True)):
        out = folder / f"run_{num_workers}_{preload}"
        out.mkdir()
        overrides = {"data.preload": preload}
        result = rayrml.run(training_config(folder, out), num_workers=num_workers, overrides=overrides, quiet=True)
        results[num_workers, preload] = (result, out)
    return results


STREAMED = [(1, False), (2, False), (3, False)]
ALL = [*STREAMED, (1, True), (2, True)]


def weights_of(run, epoch=2):
    return checkpoints.load(run[1] / "model" / f"model_checkpoint_{epoch}.pt").network


def hand_written(folder, config):
    """The weights after both epochs, from a hand-written loop over the same samples in the same order."""
    torch.manual_seed(0)
    network = build_network(dense_network(3))
    read = READERS["images"](grayscale=True).decode
    files = sorted((folder / "training").rglob("*.jpg"))
    images = torch.from_numpy(np.stack([read(str(f)) for f in files]))
    labels = torch.tensor([CLASSES.index(int(f.parent.name)) for f in files])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.5)
    for epoch in (1, 2):
        order = np.arange(len(files))
        np.random.default_rng(mix_seed(0, 0, epoch)).shuffle(order)
        for batch in torch.from_numpy(order).split(BATCH):
            optimizer.zero_grad()
            functional.nll_loss(network(images[batch] / 255), labels[batch]).backward()
            optimizer.step()
    return network.state_dict()


def test_one_worker_trains_what_a_hand_written_loop_trains(runs, folder):
    expected = hand_written(folder, None)
    weights = weights_of(runs[1, False])
    for name, tensor in expected.items():
        assert torch.allclose(weights[name], tensor, atol=1e-6), name


@pytest.mark.parametrize("num_workers", [2, 3])
def test_several_workers_train_what_one_trains(runs, num_workers):
    alone, together = weights_of(runs[1, False]), weights_of(runs[num_workers, False])
    for name, tensor in alone.items():
        assert torch.allclose(together[name], tensor, atol=1e-6), name


def test_random_transforms_and_mixed_samples_are_the_same_for_any_number_of_workers(ray_cluster, folder, tmp_path):
    trained = []
    for num_workers in (1, 3):
        config = training_config(folder, tmp_path / str(num_workers))
        config["neural_network"]["data"] |= {
            "transforms": [{"random_rotate": 30}, {"mixup": 0.5}, {"cutmix": 1.0}],
            "batch_size": 4,  # of 33 samples: the last batch has one, which is of one worker
        }
        config["neural_network"] |= {"num_epochs": 1, "loss": {"function": "CrossEntropy"}}
        trained.append(rayrml.run(config, num_workers=num_workers, quiet=True))
    one, *others = (checkpoints.load(result.checkpoints[-1]).network for result in trained)
    for other in others:
        assert all(torch.allclose(other[name], one[name], atol=1e-6) for name in one)
    for result in trained[1:]:
        assert result.metrics["train_loss"] == pytest.approx(trained[0].metrics["train_loss"], rel=1e-5)


@pytest.mark.parametrize("key", ALL)
def test_evaluation_is_that_of_the_saved_network_for_any_number_of_workers(runs, folder, key):
    result, _ = runs[key]
    network = build_network(dense_network(3)).eval()
    network.load_state_dict(weights_of(runs[key]))
    read = READERS["images"](grayscale=True).decode
    files = sorted((folder / "testing").rglob("*.jpg"))
    labels = torch.tensor([CLASSES.index(int(f.parent.name)) for f in files])
    with torch.inference_mode():
        output = network(torch.from_numpy(np.stack([read(str(f)) for f in files])) / 255)
    assert result.metrics["test_loss"] == pytest.approx(functional.nll_loss(output, labels).item(), abs=1e-6)
    assert result.metrics["accuracy"] == (output.argmax(1) == labels).double().mean().item()


@pytest.mark.parametrize("key", ALL)
def test_each_epoch_of_training_writes_one_prediction_for_each_test_image(runs, folder, key):
    _, out = runs[key]
    names = sorted(str(f.relative_to(folder / "testing")) for f in (folder / "testing").rglob("*.jpg"))
    network = build_network(dense_network(3)).eval()
    read = READERS["images"](grayscale=True).decode
    for epoch in (1, 2):
        network.load_state_dict(weights_of(runs[key], epoch))
        found = datasets_of(out / "predictions" / f"output_{epoch}.h5")
        assert sorted(found) == names
        for name in names:
            image = torch.from_numpy(read(str(folder / "testing" / name)))[None] / 255
            assert np.allclose(found[name], network(image).detach().numpy()[0], atol=1e-5)


@pytest.mark.parametrize("key", ALL)
def test_logs_have_a_line_for_each_batch_and_each_epoch(runs, key):
    result, out = runs[key]
    train = [line.split() for line in (out / "out_train.txt").read_text().splitlines()]
    batches = -(-NUM_TRAINING // BATCH)
    assert [(int(e), int(b)) for e, b, *_ in train] == [(e, b) for e in (1, 2) for b in range(1, batches + 1)]
    seconds = [float(line[2]) for line in train]
    assert seconds == sorted(seconds)
    assert all(len(line) == 5 for line in train)
    test = [line.split() for line in (out / "out_test.txt").read_text().splitlines()]
    assert [int(line[0]) for line in test] == [1, 2]
    assert [float(line[-1]) for line in test] == pytest.approx([h["accuracy"] for h in result.history], abs=1e-6)
    assert "e" not in (out / "out_train.txt").read_text() + (out / "out_test.txt").read_text()


@pytest.mark.parametrize("key", ALL)
def test_a_checkpoint_holds_all_that_is_needed_to_go_on(runs, key):
    result, _ = runs[key]
    assert [p.rsplit("/", 1)[1] for p in result.checkpoints] == ["model_checkpoint_1.pt", "model_checkpoint_2.pt"]
    loaded = checkpoints.load(result.checkpoints[1])
    assert (loaded.epoch, loaded.classes, loaded.input_shape) == (2, ("1", "4", "7"), (1, 28, 28))
    assert loaded.layers == dense_network(3)
    assert len(loaded.optimizer["state"]) == 6
    layers = ("conv", "conv_2", "dense")
    assert sorted(loaded.network) == [f"{layer}.{part}" for layer in layers for part in ("bias", "weight")]


@pytest.mark.parametrize("key", ALL)
def test_nothing_unfinished_is_left(runs, key):
    _, out = runs[key]
    names = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())
    assert names == [
        "model/best.pt",
        "model/classes.json",
        "model/config.resolved.json",
        "model/confusion_matrix.csv",
        "model/data.json",
        "model/environment.json",
        "model/history.csv",
        "model/metrics.json",
        "model/model_checkpoint_1.pt",
        "model/model_checkpoint_2.pt",
        *(f"model/plots/{name}.png" for name in PICTURES),
        "model/report.html",
        "model/run.log",
        "out_test.txt",
        "out_train.txt",
        "predictions/output_1.h5",
        "predictions/output_2.h5",
    ]


@pytest.mark.parametrize("key", ALL)
def test_the_figures_of_each_class_are_those_of_the_predictions_for_any_number_of_workers(runs, key):
    result, out = runs[key]
    found = datasets_of(out / "predictions" / "output_2.h5")
    pairs = [(name.split("/")[0], result.classes[output.argmax()]) for name, output in found.items()]
    metrics = json.loads((out / "model" / "metrics.json").read_text())
    assert (metrics["final"], list(metrics["classes"])) == (result.history[-1], ["1", "4", "7"])
    for name, figures in metrics["classes"].items():
        right = sum(true == predicted == name for true, predicted in pairs)
        assert figures["samples"] == NUM_TEST // 3
        assert figures["recall"] == pytest.approx(right / figures["samples"])
        assert figures["precision"] == pytest.approx(right / max(sum(p == name for _, p in pairs), 1))


@pytest.mark.parametrize("key", ALL)
def test_the_history_has_a_row_for_each_epoch(runs, key):
    result, out = runs[key]
    (read,) = history.read_runs([str(out / "model")])
    assert read.history == result.history


def test_the_resolved_configuration_trains_the_same_again(runs, tmp_path):
    _, out = runs[1, False]
    overrides = {"checkpoints.save": str(tmp_path), "checkpoints.plots": False, "data.test_output_path": None}
    again = rayrml.run(out / "model" / "config.resolved.json", overrides={**overrides, "outfile": None}, quiet=True)
    weights, expected = checkpoints.load(again.checkpoints[1]).network, weights_of(runs[1, False])
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())
    assert not (tmp_path / "plots").exists()


def test_transforms_are_the_same_in_the_resolved_configuration(folder, ray_cluster, tmp_path):
    transforms = [{"random_erasing": {"probability": 0.5}}, {"random_resized_crop": {"size": [28, 28]}}]
    config = training_config(folder, tmp_path / "first", transforms=transforms, test_output_path=None)
    config["neural_network"]["checkpoints"]["plots"] = False
    first = rayrml.run(config, quiet=True)
    resolved = json.loads((tmp_path / "first" / "model" / "config.resolved.json").read_text())
    written = resolved["neural_network"]["data"]["transforms"]
    for shown, given in zip(written, transforms, strict=True):
        ((name, settings),) = given.items()
        assert shown[name].items() > settings.items()
    again = rayrml.run(resolved, overrides={"checkpoints.save": str(tmp_path / "again")}, quiet=True)
    weights, expected = (checkpoints.load(run.checkpoints[1]).network for run in (again, first))
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())


def test_a_ray_that_was_there_is_left_alone(runs, ray_cluster):
    assert ray_cluster.is_initialized()
    assert ray_cluster.get(ray_cluster.put(1)) == 1


def test_evaluation_alone_gives_what_training_gave(runs, folder, tmp_path):
    trained, _ = runs[1, False]
    config = training_config(folder, tmp_path)
    nn = config["neural_network"]
    nn["data"].pop("input_path")
    nn.pop("optimizer")
    nn["checkpoints"] = {"load": trained.checkpoints[1]}
    result = rayrml.run(config, quiet=True)
    assert result.metrics["accuracy"] == trained.metrics["accuracy"]
    assert result.metrics["test_loss"] == pytest.approx(trained.metrics["test_loss"])
    assert result.predictions == [str(tmp_path / "predictions" / "output_1.h5")]


def inference_config(folder, out, checkpoint):
    return {
        "neural_network": {
            "layers": dense_network(3),
            "checkpoints": {"load": checkpoint},
            "data": {
                "input_type": "images",
                "test_input_path": str(folder),
                "test_output_path": str(out),
                "test_batch_size": 4,
                "grayscale": True,
            },
        }
    }


@pytest.mark.parametrize("num_workers", [1, 2, (1, 2)])
def test_inference_gives_each_image_the_prediction_that_evaluation_gave(runs, folder, tmp_path, num_workers, capfd):
    trained, _ = runs[1, False]
    config = inference_config(folder / "testing", tmp_path / "out", trained.checkpoints[1])
    result = rayrml.run(config, num_workers=num_workers, quiet=True)
    expected, found = datasets_of(trained.predictions[1]), datasets_of(result.predictions[0])
    assert result.metrics == {"num_predictions": NUM_TEST}
    assert expected.keys() == found.keys()
    assert all(np.allclose(found[name], expected[name], atol=1e-5) for name in expected)
    assert not capfd.readouterr().err


@pytest.fixture
def inference_job(runs, folder, tmp_path):
    config = inference_config(folder / "testing", tmp_path / "out", runs[1, False][0].checkpoints[1])
    plan = rayrml.check(config, overrides={"data.test_batch_size": 4, "precision": "auto"})
    nn = plan.config.neural_network
    wanted = destination_of(plan.test, nn, 1, plan.classes)
    return InferenceJob(nn, plan.network, plan.test, plan.datasets.transforms, plan.loss, wanted)


def tasks_of(group):
    """Rows of two samples each."""
    picks = Picks(group.indices, group.indices)
    begins = range(0, len(group.indices), 2)
    return [make_task(group.source, picks.at(slice(begin, begin + 2)), begin, None) for begin in begins]


def test_tasks_decode_for_actors_as_actors_do_for_themselves(inference_job):
    allocation = allocate(Ray(num_workers=2), [{"CPU": 1}], attached=False)
    (group,) = inference_job.source.groups()
    tasks = tasks_of(group)
    found = []
    for apart in (False, True):
        rows = {}
        for block in blocks(actors._dataset(inference_job, group, allocation, tasks, apart=apart, most_rows=4)):
            assert not any(block["error"])
            rows |= zip(block["place"].tolist(), block["output"], strict=True)
        found.append(np.stack([rows[place] for place in range(NUM_TEST)]))
    assert np.allclose(*found, atol=1e-6)


def test_ray_has_no_objection_to_actors_with_gpus(inference_job):
    allocation = allocate(Ray(num_workers=2), [{"CPU": 4, "GPU": 2}], attached=True)
    assert allocation.use_gpu
    (group,) = inference_job.source.groups()
    tasks = tasks_of(group)
    assert actors._dataset(inference_job, group, allocation, tasks, apart=True, most_rows=4)  # starts nothing


def test_broken_images_are_named_and_the_others_are_predicted(runs, tmp_path, digits):
    images, _ = digits["testing"]
    for number in range(5):
        write_jpeg(tmp_path / "in" / f"good_{number}.jpg", images[number])
    (tmp_path / "in" / "x_broken.jpg").write_bytes(b"no image")
    write_jpeg(tmp_path / "in" / "x_large.jpg", np.zeros((30, 31), np.uint8))
    config = inference_config(tmp_path / "in", tmp_path / "out", runs[1, False][0].checkpoints[0])
    with pytest.raises(rayrml.DataError) as caught:
        rayrml.run(config, quiet=True)
    text = str(caught.value)
    assert "x_broken.jpg: cannot be" in text
    assert "x_large.jpg: is 31x30 pixels with 1 channel, but " in text
    assert "good_0.jpg is 28x28 pixels with 1 channel" in text
    assert "2 of 7 samples have no prediction; the other 5 have" in text
    assert sorted(datasets_of(tmp_path / "out" / "output_1.h5")) == [f"good_{n}.jpg" for n in range(5)]


def test_a_loss_that_is_not_finite_ends_the_run(ray_cluster, folder, tmp_path):
    config = training_config(folder, tmp_path)
    config["neural_network"]["optimizer"]["learning_rate"] = 1e30
    with pytest.raises(rayrml.errors.DivergenceError, match=r"the loss is (nan|inf) in epoch \d, batch \d"):
        rayrml.run(config, overrides={"data.preload": True, "num_epochs": 30}, quiet=True)


def test_more_workers_than_samples_are_refused(ray_cluster, tmp_path, write_digits):
    write_digits(tmp_path / "training", "training", CLASSES, 1)
    config = training_config(tmp_path, tmp_path / "out")
    config["neural_network"]["data"] |= {"test_input_path": str(tmp_path / "training")}
    with pytest.raises(rayrml.ConfigError, match=r"ray\.num_workers: 4 workers are more than the 3 training samples"):
        rayrml.run(config, num_workers=4, quiet=True)


def resumable(folder, out, **settings):
    """A configuration whose network uses random numbers in training."""
    out.mkdir(exist_ok=True)
    config = training_config(folder, out)
    nn = config["neural_network"]
    nn["layers"] = [*dense_network(3)[:3], {"class_name": "Dropout", "config": {"rate": 0.5}}, *dense_network(3)[3:]]
    nn["optimizer"] = {"type": "Adam"}
    nn["data"].pop("test_output_path")
    return {"neural_network": nn | settings}


@pytest.mark.parametrize("preload", [True, False])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(ray_cluster, folder, tmp_path, preload):
    overrides = {"data.preload": preload, "checkpoints.interval": 3}
    straight = rayrml.run(resumable(folder, tmp_path / "a", num_epochs=5), overrides=overrides, quiet=True)
    rayrml.run(resumable(folder, tmp_path / "b", num_epochs=2), overrides=overrides, quiet=True)
    resumed = rayrml.run(resumable(folder, tmp_path / "b", num_epochs=5), overrides=overrides, resume=True, quiet=True)
    one, other = (checkpoints.load(r.checkpoints[-1]) for r in (straight, resumed))
    assert all(torch.equal(one.network[name], other.network[name]) for name in one.network)
    assert [h["epoch"] for h in resumed.history] == [1, 2, 3, 4, 5]
    for key in ("train_loss", "test_loss", "accuracy"):
        assert [h[key] for h in resumed.history] == [h[key] for h in straight.history]
    for log in ("out_train.txt", "out_test.txt"):
        lines = [[line.split() for line in (tmp_path / d / log).read_text().splitlines()] for d in "ab"]
        assert [[*line[:2], line[-1]] for line in lines[0]] == [[*line[:2], line[-1]] for line in lines[1]]
    seconds = [float(line.split()[2]) for line in (tmp_path / "b" / "out_train.txt").read_text().splitlines()]
    assert seconds == sorted(seconds)


def test_several_workers_go_on_where_one_ended(runs, folder, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(runs[1, False][1], out)
    overrides = {"num_epochs": 3, "data.test_output_path": str(out / "predictions")}
    resumed = rayrml.run(training_config(folder, out), num_workers=2, overrides=overrides, resume=True, quiet=True)
    straight = rayrml.run(training_config(folder, tmp_path), overrides={"num_epochs": 3}, quiet=True)
    one, other = (checkpoints.load(r.checkpoints[-1]).network for r in (straight, resumed))
    assert all(torch.allclose(one[name], other[name], atol=1e-6) for name in one)
    assert len(resumed.history) == 3


def test_a_finished_run_has_nothing_left_to_do(runs, folder, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(runs[1, False][1], out)
    resumed = rayrml.run(training_config(folder, out), resume=True, quiet=True)
    assert resumed.checkpoints == []
    assert resumed.metrics == runs[1, False][0].metrics


def test_a_run_that_gets_no_better_ends_early(ray_cluster, folder, tmp_path):
    config = resumable(folder, tmp_path, num_epochs=50)
    config["neural_network"]["optimizer"]["learning_rate"] = 1e-12
    config["neural_network"]["early_stopping"] = {"patience": 3, "metric": "test_loss", "min_delta": 1e-3}
    result = rayrml.run(config, overrides={"data.preload": True, "checkpoints.interval": 50}, quiet=True)
    assert len(result.history) == 4
    assert [p.rsplit("/", 1)[1] for p in result.checkpoints] == ["model_checkpoint_4.pt"]


def test_debug_draws_the_network_and_its_statistics(ray_cluster, folder, tmp_path):
    config = resumable(folder, tmp_path, num_epochs=2, debug=True, debug_interval=2)
    rayrml.run(config, overrides={"data.preload": True}, quiet=True)
    (plain,), (drawn,) = tmp_path.glob("*[!_2].dot"), tmp_path.glob("*_2.dot")
    assert plain.read_text().count("->") == 6
    assert "Conv2D" in plain.read_text()
    assert "d weight:" in drawn.read_text()


def test_learning_rates_follow_their_schedule_also_after_a_resume(ray_cluster, folder, tmp_path):
    config = resumable(folder, tmp_path, num_epochs=4)
    config["neural_network"]["optimizer"] |= {
        "learning_rate": 0.01,
        "lr_scheduler": [
            {"type": "Warmup", "num_epochs": 2, "start_factor": 0.5},
            {"type": "Exponential", "gamma": 0.1, "verbose": True},
        ],
    }
    overrides = {"data.preload": True, "num_epochs": 3}
    rayrml.run(config, overrides=overrides, quiet=True)
    result = rayrml.run(config, overrides={"data.preload": True}, resume=True, quiet=True)
    assert [h["learning_rate"] for h in result.history] == pytest.approx([0.005, 0.0075, 0.01, 0.001])


def test_the_second_order_optimizer_trains_convolutions(ray_cluster, folder, tmp_path):
    config = training_config(folder, tmp_path)
    config["neural_network"]["optimizer"] = {"type": "Hessian", "max_iterations": 20}
    config["neural_network"]["data"] |= {"batch_size": NUM_TRAINING, "preload": True}
    result = rayrml.run(config, quiet=True)
    assert result.metrics["train_loss"] < 0.2 < result.history[0]["train_loss"]


@pytest.mark.parametrize("setting", [{"precision": "bf16"}, {"gradient_clip": 0.1}])
def test_other_arithmetic_learns_as_well(ray_cluster, folder, tmp_path, setting):
    result = rayrml.run(training_config(folder, tmp_path), overrides={"data.preload": True, **setting}, quiet=True)
    assert result.history[1]["train_loss"] < result.history[0]["train_loss"]


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
@pytest.mark.filterwarnings("default")
def test_a_compiled_network_learns_what_it_learns_otherwise(runs, folder, tmp_path):
    result = rayrml.run(training_config(folder, tmp_path), overrides={"compile": True}, quiet=True)
    alone, compiled = weights_of(runs[1, False]), checkpoints.load(result.checkpoints[-1]).network
    assert all(torch.allclose(compiled[name], alone[name], atol=1e-4) for name in alone)


def test_random_transforms_change_training_and_leave_evaluation_alone(ray_cluster, folder, tmp_path):
    transforms = [{"resize": [28, 28]}, {"random_rotate": 30}, {"normalize": {"mean": 0.1, "std": 0.3}}]
    runs = []
    for name, some in (("a", transforms), ("b", [transforms[0], transforms[2]])):
        config = resumable(folder, tmp_path / name, num_epochs=1)
        config["neural_network"]["data"] |= {"transforms": some, "preload": True}
        config["neural_network"]["optimizer"]["learning_rate"] = 1e-12
        runs.append(rayrml.run(config, quiet=True).metrics)
    assert runs[0]["train_loss"] != pytest.approx(runs[1]["train_loss"], rel=1e-6)
    assert runs[0]["test_loss"] == pytest.approx(runs[1]["test_loss"], rel=1e-6)


SMALL_RUN = [
    {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 28, 28, 1]}},
    {"class_name": "Conv2D", "config": {"filters": 10, "kernel_size": [5, 5]}},
    {"class_name": "MaxPooling2D", "config": {"pool_size": [2, 2]}},
    {"class_name": "Activation", "config": {"activation": "relu"}},
    {"class_name": "Conv2D", "config": {"filters": 20, "kernel_size": [5, 5]}},
    {"class_name": "SpatialDropout2D", "config": {"rate": 0.5}},
    {"class_name": "MaxPooling2D", "config": {"pool_size": [2, 2]}},
    {"class_name": "Activation", "config": {"activation": "relu"}},
    {"class_name": "Flatten", "config": {}},
    {"class_name": "Dense", "config": {"units": 50, "activation": "relu"}},
    {"class_name": "Dropout", "config": {"rate": 0.5}},
    {"class_name": "Dense", "config": {"units": 2}},
    {"class_name": "Activation", "config": {"activation": "log_softmax", "axis": 1}},
]


def test_200_digits_of_two_classes_are_learned_as_the_predecessor_learned_them(ray_cluster, tmp_path, write_digits):
    write_digits(tmp_path / "training", "training", (0, 1), 100)
    write_digits(tmp_path / "testing", "testing", (0, 1), 10)
    config = training_config(tmp_path, tmp_path)
    nn = config["neural_network"]
    nn["layers"] = SMALL_RUN
    nn["num_epochs"] = 10
    nn["seed"] = 1
    nn["optimizer"] = {"type": "SGD", "learning_rate": 0.01, "momentum": 0.5}
    nn["data"] |= {"batch_size": 16, "preload": True}
    assert rayrml.check(config).network.num_parameters == 21_432
    result = rayrml.run(config, quiet=True)
    first = float((tmp_path / "out_train.txt").read_text().split()[3])
    assert first == pytest.approx(0.70, abs=0.12)
    assert [h["accuracy"] for h in result.history][7:] == [1.0, 1.0, 1.0]
    assert result.metrics["test_loss"] < 0.05
