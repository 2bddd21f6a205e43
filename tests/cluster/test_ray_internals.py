"""Each private part of Ray that is used exists and does what it is used for; a new Ray version fails here first."""

import importlib
import inspect
import json
import logging
import os
import pickle
import subprocess
import sys
import tempfile
import types
from typing import Any, cast

import pytest
from ray.train import FailureConfig, RunConfig, ScalingConfig, WorkerGroupError, get_context
from ray.train.torch import TorchTrainer

from rayrml import cli
from rayrml.cluster import ray_internals
from rayrml.cluster.capacity import ACCELERATOR_PREFIX
from rayrml.training.rendezvous import Rendezvous
from tests.conftest import ROOT


def private(module):
    return importlib.import_module(f"ray.{module}")


@pytest.mark.ray
def test_a_ray_that_was_started_here_is_told_from_one_that_was_not(ray_cluster):
    assert private("_private.worker")._global_node.head is True
    assert ray_internals.was_started_here()
    program = """if True:
        import sys, ray
        from rayrml.cluster import ray_internals
        ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
        print(ray_internals.was_started_here())
    """
    address = ray_cluster.get_runtime_context().gcs_address
    command = [sys.executable, "-c", program, address]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=120)
    assert ran.stdout.split() == ["False"]


def test_rays_client_tells_whether_it_is_connected():
    client = importlib.import_module("ray.util.client").ray
    assert client.is_connected() is False
    assert not ray_internals.is_client_connected()


def test_raylet_logs_are_printed_by_the_function_that_is_replaced(monkeypatch, capsys):
    worker = private("_private.worker")
    data = {"lines": ["a machine was lost"], "pid": "raylet", "is_err": False, "ip": "127.0.0.1", "job": None}
    monkeypatch.setattr(worker, "print_to_stdstream", worker.print_to_stdstream)  # restored after the test
    worker.print_to_stdstream(data, ignore_prefix=False)
    assert "a machine was lost" in capsys.readouterr().out
    assert "print_to_stdstream" in worker.listen_error_messages.__code__.co_names
    ray_internals.hide_raylet_logs()
    worker.print_to_stdstream(data, ignore_prefix=False)
    assert capsys.readouterr().out == ""


@pytest.mark.ray
def test_this_machine_has_the_resources_that_ray_finds_when_it_starts(ray_cluster):
    expected = ray_internals.machine_resources()
    assert expected["CPU"] >= 1
    (found,) = (node["Resources"] for node in ray_cluster.nodes())
    told = {name for name in found if not name.startswith("node:")} - {"CPU"}  # the session's Ray has a single one
    assert told <= expected.keys()
    assert expected["object_store_memory"] > 2**20


def test_a_function_of_rays_starts_no_ray_unasked():
    program = """if True:
        import ray
        from rayrml.cluster import ray_internals
        ray_internals.never_start_unasked()
        try:
            ray.put(1)
        except Exception as error:
            print(ray.is_initialized(), type(error).__name__)
    """
    ran = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True, timeout=120)
    assert ran.stdout.split() == ["False", "RaySystemError"]


@pytest.mark.ray
def test_a_signal_while_ray_is_shut_down_reaches_its_handler():
    program = """if True:
        import signal, threading, time, ray
        from rayrml.cluster import ray_internals
        ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        received = []
        signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
        ended = threading.Event()
        def send():
            while not ended.wait(0.02):
                # Only the moment in which Ray's core ends is without a handler.
                if not hasattr(ray._private.worker.global_worker, "core_worker"):
                    signal.raise_signal(signal.SIGTERM)
        thread = threading.Thread(target=send)
        thread.start()
        ray_internals.shut_down()
        ended.set()
        thread.join()
        print(len(received) > 3, "disconnect" in vars(ray._private.state.state))
    """
    ran = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, timeout=120)
    assert (ran.returncode, ran.stdout.split()) == (0, ["True", "False"])


def test_a_private_ray_listens_to_the_loopback_interface(monkeypatch):
    constants, services = private("_private.ray_constants"), private("_private.services")
    monkeypatch.setattr(private("_private.worker"), "_global_node", None)
    monkeypatch.delenv(constants.ENABLE_RAY_CLUSTERS_ENV_VAR, raising=False)
    before = constants.ENABLE_RAY_CLUSTER
    with ray_internals.listen_on_loopback():
        assert os.environ[constants.ENABLE_RAY_CLUSTERS_ENV_VAR] == "0"
        assert services.get_node_ip_address() in ("127.0.0.1", "::1")
    assert constants.ENABLE_RAY_CLUSTERS_ENV_VAR not in os.environ
    assert before == constants.ENABLE_RAY_CLUSTER


