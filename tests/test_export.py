"""The command that writes a trained network as a file for other programs."""

import json
import re
import resource
import shutil
import subprocess

import onnx
import onnxruntime
import pytest
import torch
from conftest import ROOT, assert_refused

from cnn_zoo import export, load_backbone
from cnn_zoo.data import FashionMNIST, normalize
from cnn_zoo.formats import checked_export
from cnn_zoo.formats.backbone_file import read_backbone
from cnn_zoo.formats.int8 import quantize
from cnn_zoo.formats.run_folder import RunFolder


@pytest.fixture
def export_best(finished_run, invoke):
    """Export the best checkpoint of the finished run."""
    return lambda *words: invoke(export.main, "--ckpt", finished_run / "checkpoints" / "best.ckpt", *words)


@pytest.fixture(scope="module")
def sample():
    """The test images, uint8 (N, H, W, C), and their labels (N)."""
    data = FashionMNIST(sample=True)
    data.setup("test")
    return data.sets["test"]


@pytest.fixture(scope="module")
def images(sample):
    """The test images, normalized (N, C, H, W)."""
    return normalize(sample[0], FashionMNIST.mean, FashionMNIST.std).contiguous()


@pytest.fixture(scope="module")
def logits(finished_run, images):
    """The answers of the best checkpoint."""
    return load_backbone(finished_run / "checkpoints" / "best.ckpt")(images).detach()


def answers(path, images):
    session = onnxruntime.InferenceSession(path)
    (image_input,) = session.get_inputs()
    return torch.from_numpy(session.run(None, {image_input.name: images.numpy()})[0])


def metadata(path):
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_it_writes_an_onnx_file_beside_the_checkpoint(invoke, finished_run, images, logits, tmp_path):
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(finished_run, folder.path)
    accuracy = f"{json.loads(folder.card.read_text())['test_accuracy']:.2%}"
    result = invoke(export.main, "--ckpt", folder.best)
    assert result.status == 0, result.err
    assert f"accuracy {accuracy}, torch's {accuracy}" in result.out
    path = folder.best.with_name("best.onnx")
    assert f"Written: {path}" in result.out
    torch.testing.assert_close(answers(path, images), logits, atol=1e-4, rtol=0)


def test_the_commands_of_the_documentation_work_one_after_another(finished_run, invoke, tmp_path):
    shutil.copytree(finished_run, tmp_path / "RUN")
    page = (ROOT / "docs" / "ship.md").read_text()
    commands = re.findall(r"^python -m cnn_zoo.export (.*)$", page, re.MULTILINE)
    for command in commands:
        result = invoke(export.main, *command.replace("RUN/", f"{tmp_path}/RUN/").split())
        assert result.status == 0, result.err
    files = {path.name for path in (tmp_path / "RUN" / "checkpoints").iterdir()} - {"best.ckpt", "last.ckpt"}
    assert files == {"best.onnx", "best.int8.onnx", "best.image_input.onnx"} and len(commands) == 3


def test_an_onnx_file_has_the_metadata_of_the_one_that_fit_wrote(finished_run, export_best, tmp_path):
    assert export_best("--out", tmp_path / "net.onnx").status == 0
    texts = metadata(tmp_path / "net.onnx")
    assert texts == metadata(finished_run / "model.onnx")
    assert json.loads(texts["config"])["trainer"]["max_epochs"] == 3
    assert (texts["backbone"], json.loads(texts["backbone_args"])) == ("lenet5", {"activation": "relu"})


def test_image_input(export_best, sample, logits, tmp_path):
    path = tmp_path / "pixels.onnx"
    result = export_best("--image_input", "--out", path, "--opset", 20)
    assert "probabilities differ from torch's by at most" in result.out
    torch.testing.assert_close(answers(path, sample[0]), logits.softmax(1), atol=1e-5, rtol=0)
    assert onnx.load(path).opset_import[0].version == 20


def test_int8(finished_run, export_best, sample, images, tmp_path):
    path = tmp_path / "small.onnx"
    result = export_best("--format", "int8", "--out", path)
    _, float_row, int8_row, note, _ = result.out.splitlines()
    assert float_row.split()[0] == "float32" and note.startswith("500 test images")
    accuracy = (answers(path, images).argmax(1) == sample[1]).double().mean()
    assert int8_row.split()[:2] == ["int8", f"{accuracy:.2%}"]
    assert path.stat().st_size < 0.4 * (finished_run / "model.onnx").stat().st_size


def test_int8_that_loses_too_much_is_not_written(export_best, tmp_path, monkeypatch):
    def quantize_with_narrow_ranges(float_path, path, batches, method):
        quantize(float_path, path, (batch / 100 for batch in batches), method)

    monkeypatch.setattr(checked_export, "quantize", quantize_with_narrow_ranges)
    path = tmp_path / "small.onnx"
    path.write_text("the file before")
    words = ["--format", "int8", "--out", path, "--overwrite"]
    assert_refused(export_best(*words), "more than --max_drop 0.01 allows")
    assert path.read_text() == "the file before" and [p.name for p in tmp_path.iterdir()] == ["small.onnx"]
    assert export_best(*words, "--max_drop", 1).status == 0
    assert path.stat().st_size > 10_000


