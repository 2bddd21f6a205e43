"""What the README shows is what there is."""

import json
import re
import subprocess

from PIL import Image

from rayrml.planning.plan import prepare
from tests.conftest import ROOT, dense_network, write_jpeg
from tests.pages import readme_plots
from tests.pages.readme import README, with_generated_parts

TEXT = README.read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def test_the_table_of_layers_is_that_of_the_code():
    assert with_generated_parts(TEXT) == TEXT, "run `python -m tests.pages.readme`"


def test_the_configuration_shown_is_that_of_the_example():
    assert blocks("json")[0] == (ROOT / "examples" / "mnist" / "config_mnist_training.json").read_text()


def test_the_section_for_workers_is_accepted(tmp_path, digits):
    (shown,) = (block for block in blocks("json") if block.startswith('"ray"'))
    images, _ = digits["training"]
    for number in range(2):
        write_jpeg(tmp_path / "in" / str(number) / "0.jpg", images[number])
    data = {"type": "images", "target_type": "labels", "input_path": str(tmp_path / "in"), "grayscale": True}
    network = {"layers": dense_network(2), "data": data, "loss": {"function": "NLL"}, "optimizer": {"type": "SGD"}}
    plan = prepare({"neural_network": network, **json.loads("{" + shown + "}")}, {})
    assert (plan.config.ray.num_workers, plan.config.ray.address) == (4, "auto")


def test_the_section_for_slices_is_that_of_the_example():
    (shown,) = (json.loads("{" + block + "}") for block in blocks("json") if block.startswith('"data"'))
    whole = json.loads((ROOT / "examples" / "volume" / "config.json").read_text())["neural_network"]["data"]
    slicers, expected = shown["data"].pop("slicers"), whole.pop("slicers")
    assert shown["data"].items() <= whole.items()
    assert [slicer.items() <= other.items() for slicer, other in zip(slicers, expected, strict=True)] == [True]


def test_the_python_shown_compiles():
    for block in blocks("python"):
        compile(block.split(">>>")[0], "README.md", "exec")


def test_ci_runs_the_test_command_of_the_readme():
    command = """pip install -q '.[test]' && pytest -m "not faults" && pytest -m faults"""
    assert f"<!-- test command -->\n```bash\n{command}\n```\n" in TEXT
    subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=True)


def test_a_result_is_within_the_first_lines():
    assert "Accuracy: 0.926" in "".join(TEXT.splitlines()[:25])


def test_the_plots_shown_are_there_and_small():
    shown = re.findall(r'<img src="([^"]+)"', TEXT)
    assert [ROOT / path for path in shown] == [readme_plots.FOLDER / f"{name}.png" for name in readme_plots.NAMES]
    for path in shown:
        with Image.open(ROOT / path) as image:
            assert image.width > 1000
        assert (ROOT / path).stat().st_size < readme_plots.MOST_BYTES


def test_links_lead_to_files():
    pages = [README, ROOT / "cluster" / "README.md"]
    for page in pages:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page}: {target}"
