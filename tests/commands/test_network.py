import json

import pytest

from rayrml import cli
from rayrml.networks.families import NETWORKS
from rayrml.networks.network import build_network


def test_without_a_name_all_networks_are_listed(capsys):
    assert cli.main(["network"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == list(NETWORKS)
    assert max(map(len, lines)) <= 80


def test_a_network_is_written_as_json_that_can_be_built_and_described_beside_it(capsys):
    assert cli.main(["network", "MobileNetV2", "--classes", "5", "--input", "64", "48", "1"]) == 0
    output = capsys.readouterr()
    network = build_network(json.loads(output.out))
    assert network.input_shapes == ((1, 64, 48),) and network.output_shapes == ((5,),)
    described = f"mobilenetv2: {network.num_parameters:,} parameters, {network.num_operations} layers"
    assert output.err == f"{described}, 64 x 48 x 1 -> 5 (softmax)\n"


def test_keys_of_the_network_and_a_file(tmp_path, capsys):
    path = tmp_path / "unet.json"
    arguments = ["--input", "any", "any", "3", "filters=4", "--set", "depth=2", "activation=linear", "-o", str(path)]
    assert cli.main(["network", "unet", *arguments]) == 0
    output = capsys.readouterr()
    assert output.out == "" and output.err.endswith("any x any x 3 -> any x any x 1 (linear)\n")
    network = build_network(path)
    assert network.outputs_of((3, 8, 12)) == ((1, 8, 12),)
    assert max(len(line) for line in path.read_text().splitlines()) < 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet51"], "NAME: unknown name \"resnet51\". Did you mean 'resnet50'?"),
        (["unet", "filter=4"], "filter: unknown key. Did you mean 'filters'?"),
        (["unet", "--input", "60", "64", "3"], "input: unet takes sizes that are multiples of 16"),
        (["vgg16", "weights=a.h5"], "weights: the JSON of a network has no weights"),
        (["--classes", "5"], "NAME: must be given with other options"),
        (["-o", "a.json"], "NAME: must be given with other options"),
        (["resnet18", "--input", "3"], "input: must have at least 2 items, got [3]"),
        (["resnet18", "--classes", "0"], "classes: must be greater than or equal to 1"),
        (["inceptionv3", "--input", "20", "20", "3"], "input: inceptionv3 does not take 20 x 20: "),
    ],
)
def test_mistakes_are_told_in_one_line(capsys, arguments, message):
    assert cli.main(["network", *arguments]) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.startswith(f"rayrml: {message}") and output.err.count("\n") == 1


def test_a_file_that_cannot_be_written_exits_with_3(tmp_path, capsys):
    assert cli.main(["network", "resnet18", "-o", str(tmp_path / "nowhere" / "a.json")]) in (0, 3)
    (tmp_path / "file").write_text("")
    assert cli.main(["network", "resnet18", "-o", str(tmp_path / "file" / "a.json")]) == 3
    assert "cannot be written" in capsys.readouterr().err
