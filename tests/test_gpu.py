"""A GPU computes what a CPU computes; every test needs a GPU."""

import contextlib
import copy

import numpy as np
import pytest
import torch
from torch import nn

import rayrml
from rayrml.data.shards import ResidentShard, move
from rayrml.inference.arithmetic import arithmetic
from rayrml.inference.evaluation import EvaluationStep
from rayrml.losses import LOSSES
from rayrml.metrics import METRICS
from rayrml.networks.network import build_network
from rayrml.optimizers import OPTIMIZERS, needs_closure
from rayrml.planning import memory_estimate
from rayrml.saving import checkpoints
from rayrml.training import cuda_graphs
from rayrml.training.loss_scaling import LossScaler
from rayrml.training.step import TrainingStep
from tests.conftest import datasets_of, dense_network, training_config
from tests.data.transforms import test_transforms as transforms
from tests.losses import test_contract as losses
from tests.networks.layers import test_contract as layers

if not torch.cuda.is_available():
    pytest.skip("there is no GPU", allow_module_level=True)

pytestmark = [
    pytest.mark.filterwarnings("ignore:Synchronization debug mode"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*"),
    pytest.mark.filterwarnings("ignore:The CUDA Graph is empty"),  # for layers that only return a view of their input
]

GPU, CPU = torch.device("cuda"), torch.device("cpu")
CLASSES = (1, 4, 7)


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """Make convolutions use all bits of a float, and be deterministic."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)


@contextlib.contextmanager
def no_waiting():
    """Fail if the CPU waits for the GPU in the block."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def agree(on_gpu, on_cpu, tolerance=1e-4):
    assert on_gpu.device.type == "cuda"
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, atol=tolerance, rtol=tolerance)


# Each row of each table


@pytest.mark.parametrize("name", layers.NAMES)
def test_a_layer_gives_the_same_output_and_gradients(name):
    torch.manual_seed(0)
    network = layers._network(name).eval()
    results = []
    for net, device in ((network, CPU), (copy.deepcopy(network).to(GPU), GPU)):
        torch.manual_seed(1)
        xs = [x.to(device).requires_grad_() for x in layers._inputs(name)]
        output = net(*xs)
        output.square().sum().backward()
        results.append([output, *(t.grad for t in (*xs, *net.parameters()) if t.grad is not None)])
    for on_cpu, on_gpu in zip(*results, strict=True):
        agree(on_gpu, on_cpu, 1e-3)


@pytest.mark.parametrize("name", layers.NAMES)
@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
def test_a_layer_is_trained(name, autocast):
    network = layers._network(name).to(GPU).train()
    xs = [x.to(GPU).requires_grad_() for x in layers._inputs(name)]
    with torch.autocast("cuda", torch.bfloat16, enabled=autocast is not None):
        output = network(*xs)
    output.float().square().sum().backward()
    for tensor in (*xs, *network.parameters()):
        assert tensor.grad is not None and tensor.grad.isfinite().all()


@losses.EVERY_LOSS
def test_a_loss_its_gradient_its_weight_and_its_metric_are_the_same(case):
    loss = case.loss
    for shape in case.shapes:
        results = []
        for device in (CPU, GPU):
            output = case.output(losses.probabilities(shape)).float().to(device).requires_grad_()
            target = case.targets(shape)
            target = target.to(device) if loss.targets == "labels" else target.float().to(device)
            value = loss(output, target)
            value.backward()
            results.append([value, output.grad, *([loss.weight(target)] if loss.weight else [])])
            if loss.metric is not None:
                scores = loss.scores(output)
                results[-1].append(METRICS[loss.metric](ignore_index=loss.ignore_index).sums(scores.detach(), target))
        for on_cpu, on_gpu in zip(*results, strict=True):
            agree(torch.as_tensor(on_gpu, device=GPU), torch.as_tensor(on_cpu))


