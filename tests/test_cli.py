"""The command line: its output, its exit codes, and how early it reports mistakes."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from rayrml import cli
from rayrml.commands import VERBS, configuration
from rayrml.reporting import history
from rayrml.saving import checkpoints
from tests.conftest import ROOT, dense_network, write_config
from tests.terminal import Command, show


def answer(capsys, *arguments):
    code = cli.main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def config(tmp_path, write_digits):
    write_digits(tmp_path / "training", "training", (3, 5), 8)
    write_digits(tmp_path / "testing", "testing", (3, 5), 4)
    return write_config(
        tmp_path / "config.json",
        {
            "neural_network": {
                "layers": dense_network(2),
                "num_epochs": 2,
                "data": {
                    "type": "images",
                    "target_type": "labels",
                    "input_path": str(tmp_path / "training"),
                    "test_input_path": str(tmp_path / "testing"),
                    "grayscale": True,
                    "preload": True,
                },
                "optimizer": {"type": "Adam"},
                "loss": {"function": "NLL"},
            }
        },
    )


@pytest.mark.parametrize(
    "arguments",
    [["check", "{}"], ["check", "--config", "{}"], ["check", "--config={}"], ["check", "--config=", "{}"]],
)
def test_the_file_may_be_given_in_every_way(config, capsys, arguments):
    code, out, err = answer(capsys, *(a.format(config) for a in arguments))
    assert (code, err) == (0, "")
    assert "The configuration is valid." in out


@pytest.mark.parametrize("form", [["--config={}"], ["--config", "{}"], ["--config=", "{}"], ["run", "{}"], ["{}"]])
def test_without_a_verb_the_configuration_is_run(form, tmp_path, capsys):
    code, _, err = answer(capsys, *(part.format(tmp_path / "none.json") for part in form))
    assert code == 3
    assert re.fullmatch(r"rayrml: .*none\.json: cannot read '.*none\.json'\. No such file or directory\n", err)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["chekc", "config.json"], "unknown command 'chekc'. Did you mean 'check'?"),
        (["ceck"], "unknown command 'ceck'. Did you mean 'check'?"),
        (["zzz", "--quiet"], "unknown command 'zzz'. Expected a configuration or one of run, "),
        (["config.json", "--rounds", "3"], "unrecognized arguments: --rounds 3. `--set KEY=VALUE` sets any key"),
        (["plot", "model", "--wide"], "unrecognized arguments: --wide. `rayrml plot --help` lists the options"),
    ],
)
def test_a_mistyped_verb_or_option_is_told(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"rayrml: error: {message}")


def test_check_shows_layers_and_classes(config, capsys):
    _, out, _ = answer(capsys, "check", str(config))
    assert re.search(r"dense +Dense +\(2,\) +434\n", out)
    assert re.search(r"Total parameters +: 696\n", out)
    assert re.search(r"Class +Samples \(training\) +Samples \(test\)\n3 +8 +4\n5 +8 +4\n", out)


def test_check_shows_all_mistakes_and_no_traceback(config, capsys):
    settings = ["--set", "optimizer.lr=1", "--set", "loss.function=nl", "--set", "data.input_path=/nowhere"]
    code, _, err = answer(capsys, "check", str(config), *settings)
    assert code == 2
    assert len(err.splitlines()) == 3
    assert all(line.startswith("rayrml: neural_network.") for line in err.splitlines())


def test_a_syntax_error_is_shown_with_its_place(tmp_path, capsys):
    (tmp_path / "c.json").write_text('{"neural_network": }')
    code, _, err = answer(capsys, "check", str(tmp_path / "c.json"))
    assert code == 2
    assert err == f"rayrml: {tmp_path / 'c.json'}, line 1, column 20: not valid JSON. Expecting value\n"


def test_set_takes_json_values_and_plain_text(config, capsys):
    code, out, _ = answer(
        capsys, "check", str(config), "--set", "data.batch_size=5", "--set", "optimizer.type=sgd", "--num-workers", "2"
    )
    assert code == 0
    assert re.search(r"Batch size +: 5\n", out)
    assert re.search(r"Samples per worker +: 8\n", out)
    assert re.search(r"Type +: SGD\n", out)


@pytest.mark.parametrize(
    ("arguments", "how", "samples"),
    [([], "2 workers", 8), (["--num-workers", "1"], "ray.num_workers = 1", 16), (["--quiet"], None, None)],
)
def test_processes_of_mpirun_are_the_workers_of_one_run(config, arguments, how, samples):
    variables = {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_SIZE": "1"}
    command = [sys.executable, "-m", "rayrml", "check", config, *arguments]
    out = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=True).stdout
    if how is None:
        assert out == ""
    else:
        first, second, *_ = out.splitlines()
        assert first.endswith(f"mpirun has started 2 processes: this is one run with {how}")
        assert "start Ray on them and pass --address" in second  # the other process is on another machine
        assert re.search(rf"Samples per worker +: {samples}\n", out)


def test_a_setting_without_a_value_is_refused(config, capsys):
    code, _, err = answer(capsys, "check", str(config), "--set", "data.batch_size")
    assert (code, err) == (2, "rayrml: --set: expected KEY=VALUE, got 'data.batch_size'\n")


def test_no_configuration_is_a_mistake(capsys):
    assert answer(capsys, "run")[0] == 2


def imported(*arguments):
    """The slow libraries that a command has imported when it is done."""
    slow = ("torch", "ray", "pydantic", "matplotlib", "h5py", "numpy", "rich")
    code = (
        "import sys\nfrom rayrml import cli\n"
        f"try: cli.main({list(arguments)!r})\nexcept SystemExit: pass\n"
        f"print([m for m in {slow!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stderr.splitlines()[-1]


def test_help_and_syntax_errors_come_before_anything_slow_is_imported(tmp_path):
    (tmp_path / "c.json").write_text("{,}")
    assert imported("--help") == "[]"
    assert imported("check", str(tmp_path / "c.json")) == "['pydantic']"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["help", "tune"],
        ["list"],
        ["list", "losses"],
        ["list", "looses"],
        ["schema"],
        ["schema", "--tune"],
        ["schema", "--keys", "optimizer"],
        ["plot", "nowhere"],
        ["run", "{config}", "--epochs", "many"],
        ["predict", "image.jpg", "--checkpoint", "best.pt", "--set", "data.bacth_size=3"],
    ],
    ids=" ".join,
)
def test_what_the_tables_and_the_sections_say_needs_no_slow_library(arguments, config):
    assert imported(*(argument.format(config=config) for argument in arguments)) == "[]"


def test_mistakes_on_the_command_line_come_before_torch_and_ray_are_imported(config):
    assert imported("run", str(config), "--set", "num_epoch=3") == "['pydantic']"
    assert imported("run", str(config), "--set", "num_epochs") == "['pydantic']"
    assert imported("run", str(config), "num_epochs=0.5") == "['pydantic']"
    assert imported("run", str(config), "loss.function=bcee") == "['pydantic']"


def test_a_plot_and_a_check_import_only_what_they_use(config, tmp_path):
    (tmp_path / "history.csv").write_text("epoch,train_loss\n1,0.5\n2,0.25\n")
    assert imported("plot", str(tmp_path), "--output", str(tmp_path / "a.png")) == "['matplotlib', 'numpy']"
    assert imported("check", str(config)) == "['torch', 'pydantic', 'h5py', 'numpy', 'rich']"


def test_mistakes_in_what_the_command_line_sets_are_all_told(config, capsys):
    code, _, err = answer(capsys, "check", str(config), "num_epoch=3", "data.bacth_size=3", "ray.adress=auto")
    assert (code, err.splitlines()) == (
        2,
        [
            "rayrml: neural_network.num_epoch: unknown key. Did you mean 'num_epochs'?",
            "rayrml: neural_network.data.bacth_size: unknown key. Did you mean 'batch_size'?",
            "rayrml: ray.adress: unknown key. Did you mean 'address'?",
        ],
    )
    code, _, err = answer(capsys, "check", str(config), "num_epochs=0.5", "ray.num_workers=none")
    assert code == 2
    assert [line.split(":")[1] for line in err.splitlines()] == [" neural_network.num_epochs", " ray.num_workers"]


def test_a_terminal_sees_at_once_what_is_read(config, tmp_path):
    command = [sys.executable, "-m", "rayrml", "check", "config.json"]
    checking, quiet = Command(command, tmp_path), Command([*command, "--quiet"], tmp_path)
    assert (checking.finish(), quiet.finish()) == (0, 0)
    assert checking.written.startswith("Reading config.json\r\n")
    assert quiet.written == ""
    assert max(map(len, show(checking.written))) <= 80


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        *(([verb, "config.json"], "Reading config.json") for verb in ("run", "check", "tune", "submit")),
        (["new", "images"], "Reading images"),
        (["plot", "model", "model_2"], "Reading model, model_2"),
        (["evaluate", "model", "images"], "Reading model"),
        (["predict", "--checkpoint", "model", "images"], "Reading model"),
        (["export", "model", "network.pt2"], "Reading model"),
        (["export-weights", "model", "network.h5"], "Reading model"),
        (["check-install", "--address", "ray://nowhere:1"], "Loading Ray and PyTorch"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_a_terminal_sees_the_first_words_before_anything_slow_is_imported(arguments, first, tmp_path):
    code = (
        "import sys\nfrom rayrml import cli\n"
        "class Noting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('torch', 'ray', 'numpy', 'matplotlib', 'pydantic'):\n"
        "            sys.meta_path.remove(self)\n"
        "            print('importing', name, flush=True)\n"
        "            raise SystemExit(0)\n"
        f"sys.meta_path.insert(0, Noting())\ncli.main({arguments!r})"
    )
    command = Command([sys.executable, "-c", code], tmp_path)
    command.finish()
    assert command.written.startswith(first + "\r\n")


def python(code):
    """The output of a program that treats warnings as errors."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_importing_the_package_imports_nothing_but_the_standard_library():
    """Not even numpy, which takes longer to import than the whole package."""
    code = (
        "import sys; before = {name.partition('.')[0] for name in sys.modules}; import rayrml\n"
        "print({name.partition('.')[0] for name in sys.modules} - before - sys.stdlib_module_names)"
    )
    assert python(code) == "{'rayrml'}\n"


