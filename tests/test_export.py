"""A trained network as files, each checked against it; what cannot be shipped is refused and nothing is lost."""

import json
import resource
import subprocess
import sys

import onnx
import onnxruntime
import pytest
import torch
from conftest import QUICK, ROOT
from torch import nn

from cnn_zoo import command as commands
from cnn_zoo import fit, load_backbone
from cnn_zoo.formats.backbone_file import read_backbone
from cnn_zoo.data import FashionMNIST, normalize
from cnn_zoo.errors import UserError
from cnn_zoo.export import export_onnx, quantize, ship
from cnn_zoo.export import main
from cnn_zoo.formats.torch_export import export_torch


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder of the quick start."""
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        words = ["--config", QUICK, "--trainer.max_epochs", 3, "--trainer.default_root_dir", root]
        patch.setattr(sys, "argv", ["fit", *map(str, words)])
        commands.run(fit.main)
    return root / "quickstart" / "version_0"


@pytest.fixture
def export(run, monkeypatch, capsys):
    """Run the command on it; gives what it printed."""

    def call(*words):
        words = ["--ckpt", run / "checkpoints" / "best.ckpt", *words]
        monkeypatch.setattr(sys, "argv", ["export", *map(str, words)])
        commands.run(main)
        return capsys.readouterr().out

    return call


def refused(capsys, call, *words):
    """The one sentence."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit:
        call(*words)
    err = capsys.readouterr().err
    assert exit.value.code == 2 and "Traceback" not in err
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    return line


def test_data():
    """Images uint8 (N, H, W, C), the same normalised (N, C, H, W), and labels."""
    data = FashionMNIST(sample=True)
    data.setup("test")
    images, labels = data.sets["test"]
    return images, normalize(images.permute(0, 3, 1, 2), data.mean, data.std).contiguous(), labels


test_data.__test__ = False


def answer(path, images):
    session = onnxruntime.InferenceSession(path)
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: images.numpy()})[0])


def metadata(path):
    return {p.key: p.value for p in onnx.load(path).metadata_props}


