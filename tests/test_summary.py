"""The summary command as its user runs it."""

import csv
import subprocess
import sys

import pytest
import torch
from conftest import ROOT

from cnn_zoo import command, list_models, summary


@pytest.fixture
def summarise(monkeypatch, capsys):
    """Run the command as its user would; gives what it prints."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["summary", *map(str, words)])
        command.run(summary.main)
        return capsys.readouterr().out

    return call


def test_summary_of_one_network(summarise, tmp_path):
    said = summarise("simple_cnn", "--csv", tmp_path / "layers.csv")
    for part in ("stages.0.0", "64x16x16", "3/1/1", "4,718,592", "60,554 parameters", "fvcore adds 98,304", "10 px"):
        assert part in said
    with open(tmp_path / "layers.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 11 and sum(int(row["macs"]) for row in rows) == 5_644_288
    assert (rows[4]["output"], rows[4]["kernel"], rows[4]["field"]) == ("64x16x16", "3x3", "8x8")


def test_summary_shows_dilation_groups_and_the_whole_image(summarise):
    said = summarise("mobilenet_v3_small", "--in_channels", 1, "--image_size", 28, "--num_classes", 7, "--width=0.5")
    assert "3/2/1 g" in said and "sees image" in said and "1 x 28 x 28 image, 7 classes" in said


def test_comparison(summarise, tmp_path):
    table, picture = tmp_path / "a" / "zoo.csv", tmp_path / "zoo.png"
    said = summarise("resnet[2-4]?", "lenet5", "resnet32", "--sort", "macs", "--csv", table, "--picture", picture)
    with open(table) as file:
        rows = list(csv.DictReader(file))
    assert [row["network"] for row in rows] == ["lenet5", "resnet20", "resnet32", "resnet44", "resnet34"]
    assert [int(row["macs"]) for row in rows] == sorted(int(row["macs"]) for row in rows)
    assert len(rows) == 5 and rows[1] | {"parameters": "269722", "receptive_field": "81"} == rows[1]
    assert "40,551,040" in said and picture.read_bytes().startswith(b"\x89PNG")


def test_a_checkpoint_is_like_its_network(summarise, tmp_path):
    arguments = {"num_classes": 7, "in_channels": 1, "image_size": 28, "backbone_args": {"activation": "relu"}}
    checkpoint = tmp_path / "best.ckpt"
    torch.save({"state_dict": {}, "hyper_parameters": {"backbone": "lenet5", **arguments}}, checkpoint)
    said = summarise(checkpoint)
    flags = ("--num_classes", 7, "--in_channels", 1, "--image_size", 28, "--activation", "relu")
    assert f"lenet5 of {checkpoint}: 1 x 28 x 28 image, 7 classes" in said.replace("\n", "")
    assert said.splitlines()[1:] == summarise("lenet5", *flags).splitlines()[1:]
    assert "1 x 32 x 32 image, 7 classes" in summarise(checkpoint, "--image_size", 32)
    both = summarise(checkpoint, "simple_cnn", "--sort", "macs", "--markdown").splitlines()
    assert [line.split("`")[1] for line in both[2:]] == ["lenet5", "simple_cnn"]


def test_a_checkpoint_imports_nothing(summarise, tmp_path, capsys):
    h = {"backbone": "my.net", "num_classes": 7, "in_channels": 1, "image_size": 28}
    torch.save({"state_dict": {}, "hyper_parameters": h}, tmp_path / "own.ckpt")
    with pytest.raises(SystemExit) as exit:
        summarise(tmp_path / "own.ckpt")
    assert exit.value.code == 2 and "is of my.net, which is not in the zoo" in capsys.readouterr().err


@pytest.mark.parametrize("column", ["network", "megabytes", "receptive_field"])
def test_any_column_sorts(column, summarise):
    names = ("vgg11", "mlp", "resnet20")
    rows = summary.compare([(name, summary.SIZES) for name in names], column)
    assert [row[column] for row in rows] == sorted(row[column] for row in rows)


def test_markdown(summarise):
    lines = summarise("resnet18", "alexnet", "mlp", "--markdown").splitlines()
    assert lines[0] == "| network | parameters | MACs | CIO | paper |"
    assert lines[2] == (
        "| `resnet18` | 11,173,962 | 555,422,720 | 1,281,024 | [paper](https://arxiv.org/abs/1512.03385) |"
    )
    assert "papers.nips.cc/paper/4824)" in lines[3] and lines[4].endswith("| - |")


def test_the_readmes_table_is_the_commands(summarise):
    assert summarise("all", "--markdown").strip() in (ROOT / "README.md").read_text()


def test_arguments_go_to_the_network(summarise):
    assert "bias" in summarise("mlp", "--hidden", "[7, 8]", "--activation", "gelu")
    lines = [summarise("mobilenet_v1", "--width", width, "--markdown").splitlines()[2] for width in (0.5, 1)]
    assert lines[0] != lines[1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("resnet19", "no backbone 'resnet19' in the zoo; did you mean resnet9 or resnet18"),
        ("resnet18 resnet19", "no backbone 'resnet19'"),
        ("nothing*", "No network of the zoo matches 'nothing*'"),
        ("resnet18 --width 0.5", "resnet18 takes no argument 'width'; it accepts num_classes"),
        ("mobilenet_v1 --width wide", "mobilenet_v1 cannot be built with"),
        ("mobilenet_v1 --width", "--width needs a value"),
        ("mobilenet_v1 --width [", "value of --width cannot be read"),
        ("lenet5 --image_size 8", "lenet5 needs images of at least 12 px, but image_size is 8"),
        ("nin --image_size 65 --in_channels 0", "--in_channels: must be a whole number from 1, not '0'"),
        ("resnet18 --sort colour", "invalid choice: 'colour'"),
        ("", "the following arguments are required: NAME"),
        ("lenet5 --picture zoo.txt", "cannot be written"),
        ("lenet5 --csv /dev/null/zoo.csv", "cannot be written"),
        ("nowhere.ckpt", "There is no checkpoint 'nowhere.ckpt'"),
    ],
)
def test_a_mistake_is_one_sentence(words, says, summarise, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit:
        summarise(*words.split())
    err = capsys.readouterr().err
    assert exit.value.code == 2 and says in err
    assert err.startswith("error: ") and err.count("\n") == 1 and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", list_models())
def test_an_image_too_small_is_one_sentence_or_works(name, summarise, capsys):
    try:
        summarise(name, "--image_size", 3, "--markdown")
    except SystemExit as exit:
        assert exit.code == 2 and capsys.readouterr().err.count("\n") == 1


def test_summary_starts_without_lightning():
    code = (
        "import sys, cnn_zoo.summary; sys.exit(any(m in sys.modules for m in ('lightning', 'torchvision', 'fvcore')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