def test_no_public_name_warns_when_it_is_imported():
    assert python("import rayrml\nfor name in rayrml.__all__: getattr(rayrml, name)") == ""


def test_a_bug_is_reported_as_one(config, capsys, monkeypatch):
    def fail(options):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(VERBS["check"], "do", fail)
    code, _, err = answer(capsys, "check", str(config))
    assert code == 1
    assert err.splitlines()[-1].startswith("rayrml: this is a bug in rayrml")


@pytest.mark.ray
def test_the_walk_through_works_as_it_is_written(tmp_path):
    """Both commands of the tutorial and its closing loop, on a private Ray; with fewer epochs to save time."""
    for path in (ROOT / "examples" / "mnist").glob("*.json"):
        shutil.copy(path, tmp_path)
    subprocess.run([sys.executable, ROOT / "examples" / "mnist" / "prepare.py"], cwd=tmp_path, check=True)
    command = [sys.executable, "-m", "rayrml"]
    settings = ["--set", "num_epochs=3", "--set", "optimizer.learning_rate=2e-3"]
    out = _output([*command, "--config=", "./config_mnist_training.json", *settings], tmp_path)
    assert out.splitlines()[-1].endswith("All done (return value = 0).")
    assert re.search(
        r"Train Epoch \[  1/  3\] : Batch \[    1/   47\] \(Loss = 2\.\d{4}; \|g\| = \d\.\d{4}\) \[Data: ", out
    )
    accuracy = re.findall(
        r"Eval  Epoch \[  \d/  3\] : Batch \[   16/   16\] \(Loss: \d\.\d{4}\) \| Accuracy: (\d\.\d{3})", out
    )
    assert len(accuracy) == 3
    assert float(accuracy[-1]) > 0.9
    assert len((tmp_path / "out_mnist_train.txt").read_text().splitlines()) == 3 * 47
    test_config = tmp_path / "config_mnist_test.json"
    test_config.write_text(test_config.read_text().replace("checkpoint_20", "checkpoint_3"))
    _output([*command, "--config=", "./config_mnist_test.json"], tmp_path)
    loop = (
        "import numpy as np\nimport h5py as h5\n\npred = h5.File('./mnist_predictions/output_1.h5', 'r')\n"
        "for dataset in pred:\n    print(np.argmax(pred[dataset][()]), end=' ')\n"
    )
    assert _output([sys.executable, "-c", loop], tmp_path) == "3 5 1 9 4 7 2 0 6 8 "


