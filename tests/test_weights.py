"""Networks and weights of torchvision, and weights from our own files."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from cnn_zoo import create_model
from cnn_zoo.errors import UserError

AT_224 = {"num_classes": 1000, "in_channels": 3, "image_size": 224}
AT_32 = {"num_classes": 10, "in_channels": 3, "image_size": 32}
RESNET18 = "ResNet18_Weights.IMAGENET1K_V1"
TWINS = [  # one of each family and of each kind of block: our name, its arguments, torchvision's name
    ("alexnet", {}, "alexnet"),
    ("vgg11", {"batch_norm": False}, "vgg11"),
    ("vgg13", {}, "vgg13_bn"),
    ("googlenet", {"five_by_five": False, "aux": True}, "googlenet"),
    ("resnet18", {}, "resnet18"),
    ("resnet50", {}, "resnet50"),
    ("densenet121", {}, "densenet121"),
    ("mobilenet_v2", {}, "mobilenet_v2"),
    ("mobilenet_v3_small", {}, "mobilenet_v3_small"),
    ("mobilenet_v3_large", {}, "mobilenet_v3_large"),
    ("shufflenet_v2", {"width": 0.5}, "shufflenet_v2_x0_5"),
    ("shufflenet_v2", {}, "shufflenet_v2_x1_0"),
    ("efficientnet_b0", {}, "efficientnet_b0"),
    ("efficientnet_b5", {}, "efficientnet_b5"),  # from B5 on batch norm has another epsilon
]


@pytest.mark.parametrize(("name", "arguments", "twin"), TWINS, ids=[twin for _, _, twin in TWINS])
def test_the_same_weights_give_torchvisions_outputs(name, arguments, twin):
    torch.manual_seed(0)
    options = {"init_weights": False} if twin == "googlenet" else {}  # its initialisation takes long
    theirs = models.get_model(twin, weights=None, **options).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):  # with the initial statistics a wrong order would not be seen
            for tensor in (module.running_mean, module.running_var, module.weight.data, module.bias.data):
                tensor.uniform_(0.5, 1.5)
    ours = create_model(name, **AT_224, **arguments).eval()
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=1e-5)


@pytest.fixture
def torchvisions_resnet18(monkeypatch):
    """The network whose weights torchvision's enum gives in this test instead of a download."""
    model = models.resnet18(weights=None)
    monkeypatch.setattr(models.ResNet18_Weights, "get_state_dict", lambda self, *_, **__: model.state_dict())
    return model


def test_torchvisions_weights_are_loaded_by_name(torchvisions_resnet18):
    ours = create_model("resnet18", **AT_224, weights=RESNET18).state_dict()
    theirs = torchvisions_resnet18.state_dict()
    assert all(torch.equal(a, b) for a, b in zip(ours.values(), theirs.values(), strict=True))


def test_torchvisions_weights_that_do_not_fit_stem_and_head_are_listed(torchvisions_resnet18):
    with pytest.warns(UserWarning, match=r"the shape differs: stem.0.weight, head.2.weight, head.2.bias\.$"):
        create_model("resnet18", **AT_32, weights=RESNET18)


def test_torchvisions_weights_of_another_network_are_refused(torchvisions_resnet18):
    with pytest.raises(UserError, match="are of resnet18, whose layers are not those of VGG"):
        create_model("vgg11", **AT_224, weights=RESNET18)


def test_unknown_weights_are_refused():
    with pytest.raises(UserError, match="no weights of torchvision named 'ResNet18_Weights.IMAGENET'"):
        create_model("resnet18", **AT_32, weights="ResNet18_Weights.IMAGENET")


@pytest.fixture
def resnet20():
    return create_model("resnet20", **AT_32)


@pytest.fixture
def resnet20_file(resnet20, tmp_path):
    """A safetensors file whose names have the prefixes of DDP, torch.compile and our task."""
    path = tmp_path / "weights.safetensors"
    save_file({f"module._orig_mod.backbone.{key}": tensor for key, tensor in resnet20.state_dict().items()}, path)
    return str(path)


def test_weights_are_loaded_from_a_file(resnet20, resnet20_file):
    loaded = create_model("resnet20", **AT_32, weights=resnet20_file).state_dict()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in resnet20.state_dict().items())


def test_a_head_that_does_not_fit_keeps_its_initial_values(resnet20_file):
    with pytest.warns(UserWarning, match=r"the shape differs: head.2.weight, head.2.bias\.$"):
        create_model("resnet20", **AT_32 | {"num_classes": 7}, weights=resnet20_file)


def test_a_file_of_another_network_is_refused(resnet20_file):
    with pytest.raises(UserError, match=r"of another network: stages.0.3"):
        create_model("resnet32", **AT_32, weights=resnet20_file)


def test_a_file_that_is_not_safetensors_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"no such thing")
    with pytest.raises(UserError, match="is not a safetensors file"):
        create_model("resnet20", **AT_32, weights=str(path))


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
