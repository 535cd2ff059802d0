"""What a user can get wrong: status 2, one sentence that names the culprit, no traceback, and no run lost."""

import ast
import hashlib
import os
import subprocess
import sys

import pytest
import torch
from conftest import QUICK, ROOT
from PIL import Image
from safetensors.torch import save_file

from cnn_zoo import command as commands
from cnn_zoo import create_model, fit, test
from cnn_zoo.tasks import Classification

WORDS = [  # command line
    ("--model.backbone resnet19", "no backbone 'resnet19' in the zoo; did you mean resnet9 or resnet18"),
    ("--model.backbone my.net", "'my.net' cannot be imported"),
    ("--model.backbone os.getcwd", "os.getcwd takes no argument 'num_classes'"),
    ("--model.backbone torchvision/resnet19", "no classification network 'resnet19'"),
    ("--model.backbone torch.nn.Identity", "empty parameter list"),
    ("--model.backbone_args 3", "model.backbone_args must be dict"),
    ("--model.backbone_args.width 2", "lenet5 takes no argument 'width'; it accepts num_classes"),
    ("--model.backbone_args.activation rleu", "no activation 'rleu'"),
    ("--model.bakbone x", "no key 'model.bakbone'; did you mean 'model.backbone'"),
    ("--model.num_classes 7", "model.num_classes"),
    ("--model.loss hinge", "model.loss must be ['cross_entropy', 'mse']"),
    ("--model.label_smoothing 2", "model.label_smoothing is 2.0; it goes from 0 to below 1"),
    ("--model.mixup -1", "model.mixup is -1.0"),
    ("--model.optimizer SGD", "'SGD' cannot be imported"),
    ("--model.optimizer torch.optim.SDG", "'torch.optim.SDG' cannot be imported"),
    ("--model.optimizer torch.nn.Linear", "torch.nn.Linear takes no argument 'lr'"),
    ("--model.optimizer_args.lrr 1", "takes no argument 'lrr'"),
    ("--model.optimizer_args.lr -1", "Invalid learning rate"),
    ("--model.scheduler_args.max_lr high", "OneCycleLR cannot be built"),
    ("--model.scheduler_args.max_lr 1e30", "loss became nan at step 1"),
    ("--model.scheduler_interval week", "model.scheduler_interval must be ['step', 'epoch']"),
    ("--trainer.max_epoch 3", "no key 'trainer.max_epoch'; did you mean 'trainer.max_epochs'"),
    ("--trainer.max_epochs many", "trainer.max_epochs must be int"),
    ("--trainer.max_epochs -5", "`max_epochs` must be a non-negative integer or -1"),
    ("--trainer.max_time soon", "'soon'"),
    ("--trainer.accelerator abacus", "'abacus'"),
    ("--trainer.devices 0 --trainer.accelerator cpu", "devices='0'"),
    ("--trainer.strategy magic", "'magic'"),
    ("--trainer.precision 7", "trainer.precision must be"),
    ("--trainer.limit_train_batches -1", "limit_train_batches"),
    ("--trainer.accumulate_grad_batches 0", "trainer.accumulate_grad_batches is 0; it must be at least 1"),
    ("--trainer.check_val_every_n_epoch 0", "trainer.check_val_every_n_epoch is 0"),
    ("--trainer.profiler nothing", "profiler"),
    ("--seed_everything -1", "-1 is not in bounds"),
    ("--data.batchsize 3", "takes no option 'batchsize'; did you mean 'batch_size'"),
    ("--data.batch_size many", "data.batch_size must be int"),
    ("--data.batch_size 0", "data.batch_size is 0; it must be at least 1"),
    ("--data.batch_size 2000", "more than the 1833 training images"),
    ("--data.val_fraction 2", "data.val_fraction is 2"),
    ("--data.val_fraction 0.0001", "leaves 2000 images for training and 0 for validation"),
    ("--data.split_seed -1", "data.split_seed is -1"),
    ("--data.num_workers -1", "data.num_workers is -1"),
    ("--data.progressive 400", "data.progressive is 400; it goes from 4 to the image's 28 px"),
    ("--data.progressive 16", "lenet5 takes no images of 16 px"),
    ("--data.progressive 16 --trainer.max_epochs -1", "data.progressive grows with the epochs; set"),
    ("--trainer.val_check_interval 5000", "`val_check_interval` (5000) must be less than or equal to the number of"),
    ("--data.augment.cop 4", "takes no option 'cop'; did you mean 'crop'"),
    ("--data.augment.crop -4", "augment.crop is -4"),
    ("--data.augment.crop 40 --data.augment.padding reflect", "augment.crop is 40"),
    ("--data.augment.flip nan", "data.augment.flip must be float or alternate, not 'nan'"),
    ("--data.augment.padding mirror", "data.augment.padding must be ['zero', 'reflect']"),
    ("--data CIFAR11", "data must be a class by its import path"),
    ("--data nowhere.Data", "nowhere.Data cannot be made: No module named 'nowhere'"),
    ("--data torch.nn.Linear", "data must be a kind of ImageData by its import path"),
    (
        "--data cnn_zoo.data.ImageFolder",
        "ImageFolder cannot be made: the following arguments are required: root",
    ),
    ("--data.sample false --data.root /dev/null/data", "is not in /dev/null/data"),
    ("--early_stopping.patince 3", "takes no option 'patince'; did you mean 'patience'"),
    ("--early_stopping.patience soon", "early_stopping.patience must be int"),
    ("--early_stopping.mode up", "`mode` can be min, max"),
    ("--early_stopping.monitor val/acc", "early_stopping.monitor is 'val/acc'; there are train/loss"),
    ("--checkpoint.monitor val/acc", "checkpoint.monitor is 'val/acc'"),
    ("--export os.system", "export must be a kind of Export by its import path"),
    ("--ema.decay 2", "Invalid decay value 2.0"),
    ("--config nowhere.yaml", "nowhere.yaml"),
    ("--config /", "not a file: '/'"),
    ("stray.yaml", "unrecognized arguments: stray.yaml"),
    ("--ckpt_path nowhere.ckpt", "There is no checkpoint 'nowhere.ckpt'"),
    ("--ckpt_path=", "There is no checkpoint ''"),
]
YAMLS = [
    ("modle: {backbone: lenet5}", "modle"),
    ("model: [", "parsing"),
    ("model: {backbone: resnet19}", "no backbone 'resnet19'"),
    ("[1, 2]", "[1, 2]"),
    ("trainer: [1]", "trainer must be keys with values"),
    ("data: {class_path: cnn_zoo.data.MNIST, init_args: {smaple: true}}", "did you mean 'sample'"),
    ("data: {class_path: os.system, init_args: {command: mkdir ran}}", "data must be a kind of ImageData"),
    ("export: {class_path: subprocess.Popen, init_args: {args: [mkdir, ran]}}", "export must be a kind of Export"),
    ("model: !!python/object/apply:os.mkdir [ran]", "python/object/apply:os.mkdir' is refused"),
    ("model: {backbone: !!python/name:os.mkdir }", "python/name:os.mkdir' is refused"),
    ("model: {backbone_args: !!python/object/new:os.mkdir [ran]}", "python/object/new:os.mkdir' is refused"),
    (b"model: {backbone: \xff\xfe}", "'utf-8' codec can't decode"),
    (b"\x00\x01\x02", "control characters are not allowed"),
]