@pytest.mark.ray
def test_an_interrupted_run_ends_without_a_traceback_and_goes_on_later(config, tmp_path):
    command = [sys.executable, "-m", "rayrml", str(config), "--set", f"checkpoints.save={tmp_path / 'model'}"]
    command += ["--set", "checkpoints.interval=100000", "--set"]
    endless = [*command, "num_epochs=100000"]
    with subprocess.Popen(endless, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if "Train Epoch [  3" in line:
                break
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "rayrml: interrupted\n"
    done = checkpoints.load(tmp_path / "model" / "last_epoch.pt").epoch
    out = _output([*command, f"num_epochs={done + 1}", "--resume"], tmp_path)
    assert f"Resuming at epoch {done + 1}" in out
    left = {p.name for p in (tmp_path / "model").glob("*.pt")}
    assert left - {"best.pt"} == {f"model_checkpoint_{done + 1}.pt"}
    (read,) = history.read_runs([str(tmp_path / "model")])
    assert [figures["epoch"] for figures in read.history] == list(range(1, done + 2))


@pytest.mark.ray
def test_a_terminal_gets_a_live_line_that_is_gone_at_the_end(config, tmp_path, write_digits):
    # An epoch must take longer than a quarter of a second, which is how often the line is written.
    write_digits(tmp_path / "many", "training", (3, 5), 500)
    many = ["--set", f"data.input_path={tmp_path / 'many'}", "--set", "data.batch_size=1", "--set", "num_epochs=3"]
    command = [sys.executable, "-m", "rayrml", str(config), *many]
    training = Command(command, tmp_path, columns=100, NO_COLOR="1")
    assert training.finish() == 0, training.written
    shown = training.written
    assert re.search(r"Epoch \d/3 .* loss \d\.\d{4}  .*left  .*samples/s", shown)
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", shown), "colours"
    end = shown[shown.rindex("All done") :]
    assert "Epoch" not in end
    # The line is erased after its last update.
    last = shown[shown.rindex("samples/s") :]
    assert "\x1b[2K" in last
    assert "\x1b[?25h" in last, "the cursor is back"


def _output(command, folder):
    # A Ray started by another test must not be taken for the user's cluster.
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def test_a_configuration_may_come_through_a_pipe(config, capsys):
    """A pipe can be read only once."""
    reading, writing = os.pipe()
    os.write(writing, config.read_bytes())
    os.close(writing)
    stdin = os.dup(0)
    os.dup2(reading, 0)
    try:
        code, out, err = answer(capsys, "check", "/dev/stdin")
    finally:
        os.dup2(stdin, 0)
        os.close(stdin)
        os.close(reading)
    assert (code, err) == (0, "")
    assert "The configuration is valid." in out


def test_h5py_is_imported_before_anything_forks(config):
    code = f"""
import sys
from rayrml.runs import launch as launch

def preparing(*arguments):
    print("torch" in sys.modules, "h5py" in sys.modules)
    raise SystemExit

launch._Preparing = preparing
launch.run({str(config)!r}, quiet=True)
"""
    assert python(code) == "False True\n"


HIDING = ["random", "queue", "json", "typing", "dataclasses", "re", "torch", "numpy", "ray", "PIL", "pandas", "pyarrow"]


def hide_modules(folder):
    """Write files of a user's that have the names of modules that rayrml, Ray or their libraries need."""
    for name in HIDING:
        (folder / f"{name}.py").write_text("raise RuntimeError('this is not the module of that name')")
    (folder / "pydantic").mkdir()
    (folder / "pydantic" / "__init__.py").touch()


def shell(command, folder, **environment):
    """The exit code, output and errors of a shell's command in a folder; `rayrml` stands for this package's."""
    program = f"'{sys.executable}' -m rayrml"
    done = subprocess.run(
        ["bash", "-c", command.replace("rayrml", program, 1)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": f"{ROOT}"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_files_named_like_modules_do_not_hide_them(config, tmp_path):
    hide_modules(tmp_path)
    code, out, err = shell("rayrml check config.json", tmp_path)
    assert (code, err) == (0, "")
    assert out.endswith("The configuration is valid.\n")


@pytest.mark.ray
@pytest.mark.parametrize("num_workers", [1, 2])
def test_files_named_like_modules_do_not_hide_them_from_rays_processes(config, tmp_path, num_workers):
    hide_modules(tmp_path)
    code, out, err = shell(f"rayrml run config.json --num-workers {num_workers}", tmp_path)
    assert (code, err) == (0, "")
    assert "All done" in out


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("rayrml list losses >&-", (0, "", "")),
        ("rayrml nonsense >&- 2>&- <&-", (2, "", "")),
        ("rayrml nonsense 2>&-", (2, "", "")),
        ("rayrml list losses | true; exit ${PIPESTATUS[0]}", (0, "", "")),
        (
            "rayrml list losses > /dev/full",
            (3, "", "rayrml: standard output: No space left on device. The end of it is lost\n"),
        ),
        (
            "mkdir gone; cd gone; rmdir ../gone; rayrml list losses",
            (
                3,
                "",
                "rayrml: the current folder: does not exist any more, or cannot be read. Change to another one. "
                "No such file or directory\n",
            ),
        ),
    ],
)
def test_streams_and_folders_that_are_gone_are_no_bugs(command, expected, tmp_path):
    assert shell(command, tmp_path) == expected


def test_names_that_the_screen_or_the_system_cannot_write(config, tmp_path):
    named = config.rename(tmp_path / "über.json")
    (tmp_path / "training" / "3").rename(tmp_path / "training" / "größe")
    (tmp_path / "testing" / "3").rename(tmp_path / "testing" / "größe")
    ascii_files = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for environment in ({"PYTHONIOENCODING": "ascii"}, ascii_files):
        code, out, err = shell("rayrml check *.json", tmp_path, **environment)
        assert (code, err) == (0, ""), environment
        assert "valid" in out
    content = json.loads(named.read_text())
    content["neural_network"]["data"]["input_path"] = str(tmp_path / "training" / "größe")
    write_config(named, content)
    code, _, err = shell("rayrml check *.json", tmp_path, **ascii_files)
    assert code == 3
    assert err.startswith("rayrml: the file name '") and err.endswith("in ascii. Set PYTHONUTF8=1 or LC_ALL=C.UTF-8\n")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("name", VERBS)
def test_the_examples_of_a_command_can_be_parsed_and_name_files_in_one_way(name, capsys):
    with pytest.raises(SystemExit):
        cli.main([name, "--help"])
    shown = capsys.readouterr().out.partition("examples:\n")[2].splitlines()
    assert [line.strip() for line in shown] == list(VERBS[name].EXAMPLES)
    assert len(shown) == 3
    for example in VERBS[name].EXAMPLES:
        program, *arguments = shlex.split(example.partition(" > ")[0])
        assert (program, arguments[0]) == ("rayrml", name)
        options = cli._options(cli._as_verb(arguments))
        assert options.verb == name
        assert getattr(options, "file", "config.json") == "config.json" or name.startswith("export")
        assert str(getattr(options, "checkpoint", "model")).split("/")[0] == "model"
        if hasattr(options, "set"):
            configuration._assigned(
                options, {"neural_network": {"optimizer": {"type": "Adam"}}}
            )  # raises ConfigError if there is no such key


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out.startswith("rayrml 0.")


def test_times_are_not_needed_to_tell_runs_apart(config):
    from rayrml.planning.preparation import prepare

    assert prepare(config, {"ray.run_name": "mine"}).name == "mine"
    assert prepare(json.loads(config.read_text()), {}).name.startswith(f"run-{time.strftime('%Y')}")


@pytest.mark.ray
@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["config.json"], 2, "neural_network.optimizer.type: unknown name \"Adamm\". Did you mean 'Adam'?"),
        (["predict", "--checkpoint", "nowhere.pt", "image.jpg"], 3, "nowhere.pt"),
    ],
)
def test_a_mistake_ends_the_command_and_the_ray_that_was_starting(tmp_path, arguments, code, complaint):
    def rays():
        """The Rays of this command; other Rays of the machine come and go."""
        found = psutil.process_iter(["name", "environ"])
        of_command = [p for p in found if (p.info["environ"] or {}).get("STARTED_BY") == str(tmp_path)]
        return [p for p in of_command if p.info["name"] in ("raylet", "gcs_server")]

    config = {"layers": [], "data": {"type": "images", "input_path": "nowhere"}, "optimizer": {"type": "Adamm"}}
    (tmp_path / "config.json").write_text(json.dumps({"neural_network": {**config, "loss": {"function": "MSE"}}}))
    done = subprocess.run(
        [sys.executable, "-m", "rayrml", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"STARTED_BY": str(tmp_path)},
    )
    assert done.returncode == code
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    deadline = time.monotonic() + 30
    while rays() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not rays()


def test_the_schema_is_json(capsys):
    code, out, err = answer(capsys, "schema")
    assert (code, err) == (0, "")
    assert json.loads(out)["properties"].keys() == {"neural_network", "ray", "extends", "$schema"}


def test_keys_and_lists_are_printed_as_tables(capsys):
    assert answer(capsys, "schema", "--keys", "ray")[1].splitlines()[2].split()[:3] == ["key", "type", "default"]
    assert re.search(r"^Adam +Adam, with L2", answer(capsys, "list", "Optimizers")[1], re.MULTILINE)
    assert "optimizers" in answer(capsys, "list")[1]


@pytest.mark.parametrize("arguments", [["list", "layer"], ["schema", "--keys", "optimiser"]])
def test_a_list_that_there_is_not_is_one_line(capsys, arguments):
    code, out, err = answer(capsys, *arguments)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "Did you mean" in err
