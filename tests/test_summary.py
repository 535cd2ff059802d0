"""The summary command as its user runs it."""

import csv
import subprocess
import sys

import pytest
import torch
from conftest import ROOT, assert_refused
from golden import FAMILIES

from cnn_zoo import create_model, summary


@pytest.fixture
def summarize(invoke):
    """Run the command, which must succeed; return what it prints."""

    def call(*words):
        result = invoke(summary.main, *words)
        assert result.status == 0, result.err
        return result.out

    return call


def read_csv(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def write_checkpoint(path, model, **hyper_parameters):
    weights = {f"backbone.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": weights, "hyper_parameters": hyper_parameters}, path)
    return path


def test_one_network_is_shown_by_layer(summarize):
    shown = summarize("simple_cnn")
    layer = ["stages.0.0", "32x16x16", "64x16x16", "3/1/1", "4,718,592"]
    total = ["60,554 parameters", "5,644,288 MACs", "sees 10 px", "fvcore adds 98,304", "thop adds 196,608"]
    assert [part for part in layer + total if part not in shown] == []


@pytest.mark.parametrize(
    ("columns", "convolution"),
    [
        ("costs", ["2,416", "240,000", "14", "2"]),  # parameters, MACs, field, jump
        ("sharing", ["1,600", "2,416", "2,400", "241,600"]),  # neurons, parameters, without bias, without sharing
        ("memory", ["240,000", "6.4", "2,776"]),  # MACs, kB, CIO
    ],
)
def test_a_set_of_columns_is_chosen(columns, convolution, summarize):
    shown = summarize("lenet5", "--columns", columns)
    (line,) = [line for line in shown.splitlines() if "stages.0.0" in line]
    assert line.split() == ["stages.0.0", "Conv2d", "6x14x14", "16x10x10", "5/1/0", *convolution]


@pytest.mark.parametrize("columns", ["costs", "sharing", "memory"])
def test_a_table_fits_120_columns(columns, summarize):
    lines = summarize("mobilenet_v2", "--image_size", 224, "--columns", columns).splitlines()
    assert max(len(line) for line in lines if line.startswith(" ")) <= 120


def test_weight_sharing_is_summed_up(summarize):
    shown = summarize("lenet5", "--in_channels", 1, "--image_size", 28)
    unshared = 4_704 * 26 + 1_600 * 151 + 120 * 401 + 84 * 121 + 10 * 85
    assert f"6,518 neurons; without weight sharing the network would have {unshared:,} parameters" in shown


def test_the_layers_as_csv(summarize, tmp_path):
    summarize("simple_cnn", "--csv", tmp_path / "layers.csv")
    rows = read_csv(tmp_path / "layers.csv")
    assert len(rows) == 11
    assert (rows[4]["input"], rows[4]["neurons"], rows[4]["unshared"]) == ("32x16x16", "16384", "4734976")
    assert sum(int(row["macs"]) for row in rows) == 5_644_288
    assert (rows[4]["output"], rows[4]["kernel"], rows[4]["field"]) == ("64x16x16", "3x3", "8x8")


def test_dilation_groups_and_the_whole_image_are_shown(summarize):
    shown = summarize("mobilenet_v3_small", "--in_channels", 1, "--image_size", 28, "--num_classes", 7, "--width=0.5")
    assert "3/2/1 g" in shown
    assert "sees image." in shown
    assert "1 x 28 x 28 image, 7 classes" in shown


def test_several_networks_are_compared(summarize, tmp_path):
    table, picture = tmp_path / "a" / "zoo.csv", tmp_path / "zoo.png"
    shown = summarize("resnet[2-4]?", "lenet5", "resnet32", "--sort", "macs", "--csv", table, "--picture", picture)
    rows = read_csv(table)
    assert [row["network"] for row in rows] == ["lenet5", "resnet20", "resnet32", "resnet44", "resnet34"]
    assert [int(row["macs"]) for row in rows] == sorted(int(row["macs"]) for row in rows)
    assert (rows[1]["parameters"], rows[1]["receptive_field"]) == ("269722", "81")
    assert "40,551,040" in shown
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_checkpoint_is_summarized_as_its_network(summarize, tmp_path):
    facts = {"num_classes": 7, "in_channels": 1, "image_size": 28}
    checkpoint = write_checkpoint(
        tmp_path / "best.ckpt",
        create_model("lenet5", **facts),
        backbone="lenet5",
        backbone_args={"activation": "relu"},
        **facts,
    )
    shown = summarize(checkpoint)
    sizes = ("--num_classes", 7, "--in_channels", 1, "--image_size", 28)
    same = summarize("lenet5", *sizes, "--activation", "relu")
    assert f"lenet5 of {checkpoint}: 1 x 28 x 28 image, 7 classes" in shown.replace("\n", "")
    assert shown.splitlines()[1:] == same.splitlines()[1:]
    assert "1 x 32 x 32 image, 7 classes" in summarize(checkpoint, "--image_size", 32)
    lines = summarize(checkpoint, "simple_cnn", "--sort", "macs", "--markdown").splitlines()
    assert [line.split("`")[1] for line in lines[2:]] == ["lenet5", "simple_cnn"]