@pytest.mark.parametrize("name", transforms.NAMES)
def test_a_transform_does_the_same_without_making_the_cpu_wait(name):
    chosen = transforms.batched(name)
    sides = transforms.samples(name), transforms.samples(name, seed=1)
    expected = chosen(*sides, transforms.seeded())
    sides = [side.to(GPU) for side in sides]
    chosen(*sides, transforms.seeded())  # creates what is created only once
    with no_waiting():
        results = chosen(*sides, transforms.seeded())
    for on_gpu, on_cpu in zip(results, expected, strict=True):
        # A position on the border of two pixels may be rounded to the other one, and so may a hue.
        assert on_gpu.device.type == "cuda"
        apart = (on_gpu.cpu() - on_cpu).abs() > 1e-3
        assert apart.float().mean() < 1e-2


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_takes_the_same_steps(name):
    results = []
    for device in (CPU, GPU):
        net = small_network().to(device)
        # A long search along a valley ends elsewhere after the smallest difference.
        more = {"max_iterations": 2} if name == "Hessian" else {}
        step = TrainingStep(net, LOSSES["NLL"](), OPTIMIZERS[name](net.parameters(), learning_rate=0.01, **more))
        images, labels = digits_of(12)
        values = [step(images.to(device), labels.to(device), 12).loss.item() for _ in range(3)]
        results.append((values, net.state_dict()))
    (on_cpu, weights), (on_gpu, others) = results
    assert on_gpu == pytest.approx(on_cpu, rel=1e-3, abs=1e-5)
    for key, value in weights.items():
        agree(others[key], value, 1e-3)


# Steps


def small_network():
    torch.manual_seed(0)
    return build_network(dense_network(3), (1, 28, 28))


def digits_of(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 1, 28, 28), dtype=torch.uint8, generator=generator)
    return images, torch.randint(0, 3, (count,), generator=generator)


FIRST_ORDER = [name for name in OPTIMIZERS if not needs_closure(OPTIMIZERS[name](nn.Linear(1, 1).parameters()))]


@pytest.mark.parametrize("name", FIRST_ORDER)
@pytest.mark.parametrize("clip", [None, 0.1])
@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
def test_steps_on_samples_of_the_gpu_do_not_make_the_cpu_wait(name, clip, autocast):
    net = small_network().to(GPU)
    optimizer = OPTIMIZERS[name](net.parameters(), learning_rate=0.01)
    step = TrainingStep(net, LOSSES["NLL"](), optimizer, gradient_clip=clip, autocast=autocast)
    images, labels = digits_of(64)
    batches = list(ResidentShard(images.to(GPU), labels.to(GPU), np.arange(64)).batches([16] * 4, 1))
    losses = []
    for waits in (True, False, True, True, False):  # step by step, and as a graph
        with contextlib.nullcontext() if waits else no_waiting():
            losses += [step(batch.input, batch.target, 16).loss for batch in batches]
    assert torch.stack(losses).isfinite().all()


def test_batches_get_onto_the_gpu_and_through_an_evaluation_without_making_the_cpu_wait():
    net = small_network().to(GPU).eval()
    step = EvaluationStep(net, LOSSES["NLL"](), METRICS["accuracy"]())
    images, labels = digits_of(64)
    step(images[:8].to(GPU), labels[:8].to(GPU))
    with no_waiting():
        for batch, target in zip(images[8:].split(8), labels[8:].split(8), strict=True):
            step(move(batch, GPU), move(target, GPU))
    on_cpu = EvaluationStep(small_network().eval(), LOSSES["NLL"](), METRICS["accuracy"]())
    on_cpu(images, labels)
    found, expected = step.result(GPU), on_cpu.result(CPU)
    assert (found.loss, found.value) == pytest.approx((expected.loss, expected.value), rel=1e-4)
    assert (found.details.counts == expected.details.counts).all()


# Graphs


def gradient_of(net, *more):
    """A function for a graph: it computes a network's loss and sets its gradients."""

    def function(batch, target):
        net.zero_grad(set_to_none=True)
        loss = net(batch, *more).float().square().mean() + target.float().mean()
        loss.backward()
        return (loss.detach(),)

    return function


