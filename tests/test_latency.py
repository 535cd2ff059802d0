"""The latency benchmark. No test looks at a time."""

import json

import pytest
import torch
from conftest import assert_refused

from cnn_zoo import create_model
from cnn_zoo.benchmark.latency import CONTENDERS, main
from cnn_zoo.formats.backbone_file import save_backbone
from cnn_zoo.formats.description import NetworkDescription
from cnn_zoo.formats.int8 import quantize
from cnn_zoo.formats.onnx import export_onnx

SIZES = {"num_classes": 10, "in_channels": 1, "image_size": 28}


@pytest.fixture
def no_compiler(monkeypatch):
    """Let torch.compile fail as it does without a C++ compiler."""

    def broken(*_, **__):
        raise RuntimeError("no C++ compiler was found\nlong story")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: broken)


@pytest.fixture
def network_files(tmp_path):
    """A network as safetensors, ONNX and int8 ONNX."""
    model, images = create_model("lenet5", **SIZES).eval(), torch.rand(4, 1, 28, 28)
    weights, float_file, int8_file = (tmp_path / name for name in ("net.safetensors", "net.onnx", "small.onnx"))
    save_backbone(model, weights, NetworkDescription("lenet5", **SIZES))
    export_onnx(model, float_file, images)
    quantize(float_file, int8_file, [images])
    return weights, float_file, int8_file


def test_each_contender_has_a_row(invoke, tmp_path):
    words = ["lab_cnn", "--batch_size", 2, "--rounds", 2, "--threads", 1, "--json", tmp_path / "latency.json"]
    result = invoke(main, *words)
    assert result.status == 0, result.err
    found = json.loads((tmp_path / "latency.json").read_text())
    assert found["device"]["threads"] == 1 and found["device"]["rounds"] == 2
    if "torch.compile does not work here" not in result.out:  # there is a compiler
        assert [row["runs_as"] for row in found["rows"]] == list(CONTENDERS)
    for row in found["rows"]:
        assert row["runs_as"] in result.out
        assert row["images_per_second"] == pytest.approx(2 / row["milliseconds"] * 1e3)
    assert found["rows"][0]["times_eager"] == 1.0
    assert "int8 is calibrated on random images" in result.out


def test_files(invoke, no_compiler, network_files, tmp_path):
    weights, float_file, int8_file = network_files
    out = tmp_path / "latency.json"
    result = invoke(main, weights, float_file, "--rounds", 1, int8_file, "--batch_size", "1,3", "--json", out)
    rows = [(row["network"], row["batch_size"], row["runs_as"]) for row in json.loads(out.read_text())["rows"]]
    left = [name for name in CONTENDERS if name != "compiled"]
    assert rows == [
        *((str(weights), n, name) for n in (1, 3) for name in left),
        *((str(float_file), n, "onnxruntime") for n in (1, 3)),
        *((str(int8_file), n, "onnxruntime int8") for n in (1, 3)),
    ]
    assert "torch.compile does not work here: no C++ compiler was found" in result.out


def test_without_names_it_prints_its_help(invoke):
    result = invoke(main)
    assert result.status == 0
    assert "resnet18 mobilenet_v2" in result.out


def test_an_existing_file_is_replaced_if_asked(invoke, no_compiler, network_files, tmp_path):
    out = tmp_path / "latency.json"
    out.write_text("text")
    result = invoke(main, network_files[1], "--rounds", 1, "--batch_size", 1, "--json", out, "--overwrite")
    assert result.status == 0
    assert len(json.loads(out.read_text())["rows"]) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("resnet19", "did you mean resnet9 or resnet18"),
        ("lenet5 --batch_size 1,0", "must be a whole number from 1, not '0'"),
        ("lenet5 --threads 0", "--threads: must be a whole number from 1, not '0'"),
        ("lenet5 --threads 1000000", "--threads: must be at most"),
        ("lenet5 --json /dev/null/latency.json", "cannot be written"),
        ("lenet5 --batch 3", "unrecognized arguments: --batch 3"),
        ("lenet5 --image_size 8", "at least 12 px"),
        ("nowhere.onnx", "There is no file nowhere.onnx"),
        ("nowhere.safetensors", "There is no file nowhere.safetensors"),
        ("{tmp}/text.onnx", "is not an ONNX file that onnxruntime can run"),
        ("{tmp}/text.ckpt", "is not a checkpoint of this package"),
        ("lenet5 --json {tmp}/text.onnx", "already exists; add --overwrite to replace it"),
        ("{tmp}/fixed.onnx", "which is not 1 images of a known size"),
    ],
)
def test_refusals(words, message, invoke, tmp_path):
    for name in ("text.onnx", "text.ckpt"):
        (tmp_path / name).write_text("text")
    if "fixed" in words:
        torch.onnx.export(torch.nn.ReLU(), (torch.rand(2, 1, 4, 4),), tmp_path / "fixed.onnx", verbose=False)
    assert_refused(invoke(main, *words.format(tmp=tmp_path).split()), message)
    assert (tmp_path / "text.onnx").read_text() == "text"
