"""Runs on a cluster of two nodes: as jobs, from Python, from inside tasks, and their metrics in Prometheus."""

import re
import subprocess
import sys
import textwrap
import time
import urllib.request

import h5py
import numpy as np
import pytest
import torch

from rayrml.data.readers import READERS
from rayrml.networks.network import build_network
from rayrml.saving import checkpoints
from tests.conftest import dense_network, write_config, write_jpeg
from tests.faults.runs import NUM_BATCHES, NUM_TEST, assert_whole_logs, config_in

pytestmark = pytest.mark.cluster

WORKERS = {"num_workers": 2, "resources_per_worker": {"CPU": 0.4}}


def submitted(cluster, path, *options, address=None):
    command = [sys.executable, "-m", "rayrml", "submit", path.name, "--address", address or cluster.dashboard]
    return cluster.run([*command, *options], path.parent)


def relative_config(folder, num_epochs):
    """A configuration whose paths are relative to its folder, with a network in a file next to it."""
    write_config(folder / "network.json", dense_network(3))
    config = config_in(folder, folder / "out", num_epochs=num_epochs)
    nn = config["neural_network"]
    nn |= {"layers": "network.json", "outfile": "out/out.txt", "checkpoints": {"save": "out/model", "interval": 1}}
    nn["data"]["preload"] = True
    nn["data"] |= {"input_path": "training", "test_input_path": "./testing", "test_output_path": "out/predictions"}
    return config | {"ray": WORKERS}


def scraped(cluster):
    """The runs' gauges as Prometheus receives them: name with labels, and value."""
    with urllib.request.urlopen(cluster.metrics, timeout=10) as answer:
        text = answer.read().decode()
    return dict(re.findall(r"^(ray_rayrml_\w+\{[^}]*\}) (\S+)$", text, re.MULTILINE))


def test_a_job_is_sent_followed_and_measured(cluster, folder):
    config = relative_config(folder, num_epochs=20)
    job = submitted(cluster, write_config(folder / "sent.json", config))
    job.wait_for("Train Epoch [  5/ 20]", 300)
    found = {}
    deadline = time.monotonic() + 60
    while not any("test_metric" in name for name in found) and time.monotonic() < deadline:
        found |= scraped(cluster)
        time.sleep(1)
    assert job.wait(300) == 0, job.text
    assert_whole_logs(folder / "out", 20)
    assert job.lines[0].startswith("Job ")
    assert "\r" not in job.text and "\x1b" not in job.text
    assert job.text.count("All done (return value = 0).") == 1
    with h5py.File(folder / "out" / "predictions" / "output_20.h5") as file:
        assert sum(len(group) for group in file.values()) == NUM_TEST
    names = {re.match(r"ray_rayrml_(\w+)\{", name)[1] for name in found}
    assert names >= {"epoch", "train_loss", "samples_per_second", "data_wait_share", "workers", "test_metric"}
    assert all('run="sent-' in name for name in found)
    (workers,) = [value for name, value in found.items() if "_workers{" in name]
    assert float(workers) == 2


def test_a_job_ends_with_the_commands_own_exit_code(cluster, folder):
    config = relative_config(folder, num_epochs=1)
    config["neural_network"]["data"]["input_path"] = "nowhere"
    job = submitted(cluster, write_config(folder / "wrong.json", config))
    assert job.wait(120) == 3
    assert "nowhere" in job.text
    config["neural_network"]["optimizer"]["type"] = "Adm"
    job = submitted(cluster, write_config(folder / "wrong.json", config))
    assert job.wait(120) == 2
    assert "Adam" in job.text