def _gradients(net):
    return [p.grad for p in net.parameters() if p.grad is not None]


@pytest.mark.parametrize("name", layers.NAMES)
def test_a_layer_in_a_graph_does_what_it_does_outside_of_it(name):
    first, *more = (x.to(GPU) for x in layers._inputs(name))
    network = layers._network(name).to(GPU).train()
    target = torch.zeros(3, device=GPU)
    results = []
    for net in (network, copy.deepcopy(network)):
        function = gradient_of(net, *more)
        if not list(net.parameters()):
            function = lambda batch, target, net=net: (net(batch, *more),)  # noqa: E731
        function(first, target)
        do = function
        if net is not network:
            graph = cuda_graphs._recorded(function, list(net.parameters()), first, target)
            assert graph is not None
            do = graph.replay
        torch.manual_seed(5)
        for number in range(3):
            outputs = do(first + number / 10, target + number)
            results.append([*outputs, *(t.clone() for t in (*_gradients(net), *net.buffers()))])
    for one, other in zip(results[:3], results[3:], strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@losses.EVERY_LOSS
def test_a_loss_in_a_graph_is_what_it_is_outside_of_it(case):
    shape = case.shapes[0]
    output = case.output(losses.probabilities(shape)).float().to(GPU)
    targets = [case.targets(shape, seed).to(GPU) for seed in (0, 1)]
    targets = targets if case.loss.targets == "labels" else [target.float() for target in targets]
    function = lambda batch, target: (case.loss(batch, target),)  # noqa: E731
    expected = [function(output, target)[0] for target in targets]
    graph = cuda_graphs._recorded(function, [], output, targets[0])
    assert graph is not None
    assert [graph.replay(output, target)[0].item() for target in targets] == [value.item() for value in expected]


class Busy(nn.Module):
    """A network whose output depends on more than the batch; with `look`, it cannot be captured as a graph."""

    def __init__(self, look=False):
        super().__init__()
        torch.manual_seed(0)
        first = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.MaxPool2d(4)]
        self.layers = nn.Sequential(*first, nn.Flatten(), nn.Linear(144, 3), nn.LogSoftmax(1))
        self.look = look

    def forward(self, x):
        y = self.layers(x)
        return y if not self.look or y.sum().item() < 1e9 else -y


def trained(network, epochs=3, **options):
    """Losses, norms, weights and the next random numbers after some epochs whose last batch is smaller."""
    net = network.to(GPU)
    optimizer = OPTIMIZERS["Adam"](net.parameters(), learning_rate=0.01)
    step = TrainingStep(net, LOSSES["NLL"](), optimizer, **options)
    images, labels = digits_of(8 * 16 + 5)
    shard = ResidentShard(images.to(GPU), labels.to(GPU), np.arange(len(images)))
    torch.manual_seed(1)
    figures = []
    for epoch in range(epochs):
        optimizer.param_groups[0]["lr"] = 0.01 / (epoch + 1)
        sizes = [16] * 8 + [5]
        for size, batch in zip(sizes, shard.batches(sizes, epoch), strict=True):
            done = step(batch.input, batch.target, size)
            figures += [done.loss, done.gradient_norm]
    return step, torch.stack(figures), net.state_dict(), torch.rand(3, device=GPU)


def agree_to_the_bit(found, expected):
    (figures, state, drawn), (other_figures, other_state, also_drawn) = found, expected
    assert torch.equal(figures, other_figures)
    assert torch.equal(drawn, also_drawn)
    assert all(torch.equal(value, other_state[name]) for name, value in state.items())


@pytest.mark.parametrize(
    "options", [{}, {"gradient_clip": 0.5}, {"autocast": torch.bfloat16}], ids=["plain", "clipped", "16 bits"]
)
def test_training_by_a_graph_is_training_without_one(options, monkeypatch):
    step, *found = trained(Busy(), **options)
    assert step.graphed.recorded
    monkeypatch.setattr(cuda_graphs, "_has_room", lambda device: False)
    alone, *expected = trained(Busy(), **options)
    assert not alone.graphed.recorded
    agree_to_the_bit(found, expected)


