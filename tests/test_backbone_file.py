"""A backbone in a file comes back as a network, and other files are refused."""

import copy
import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file, save_file

from cnn_zoo import create_model, load_backbone
from cnn_zoo.errors import UserError
from cnn_zoo.formats.backbone_file import load_classifier, read_backbone, save_backbone
from cnn_zoo.formats.description import NetworkDescription

DESCRIPTION = NetworkDescription("lenet5", 10, 1, 28, backbone_args={"activation": "relu"})
IMAGES = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
OLD_RUN = ROOT / "tests" / "old_run" / "version_0"  # of version 0.1


@pytest.fixture(scope="module")
def model():
    return create_model("lenet5", **DESCRIPTION.sizes, activation="relu").eval()


@pytest.fixture
def saved(model, tmp_path):
    """The path of a file with `model` and, unless told otherwise, its description."""

    def save(description=DESCRIPTION):
        save_backbone(model, tmp_path / "net.safetensors", description)
        return tmp_path / "net.safetensors"

    return save


def test_a_saved_network_comes_back(model, saved):
    loaded = load_backbone(saved())
    assert torch.equal(loaded(IMAGES), model(IMAGES))
    assert not loaded.training and all(parameter.requires_grad for parameter in loaded.parameters())


def test_weights_have_the_names_of_the_network_and_the_metadata_are_json(model, saved):
    assert load_file(saved()).keys() == model.state_dict().keys()
    length = int.from_bytes(saved().read_bytes()[:8], "little")
    metadata = json.loads(saved().read_bytes()[8 : 8 + length])["__metadata__"]
    assert {key: json.loads(text) for key, text in metadata.items()} == DESCRIPTION.values()


def test_the_best_checkpoint_and_the_safetensors_of_a_run_are_one_network(finished_run):
    description, weights = read_backbone(finished_run / "checkpoints" / "best.ckpt")
    other_description, other_weights = read_backbone(finished_run / "backbone.safetensors")
    assert description == other_description and description.classes[9] == "Ankle boot"
    assert weights.keys() == other_weights.keys()
    assert all(torch.equal(weights[name], other_weights[name]) for name in weights)


def test_a_checkpoint_of_an_earlier_version_loads():
    model, description = load_classifier(OLD_RUN / "checkpoints" / "best.ckpt")
    assert description.classes[1] == "Trouser" and description.mean == [0.286]
    assert model(torch.rand(2, *description.image_shape)).shape == (2, 10)


def test_a_network_outside_the_zoo_is_imported_on_request_alone(model, saved):
    path = saved(replace(DESCRIPTION, backbone="cnn_zoo.backbones.lenet.lenet5"))
    assert isinstance(load_backbone(path, imports=True), type(model))
    with pytest.raises(UserError, match="names cnn_zoo.backbones.lenet.lenet5, which is not in the zoo; load_backbone"):
        load_backbone(path)


class OwnNetwork(torch.nn.Module):
    """A network of a user's own: without arguments, with `view`, and with a tensor that is not in its state dict."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = torch.nn.Conv2d(1, 4, 5), torch.nn.Conv2d(4, 2, 5)
        self.head = torch.nn.Linear(2 * 20 * 20, 10)
        self.scale = torch.tensor(0.5)

    def forward(self, x):
        return self.head((self.scale * self.conv2(self.conv1(x))).view(-1, 2 * 20 * 20))


def test_a_network_of_the_users_own_comes_back(tmp_path):
    model, path = OwnNetwork(), tmp_path / "own.safetensors"
    save_backbone(model, path, replace(DESCRIPTION, backbone=f"{__name__}.OwnNetwork", backbone_args={}))
    loaded = load_backbone(path, imports=True)
    assert torch.equal(loaded(IMAGES), model(IMAGES))
    channels_last = IMAGES.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)  # as `normalize` gives them
    assert torch.equal(loaded(channels_last), model(IMAGES))


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (replace(DESCRIPTION, backbone="lenet6"), "did you mean lenet5"),
        (replace(DESCRIPTION, num_classes=7), "do not fit the network lenet5"),
        (replace(DESCRIPTION, num_classes=100_000), "do not fit the network lenet5"),  # takes no memory either
        (replace(DESCRIPTION, num_classes=10**9), "has the num_classes 1000000000; it must be a whole number from 1"),
    ],
)
def test_a_wrong_description_is_refused(description, message, saved):
    with pytest.raises(UserError, match=message):
        load_backbone(saved(description))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "does not contain the network's backbone, num_classes, in_channels, image_size"),
        ({"backbone": "lenet5"}, "does not contain the network's num_classes, in_channels, image_size"),
        ({"backbone": '"lenet5"', "num_classes": "ten"}, "metadata of .* cannot be read"),
    ],
)
def test_weights_without_a_description_are_refused(metadata, message, model, tmp_path):
    save_file(model.state_dict(), tmp_path / "net.safetensors", metadata)
    with pytest.raises(UserError, match=message):
        load_backbone(tmp_path / "net.safetensors")


def test_weights_that_are_not_numbers_are_refused(model, tmp_path):
    broken = copy.deepcopy(model)
    torch.nn.init.constant_(next(broken.parameters()), torch.nan)
    save_backbone(broken, tmp_path / "net.safetensors", DESCRIPTION)
    with pytest.raises(UserError, match="The weights .* in .*net.safetensors are not finite numbers"):
        load_backbone(tmp_path / "net.safetensors")


def test_weights_in_another_precision_are_converted(model, tmp_path):
    save_backbone(copy.deepcopy(model).double(), tmp_path / "net.safetensors", DESCRIPTION)
    assert torch.equal(load_backbone(tmp_path / "net.safetensors")(IMAGES), model(IMAGES))


def test_weights_of_another_type_are_refused(model, tmp_path):
    save_backbone(copy.deepcopy(model).to(torch.complex64), tmp_path / "net.safetensors", DESCRIPTION)
    with pytest.raises(UserError, match="do not fit the network lenet5"):
        load_backbone(tmp_path / "net.safetensors")


def test_a_damaged_file_is_refused(saved):
    path = saved()
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="is not a safetensors file of this package, or it is damaged"):
        load_backbone(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="There is no file .*net.safetensors"):
        load_backbone(tmp_path / "net.safetensors")


class Malicious:
    """A pickle of this makes the folder `ran` when it is loaded."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("name", ["code.ckpt", "code.safetensors"])
def test_nothing_in_a_file_is_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Malicious()}, name)
    with pytest.raises(UserError, match="of this package, or it is damaged"):
        read_backbone(name)
    assert not (tmp_path / "ran").exists()


def test_class_names_and_normalization_are_required_of_a_classifier(saved):
    with pytest.raises(UserError, match="does not contain the classes, mean, std of its images"):
        load_classifier(saved())


def test_loading_imports_neither_lightning_nor_torchvision_nor_torchs_compiler(saved):
    code = (
        "import sys, cnn_zoo; cnn_zoo.load_backbone(sys.argv[1]);"
        "print({'lightning', 'torchvision', 'onnx', 'torch._dynamo'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, saved()], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
