"""The public names of the package: which they are, that they resolve, and that importing one imports no other."""

import ast
import subprocess
import sys

import pytest

import rayrml
from rayrml import version
from tests.conftest import ROOT

PUBLIC = [
    "ClusterError",
    "ConfigError",
    "DataError",
    "Network",
    "Plan",
    "Predictions",
    "RunResult",
    "Server",
    "TuneResult",
    "__version__",
    "build_network",
    "check",
    "evaluate",
    "export",
    "export_weights",
    "load_weights",
    "predict",
    "run",
    "serve",
    "tune",
]


def test_public_names_are_these():
    assert rayrml.__all__ == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_resolves_to_what_it_names(name):
    value = getattr(rayrml, name)
    assert value == version.__version__ if name == "__version__" else value.__name__ == name


def test_another_name_is_refused():
    with pytest.raises(AttributeError, match="module 'rayrml' has no attribute 'trian'"):
        _ = rayrml.trian


def test_type_checkers_are_told_the_same_homes():
    tree = ast.parse((ROOT / "rayrml" / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    told = {alias.asname: node.module for node in block.body for alias in node.names}
    assert told == rayrml._LAZY
    assert all(alias.asname == alias.name for node in block.body for alias in node.names)


def test_public_names_are_no_modules():
    """A submodule with a public name would replace it as soon as it is imported."""
    assert not {name for name in PUBLIC if (ROOT / "rayrml" / f"{name}.py").exists()}
    assert not {name for name in PUBLIC if (ROOT / "rayrml" / name).exists()}


def test_importing_the_package_imports_neither_torch_nor_ray():
    program = "import sys, rayrml; print({name.partition('.')[0] for name in sys.modules} & {'torch', 'ray', 'numpy'})"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
