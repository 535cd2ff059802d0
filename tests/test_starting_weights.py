"""What a command starts from: the weights of a checkpoint, or those that its training started from."""

import json

import pytest
import torch
import yaml
from conftest import QUICK, assert_refused, fit_quick
from test_finetuning import FEW, OFF, saved

from cnn_zoo import fit, load_backbone
from cnn_zoo.analysis.prune import COSTS
from cnn_zoo.command_line.lightning_cli import CLI
from cnn_zoo.command_line.starting_weights import recorded_weights, same_source, with_images_like
from cnn_zoo.errors import UserError

RECORD = {"source": "RUN", "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("hyperparameters", "record"),
    [
        ({"weights": RECORD}, RECORD),
        ({"backbone_args": {"weights": "old.safetensors"}}, {"source": "old.safetensors"}),
        ({"backbone_args": None}, None),
        (None, None),
    ],
)
def test_a_checkpoint_tells_what_its_training_started_from(hyperparameters, record):
    assert recorded_weights({"hyper_parameters": hyperparameters}) == record


@pytest.mark.parametrize("given", [None, "RUN"])
def test_a_training_continues_with_the_same_weights(given):
    assert same_source(given, RECORD, "last.ckpt") == "RUN"


@pytest.mark.parametrize("recorded", [None, RECORD])
def test_a_training_does_not_continue_with_other_weights(recorded):
    with pytest.raises(UserError, match="--ckpt_path last.ckpt continues a training, and --model.weights OTHER starts"):
        same_source("OTHER", recorded, "last.ckpt")


# --like


def test_the_data_take_what_a_trained_network_expects(finished_run):
    words = with_images_like(["--data=CIFAR10", f"--like={finished_run}", "--data.image_size=40"])
    assert words[:2] == ["--data=CIFAR10", "--data.image_size=40"]
    assert words[2:] == ["--data.in_channels=1", "--data.mean=[0.286]", "--data.std=[0.353]"]
    assert with_images_like(["--like", str(finished_run / "backbone.safetensors")])[0] == "--data.image_size=28"


def test_the_data_take_what_weights_of_torchvision_expect():
    assert with_images_like(["--like", "torchvision/ResNet18_Weights.IMAGENET1K_V1"]) == [
        "--data.image_size=224",
        "--data.in_channels=3",
        "--data.mean=[0.485, 0.456, 0.406]",
        "--data.std=[0.229, 0.224, 0.225]",
    ]


def test_the_configuration_has_the_values_and_not_the_source(finished_run, invoke):
    words = ["--config", QUICK, "--data=CIFAR10", "--data.sample=true", "--like", finished_run, "--print_config"]
    data = yaml.safe_load(invoke(fit.main, *words).out)["data"]["init_args"]
    assert (data["image_size"], data["in_channels"], data["mean"], data["std"]) == (28, 1, [0.286], [0.353])


def test_weights_that_do_not_tell_their_images_are_refused(invoke, tmp_path):
    torch.save({"weight": torch.zeros(2)}, tmp_path / "net.pth")
    result = invoke(fit.main, "--config", QUICK, "--like", tmp_path / "net.pth")
    assert_refused(result, "does not tell what images it is for; give --data.image_size and the like")


# --prune

SMALL = ["--prune.macs=0.5", "--trainer.max_epochs=2", "--ema.decay=0.5", *OFF, *FEW]


@pytest.fixture(scope="module")
def pruned(finished_run, tmp_path_factory):
    """The folder of the runs, the run folder and the result card of a fine-tuned pruned network."""
    root = tmp_path_factory.mktemp("pruned")
    return root, *fit_quick(root, *SMALL, f"--model.weights={finished_run}")


def test_a_pruned_run_is_one_of_a_smaller_ordinary_network(pruned, finished_run):
    _, run, card = pruned
    widths = yaml.safe_load((run / "config.yaml").read_text())["model"]["backbone_args"]
    assert widths == card["backbone_args"] and widths["c1"] < 6
    for file in ("checkpoints/best.ckpt", "backbone.safetensors"):
        network = load_backbone(run / file)
        assert network.stem[0].out_channels == widths["c1"]
        assert COSTS["macs"](network.to("meta"), (1, 28, 28)) <= 0.5 * macs_of(finished_run)
    assert card["weights"]["source"] == str(finished_run)


def macs_of(run):
    return COSTS["macs"](load_backbone(run / "backbone.safetensors").to("meta"), (1, 28, 28))


def test_training_starts_from_the_channels_that_are_left(finished_run, tmp_path, capsys):
    words = ["--config", str(QUICK), *SMALL, f"--model.weights={finished_run}"]
    cli = CLI([*words, f"--trainer.default_root_dir={tmp_path}"])
    filters = load_backbone(finished_run / "backbone.safetensors").stem[0].weight
    importance = filters.abs().sum((1, 2, 3))
    width = cli.model.hparams.backbone_args["c1"]
    best = importance.topk(width).indices.sort().values
    assert torch.equal(cli.model.backbone.stem[0].weight, filters[best])
    assert f"Pruned by l1 to 0.5 of the macs: c1 {width}, " in capsys.readouterr().out


@pytest.mark.parametrize("again", ["config.yaml", "the same words"])
def test_a_stopped_pruned_training_continues_exactly(again, pruned, finished_run, invoke, tmp_path):
    words = ["--config", QUICK, *SMALL, f"--model.weights={finished_run}", "--trainer.default_root_dir", tmp_path]
    stop = json.dumps([{"class_path": "conftest.StopAt", "init_args": {"epoch": 1, "batch": 0}}])
    assert invoke(fit.main, *words, f"--trainer.callbacks={stop}").status == 143
    if again == "config.yaml":
        (config,) = tmp_path.rglob("config.yaml")
        words = ["--config", config, "--trainer.callbacks=null"]
    assert invoke(fit.main, *words, "--ckpt_path=last").status == 0
    tensors, others = saved(tmp_path)["state_dict"], saved(pruned[0])["state_dict"]
    torch.testing.assert_close(tensors, others, rtol=0, atol=0)


def test_the_configuration_of_a_pruned_run_starts_the_same_training(pruned, tmp_path):
    cli = CLI(["--config", str(pruned[1] / "config.yaml"), f"--trainer.default_root_dir={tmp_path}"])
    assert cli.model.hparams.backbone_args == pruned[2]["backbone_args"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model.weights=null"], "prune needs a network that this package trained, but model.weights is not set"),
        (["--model.backbone=lab_cnn"], "is a lenet5 and model.backbone is lab_cnn; give --model.backbone lenet5"),
        (["--prune.params=0.5"], "prune has prune.macs and prune.params; set one of prune.macs, prune.params"),
        (["--prune.by=bn"], "prune.by is bn, but the network has no batch norms; use --prune.by l1"),
        (["--prune.by=magnitude"], "prune.by must be l1 or bn"),
        (["--model.backbone_args.c1=5"], "model.backbone_args.c1 is 5, but prune chooses the width, "),
    ],
)
def test_a_network_that_cannot_be_pruned_is_refused(words, message, finished_run, invoke, tmp_path):
    words = ["--prune.macs=0.5", f"--model.weights={finished_run}", *words]
    result = invoke(fit.main, "--config", QUICK, "--trainer.default_root_dir", tmp_path / "runs", *words)
    assert_refused(result, message)
    assert not (tmp_path / "runs").exists()
