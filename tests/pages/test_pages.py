"""The commands on the pages: each block of them is run here as it stands, or listed with what looks after it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.planning.test_starter_config import fill

FOLDERS = ("examples", "cluster", "rayrml", "tests")
PAGES = [ROOT / "README.md", *(page for folder in FOLDERS for page in sorted((ROOT / folder).rglob("*.md")))]
COMMAND = re.compile(r"(?:\w+=\S+ )*(?:rayrml|ray|python3?|pip|pytest|git|docker|kubectl|sbatch|source|export|cd) ")
# Blocks that need what a test has not, by their beginning, with what is tested instead.
ELSEWHERE = {
    "pip install -q '.[test]' && pytest": "the command that runs these tests; test_readme compares it with .ci/run",
    "ruff check . && ruff format": "these tests themselves, after the linters",
    "rayrml submit config.json --address http://HEAD:8265": "needs a cluster's dashboard: test_jobs submits",
    "ray job submit --address http://HEAD:8265": "needs a cluster's dashboard: test_jobs submits such a job",
    "export RAY_AUTH_MODE=token": "a line for later commands; cluster/local/tour.sh runs with tokens",
    "source cluster/local/nodes.sh": "takes minutes: cluster/local/tour.sh does it; test_cluster_files checks it",
    "ray get-auth-token --generate        # and copy": "needs two machines; cluster/test_lost_nodes has nodes on one",
    "ray get-auth-token --generate\nray up": "needs a cloud: test_cluster_files has Ray's launcher read the files",
    "docker build": "needs a registry and Kubernetes: test_cluster_files checks the manifests by what KubeRay knows",
    "sbatch cluster/slurm/train.sbatch": "needs Slurm: test_cluster_files checks the script",
    "rayrml predict --checkpoint shapes_model photos": "test_examples has pictures of boxes",
    "rayrml serve mnist_model --replicas": "needs a GPU: tests/serving starts servers with several replicas",
    "cd examples/detection": "test_examples runs it with fewer images and epochs",
    "cd examples/gan": "takes minutes: test_examples trains two epochs, test_guide makes plans of its configurations",
    "rayrml predict --checkpoint digits_gan": "needs a trained generator: test_examples has one",
    "cd examples/mnist\npython prepare.py\nrayrml --config= ./config_mnist_training.json\n"
    "rayrml --config= ./config_mnist_test.json": "test_cli walks through these very commands",
}
# What the commands of a page take for granted: what they install, and programs that fetch things.
PRELUDE = f"""
set -euo pipefail
rayrml() {{ if [ "$1" = serve ]; then serve "${{@:2}}"; else "{sys.executable}" -m rayrml "$@"; fi; }}
serve() {{ "{sys.executable}" -m tests.pages.served "$@" "$IMAGE" > served.json; }}
python() {{ "{sys.executable}" "$@"; }}
python3() {{ mkdir -p .venv/bin && touch .venv/bin/activate; }}
pip() {{ :; }}
git() {{ mkdir -p "$3"; mv path "$3"; }}
"""


def blocks(text):
    """The commands of each block of a page: of fences, and of indented lines, where what was printed may follow."""
    fences = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    rest = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    found = [fence.strip() for fence in fences]
    for block in re.findall(r"(?:^    .*\n)+", rest, flags=re.MULTILINE):
        lines = [line[4:] for line in block.splitlines()]
        prompted = [line[2:] for line in lines if line.startswith("$ ")]
        if prompted or COMMAND.match(lines[0]):
            found.append("\n".join(prompted or lines))
    return found


ALL = [(page, block) for page in PAGES for block in blocks(page.read_text())]
RUN = [(page, block) for page, block in ALL if not block.startswith(tuple(ELSEWHERE))]


# What a block takes to be there already, or the folder that it is typed in, by the block's beginning.
BEFORE = {
    "git clone": "IMAGE=path/to/images/red/0.jpg",
    "rayrml new path": "cd rayrml && rm images.json",
    "rayrml pack images packed": "cd rayrml && cp -r path/to/images images",
    "rayrml unpack digits": "cd examples/mnist && python -m tests.data.data_sets mnist_7k.npz digits",
    "rayrml predict": "cd examples/mnist && mkdir -p more_digits && cp mnist_digits/digit_0.jpg more_digits/ && "
    "cp mnist_digits/digit_1.jpg digit.png",
    "rayrml evaluate": "cd examples/mnist",
    "rayrml explain": "cd examples/mnist",
    "rayrml plot mnist_model": "cd examples/mnist && cp -rT mnist_model faster_model",
    "rayrml report mnist_model": "cd examples/mnist && cp -rT mnist_model faster_model",
    "rayrml export mnist_model": "cd examples/mnist",
    "pip install 'rayrml[serve]'": "cd examples/mnist && IMAGE=mnist_digits/digit_1.jpg",
}
# What a block leaves behind.
AFTER = {
    "python3 -m venv .venv && .": ["mnist_model/plots/loss.png", "mnist_predictions/output_1.h5"],
    "git clone": ["images_model/plots/predictions.png", "images_model/report.html", "runs.png", "served.json"],
    "rayrml new path": ["images.json"],
    "rayrml pack images packed": ["packed/rayrml_pack.json"],
    "rayrml unpack digits": ["digit_images/test/9"],
    "rayrml predict": ["predictions/output_1.h5", "predictions/predictions.csv"],
    "pip install 'rayrml[serve]'": ["served.json"],
    "rayrml evaluate": ["evaluation/metrics.json", "evaluation/predictions.csv"],
    "rayrml plot mnist_model": ["runs.png"],
    "rayrml report mnist_model": ["report.html"],
    "rayrml export mnist_model digits.onnx": ["digits.onnx"],
    "rayrml export mnist_model digits_int8.onnx": ["digits_int8.onnx"],
}


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The examples, with few of the digits, and a folder of images."""
    folder = tmp_path_factory.mktemp("clone")
    mnist = ROOT / "examples" / "mnist"
    (folder / "examples" / "mnist").mkdir(parents=True)
    for path in (*mnist.glob("*.py"), *mnist.glob("*.json")):
        shutil.copy(path, folder / "examples" / "mnist")
    with np.load(mnist / "mnist_7k.npz") as file:
        few = {name: file[name][:: 25 if name.startswith("train") else 20] for name in file}
    np.savez(folder / "examples" / "mnist" / "mnist_7k.npz", **few)
    fill(folder / "path" / "to" / "images", 6)
    return folder