@pytest.fixture
def own_network(tmp_path, monkeypatch):
    """A checkpoint of a class in a file of the current folder."""
    (tmp_path / "own_course.py").write_text(
        "from torch import nn\n\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Conv2d(1, 4, 5), nn.Flatten(), nn.Linear(4 * 24 * 24, 10))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    sizes = {"num_classes": 10, "in_channels": 1, "image_size": 28}
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 5), torch.nn.Flatten(), torch.nn.Linear(4 * 24 * 24, 10))
    return write_checkpoint(tmp_path / "own.ckpt", model, backbone="own_course.Net", **sizes)


def test_a_class_of_the_users_own_is_summarized(own_network, summarize):
    shown = summarize("own_course.Net", "--in_channels", 1, "--image_size", 28)
    assert "23,154 parameters" in shown and "4x24x24" in shown


def test_a_class_of_the_users_own_is_compared(own_network, summarize):
    shown = summarize("own_course.Net", "lenet5", "--in_channels", 1, "--image_size", 28, "--markdown")
    assert "| `own_course.Net` | 23,154 | 80,640 |" in shown


def test_a_class_of_the_users_own_is_checked_against_the_sizes(own_network, invoke):
    result = invoke(summary.main, "own_course.Net", "lenet5", "--in_channels", 1, "--image_size", 32)
    assert_refused(result, "own_course.Net does not run on 1 x 32 x 32 images: ")


def test_a_file_imports_nothing(own_network, invoke):
    assert_refused(invoke(summary.main, own_network), "names own_course.Net, which is not in the zoo; load_backbone")


def test_a_network_outside_the_zoo_is_imported_on_request(own_network, summarize):
    assert "23,154 parameters" in summarize(own_network, "--imports")


def test_a_safetensors_file_is_summarized(finished_run, summarize):
    assert "lenet5 of" in summarize(finished_run / "backbone.safetensors")


def test_the_table_of_the_documentation_is_the_commands(summarize):
    assert summarize("all", "--markdown").strip() in (ROOT / "docs" / "zoo.md").read_text()


def test_other_arguments_go_to_the_network(summarize):
    assert "GELU" in summarize("mlp", "--hidden", "[7, 8]", "--activation", "gelu")
    lines = [summarize("mobilenet_v1", "--width", width, "--markdown").splitlines()[2] for width in (0.5, 1)]
    assert lines[0] != lines[1]


def test_an_argument_may_come_before_the_network(summarize):
    arguments_last = summarize("mobilenet_v1", "--width", 0.5, "--markdown")
    assert summarize("--width", 0.5, "--markdown", "mobilenet_v1") == arguments_last


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("resnet19", "no backbone 'resnet19' in the zoo; did you mean resnet9 or resnet18"),
        ("resnet18 resnet19", "no backbone 'resnet19'"),
        ("nothing*", "No network of the zoo matches 'nothing*'"),
        ("resnet18 --hidden 5", "resnet18 takes no argument 'hidden'; it accepts num_classes"),
        ("mobilenet_v1 --width wide", "width must be a number above 0: 1 is the paper's network"),
        ("mobilenet_v1 --width", "--width needs a value"),
        ("mobilenet_v1 --width [", "value of --width cannot be read"),
        ("nin --image_size 65 --in_channels 0", "--in_channels: must be a whole number from 1, not '0'"),
        ("resnet18 --sort color", "invalid choice: 'color'"),
        ("", "the following arguments are required: NAME"),
        ("lenet5 --picture zoo.txt", "cannot be written"),
        ("lenet5 --csv /dev/null/zoo.csv", "cannot be written"),
        ("nowhere.ckpt", "There is no checkpoint 'nowhere.ckpt'"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_no_file(words, message, invoke, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    result = invoke(summary.main, *words.split())
    assert_refused(result, message)
    assert result.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


SMALLEST_IMAGE = {"lab_cnn": 16, "lenet5": 12, "simple_cnn": 4, "stacked_cnn": 8, "nin": 4, "googlenet": 4}
SMALLEST_IMAGE |= {"resnet9": 8, "ofa": 8}
SMALLEST_IMAGE |= {"densenet40_k12": 4, "densenet_bc100_k12": 4}
SMALLEST_IMAGE |= dict.fromkeys(["densenet121", "densenet161", "densenet169", "densenet201"], 8)
SMALLEST_IMAGE |= dict.fromkeys(["hardnet39ds", "hardnet68ds", "hardnet68", "hardnet85"], 8)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_network_takes_its_smallest_image(name, summarize):
    shown = summarize(name, "--image_size", SMALLEST_IMAGE.get(name, 3), "--markdown")
    assert f"| `{name}` |" in shown


@pytest.mark.parametrize(("name", "smallest"), SMALLEST_IMAGE.items())
def test_an_image_that_is_too_small_is_refused_with_the_smallest_size(name, smallest, invoke):
    result = invoke(summary.main, name, "--image_size", smallest - 1, "--markdown")
    assert_refused(result, f"needs images of at least {smallest} px, but image_size is {smallest - 1}")
    assert result.err.count("\n") == 1


def test_the_command_starts_without_lightning():
    code = "import sys, cnn_zoo.summary; print({'lightning', 'torchvision', 'fvcore'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