def test_a_job_that_is_stopped_keeps_what_it_has(cluster, folder):
    config = relative_config(folder, num_epochs=10_000)
    config["neural_network"]["checkpoints"]["save"] = "stopped"
    job = submitted(cluster, write_config(folder / "stopped.json", config))
    job.wait_for("Train Epoch [  2/", 300)
    (name,) = re.findall(r"^Job (\S+) at", job.text, re.MULTILINE)
    stop = [sys.executable, "-m", "ray.scripts.scripts", "job", "stop", f"--address={cluster.dashboard}", name]
    subprocess.run(stop, env=cluster.environment, check=True, timeout=120, capture_output=True)
    assert job.wait(60) == 143, job.text
    told = re.search(r"Interrupted after batch (\d+) of epoch (\d+)", job.text)
    state = checkpoints.load(folder / "stopped" / "interrupted.pt")
    assert (state.unfinished["batch"], state.epoch + 1) == tuple(map(int, told.groups()))
    assert state.unfinished["batch"] <= NUM_BATCHES


def test_without_the_token_one_sentence_says_what_to_do(cluster, folder):
    path = write_config(folder / "refused.json", relative_config(folder, num_epochs=1))
    environment = {k: v for k, v in cluster.environment.items() if not k.startswith("RAY_AUTH")} | {"HOME": str(folder)}
    for command in (["submit", "--address", cluster.dashboard], ["run", "--address", cluster.address]):
        told = subprocess.run(
            [sys.executable, "-m", "rayrml", command[0], path.name, *command[1:]],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert told.returncode == 4, told.stderr
        (line,) = told.stderr.splitlines()
        assert "export RAY_AUTH_MODE=token" in line


def test_machines_that_lack_the_data_are_named_before_the_run_begins(cluster, folder):
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("mounting is not permitted here")
    node = cluster.add(CPU=1, without=folder / "training")
    job = submitted(cluster, write_config(folder / "lacking.json", relative_config(folder, num_epochs=1)))
    code = job.wait(120)
    cluster.kill(node)
    assert code == 3, job.text
    told = re.findall(r"(\S+): is missing on (\S+)\. Expected a folder that all machines share", job.text)
    assert {path.split("/training/")[0] for path, _ in told} == {str(folder)}
    assert all(re.fullmatch(r"[\d.]+", address) for _, address in told)


def test_runs_go_side_by_side_from_python_and_from_inside_a_task(cluster, folder):
    config = relative_config(folder, num_epochs=2)
    config["neural_network"]["data"].pop("test_output_path")
    config["ray"] = {"num_workers": 1, "resources_per_worker": {"CPU": 0.2}}
    write_config(folder / "python.json", config)
    program = """
        import os, sys
        import ray, rayrml

        address, folder = sys.argv[1:]
        os.chdir(folder)
        ray.init(address=address, log_to_driver=False)

        @ray.remote(num_cpus=0)
        def run(number):
            os.chdir(folder)
            own = {"outfile": f"{folder}/task_{number}.txt", "checkpoints.save": f"{folder}/task_{number}"}
            return rayrml.run("python.json", overrides=own, quiet=True).metrics

        tasks = [run.remote(number) for number in range(2)]
        own = rayrml.run("python.json", quiet=True).metrics
        for found in [own, *ray.get(tasks)]:
            print("FOUND", found["epoch"], found["train_loss"])
        assert ray.is_initialized()
    """
    command = cluster.run([sys.executable, "-c", textwrap.dedent(program), cluster.address, str(folder)], folder)
    assert command.wait(400) == 0, command.text
    found = re.findall(r"FOUND (\d+) (\S+)", command.text)
    assert [epoch for epoch, _ in found] == ["2"] * 3
    # The same network, seed and samples, whoever runs it.
    assert len({loss[:7] for _, loss in found}) == 1


def test_a_run_through_rays_client_is_carried_out_on_the_cluster_and_shown_here(cluster, folder):
    config = relative_config(folder, num_epochs=2)
    write_config(folder / "client.json", config)
    program = """
        import sys
        import ray, rayrml

        for attempt in range(3):
            try:
                ray.init(sys.argv[1], log_to_driver=False)
                break
            except ConnectionAbortedError:  # Ray's own problem: the process that it starts for a client had ended
                if attempt == 2:
                    raise
        print("FOUND", len(rayrml.run("client.json").history))
        try:
            rayrml.run("client.json", overrides={"data.input_path": "nowhere"})
        except rayrml.DataError as error:
            print("REFUSED", error)
    """
    command = cluster.run([sys.executable, "-c", textwrap.dedent(program), cluster.client], folder)
    assert command.wait(300) == 0, command.text + cluster.logs("ray_client_server*")
    assert "FOUND 2" in command.text
    assert re.search(r"REFUSED .*nowhere", command.text)
    assert command.text.count("All done (return value = 0).") == 1
    assert command.text.count("Eval  Epoch [  2/  2]") == 1


def test_an_installation_is_checked_as_a_job_on_all_machines(cluster, tmp_path):
    job = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--address", cluster.dashboard, "--"]
    check = [sys.executable, "-m", "rayrml", "check-install", "--folder", str(tmp_path), "--num-workers", "2"]
    command = cluster.run([*job, *check], tmp_path)
    assert command.wait(300) == 0, command.text
    assert len(re.findall(r"\* Machine .*\(for Ray: 1 CPU, 0 GPU\)", command.text)) == 2
    assert "rayrml works here." in command.text
    assert list(tmp_path.iterdir()) == []


def test_a_search_whose_trials_have_a_worker_on_each_machine_is_a_job(cluster, folder, tmp_path):
    config = config_in(folder, tmp_path / "out", num_epochs=2)
    nn = config["neural_network"]
    nn["optimizer"]["learning_rate"] = {"choice": [0.001, 0.01]}
    nn["data"]["preload"] = True
    path = write_config(tmp_path / "search.json", config | {"ray": WORKERS})
    job = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--address", cluster.dashboard, "--"]
    command = cluster.run([*job, sys.executable, "-m", "rayrml", "tune", str(path), "--num-trials", "2"], tmp_path)
    assert command.wait(400) == 0, command.text
    assert "each with 2 CPU workers" in command.text
    assert re.search(r"Best trial: [12] of 2 \(", command.text)
    assert checkpoints.load(tmp_path / "out" / "model" / "best_model.pt").epoch in (1, 2)
    assert "Next:" not in command.text  # no user typed a command on that machine


def test_a_hundred_thousand_images_have_one_prediction_each(cluster, folder, tmp_path, digits):
    """On two machines; each image's prediction matches its content and is stored under its name."""
    images, _ = digits["testing"]
    kinds = [write_jpeg(tmp_path / "kinds" / f"{n}.jpg", images[n]) for n in range(50)]
    for group in range(100):
        (tmp_path / "images" / f"{group:02}").mkdir(parents=True)
        for n in range(1_000):
            (tmp_path / "images" / f"{group:02}" / f"{n:03}.jpg").hardlink_to(kinds[n % 50])
    torch.manual_seed(0)
    network = build_network(dense_network(3))
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    config = {
        "neural_network": {
            "layers": dense_network(3),
            "checkpoints": {"load": "weights.pt"},
            "data": {
                "input_type": "images",
                "test_input_path": "images",
                "test_output_path": "predictions",
                "test_batch_size": 512,
                "grayscale": True,
            },
        },
        "ray": WORKERS,
    }
    job = submitted(cluster, write_config(tmp_path / "many.json", config))
    assert job.wait(600) == 0, job.text
    read = READERS["images"](grayscale=True).decode
    with torch.inference_mode():
        expected = network.eval()(torch.from_numpy(np.stack([read(str(path)) for path in kinds])) / 255).numpy()
    with h5py.File(tmp_path / "predictions" / "output_1.h5") as file:
        assert sorted(file) == [f"{group:02}" for group in range(100)]
        for group in file.values():
            names = sorted(group)
            assert names == [f"{n:03}.jpg" for n in range(1_000)]
            found = np.stack([group[name][()] for name in names])
            assert np.allclose(found.reshape(20, 50, 3), expected, atol=1e-4)