def beginning(block, known):
    return next((start for start in known if block.startswith(start)), None)


@pytest.mark.ray
@pytest.mark.parametrize(
    "block", [block for _, block in RUN], ids=[f"{page.relative_to(ROOT)}:{b[:30]}" for page, b in RUN]
)
def test_the_commands_do_what_the_page_says(block, clone):
    """In the order of the pages: some go on with what others have made. Each command has a Ray of its own."""
    variables = {"PYTHONPATH": str(ROOT), "BENCHMARKS": str(clone / "measured")}
    script = "\n".join([PRELUDE, BEFORE.get(beginning(block, BEFORE) or "", ""), block, "pwd > /dev/fd/3"])
    with (clone / "last_folder").open("w") as told:
        descriptor = told.fileno()
        command = ["bash", "-c", f"exec 3>&{descriptor}\n{script}"]
        environment = {**os.environ, **variables}
        done = subprocess.run(
            command, cwd=clone, env=environment, pass_fds=[descriptor], capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
    last = Path((clone / "last_folder").read_text().strip())
    for name in AFTER.get(beginning(block, AFTER) or "", ()):
        assert (last / name).exists(), name


def test_each_reason_why_a_block_is_not_run_is_that_of_a_block():
    for known in (ELSEWHERE, BEFORE, AFTER):
        assert {beginning(block, known) for _, block in ALL} - {None} == set(known)


def test_all_pages_with_commands_are_looked_at():
    tracked = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    assert {ROOT / name for name in tracked.split()} <= {*PAGES, ROOT / "CHANGELOG.md"}
    assert len(RUN) > 5