def test_a_wish_about_the_interface_is_respected(monkeypatch):
    constants = private("_private.ray_constants")
    monkeypatch.setenv(constants.ENABLE_RAY_CLUSTERS_ENV_VAR, "1")
    before = constants.ENABLE_RAY_CLUSTER
    with ray_internals.listen_on_loopback():
        assert os.environ[constants.ENABLE_RAY_CLUSTERS_ENV_VAR] == "1"
        assert before == constants.ENABLE_RAY_CLUSTER
    assert os.environ[constants.ENABLE_RAY_CLUSTERS_ENV_VAR] == "1"


def test_processes_of_a_job_look_for_no_modules_in_the_current_folder(tmp_path, monkeypatch):
    messages = importlib.import_module("ray.core.generated.common_pb2")
    for folder, expected in ((tmp_path, ["/elsewhere"]), (ROOT, ["/elsewhere", str(ROOT)])):
        monkeypatch.chdir(folder)
        config = ray_internals.JobConfig()
        config._py_driver_sys_path.extend(["/elsewhere", str(folder)])
        assert list(messages.JobConfig.FromString(config._serialize()).py_driver_sys_path) == expected
    assert "job_config._py_driver_sys_path.extend(" in inspect.getsource(private("_private.worker").connect)
    assert "job_config._serialize()" in inspect.getsource(private("_private.worker").connect)


def test_a_private_ray_is_started_without_the_current_folder_among_those_of_modules(monkeypatch):
    for before in (None, "", "1"):
        monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
        if before is not None:
            monkeypatch.setenv("PYTHONSAFEPATH", before)
        with ray_internals.start_safely():
            assert os.environ["PYTHONSAFEPATH"] == "1"
        assert os.environ.get("PYTHONSAFEPATH") == before


@pytest.mark.parametrize(("folder", "used"), [("/tmp/x", "/tmp/x"), (f"/tmp/{'x' * 40}", "/tmp")])
def test_a_private_ray_gets_a_folder_that_leaves_its_sockets_room(monkeypatch, folder, used):
    monkeypatch.setenv("TMPDIR", folder)
    monkeypatch.setattr(tempfile, "tempdir", folder)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    with ray_internals.keep_sockets_short():
        assert private("_common.utils").get_default_system_temp_dir() == used
        name = "session_2026-11-29_04-51-58_953902_1234567"
        assert len(f"{used}/ray/{name}/sockets/plasma_store") <= 107
    assert os.environ["TMPDIR"] == folder


def test_services_that_a_run_does_not_need_are_not_started():
    trainer = TorchTrainer(lambda: None, scaling_config=ScalingConfig(num_workers=2))

    def services():
        return {type(each).__name__ for each in trainer._create_default_callbacks()}

    every = services()
    assert every >= {"DatasetsCallback", "PlacementGroupCleanerCallback", "BackendSetupCallback"}
    ray_internals.drop_unused_services(trainer, private=False)
    assert services() == every - {"DatasetsCallback"}
    ray_internals.drop_unused_services(trainer, private=True)
    assert services() == every - {"DatasetsCallback", "PlacementGroupCleanerCallback"}
    worker = private("train.v2._internal.execution.worker_group.worker").RayTrainWorker
    given = inspect.signature(worker.init_train_context).parameters["dataset_shard_provider"]
    assert given.default is None


@pytest.mark.ray
def test_workers_that_are_lost_at_the_start_are_failures_that_a_run_survives(ray_cluster, tmp_path):
    """One while the workers meet, one while their loops are launched; the last ones need the places of the first."""

    def end_once(name):
        path = tmp_path / name
        if not path.exists():
            path.touch()
            os._exit(1)

    class Meeting(Rendezvous):
        @property
        def backend_cls(self):
            class EndsOne(super().backend_cls):
                def on_start(self, worker_group, backend_config):
                    worker_group.execute_single_async(1, end_once, "while they meet")
                    super().on_start(worker_group, backend_config)

            return EndsOne

    class EndsOne:
        def __init__(self):
            self.state = "not empty"

        def __setstate__(self, state):
            if os.environ.get("RANK") == "1":  # workers have that once they have met
                end_once("while loops are launched")

    trainer = TorchTrainer(
        lambda config: (tmp_path / f"trained {get_context().get_world_rank()}").touch(),
        train_loop_config={"read in the worker": EndsOne()},
        scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 0.5}),
        run_config=RunConfig(name="run", storage_path=str(tmp_path), failure_config=FailureConfig(max_failures=2)),
        torch_config=cast(Any, Meeting(folder=str(tmp_path))),
    )
    ray_internals.drop_unused_services(trainer, private=True)
    ray_internals.restart_after_losses_at_start(trainer)
    trainer.fit()
    names = {path.name for path in tmp_path.iterdir()}
    assert names >= {"while they meet", "while loops are launched", "trained 0", "trained 1"}