def test_onnx_as_its_user_runs_it(run):
    checkpoint, card = run / "checkpoints" / "best.ckpt", json.loads((run / "result.json").read_text())
    words = [sys.executable, "-m", "cnn_zoo.export", "--ckpt", checkpoint]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert f"accuracy {card['test_accuracy']:.2%}, torch's {card['test_accuracy']:.2%}" in done.stdout

    path = checkpoint.with_name("best.onnx")
    _, images, _ = test_data()
    expected = load_backbone(checkpoint)(images).detach()
    torch.testing.assert_close(answer(path, images), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(answer(path, images[:1]), expected[:1], atol=1e-4, rtol=0)

    said = metadata(path)
    assert json.loads(said["classes"])[1] == "Trouser" and json.loads(said["backbone_args"]) == {"activation": "relu"}
    assert (json.loads(said["mean"]), json.loads(said["std"])) == ([0.286], [0.353])
    assert (said["backbone"], said["image_size"], said["in_channels"]) == ("lenet5", "28", "1")
    assert (said["input"], said["output"]) == ("float32 NCHW normalised", "logits")
    assert json.loads(said["config"])["trainer"]["max_epochs"] == 3
    assert metadata(run / "model.onnx") == said  # fit's own export says the same

    graph = onnx.load(path).graph
    assert [n.name for n in graph.node][:4] == ["stem.0/Conv", "stem.1/Relu", "stem.2/AveragePool", "stages.0.0/Conv"]
    assert [list(n.output) for n in graph.node if n.name == "stem.1/Relu"] == [["stem.1/Relu"]]
    assert graph.node[0].input[1] == "stem.0.weight" and ".py" not in str(graph.node)

    before = path.read_bytes()
    again = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert again.returncode == 2 and "best.onnx exists and is kept; --overwrite replaces it." in again.stderr
    assert path.read_bytes() == before


def test_pixels_in_probabilities_out(run, export, tmp_path):
    path = tmp_path / "pixels.onnx"
    assert "probabilities differ from torch's by at most" in export("--image_input", "--out", path, "--opset", 20)
    pixels, images, _ = test_data()
    expected = load_backbone(run / "checkpoints" / "best.ckpt")(images).softmax(1).detach()
    torch.testing.assert_close(answer(path, pixels), expected, atol=1e-5, rtol=0)
    assert {"input": "uint8 NHWC", "output": "probabilities"}.items() <= metadata(path).items()
    assert onnx.load(path).opset_import[0].version == 20


@pytest.mark.parametrize("pixels", [False, True])
def test_int8_computes_in_int8(run, export, tmp_path, monkeypatch, pixels):
    seen = []

    def spy(whole, path, batches, method):
        seen.extend(batches)
        quantize(whole, path, seen, method)

    monkeypatch.setattr(ship, "quantize", spy)
    path = tmp_path / "small.onnx"
    said = export("--format", "int8", "--out", path, *(["--image_input"] if pixels else []))
    assert "float32" in said and "ms for 32" in said and "500 test images" in said

    data = FashionMNIST(sample=True)
    data.setup("fit")
    train = {image.numpy().tobytes() for image in normalize(data.sets["train"][0], data.mean, data.std)}
    calibration = torch.cat(seen).permute(0, 2, 3, 1)  # of one channel: the same bytes
    assert len(calibration) == 1024 and {image.numpy().tobytes() for image in calibration} <= train

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(path, options)
    operators = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert operators.count("QLinearConv") == 2 and operators.count("QGemm") == 3
    scales = {i.name: i.dims for i in onnx.load(path).graph.initializer}
    assert scales["stages.0.0.weight_scale"] == [16]  # one a channel
    assert path.stat().st_size < 0.4 * (run / "model.onnx").stat().st_size

    pixels_, images, labels = test_data()
    accuracy = (answer(path, pixels_ if pixels else images).argmax(1) == labels).double().mean()
    assert f"{accuracy:.2%}" in said.splitlines()[2] and metadata(path)["backbone"] == "lenet5"


def test_int8_that_loses_too_much_is_not_written(export, capsys, tmp_path, monkeypatch):
    def too_narrow(whole, path, batches, method):
        quantize(whole, path, (batch / 100 for batch in batches), method)

    monkeypatch.setattr(ship, "quantize", too_narrow)
    path = tmp_path / "small.onnx"
    path.write_text("the file before")
    words = ["--format", "int8", "--out", path, "--overwrite"]
    assert "more than --max_drop 0.01 allows" in refused(capsys, export, *words)
    assert path.read_text() == "the file before" and [p.name for p in tmp_path.iterdir()] == ["small.onnx"]
    export(*words, "--max_drop", 1)
    assert path.stat().st_size > 10_000


def test_safetensors_are_a_network(run, export, tmp_path):
    path = tmp_path / "net.safetensors"
    assert "differ from torch's by at most 0.0e+00" in export("--format", "safetensors", "--out", path)
    (facts, weights), (same, others) = read_backbone(path), read_backbone(run / "backbone.safetensors")
    assert facts == same and facts["classes"][9] == "Ankle boot"
    assert all(torch.equal(weights[k], v) for k, v in others.items()) and len(weights) == len(others)

    _, images, _ = test_data()
    torch.save(images[:5], tmp_path / "images.pt")
    code = (  # in a process of its own, to see what it imports
        "import sys, torch, cnn_zoo; model = cnn_zoo.load_backbone(sys.argv[1]); images = torch.load(sys.argv[2]);"
        "assert 'lightning' not in sys.modules and 'torchvision' not in sys.modules;"
        "assert not model.training; print(model(images).argmax(1).tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path, tmp_path / "images.pt"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    model = load_backbone(run / "checkpoints" / "best.ckpt")
    assert json.loads(done.stdout) == model(images[:5]).argmax(1).tolist()
    assert all(p.requires_grad for p in model.parameters())  # it can be trained on


def test_torch_export_needs_torch_alone(run, export, tmp_path):
    path = tmp_path / "net.pt2"
    export("--format", "torchexport", "--out", path)
    facts = {"facts.json": ""}
    program = torch.export.load(path, extra_files=facts)
    _, images, _ = test_data()
    expected = load_backbone(run / "backbone.safetensors")(images)
    for count in (1, 7):
        torch.testing.assert_close(program.module()(images[:count]), expected[:count], atol=1e-4, rtol=0)
    assert json.loads(facts["facts.json"])["backbone"] == "lenet5"


MISTAKES = [
    ("--format tflite", "invalid choice: 'tflite'"),
    ("--formt onnx", "no key 'formt'"),
    ("--out net.txt", "a file of the format onnx ends in .onnx"),
    ("--format safetensors --image_input", "--image_input is for onnx and int8"),
    ("--max_drop 2", "must be a part of 1"),
    ("--opset x", "must be a whole number from 1, not 'x'"),
    ("--opset 99", "cannot be exported to ONNX opset 99"),
    ("--config nowhere.yaml", "There is no nowhere.yaml"),
    ("--ckpt nowhere.ckpt", "There is no checkpoint nowhere.ckpt"),
    ("--model.backbone simple_cnn --model.backbone_args null", "The checkpoint holds lenet5"),
    ("--format int8 --data.sample false --data.root /dev/null/data", "is not in /dev/null/data"),
]


@pytest.mark.parametrize(("words", "says"), MISTAKES, ids=[words for words, _ in MISTAKES])
def test_a_mistake_gets_one_sentence(words, says, export, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("cnn_zoo.data.FashionMNIST.sources", ("http://127.0.0.1:9",))
    out = [] if "--out" in words else ["--out", tmp_path / f"net.{'safetensors' if 'safetensors' in words else 'onnx'}"]
    assert says in refused(capsys, export, *out, *words.split())
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_from_elsewhere(run, export, capsys, tmp_path):
    torch.save({"state_dict": subprocess.Popen}, tmp_path / "code.ckpt")
    assert "There is no" in refused(capsys, export, "--ckpt", tmp_path / "code.ckpt")  # no config.yaml beside it
    words = ["--ckpt", tmp_path / "code.ckpt", "--config", run / "config.yaml"]
    assert "nothing of it was run" in refused(capsys, export, *words)


@pytest.mark.parametrize("form", ["onnx", "int8", "safetensors", "torchexport"])
def test_a_full_disk_leaves_the_old_file(form, export, capsys, tmp_path):
    path = tmp_path / ("net" + {"safetensors": ".safetensors", "torchexport": ".pt2"}.get(form, ".onnx"))
    path.write_text("the file before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # no file can become larger: all of these are
    try:
        said = refused(capsys, export, "--format", form, "--out", path, "--overwrite")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert f"{path} cannot be written (File too large); what was there is kept." in said
    assert path.read_text() == "the file before" and [p.name for p in tmp_path.iterdir()] == [path.name]


class Odd(nn.Module):
    """ONNX has no eigenvalues, and a branch on the values of an image cannot be traced."""

    def __init__(self, branches: bool) -> None:
        super().__init__()
        self.branches = branches

    def forward(self, images):
        if self.branches:
            return images.mean((2, 3)) if images.sum() > 0 else images.amax((2, 3))
        return torch.linalg.eigvals(images.mean(1)).real


@pytest.mark.parametrize("branches", [False, True])
def test_what_cannot_be_exported_is_named(branches, tmp_path):
    images = torch.rand(2, 3, 8, 8)
    operator = "" if branches else "aten.linalg_eig"
    with pytest.raises(UserError, match=f"^Odd cannot be exported to ONNX opset 18: .*{operator}"):
        export_onnx(Odd(branches), tmp_path / "odd.onnx", images)
    if branches:
        with pytest.raises(UserError, match=r"^Odd cannot be exported by torch.export: [^\n]+$"):
            export_torch(Odd(branches), tmp_path / "odd.pt2", images, {})
    assert list(tmp_path.iterdir()) == []


def test_int8_needs_images(tmp_path):
    export_onnx(nn.Conv2d(1, 2, 3), tmp_path / "net.onnx", torch.rand(2, 1, 8, 8))
    with pytest.raises(UserError, match="int8 needs training images"):
        quantize(tmp_path / "net.onnx", tmp_path / "small.onnx", [])
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