def test_what_cannot_be_recorded_goes_on_step_by_step(monkeypatch):
    step, *found = trained(Busy(look=True))
    assert not step.graphed.recorded
    monkeypatch.setattr(cuda_graphs, "_has_room", lambda device: False)
    _, *expected = trained(Busy())
    agree_to_the_bit(found, expected)


def test_a_recording_that_fails_leaves_all_as_it_was():
    network = Busy(look=True).to(GPU)
    images, labels = torch.rand(16, 1, 28, 28, device=GPU), torch.zeros(16, device=GPU)
    stream = torch.cuda.current_stream()
    for net in (network, Busy().to(GPU)):
        torch.manual_seed(3)
        function = gradient_of(net)
        function(images, labels)
        graph = cuda_graphs._recorded(function, list(net.parameters()), images, labels)
        assert (graph is None) == net.look
        assert torch.cuda.current_stream() == stream
    assert torch.isfinite(graph.replay(images, labels)[0])
    free = torch.cuda.mem_get_info()[0]
    del graph, function, net
    large = torch.empty(int(0.7 * free), dtype=torch.uint8, device=GPU)
    del large
    torch.empty(int(0.7 * free) + 2**24, dtype=torch.uint8, device=GPU)  # the first one must be returned for this
    torch.cuda.empty_cache()


@pytest.mark.parametrize("name", ["tf.math.maximum", "tf.math.minimum", "ops.Maximum", "tf.math.pow"])
def test_a_constant_is_not_sent_to_the_gpu_each_time(name):
    first = {"class_name": "InputLayer", "config": {"name": "in", "batch_shape": [None, 4]}}
    row = {
        "class_name": name,
        "config": {"name": "row", "operands": [None, 0.5]},
        "inbound_nodes": [[["in", 0, 0, {}]]],
    }
    network = build_network([first, row]).to(GPU)
    x = torch.rand(3, 4, device=GPU)
    with no_waiting():
        y = network(x)
    torch.testing.assert_close(y.cpu(), network(x.cpu()))


def test_where_the_gpu_has_enough_to_do_there_is_no_graph():
    net = nn.Sequential(
        nn.Conv2d(16, 256, 3), nn.ReLU(), nn.Conv2d(256, 256, 3), nn.Flatten(1), nn.AdaptiveMaxPool1d(3)
    )
    net.to(GPU)
    step = TrainingStep(net, LOSSES["CrossEntropy"](), OPTIMIZERS["SGD"](net.parameters()))
    images, labels = torch.rand(64, 16, 128, 128, device=GPU), torch.zeros(64, dtype=torch.int64, device=GPU)
    for _ in range(15):
        step(images, labels, 64)
    assert not step.graphed.recorded


@pytest.mark.parametrize("width", [8, 32])
def test_the_memory_of_a_step_is_what_is_foretold(width):
    parts = [nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3), nn.GELU()]
    net = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 2))
    shape, size = (3, 128, 128), 64
    foretold = memory_estimate.of_training(net, LOSSES["CrossEntropy"](), size, inputs=shape, targets=(), pixels=True)
    net.to(GPU)
    step = TrainingStep(net, LOSSES["CrossEntropy"](), OPTIMIZERS["Adam"](net.parameters()))
    labels = torch.zeros(size, dtype=torch.int64, device=GPU)
    for _ in range(2):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(torch.zeros(size, *shape, dtype=torch.uint8, device=GPU), labels, size)
    # Convolution kernels need memory of their own.
    assert 0.8 < (torch.cuda.max_memory_allocated() - before) / foretold < 3


# Runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_digits):
    path = tmp_path_factory.mktemp("gpu")
    write_digits(path / "training", "training", CLASSES, 20)
    write_digits(path / "testing", "testing", CLASSES, 9)
    return path


def gentle_config(folder, out, **data):
    """A training that tolerates small differences."""
    config = training_config(folder, out, **data)
    config["neural_network"]["optimizer"]["learning_rate"] = 0.01
    return config


