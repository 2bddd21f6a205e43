"""What the README shows is what there is."""

import re
import subprocess

from PIL import Image

from tests.conftest import ROOT
from tests.pages import readme_plots

TEXT = (ROOT / "README.md").read_text()
MOST_LINES = 220


def test_the_configuration_shown_is_that_of_the_example():
    shown = re.findall(r"```json\n(.*?)```", TEXT, flags=re.DOTALL)
    assert shown[0] == (ROOT / "examples" / "mnist" / "config_mnist_training.json").read_text()


def test_ci_runs_the_test_command_of_the_readme():
    install = "pip install -q '.[test]'"
    fast = 'pytest -n 2 --durations=25 -m "not ray and not faults and not cluster"'
    rest = [f'pytest --durations=25 -m "{m}"' for m in ("ray and not faults and not cluster", "faults or cluster")]
    command = " && ".join([install, fast, *rest])
    assert f"<!-- test command -->\n```bash\n{command}\n```\n" in TEXT
    subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=True)


def test_a_result_is_within_the_first_lines():
    assert "0.9260" in "".join(TEXT.splitlines()[:25])


def test_the_plots_shown_are_there_and_small():
    shown = re.findall(r'<img src="([^"]+)"', TEXT)
    assert [ROOT / path for path in shown] == [readme_plots.FOLDER / f"{name}.png" for name in readme_plots.NAMES]
    for path in shown:
        with Image.open(ROOT / path) as image:
            assert image.width > 1000
        assert (ROOT / path).stat().st_size < readme_plots.MOST_BYTES


def test_it_stays_short():
    assert len(TEXT.splitlines()) <= MOST_LINES