@pytest.mark.parametrize(
    ("name", "set_it", "value"),
    [
        ("ENABLE_PREEMPTION_WATCHER_ENV_VAR", ray_internals.train_without_watcher, "0"),
        ("HEALTH_CHECK_INTERVAL_S_ENV_VAR", ray_internals.notice_ends_soon, "0.5"),
        ("PREEMPTION_POLL_INTERVAL_S_ENV_VAR", ray_internals.notice_drains_soon, "1.0"),
    ],
)
def test_runs_have_other_settings_of_ray_train_unless_the_user_has_set_them(monkeypatch, name, set_it, value):
    constants = private("train.v2._internal.constants")
    variable = getattr(constants, name)
    monkeypatch.delenv(variable, raising=False)
    with set_it():
        assert os.environ[variable] == constants.get_env_vars_to_propagate()[variable] == value
    assert variable not in os.environ
    monkeypatch.setenv(variable, "1")
    with set_it():
        assert os.environ[variable] == "1"


def test_workers_that_end_because_one_is_about_to_be_lost_are_not_counted_as_failures():
    policy = private("train.v2._internal.execution.failure_handling.default").DefaultFailurePolicy(FailureConfig())
    error = pickle.loads(pickle.dumps(ray_internals.WorkersLeave()))
    decisions = [policy.make_decision(WorkerGroupError("lost", {1: error})).name for _ in range(5)]
    assert decisions == ["RETRY"] * 5 and str(error).startswith("the workers have ended because")
    assert policy.make_decision(WorkerGroupError("lost", {1: RuntimeError()})).name == "RAISE"


def test_a_worker_knows_which_workers_are_about_to_be_lost(monkeypatch):
    context, preemption = (private(f"train.v2._internal.execution.{name}") for name in ("context", "preemption"))
    assert "preemption_context" in context.TrainContext.__dataclass_fields__
    told = preemption.PreemptionContext()
    monkeypatch.setattr(context, "_train_context", types.SimpleNamespace(preemption_context=told))
    assert ray_internals.list_preempted_workers() == ()
    told.preemption_info = preemption.PreemptionInfo(deadline_ms=None, preempted_node_to_ranks={"a": [3, 1]})
    assert ray_internals.list_preempted_workers() == [1, 3]


@pytest.mark.ray
def test_ray_datas_services_are_started_and_stay(ray_cluster):
    ray_internals.start_data_services()
    named = ray_cluster.util.list_named_actors(all_namespaces=True)
    names = {actor["name"] for actor in named}
    stats = private("data._internal.stats").STATS_ACTOR_NAME
    assert {stats, "AutoscalingCoordinator", "DataUsageCollectionActor"} <= names


def test_ray_data_looks_for_its_limits_as_often_as_it_is_told(monkeypatch):
    manager = private("data._internal.execution.resource_manager").ResourceManager
    monkeypatch.setattr(manager, "GLOBAL_LIMITS_UPDATE_INTERVAL_S", manager.GLOBAL_LIMITS_UPDATE_INTERVAL_S)
    ray_internals.set_seconds_between_limits(0.25)
    assert manager.GLOBAL_LIMITS_UPDATE_INTERVAL_S == 0.25
    assert "self.GLOBAL_LIMITS_UPDATE_INTERVAL_S" in inspect.getsource(manager.get_global_limits)


@pytest.mark.ray
def test_a_cluster_that_cannot_grow_reports_no_maximum(ray_cluster):
    assert private("_private.state").state.get_max_resources_from_cluster_config() is None
    assert ray_internals.reported_maximum() is None


@pytest.mark.ray
def test_what_is_free_is_known_for_each_node(ray_cluster):
    (node,) = ray_cluster.nodes()
    free = ray_internals.free_resources()
    assert list(free) == [node["NodeID"]]
    assert 0 <= free[node["NodeID"]]["CPU"] <= node["Resources"]["CPU"]


