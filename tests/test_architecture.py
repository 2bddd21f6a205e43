"""The chapters of the package: which folder imports which, and which libraries stay where."""

import ast
import functools
import re
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "rayrml"
LEVELS = [
    ["errors", "version"],
    ["cpus", "memory", "formatting", "tensors", "workers", "extras", "endings", "optimizers", "metrics", "boxes"],
    ["storage", "losses"],
    ["config"],
    ["cluster"],
    ["networks", "data", "lr_schedulers"],
    ["saving", "schema"],
    ["inference", "reporting"],
    ["planning", "training"],
    ["runs"],
    ["exporting", "serving", "tuning"],
    ["commands", "__init__"],
    ["cli"],
    ["__main__"],
]
LEVEL_OF = {name: level for level, names in enumerate(LEVELS) for name in names}
PLACES_OF_LIBRARY = {
    "ray": {
        "cluster",
        "data/pipeline",
        "data/ray_tasks",
        "inference/actors",
        "inference/outputs",
        "inference/prediction_files",
        "inference/shard_collection",
        "reporting/dashboard",
        "runs/installation_check",
        "serving/deployment",
        "serving/server",
        "training",
        "tuning",
    },
    "h5py": {"storage", "data/readers/arrays", "inference", "saving/keras_weights", "serving/files"},
    "pyarrow": {"storage", "data/label_tables"},
    "matplotlib": {
        "reporting/batch_plots",
        "reporting/column_plots",
        "reporting/detection_plots",
        "reporting/heat_plots",
        "reporting/plots",
        "reporting/rate_plots",
    },
    "torchvision": set(),
}
WITHOUT_TORCH = {
    "__init__",
    "__main__",
    "cli",
    "commands",
    "config",
    "errors",
    "formatting",
    "planning/starter_config",
    "reporting/history",
    "reporting/batch_plots",
    "reporting/plots",
    "reporting/rate_plots",
    "runs/launch",
    "runs/predict",
    "runs/rate_finder",
    "storage",
    "training/interrupts",
    "training/rate_range",
}
MOST_MODULES_AT_THE_ROOT = 12
# Tests in the folder of a chapter, or at the root, that belong to no single module there.
OF_NO_MODULE = {
    "screen": "whole commands on a terminal",
    "architecture": "the package as a whole",
    "public_names": "what the package offers to Python",
    "gpu": "what differs on a GPU, skipped where there is none",
    "cluster/autoscaling": "runs on a cluster that grows",
    "cluster/jobs": "runs on several nodes",
    "cluster/lost_nodes": "runs whose nodes vanish",
    "data/transforms/dimensions": "all transforms, by the number of axes",
    "data/transforms/reference": "all transforms, against other libraries",
    "losses/contract": "what holds for every loss",
    "networks/layers/contract": "what holds for every layer",
    "networks/layers/options": "options of layers that Keras 3 lacks",
    "networks/layers/reference": "all layers, against Keras",
    "networks/layers/training": "all layers, in training",
    "runs/arrays": "whole runs on arrays",
    "runs/balance": "whole runs on classes of unequal sizes",
    "runs/bad_pairs": "whole runs without bad pairs",
    "runs/bad_samples": "whole runs without bad samples",
    "runs/generation": "whole runs of generators",
    "runs/detection": "whole runs of networks that find objects",
    "runs/detection_traps": "data sets with boxes as other programs write them",
    "runs/optimization": "whole runs with each way of updating weights",
    "runs/keeping": "whole runs that evaluate and write their state at times of their own",
    "runs/named_networks": "whole runs of networks by name",
    "runs/flips": "whole runs with outputs averaged over flips",
    "runs/run": "whole runs",
    "runs/prediction_shards": "whole predictions whose workers write shards",
    "runs/tables": "whole runs on targets from tables",
    "runs/shards": "whole runs on images in shards",
    "runs/sizes": "whole runs on images of different sizes",
    "runs/without_ray": "whole runs on a machine where Ray cannot start",
    "runs/worker_settings": "whole runs with variables and a network interface for workers",
    "runs/tutorials": "whole runs with the keys of the predecessor's tutorials",
    "runs/stacked": "whole runs on arrays of many samples",
    "storage/object_store": "all modules that read or write in a store",
}


@functools.cache
def modules():
    """Name, chapter and tree of each module."""
    names = {str(path.relative_to(PACKAGE).with_suffix("")): path for path in sorted(PACKAGE.rglob("*.py"))}
    return [(name, name.split("/")[0], ast.parse(path.read_text())) for name, path in names.items()]


@functools.cache
def imports(tree):
    """Names of all modules that a file imports, also inside functions, but not those for type checkers."""
    for_checkers = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and node not in for_checkers:
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node not in for_checkers:
            found += [f"{node.module}.{a.name}" if node.module == "rayrml" else node.module for a in node.names]
    return found


def test_every_module_has_a_level():
    assert {room for _, room, _ in modules()} <= LEVEL_OF.keys()