def weights(out, epoch=2):
    return checkpoints.load(out / "model" / f"model_checkpoint_{epoch}.pt").network


@pytest.mark.ray
@pytest.mark.parametrize(
    "options",
    [
        {"data.preload": True},
        {"data.preload": False},
        {"data.preload": False, "ray.resources_per_worker": {"CPU": 0.5, "GPU": 1}},
        {"data.preload": True, "ray.resources_per_worker": {"CPU": 0.5, "GPU": 1}},
    ],
    ids=["resident", "streamed", "streamed to a worker", "resident in a worker"],
)
def test_a_run_trains_evaluates_and_predicts_what_it_does_on_a_cpu(options, ray_cluster, folder, tmp_path, capsys):
    results = {}
    for device, chosen in (("cpu", {"ray.use_gpu": False, "data.preload": options["data.preload"]}), ("gpu", options)):
        out = tmp_path / device
        out.mkdir()
        results[device] = rayrml.run(gentle_config(folder, out), overrides=chosen)
        shown = capsys.readouterr().out
        assert ("1 GPU worker" in shown) == (device == "gpu")
    near = 2e-2 if "ray.resources_per_worker" in options else 1e-3  # convolutions in workers use fewer bits
    for on_cpu, on_gpu in zip(results["cpu"].history, results["gpu"].history, strict=True):
        for key in ("train_loss", "test_loss"):
            assert on_gpu[key] == pytest.approx(on_cpu[key], rel=near)
    for key, value in weights(tmp_path / "cpu").items():
        torch.testing.assert_close(weights(tmp_path / "gpu")[key], value, atol=near, rtol=near)
    on_cpu, on_gpu = (datasets_of(tmp_path / name / "predictions" / "output_2.h5") for name in ("cpu", "gpu"))
    assert on_cpu.keys() == on_gpu.keys() and len(on_cpu) == 27
    for key, value in on_cpu.items():
        np.testing.assert_allclose(on_gpu[key], value, atol=5 * near, rtol=near)


@pytest.mark.ray
def test_a_resumed_run_is_the_one_that_was_never_stopped(ray_cluster, folder, tmp_path):
    config = training_config(folder, tmp_path, preload=True)
    config["neural_network"]["layers"].insert(4, {"class_name": "Dropout", "config": {"name": "drop", "rate": 0.5}})
    for out, epochs in (("whole", 4), ("part", 2), ("part", 4)):
        overrides = {"checkpoints.save": str(tmp_path / out / "model"), "num_epochs": epochs}
        rayrml.run(config, overrides=overrides, resume=out == "part" and epochs == 4, quiet=True)
    for key, value in weights(tmp_path / "whole", 4).items():
        assert torch.equal(weights(tmp_path / "part", 4)[key], value), key


@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize(("name", "arguments"), [("SGD", {"momentum": 0.9}), ("Adam", {}), ("RMSprop", {})])
def test_steps_that_overflow_are_skipped(name, arguments, graphs):
    """Also the first one; the kernels of fused optimizers look at the overflow themselves."""
    images, targets = torch.rand(24, 16, 8, device=GPU), torch.rand(24, 16, 3, device=GPU)
    images[[0, 5, 20]] = torch.inf
    results, scaler = [], LossScaler(GPU)
    for scaling in (scaler, None):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(8, 5), nn.Linear(5, 3)).to(GPU)
        optimizer = OPTIMIZERS[name](net.parameters(), learning_rate=0.01, **arguments)
        step = TrainingStep(net, LOSSES["MSE"](), optimizer, graphs=graphs, scaler=scaling)
        for batch, target in zip(images, targets, strict=True):
            if scaling is not None or torch.isfinite(batch).all():
                step(batch, target, 16)
        results.append(list(net.parameters()))
    assert scaler.take_skipped() == 3
    assert scaler.scale == 2.0**13
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("benchmark", [True, False])
@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_a_gpu_computes_as_the_configuration_says_and_then_as_before(precision, benchmark):
    backends = torch.backends
    before = backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32, backends.cudnn.benchmark
    with arithmetic(precision, GPU, benchmark=benchmark):
        assert backends.cuda.matmul.allow_tf32 == (precision == "tf32")
        assert backends.cudnn.benchmark == benchmark
    assert before == (backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32, backends.cudnn.benchmark)


