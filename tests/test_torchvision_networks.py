"""Networks and weights of torchvision."""

from urllib.error import URLError

import pytest
import torch
from torchvision import models

from cnn_zoo import create_model
from cnn_zoo.errors import UserError

AT_224 = {"num_classes": 1000, "in_channels": 3, "image_size": 224}
AT_32 = {"num_classes": 10, "in_channels": 3, "image_size": 32}
RESNET18 = "ResNet18_Weights.IMAGENET1K_V1"


@pytest.fixture
def torchvisions_resnet18(monkeypatch):
    """The network whose weights torchvision's enum gives in this test instead of a download."""
    model = models.resnet18(weights=None)
    monkeypatch.setattr(models.ResNet18_Weights, "get_state_dict", lambda self, *_, **__: model.state_dict())
    return model


@pytest.mark.parametrize("source", [RESNET18, f"torchvision/{RESNET18}"])
@pytest.mark.parametrize("name", ["resnet18", "torchvision/resnet18"])
def test_torchvisions_weights_are_loaded_by_name(source, name, torchvisions_resnet18):
    ours = create_model(name, **AT_224, weights=source).state_dict()
    theirs = torchvisions_resnet18.state_dict()
    assert all(torch.equal(a, b) for a, b in zip(ours.values(), theirs.values(), strict=True))


def test_torchvisions_weights_that_do_not_fit_stem_and_head_are_listed(torchvisions_resnet18):
    with pytest.warns(UserWarning, match=r"the shape differs: stem.0.weight, head.2.weight, head.2.bias\.$"):
        create_model("resnet18", **AT_32, weights=RESNET18)


def test_torchvisions_own_network_gets_a_new_head(torchvisions_resnet18):
    with pytest.warns(UserWarning, match=r"the shape differs: fc.weight, fc.bias\.$"):
        model = create_model("torchvision/resnet18", **AT_32, weights=RESNET18)
    assert torch.equal(model.conv1.weight, torchvisions_resnet18.conv1.weight)


def test_torchvisions_weights_of_another_network_are_refused(torchvisions_resnet18):
    with pytest.raises(UserError, match="are of resnet18, whose layers are not those of VGG"):
        create_model("vgg11", **AT_224, weights=RESNET18)


@pytest.mark.parametrize("source", ["ResNet18_Weights.IMAGENET", "torchvision/resnet18"])
def test_unknown_weights_are_refused(source):
    name = source.removeprefix("torchvision/")
    with pytest.raises(UserError, match=f"no weights of torchvision named '{name}'.*; a name looks like torchvision/"):
        create_model("resnet18", **AT_32, weights=source)


def test_without_a_network_the_message_names_the_file_and_its_folder(monkeypatch):
    def fail(self, *_, **__):
        raise URLError("no network")

    monkeypatch.setattr(models.ResNet18_Weights, "get_state_dict", fail)
    message = r"cannot be downloaded from https://.*/resnet18-f37072fd.pth \(no network\); .* into .*/checkpoints\.$"
    with pytest.raises(UserError, match=message):
        create_model("resnet18", **AT_32, weights=RESNET18)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "googlenet", "vit_b_32"])
def test_torchvisions_networks_by_name(name):
    size = 224 if name == "vit_b_32" else 64
    model = create_model(f"torchvision/{name}", num_classes=7, in_channels=1, image_size=size)
    assert model(torch.zeros(2, 1, size, size)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("torchvision/resnet19", {}, "no classification network 'resnet19'"),
        ("torchvision/resnet18", {"widht": 2}, "torchvision/resnet18 cannot be built with .*widht"),
        ("torchvision/resnet18", {"weights": "ResNet18_Weights.IMAGENET"}, "no weights of torchvision"),
    ],
)
def test_torchvision_refusals(name, arguments, message):
    with pytest.raises(UserError, match=message):
        create_model(name, **AT_32, **arguments)