def test_modules_that_are_imported_exist():
    own = {f"rayrml.{name}".replace("/", ".").removesuffix(".__init__") for name, _, _ in modules()}
    missing = [
        (name, imported)
        for name, _, tree in modules()
        for imported in imports(tree)
        if imported.count(".") > 1 and imported.startswith("rayrml.") and imported not in own
    ]
    assert not missing


def test_imports_go_downwards_only():
    upwards = [
        (name, imported)
        for name, room, tree in modules()
        for imported in imports(tree)
        if imported.partition(".")[0] == "rayrml"
        and (other := (*imported.split("."), "__init__")[1]) != room
        # A name that is not a module belongs to the package itself.
        and LEVEL_OF.get(other, LEVEL_OF["__init__"]) >= LEVEL_OF[room]
    ]
    assert not upwards


def test_the_root_has_few_modules_and_every_chapter_says_what_is_in_it():
    root = [path.stem for path in PACKAGE.glob("*.py")]
    assert len(root) <= MOST_MODULES_AT_THE_ROOT, root
    for folder in PACKAGE.iterdir():
        if (folder / "__init__.py").exists():
            assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text())), folder


def test_tests_lie_where_their_module_does():
    """In the same folder under the same name; a chapter's only test file has the chapter's name."""
    tests = Path(__file__).parent
    strayed = set()
    for path in tests.rglob("test_*.py"):
        module = PACKAGE / path.relative_to(tests).with_name(path.stem.removeprefix("test_"))
        found = module.is_dir() or module.with_suffix(".py").exists() or module.name == module.parent.name
        if module.parent.is_dir() and not found:
            strayed.add(str(module.relative_to(PACKAGE)))
    assert strayed == OF_NO_MODULE.keys()


def test_libraries_stay_in_their_rooms():
    strayed = [
        (name, imported)
        for name, room, tree in modules()
        for imported in imports(tree)
        if (library := imported.split(".")[0]) in PLACES_OF_LIBRARY
        and not PLACES_OF_LIBRARY[library] & {name, room, name.rpartition("/")[0]}
    ]
    assert not strayed


def test_one_module_alone_uses_the_private_parts_of_ray():
    """It says what each of them is for, and a test compares each with the installed Ray."""
    private = re.compile(r"ray\.(\w+\.)*_\w[\w.]*")
    users = {
        (name, text)
        for name, _, tree in modules()
        for node in ast.walk(tree)
        for text in _dotted_names(node)
        if private.fullmatch(text)
    }
    assert {name for name, _ in users} == {"cluster/ray_internals"}, users


def _dotted_names(node):
    """The names by which a node may reach other modules: imports, attributes, and names in strings."""
    match node:
        case ast.Import():
            return [alias.name for alias in node.names]
        case ast.ImportFrom(module=str(module)):
            return [f"{module}.{alias.name}" for alias in node.names]
        case ast.Attribute():
            return [ast.unparse(node)]
        case ast.Constant(value=str(value)):
            return [value]
    return []


def test_the_command_line_starts_without_torch():
    assert not [
        (name, imported)
        for name, room, tree in modules()
        if {name, room} & WITHOUT_TORCH
        for imported in imports(tree)
        if imported.split(".")[0] in ("torch", "ray")
    ]


def test_only_what_workers_run_looks_at_cuda():
    """The driver may be on a machine without a GPU, and must not take memory of a GPU that it has."""
    looking = {
        name
        for name, _, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith(("torch.cuda", "torch.accelerator"))
    }
    assert looking <= {"inference/arithmetic", *(name for name, room, _ in modules() if room == "training")}


def test_decoding_tasks_start_without_torch():
    for name, _, tree in modules():
        if name.startswith(("data/box_labels/", "data/label_tables/", "data/readers/", "storage/")) or name in (
            "data/ahead",
            "data/contents",
            "data/decoding",
            "data/initial_conditions",
            "data/pipeline",
            "data/ray_tasks",
            "data/image_ops",
            "data/colors",
            "data/discovery",
            "data/slicers",
            "data/__init__",
        ):
            at_once = ast.Module([node for node in tree.body if not isinstance(node, ast.FunctionDef)], [])
            assert not [i for i in imports(at_once) if i.split(".")[0] in ("torch", "torchvision")], name


def test_no_assert_and_no_bare_except_in_the_package():
    for name, _, tree in modules():
        for node in ast.walk(tree):
            assert not isinstance(node, ast.Assert), name
            assert not (isinstance(node, ast.ExceptHandler) and node.type is None), name


def test_modules_and_functions_stay_small():
    for name, _, tree in modules():
        lines = len((PACKAGE / f"{name}.py").read_text().splitlines())
        assert lines <= 400, f"{name}: {lines} lines"
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                assert length <= 50, f"{name}.{node.name}: {length} lines"
                assert len(node.args.args) - (node.args.args[:1] != [] and node.args.args[0].arg == "self") <= 4, (
                    f"{name}.{node.name}: too many positional parameters"
                )
