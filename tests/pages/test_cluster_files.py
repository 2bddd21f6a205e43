"""The files in `cluster/`: what reads them would accept them. No cloud is asked."""

import json
import re
import subprocess

import pytest
import yaml

from rayrml.config.reading import parse
from rayrml.reporting.dashboard import _MEANINGS
from tests.conftest import ROOT

CLUSTER = ROOT / "cluster"
LAUNCHER = ["aws", "gcp", "azure"]
MANIFESTS = sorted(CLUSTER.glob("kuberay/*.yaml"))
SCRIPTS = sorted([*CLUSTER.glob("**/*.sh"), *CLUSTER.glob("**/*.sbatch")])


@pytest.mark.ray
@pytest.mark.parametrize("name", LAUNCHER)
def test_rays_launcher_accepts_the_file(name):
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((CLUSTER / f"{name}.yaml").read_text())
    validate_config(prepare_config(config))


@pytest.mark.parametrize("name", LAUNCHER)
def test_nodes_with_gpus_come_when_they_are_needed_and_the_head_works_for_nobody(name):
    config = yaml.safe_load((CLUSTER / f"{name}.yaml").read_text())
    types = config["available_node_types"]
    assert types[config["head_node_type"]]["resources"] == {"CPU": 0}
    assert types["gpu"]["min_workers"] == 0 < types["gpu"]["max_workers"] <= config["max_workers"]
    # Only on AWS does Ray find out by itself what a machine has.
    assert name == "aws" or types["gpu"]["resources"]["GPU"] > 0
    assert "spot" in json.dumps(types["gpu"]["node_config"]).lower()
    for commands in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
        assert all("RAY_AUTH_MODE=token" in command for command in commands if "ray start" in command)
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1]
    assert "/home/ray/.ray/auth_token" in config["file_mounts"]


# What KubeRay 1.7 knows of these, and what it asks for. Source: its custom resource definitions, version v1.
KNOWN = {
    "RayJob.spec": (
        {"entrypoint", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "backoffLimit", "rayClusterSpec"}
        | {"preRunningDeadlineSeconds", "activeDeadlineSeconds", "submissionMode", "runtimeEnvYAML", "suspend"},
        {"entrypoint", "rayClusterSpec"},
    ),
    "RayService.spec": (
        {"serveConfigV2", "rayClusterConfig", "upgradeStrategy", "excludeHeadPodFromServeSvc", "serveService"},
        {"rayClusterConfig"},
    ),
    "cluster": (
        {"rayVersion", "enableInTreeAutoscaling", "autoscalerOptions", "authOptions", "headGroupSpec"}
        | {"workerGroupSpecs"},
        {"headGroupSpec"},
    ),
    "autoscalerOptions": ({"version", "idleTimeoutSeconds", "upscalingMode", "resources", "env"}, {"version"}),
    "headGroupSpec": ({"rayStartParams", "template", "serviceType"}, {"template"}),
    "workerGroupSpec": (
        {"groupName", "minReplicas", "maxReplicas", "replicas", "rayStartParams", "template", "numOfHosts"},
        {"groupName", "minReplicas", "maxReplicas", "template"},
    ),
}


def check(kind, value):
    known, required = KNOWN[kind]
    assert required <= set(value) <= known, kind


def check_pod(group):
    assert all(isinstance(v, str) for v in group.get("rayStartParams", {}).values())
    spec = group["template"]["spec"]
    volumes = {volume["name"] for volume in spec["volumes"]}
    for container in spec["containers"]:
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        assert container["resources"]["limits"] == container["resources"]["requests"]
        assert all(isinstance(v, str) for v in container["resources"]["limits"].values())


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_kuberay_accepts_the_manifest(path):
    found = {document["kind"]: document for document in yaml.safe_load_all(path.read_text())}
    for kind, document in found.items():
        assert document["apiVersion"] == ("v1" if kind == "ConfigMap" else "ray.io/v1")
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,45}[a-z0-9])?", document["metadata"]["name"])
    (cluster,) = (
        spec if kind == "RayCluster" else spec.get("rayClusterSpec") or spec["rayClusterConfig"]
        for kind, spec in ((kind, document.get("spec")) for kind, document in found.items())
        if kind != "ConfigMap"
    )
    if "RayService" in found:
        check("RayService.spec", found["RayService"]["spec"])
    if "RayJob" in found:
        check("RayJob.spec", found["RayJob"]["spec"])
        config, mistakes = parse(json.loads(found["ConfigMap"]["data"]["config.json"]))
        assert config is not None and not mistakes
        assert config.ray.use_gpu is True
    check("cluster", cluster)
    check("autoscalerOptions", cluster["autoscalerOptions"])
    check("headGroupSpec", cluster["headGroupSpec"])
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["autoscalerOptions"]["version"] == "v2"
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    check_pod(cluster["headGroupSpec"])
    for group in cluster["workerGroupSpecs"]:
        check("workerGroupSpec", group)
        check_pod(group)
        assert group["minReplicas"] == 0


@pytest.mark.ray
@pytest.mark.parametrize("name", ["serve.yaml", "kuberay/rayservice.yaml"])
def test_ray_serve_accepts_the_server(name):
    from ray.serve.schema import ServeDeploySchema

    from rayrml.serving import deployment
    from rayrml.serving.settings import Settings

    document = yaml.safe_load((CLUSTER / name).read_text())
    text = document["spec"]["serveConfigV2"] if "spec" in document else None
    (application,) = ServeDeploySchema.model_validate(yaml.safe_load(text) if text else document).applications
    module, _, build = application.import_path.partition(":")
    assert module == deployment.__name__
    settings = Settings(**application.args)
    assert getattr(deployment, build)(settings) is not None
    assert settings.token is None  # it is in the environment
    assert not settings.open
    secret = "RAYRML_SERVE_TOKEN"
    assert secret in (CLUSTER / name).read_text()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_without_mistakes(path):
    subprocess.run(["bash", "-n", str(path)], check=True)
    found = subprocess.run(["shellcheck", "-x", str(path)], cwd=CLUSTER.parent, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_all_of_them_name_one_ray():
    versions = set()
    for path in [CLUSTER / "Dockerfile", *CLUSTER.glob("*.yaml"), *MANIFESTS]:
        versions |= set(re.findall(r"(?:rayproject/ray:|rayVersion: \"|\]==)(\d+\.\d+\.\d+)", path.read_text()))
    assert versions == {"2.60.0"}


def test_the_dashboard_shows_what_a_run_tells():
    text = (CLUSTER / "grafana" / "rayrml.json").read_text()
    shown = set(re.findall(r"ray_rayrml_(\w+)", text))
    assert shown <= set(_MEANINGS)
    assert set(_MEANINGS) - shown == {"batch"}
    panels = json.loads(text)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