def test_the_launchers_file_is_found_by_the_command_of_the_autoscaler(tmp_path):
    source = inspect.getsource(private("_private.services").start_monitor)
    assert '"--autoscaling-config="' in source
    assert "--gcs-address=" in source
    (tmp_path / "launcher.yaml").write_text(json.dumps({"max_workers": 3}))
    waiting = "import sys; print('ready', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", waiting, "--gcs-address=10.0.0.1:6543", "--autoscaling-config=launcher.yaml"]
    process = subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        assert ray_internals.read_launcher_file("6543") == {"max_workers": 3}
        assert ray_internals.read_launcher_file("543") is None
    finally:
        process.communicate()


def test_a_job_that_comes_too_early_is_refused_in_words_that_are_known():
    text = "please try again later"
    assert text in inspect.getsource(importlib.import_module("ray.dashboard.modules.job.job_head"))
    assert ray_internals.is_still_starting(RuntimeError(f"No available agent to submit job, {text}."))
    assert not ray_internals.is_still_starting(RuntimeError("No such package"))


@pytest.mark.parametrize("name", ray_internals.SUBMISSION_LOGGERS)
def test_what_submitting_says_comes_from_known_loggers(name):
    module = importlib.import_module(name)
    assert any(isinstance(value, logging.Logger) and value.name == name for value in vars(module).values())


def test_ray_knows_the_variables_and_resources_by_the_same_names():
    assert private("train.v2._internal.constants").WORKER_GROUP_START_TIMEOUT_S_ENV_VAR == (
        ray_internals.START_TIMEOUT_VARIABLE
    )
    supervisor = importlib.import_module("ray.dashboard.modules.job.job_supervisor")
    assert f'"{ray_internals.JOB_STOP_VARIABLE}"' in inspect.getsource(supervisor)
    readers = {"RAY_DATA_LOG_LEVEL": "data._internal.logging", "RAY_DATA_DISABLE_PROGRESS_BARS": "data.context"}
    assert readers.keys() == ray_internals.QUIET_VARIABLES.keys()
    for variable, module in readers.items():
        assert f'"{variable}"' in inspect.getsource(private(module))
    constants = private("_common.constants")
    assert constants.HEAD_NODE_RESOURCE_NAME == ray_internals.HEAD_RESOURCE
    assert private("_common.utils").RESOURCE_CONSTRAINT_PREFIX == ACCELERATOR_PREFIX
    assert private("_private.runtime_env.constants").RAY_JOB_CONFIG_JSON_ENV_VAR == cli._OF_A_JOB


def test_workers_are_prepared_by_what_ray_train_promises_its_backends():
    """The functions that `training/rendezvous.py` calls, and those of it that Ray Train calls."""
    group = private("train.v2._internal.execution.worker_group.worker_group").WorkerGroup
    for method, parameters in (
        ("execute_single", ["self", "rank", "fn", "fn_args", "fn_kwargs"]),
        ("execute_single_async", ["self", "rank", "fn", "fn_args", "fn_kwargs"]),
        ("__len__", ["self"]),
    ):
        assert list(inspect.signature(getattr(group, method)).parameters) == parameters
    from ray.train.torch import TorchConfig

    ours, rays = Rendezvous(), TorchConfig()
    for method in ("on_start", "on_shutdown"):
        assert (
            list(inspect.signature(getattr(rays.backend_cls, method)).parameters)[1:]
            == list(inspect.signature(getattr(ours.backend_cls, method)).parameters)[1:]
        )
    assert ours.backend_cls.share_cuda_visible_devices is rays.backend_cls.share_cuda_visible_devices is True
    assert ours.train_func_context is rays.train_func_context
    for use_gpu, backend in ((False, "gloo"), (True, "nccl")):
        meeting = Rendezvous()
        TorchTrainer(
            lambda: None, scaling_config=ScalingConfig(num_workers=2, use_gpu=use_gpu), torch_config=cast(Any, meeting)
        )
        assert meeting.backend == backend


def test_what_starts_the_workers_does_without_torch():
    """Ray Train's controller reads these settings before there is any worker."""
    program = "import sys; from rayrml.training.rendezvous import Rendezvous; Rendezvous().backend_cls()"
    command = [sys.executable, "-c", f"{program}; print('torch' in sys.modules)"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"
