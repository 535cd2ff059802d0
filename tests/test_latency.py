"""The latency benchmark. No test looks at a time."""

import json
import subprocess
import sys

import pytest
import torch
from conftest import ROOT

from cnn_zoo import command as commands
from cnn_zoo import create_model
from cnn_zoo.formats.backbone_file import save_backbone
from cnn_zoo.benchmark.latency import CONTENDERS, main
from cnn_zoo.export import export_onnx, quantize
from cnn_zoo.analysis.timing import interleave, median_ratio

SIZES = {"num_classes": 10, "in_channels": 1, "image_size": 28}


@pytest.fixture
def benchmark(monkeypatch):
    def call(*words):
        monkeypatch.setattr(sys, "argv", ["benchmark", *map(str, words)])
        commands.run(main)

    return call


def test_latency_as_its_user_runs_it(tmp_path):
    words = ["lab_cnn", "--batch_size", "2", "--rounds", "2", "--threads", "1", "--json", tmp_path / "latency.json"]
    done = subprocess.run(
        [sys.executable, "-m", "cnn_zoo.benchmark", *words], cwd=ROOT, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "latency.json").read_text())
    assert found["device"]["threads"] == 1 and found["device"]["rounds"] == 2
    if "torch.compile does not work here" not in done.stdout:  # there is a compiler
        assert [row["runs_as"] for row in found["rows"]] == list(CONTENDERS)
    for row in found["rows"]:
        assert row["runs_as"] in done.stdout
        assert row["images_per_second"] == pytest.approx(2 / row["milliseconds"] * 1e3)
    assert found["rows"][0]["times_eager"] == 1.0 and "int8 is calibrated on random images" in done.stdout

    done = subprocess.run([sys.executable, "-m", "cnn_zoo.benchmark"], cwd=ROOT, capture_output=True, text=True)
    assert "--config experiments/quickstart.yaml" in done.stdout and "resnet18 mobilenet_v2" in done.stdout


def test_latency_of_files_without_a_compiler(benchmark, tmp_path, monkeypatch, capsys):
    def broken(*_, **__):
        raise RuntimeError("no C++ compiler was found\nlong story")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: broken)
    model, images = create_model("lenet5", **SIZES).eval(), torch.rand(4, 1, 28, 28)
    weights, whole, small = (tmp_path / n for n in ("net.safetensors", "net.onnx", "small.onnx"))
    save_backbone(model, weights, {"backbone": "lenet5", **SIZES})
    export_onnx(model, whole, images)
    quantize(whole, small, [images])
    out = tmp_path / "latency.json"
    benchmark(weights, whole, "--rounds", 1, small, "--batch_size", "1,3", "--json", out)
    rows = [(row["network"], row["batch_size"], row["runs_as"]) for row in json.loads(out.read_text())["rows"]]
    left = [name for name in CONTENDERS if name != "compiled"]
    assert rows == [
        *((str(weights), n, name) for n in (1, 3) for name in left),
        *((str(whole), n, "onnxruntime") for n in (1, 3)),
        *((str(small), n, "onnxruntime int8") for n in (1, 3)),
    ]
    assert "torch.compile does not work here: no C++ compiler was found" in capsys.readouterr().out


def test_contenders_take_turns():
    visits = []
    times = interleave({name: lambda n=name: visits.append(n) for name in "abc"}, rounds=4, visit=0)
    assert visits == list("aabbcc") * 5  # the first look and four rounds: one call warms up, one is timed
    assert {name: len(seconds) for name, seconds in times.items()} == {"a": 4, "b": 4, "c": 4}
    assert median_ratio([2.0, 9.0, 4.0], [1.0, 1.0, 2.0]) == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("resnet19", "did you mean resnet9 or resnet18"),
        ("lenet5 --batch_size 1,0", "must be a whole number from 1, not '0'"),
        ("lenet5 --batch 3", "unrecognized arguments: --batch 3"),
        ("lenet5 --image_size 8", "at least 12 px"),
        ("nowhere.onnx", "There is no file nowhere.onnx"),
        ("nowhere.safetensors", "There is no file nowhere.safetensors"),
        ("{tmp}/text.onnx", "is not an ONNX file that onnxruntime can run"),
        ("{tmp}/text.ckpt", "is not a checkpoint of this package"),
        ("lenet5 --json {tmp}/text.onnx", "exists and is kept; --overwrite replaces it"),
        ("{tmp}/fixed.onnx", "which is not 1 images of a size that is known"),
    ],
)
def test_a_mistake_gets_one_sentence(words, says, benchmark, capsys, tmp_path):
    for name in ("text.onnx", "text.ckpt"):
        (tmp_path / name).write_text("text")
    if "fixed" in words:
        torch.onnx.export(torch.nn.ReLU(), (torch.rand(2, 1, 4, 4),), tmp_path / "fixed.onnx", verbose=False)
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit:
        benchmark(*words.format(tmp=tmp_path).split())
    err = capsys.readouterr().err
    assert exit.value.code == 2 and says in err and "Traceback" not in err
    assert [line for line in err.splitlines() if line.startswith("error: ")] == [err.splitlines()[-1]]
    assert (tmp_path / "text.onnx").read_text() == "text"