def test_safetensors(finished_run, export_best, tmp_path):
    path = tmp_path / "net.safetensors"
    result = export_best("--format", "safetensors", "--out", path)
    assert "differ from torch's by at most 0.0e+00" in result.out
    description, weights = read_backbone(path)
    other_description, other_weights = read_backbone(finished_run / "backbone.safetensors")
    assert description == other_description and weights.keys() == other_weights.keys()
    assert all(torch.equal(weights[name], other_weights[name]) for name in weights)


def test_torchexport(export_best, images, logits, tmp_path):
    path = tmp_path / "net.pt2"
    assert export_best("--format", "torchexport", "--out", path).status == 0
    extra_files = {"facts.json": ""}
    program = torch.export.load(path, extra_files=extra_files)
    torch.testing.assert_close(program.module()(images), logits, atol=1e-4, rtol=0)
    assert json.loads(extra_files["facts.json"])["config"]["model"]["backbone"] == "lenet5"


def test_a_key_of_the_configuration_can_be_given_another_value(export_best, tmp_path):
    words = ("--format", "safetensors", "--out", tmp_path / "net.safetensors")
    assert "On 500 test images" in export_best(*words, "--data.batch_size", 7).out


MISTAKES = [
    ("--format tflite", "invalid choice: 'tflite'"),
    ("--formt onnx", "no key 'formt'"),
    ("--out net.txt", "a file of the format onnx must end in .onnx"),
    ("--format int8 --out net.pt2", "a file of the format int8 must end in .onnx"),
    ("--format safetensors --image_input", "--image_input is for the formats onnx and int8, not for safetensors"),
    ("--max_drop 2", "must be a number from 0 to 1"),
    ("--out /dev/null/net.onnx", "cannot be written"),
    ("--opset x", "must be a whole number from 1, not 'x'"),
    ("--config nowhere.yaml", "There is no nowhere.yaml"),
    ("--ckpt nowhere.ckpt", "There is no checkpoint nowhere.ckpt"),
    ("--model.backbone simple_cnn --model.backbone_args null", "The checkpoint contains lenet5"),
    ("--format int8 --data.sample false --data.root /dev/null/data", "is not in /dev/null/data"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=[words for words, _ in MISTAKES])
def test_a_mistake_gets_one_sentence(words, message, export_best, tmp_path, monkeypatch):
    monkeypatch.setattr("cnn_zoo.data.FashionMNIST.sources", ("http://127.0.0.1:9",))
    out = [] if "--out" in words else ["--out", tmp_path / f"net.{'safetensors' if 'safetensors' in words else 'onnx'}"]
    assert_refused(export_best(*out, *words.split()), message)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_exists_is_not_replaced(export_best, tmp_path):
    path = tmp_path / "net.onnx"
    path.write_text("the file before")
    assert_refused(export_best("--out", path), "net.onnx already exists; add --overwrite to replace it.")
    assert path.read_text() == "the file before"


def test_a_checkpoint_that_is_not_in_a_run_folder_needs_a_configuration(invoke, tmp_path):
    torch.save({"state_dict": {}, "hyper_parameters": {"backbone": "lenet5"}}, tmp_path / "best.ckpt")
    result = invoke(export.main, "--ckpt", tmp_path / "best.ckpt")
    assert_refused(result, "config.yaml; give the run's config.yaml with --config")


@pytest.mark.parametrize("config", [True, False])
def test_weights_alone_are_refused(config, finished_run, invoke, tmp_path):
    torch.save({"module.weight": torch.zeros(1)}, tmp_path / "net.pth")
    words = ["--config", finished_run / "config.yaml"] if config else []
    result = invoke(export.main, "--ckpt", tmp_path / "net.pth", *words)
    assert_refused(result, "net.pth contains only weights (module.weight, …)")


@pytest.mark.parametrize("file_format", ["onnx", "int8", "safetensors", "torchexport"])
def test_weights_that_are_no_numbers_are_refused(file_format, finished_run, invoke, tmp_path):
    checkpoint = torch.load(finished_run / "checkpoints" / "best.ckpt", weights_only=True)
    next(iter(checkpoint["state_dict"].values())).fill_(torch.nan)
    torch.save(checkpoint, tmp_path / "nan.ckpt")
    words = ["--ckpt", tmp_path / "nan.ckpt", "--config", finished_run / "config.yaml", "--format", file_format]
    assert_refused(invoke(export.main, *words), "nan.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["nan.ckpt"]


def test_nothing_in_a_checkpoint_is_run(finished_run, invoke, tmp_path):
    torch.save({"state_dict": subprocess.Popen}, tmp_path / "code.ckpt")
    words = ["--ckpt", tmp_path / "code.ckpt", "--config", finished_run / "config.yaml"]
    assert_refused(invoke(export.main, *words), "nothing in it was run")


FILES = {"onnx": "net.onnx", "int8": "net.onnx", "safetensors": "net.safetensors", "torchexport": "net.pt2"}


@pytest.mark.parametrize("file_format", FILES)
def test_a_full_disk_leaves_the_old_file(file_format, export_best, tmp_path):
    path = tmp_path / FILES[file_format]
    path.write_text("the file before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # all four files are larger
    try:
        result = export_best("--format", file_format, "--out", path, "--overwrite")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_refused(result, f"{path} cannot be written (File too large); the file that was there is unchanged.")
    assert path.read_text() == "the file before" and [p.name for p in tmp_path.iterdir()] == [path.name]
