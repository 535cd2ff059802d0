"""What a command starts from: the weights of a checkpoint, or those that its training started from."""

import pytest
import torch
import yaml
from conftest import QUICK, assert_refused

from cnn_zoo import fit
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
