"""Files of strangers are refused and run nothing. tests/test_checkpoints.py has more of them."""

import ast
import os

import pytest
import torch
from conftest import QUICK, ROOT, assert_refused
from PIL import Image
from safetensors.torch import save_file

from cnn_zoo import create_model, explain, fit, predict, summary, test
from cnn_zoo.formats.backbone_file import save_backbone
from cnn_zoo.formats.description import NetworkDescription
from cnn_zoo.tasks import Classification

NOTHING_RUN = "is not a checkpoint of this package, or it is damaged; nothing in it was run"


class Malicious:
    """A pickle of this makes the folder `ran` when it is loaded."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.fixture
def check_refused(tmp_path, monkeypatch, invoke):
    """Check that a command refuses the quick start's configuration with these words, and runs nothing of a file."""
    monkeypatch.chdir(tmp_path)

    def check(message, command, *words):
        assert_refused(invoke(command.main, "--config", QUICK, *words), message)
        assert not (tmp_path / "ran").exists()

    return check


@pytest.fixture(scope="module")
def checkpoint(finished_run):
    return torch.load(finished_run / "checkpoints" / "best.ckpt", weights_only=True)


@pytest.mark.parametrize("command", [fit, test], ids=["fit", "test"])
def test_a_malicious_checkpoint(command, checkpoint, check_refused, tmp_path):
    torch.save(checkpoint | {"state_dict": Malicious()}, tmp_path / "malicious.ckpt")
    check_refused(f"malicious.ckpt {NOTHING_RUN}", command, "--ckpt_path", tmp_path / "malicious.ckpt")


@pytest.mark.parametrize("command", [fit, test], ids=["fit", "test"])
def test_a_damaged_checkpoint(command, finished_run, check_refused, tmp_path):
    content = bytearray((finished_run / "checkpoints" / "best.ckpt").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "altered.ckpt").write_bytes(content)
    check_refused(f"altered.ckpt {NOTHING_RUN}", command, "--ckpt_path", tmp_path / "altered.ckpt")


@pytest.mark.parametrize("command", [fit, test], ids=["fit", "test"])
def test_a_checkpoint_of_another_network(command, checkpoint, check_refused, tmp_path):
    simple = Classification("simple_cnn", 10, 1, 28)
    other = {"state_dict": simple.state_dict(), "hyper_parameters": dict(simple.hparams)}
    torch.save(checkpoint | other, tmp_path / "simple.ckpt")
    message = "The checkpoint contains simple_cnn  for 10 classes and 1x28x28 images"
    check_refused(message, command, "--ckpt_path", tmp_path / "simple.ckpt")


@pytest.mark.parametrize("command", [fit, test], ids=["fit", "test"])
def test_a_checkpoint_that_is_missing(command, check_refused):
    check_refused("There is no checkpoint 'nowhere.ckpt'", command, "--ckpt_path", "nowhere.ckpt")


def test_weights_alone_do_not_continue_a_training(checkpoint, check_refused, tmp_path):
    kept = {key: checkpoint[key] for key in ("state_dict", "hyper_parameters", "pytorch-lightning_version")}
    torch.save(kept, tmp_path / "weights.ckpt")
    check_refused("weights.ckpt contains only weights", fit, "--ckpt_path", tmp_path / "weights.ckpt")


def write_text(path):
    path.write_text("lenet5")


def write_malicious(path):
    torch.save(Malicious(), path)


def write_other_network(path):
    save_file(create_model("simple_cnn", num_classes=10, in_channels=1, image_size=28).state_dict(), path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (write_text, "net.safetensors is not a safetensors file"),
        (write_malicious, "net.safetensors is not a safetensors file"),
        (write_other_network, "net.safetensors are of another network than this LeNet"),
        (lambda path: None, "net.safetensors': it must be a run folder"),
    ],
    ids=["text", "malicious", "other network", "missing"],
)
@pytest.mark.parametrize("key", ["--model.weights", "--model.backbone_args.weights"])
def test_initial_weights(key, write, message, check_refused, tmp_path):
    write(tmp_path / "net.safetensors")
    check_refused(message, fit, key, tmp_path / "net.safetensors")


def test_the_malicious_pickle_would_have_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(Malicious(), "malicious.ckpt")
    torch.load("malicious.ckpt", weights_only=False)
    assert (tmp_path / "ran").exists()


RUNS_WHAT_IT_READS = {"pickle.load", "pickle.loads", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "eval", "exec"}


@pytest.mark.parametrize("path", sorted((ROOT / "cnn_zoo").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_module_runs_what_it_reads(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            words = {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert ast.unparse(node.func) not in RUNS_WHAT_IT_READS
            assert ast.unparse(node.func) != "torch.load" or words.get("weights_only") == "True"
            assert words.get("weights_only", "True") == "True" and words.get("allow_pickle", "False") == "False"


@pytest.fixture
def no_network(monkeypatch):
    """Make every attempt at a network connection fail the test."""

    def refuse(*_, **__):
        raise AssertionError("a network connection")

    for name in ("torch.hub.download_url_to_file", "socket.getaddrinfo", "socket.socket.connect"):
        monkeypatch.setattr(name, refuse)


@pytest.mark.parametrize("command", [predict, summary, explain], ids=["predict", "summary", "explain"])
@pytest.mark.parametrize("argument", [{"weights": "SqueezeNet1_1_Weights.IMAGENET1K_V1"}, {"pretrained": True}])
def test_a_file_fetches_no_weights(command, argument, no_network, invoke, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sizes = {"num_classes": 2, "in_channels": 3, "image_size": 64}
    images = {"classes": ["a", "b"], "mean": [0.5], "std": [0.5]}
    model = create_model("torchvision/squeezenet1_1", **sizes)
    description = NetworkDescription("torchvision/squeezenet1_1", **sizes, **images, backbone_args=argument)
    save_backbone(model, tmp_path / "net.safetensors", description)
    Image.new("RGB", (64, 64)).save(tmp_path / "image.png")
    words = ["net.safetensors"] if command is summary else ["--ckpt", "net.safetensors", "image.png"]
    result = invoke(command.main, *words)
    assert result.status == 0, result.err