def digests(folder):
    return {p: hashlib.md5(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with one finished run, that nothing in this file may touch."""
    runs = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        words = ["--config", str(QUICK), "--trainer.max_epochs", "1", "--trainer.default_root_dir", str(runs)]
        patch.setattr(sys, "argv", ["fit", *words])
        commands.run(fit.main)
    return runs


@pytest.fixture
def refused(runs, tmp_path, monkeypatch, capsys):
    """Run a command of the quick start's configuration, which must refuse with a sentence that holds `says`."""
    monkeypatch.setattr("cnn_zoo.data.FashionMNIST.sources", ("http://127.0.0.1:9",))
    monkeypatch.chdir(tmp_path)

    def refuse(says, main, *words):
        before = digests(runs)
        words = ["--config", QUICK, *words, "--trainer.default_root_dir", runs]
        monkeypatch.setattr(sys, "argv", ["command", *map(str, words)])
        with pytest.raises(SystemExit) as exit:
            commands.run(main)
        err = capsys.readouterr().err
        assert exit.value.code == 2 and "Traceback" not in err
        assert says in err.splitlines()[-1]
        assert [line for line in err.splitlines() if line.startswith("error: ")] == [err.splitlines()[-1]]
        assert before.items() <= digests(runs).items()
        assert not (tmp_path / "ran").exists()  # what the malicious ones make

    return refuse


@pytest.mark.parametrize(("words", "says"), WORDS, ids=[words for words, _ in WORDS])
def test_command_line(words, says, refused):
    refused(says, fit.main, *words.split())


@pytest.mark.parametrize(("text", "says"), YAMLS, ids=[str(text)[:60] for text, _ in YAMLS])
def test_configuration(text, says, refused, tmp_path):
    (tmp_path / "wrong.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(says, fit.main, "--config", tmp_path / "wrong.yaml")


def test_a_command_without_what_it_needs(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fit"])
    with pytest.raises(SystemExit) as exit:
        commands.run(fit.main)
    assert exit.value.code == 2 and "arguments are required: model.backbone, data" in capsys.readouterr().err


DATA = [  # class folder: images; what is overridden; what is said
    ({}, "", "no class folders"),
    ({"a": [1, 2]}, "", "no class folders, or but one"),
    ({"a": [1, 2], "b": []}, "", "b has no images"),
    ({"a": [1, 2], "b": [b"not an image", 2]}, "", "b/0.png cannot be read"),
    ({"a": [1] * 9, "b": [2] * 9}, "--data.image_size 8", "at least 12 px, but image_size is 8"),
    ({"a": [1] * 9, "b": [2] * 9}, "--data.image_size 0", "data.image_size is 0"),
    ({"a": [1] * 9, "b": [2] * 9}, "--data.in_channels 4", "data.in_channels is 4"),
    ({"a": [1] * 9, "b": [2] * 9}, "--data.test_fraction 1.5", "data.test_fraction is 1.5"),
    ({"a": [1] * 9, "b": [2] * 9}, "--data.mean [0.5]", "give both, by channel, or neither"),
    ({"a": [1] * 9, "b": [2] * 9}, "--data.batch_size 50", "more than the"),
    ({"a": [1] * 9, "b": [1] * 9}, "--data.batch_size 5", "never changes"),
]


@pytest.mark.parametrize(("folders", "words", "says"), DATA)
def test_images(folders, words, says, refused, tmp_path):
    (tmp_path / "images").mkdir()
    for name, images in folders.items():
        (tmp_path / "images" / name).mkdir()
        for i, image in enumerate(images):
            path = tmp_path / "images" / name / f"{i}.png"
            path.write_bytes(image) if isinstance(image, bytes) else Image.new("RGB", (40, 40), (image,) * 3).save(path)
    data = ["--data", "cnn_zoo.data.ImageFolder", "--data.root", tmp_path / "images", "--data.image_size", 32]
    refused(says, fit.main, *data, *words.split())


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("ran",)


def write_checkpoints(best):
    """By name, what is no checkpoint of the quick start's network."""
    whole = torch.load(best, weights_only=True)
    states = {k: whole[k] for k in ("state_dict", "hyper_parameters", "pytorch-lightning_version")}
    truncated, altered = best.read_bytes()[:1000], bytearray(best.read_bytes())
    altered[len(altered) // 2] ^= 1
    for name, data in (("truncated", truncated), ("empty", b""), ("text", b"lenet5"), ("altered", altered)):
        with open(f"{name}.ckpt", "wb") as file:
            file.write(data)
    torch.save(whole | {"state_dict": Malicious()}, "malicious.ckpt")
    torch.save({"state_dict": subprocess.Popen}, "popen.ckpt")
    torch.save([1, 2], "list.ckpt")
    torch.save({"weights": 3}, "foreign.ckpt")
    torch.save({"state_dict": {"weight": 3}}, "numbers.ckpt")
    torch.save(states, "weights.ckpt")
    os.mkdir("folder.ckpt")
    simple = Classification("simple_cnn", 10, 1, 28)
    torch.save(whole | {"state_dict": simple.state_dict(), "hyper_parameters": dict(simple.hparams)}, "simple.ckpt")


NOTHING_RUN = "is not a checkpoint of this package, or damaged; nothing of it was run"
CHECKPOINTS = {name: f"{name}.ckpt {NOTHING_RUN}" for name in ("truncated", "altered", "empty", "text")}
CHECKPOINTS |= {name: f"{name}.ckpt {NOTHING_RUN}" for name in ("malicious", "popen", "list", "foreign", "numbers")}
CHECKPOINTS |= {"folder": "There is no checkpoint", "nowhere": "There is no checkpoint"}
CHECKPOINTS |= {"simple": "The checkpoint holds simple_cnn"}


@pytest.mark.parametrize("main", [fit.main, test.main], ids=["fit", "test"])
def test_checkpoints(main, runs, refused, tmp_path):
    (best,) = runs.rglob("version_0/checkpoints/best.ckpt")
    write_checkpoints(best)
    for name, says in CHECKPOINTS.items():
        refused(says, main, "--ckpt_path", tmp_path / f"{name}.ckpt")
    if main is fit.main:
        refused("weights.ckpt holds weights alone", main, "--ckpt_path", tmp_path / "weights.ckpt")
    else:
        refused("Name the checkpoint to test", main)


def test_weights(refused, tmp_path):
    simple = create_model("simple_cnn", num_classes=10, in_channels=1, image_size=28)
    save_file(simple.state_dict(), tmp_path / "simple.safetensors")
    (tmp_path / "text.safetensors").write_text("lenet5")
    torch.save(Malicious(), tmp_path / "malicious.safetensors")
    for name, says in (
        ("simple", "simple.safetensors are of another network"),
        ("text", "text.safetensors is not a safetensors file"),
        ("malicious", "malicious.safetensors is not a safetensors file"),
        ("nowhere", "no weights of torchvision"),
    ):
        refused(says, fit.main, "--model.backbone_args.weights", tmp_path / f"{name}.safetensors")


def test_the_malicious_would_have_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(Malicious(), "malicious.ckpt")
    torch.load("malicious.ckpt", weights_only=False)
    assert (tmp_path / "ran").exists()


RUNS_WHAT_IT_READS = {"pickle.load", "pickle.loads", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "eval", "exec"}


@pytest.mark.parametrize("path", sorted((ROOT / "cnn_zoo").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_that_is_read_can_run_code(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            words = {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert ast.unparse(node.func) not in RUNS_WHAT_IT_READS
            assert ast.unparse(node.func) != "torch.load" or words.get("weights_only") == "True"
            assert words.get("weights_only", "True") == "True" and words.get("allow_pickle", "False") == "False"
