"""The metadata of the package, as its build makes them: PyPI shows the README, and knows no file of the repository."""

import os
import subprocess
import sys
from email import message_from_string
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.pages.test_links import links

BUILD = "from hatchling.build import prepare_metadata_for_build_wheel as made; import sys; print(made(sys.argv[1]))"


@pytest.fixture(scope="module")
def metadata(tmp_path_factory):
    folder = tmp_path_factory.mktemp("metadata")
    command = [sys.executable, "-c", BUILD, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return message_from_string(Path(folder, done.stdout.strip(), "METADATA").read_text(encoding="utf-8"))


def test_every_link_is_absolute_and_leads_to_a_file(metadata):
    source = dict(url.split(", ") for url in metadata.get_all("Project-URL"))["Source"]
    found = list(links(metadata.get_payload()))
    assert len(found) == len(list(links((ROOT / "README.md").read_text(encoding="utf-8")))) > 10
    for link in found:
        assert link.startswith("https://"), link
        for kind in ("blob", "raw"):
            if link.startswith(f"{source}/{kind}/main/"):
                path = link.removeprefix(f"{source}/{kind}/main/").partition("#")[0]
                assert (ROOT / path).exists(), link
                assert (kind == "raw") == path.endswith(".png"), link


def test_the_description_is_the_readme(metadata):
    assert metadata["Description-Content-Type"] == "text/markdown"
    text = metadata.get_payload()
    assert text.startswith("# rayrml\n")
    assert text.count("\n") == (ROOT / "README.md").read_text(encoding="utf-8").count("\n")


def test_systems_and_addresses_are_named(metadata):
    classifiers = metadata.get_all("Classifier")
    assert {"Operating System :: POSIX :: Linux", "Operating System :: MacOS"} <= set(classifiers)
    names = {url.split(", ")[0] for url in metadata.get_all("Project-URL")}
    assert names == {"Homepage", "Documentation", "Source", "Issues", "Changelog"}


def test_the_index_accepts_the_package(tmp_path):
    pytest.importorskip("twine", reason="twine is not installed")
    build = "from hatchling.build import build_wheel; import sys; print(build_wheel(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    command = [sys.executable, "-m", "twine", "check", "--strict", str(wheel)]
    done = subprocess.run(command, env={**os.environ, "NO_COLOR": "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