@pytest.mark.ray
@pytest.mark.parametrize("precision", ["fp16", "tf32"])
def test_a_run_in_other_arithmetic_learns_the_same(precision, ray_cluster, folder, tmp_path):
    results = []
    for name, options in (("plain", {}), ("other", {"precision": precision, "cudnn_benchmark": True})):
        (tmp_path / name).mkdir()
        config = gentle_config(folder, tmp_path / name, preload=True)
        results.append(rayrml.run(config, overrides=options, quiet=True).history[-1])
    assert results[1]["test_loss"] == pytest.approx(results[0]["test_loss"], rel=0.05)


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")  # the compiler's warnings
@pytest.mark.parametrize("precision", ["auto", "bf16"])
def test_a_run_in_16_bits_with_a_compiled_network_learns_the_same(precision, ray_cluster, folder, tmp_path):
    results = []
    for name, options in (("plain", {}), ("fast", {"precision": precision, "compile": True})):
        (tmp_path / name).mkdir()
        config = gentle_config(folder, tmp_path / name, preload=True)
        results.append(rayrml.run(config, overrides=options, quiet=True).history[-1])
    assert results[1]["test_loss"] == pytest.approx(results[0]["test_loss"], rel=0.05)


@pytest.mark.ray
@pytest.mark.parametrize("options", [{}, {"ray.resources_per_worker": {"CPU": 0.3, "GPU": 1}}], ids=["here", "actor"])
def test_a_trained_network_predicts_what_it_predicts_on_a_cpu(options, ray_cluster, folder, tmp_path):
    rayrml.run(training_config(folder, tmp_path), overrides={"ray.use_gpu": False}, quiet=True)
    network = tmp_path / "model" / "model_checkpoint_2.pt"
    for name, chosen in (("cpu", {"ray.use_gpu": False}), ("gpu", options)):
        rayrml.predict(network, folder / "testing", tmp_path / name, overrides=chosen, quiet=True)
    on_cpu, on_gpu = (datasets_of(tmp_path / name / "output_1.h5") for name in ("cpu", "gpu"))
    assert on_cpu.keys() == on_gpu.keys() and len(on_cpu) == 27
    for key, value in on_cpu.items():
        np.testing.assert_allclose(on_gpu[key], value, atol=1e-2, rtol=1e-2)


@pytest.mark.ray
def test_what_a_gpu_has_no_room_for_ends_with_advice(ray_cluster, folder, tmp_path):
    config = training_config(folder, tmp_path, preload=True, batch_size=60)
    config["neural_network"]["layers"][1:] = [
        {"class_name": "UpSampling2D", "config": {"name": "up", "size": 200}},
        {"class_name": "Conv2D", "config": {"name": "conv", "filters": 64, "kernel_size": 3}},
        {"class_name": "GlobalAveragePooling2D", "config": {"name": "mean"}},
        {"class_name": "Dense", "config": {"name": "dense", "units": 3, "activation": "log_softmax"}},
    ]
    with pytest.raises(torch.OutOfMemoryError, match="memory"):
        rayrml.run(config, quiet=True)


def test_a_generator_and_its_critic_are_trained_as_on_a_cpu(tmp_path):
    from tests.generation import configuration, run_here

    found = []
    for device in ("cuda", "cpu"):
        config = configuration(tmp_path, num_epochs=1, checkpoints={"save": str(tmp_path / device)})
        run = run_here(config, device=device)
        found.append([[row.loss, row.gradient_norm] for row in run.rows])
        assert set(run.history[0]) >= {"swd", "test_wasserstein"}
    np.testing.assert_allclose(*found, rtol=1e-3)
