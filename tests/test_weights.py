"""The same weights give torchvision's outputs; weights from elsewhere fit or are named."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from cnn_zoo import create_model
from cnn_zoo.errors import UserError

AT_224 = {"num_classes": 1000, "in_channels": 3, "image_size": 224}
AT_32 = {"num_classes": 10, "in_channels": 3, "image_size": 32}
TWINS = [  # ours, arguments, torchvision's: one of each family and of each kind of block
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
    ("efficientnet_b5", {}, "efficientnet_b5"),  # from b5 on batch norm has another epsilon
]


@pytest.mark.parametrize(("name", "arguments", "twin"), TWINS, ids=[twin for *_, twin in TWINS])
def test_the_same_weights_give_torchvisions_outputs(name, arguments, twin):
    torch.manual_seed(0)
    theirs = models.get_model(twin, weights=None, **({"init_weights": False} if twin == "googlenet" else {})).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics of its own, or a wrong order would not be seen
            for tensor in (module.running_mean, module.running_var, module.weight.data, module.bias.data):
                tensor.uniform_(0.5, 1.5)
    ours = create_model(name, **AT_224, **arguments).eval()
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=1e-5)


@pytest.fixture
def fake_download(monkeypatch):
    """torchvision's weights enums give random weights of their network instead of a download."""
    monkeypatch.setattr(
        models.ResNet18_Weights, "get_state_dict", lambda self, *_, **__: models.resnet18(weights=None).state_dict()
    )


def test_weights_by_torchvisions_name(fake_download):
    name = "ResNet18_Weights.IMAGENET1K_V1"
    create_model("resnet18", **AT_224, weights=name)
    with pytest.warns(UserWarning, match=r"shape is another: stem.0.weight, head.2.weight, head.2.bias"):
        create_model("resnet18", **AT_32, weights=name)
    with pytest.raises(UserError, match="are of resnet18, whose layers are not those of VGG"):
        create_model("vgg11", **AT_224, weights=name)
    with pytest.raises(UserError, match="no weights of torchvision"):
        create_model("resnet18", **AT_224, weights="ResNet18_Weights.IMAGENET")


def test_weights_from_a_file(tmp_path):
    model, path = create_model("resnet20", **AT_32), str(tmp_path / "weights.safetensors")
    save_file({f"module._orig_mod.backbone.{k}": v for k, v in model.state_dict().items()}, path)
    loaded = create_model("resnet20", **AT_32, weights=path)
    assert all(
        torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), model.state_dict().values(), strict=True)
    )
    with pytest.warns(UserWarning, match=r"head.2.weight, head.2.bias\.$"):
        create_model("resnet20", **AT_32 | {"num_classes": 7}, weights=path)
    with pytest.raises(UserError, match=r"of another network: stages.0.3"):
        create_model("resnet32", **AT_32, weights=path)
    (tmp_path / "weights.safetensors").write_bytes(b"no such thing")
    with pytest.raises(UserError, match="is not a safetensors file"):
        create_model("resnet20", **AT_32, weights=path)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "googlenet", "vit_b_32"])
def test_torchvisions_networks_by_name(name):
    size = 224 if name == "vit_b_32" else 64
    model = create_model(f"torchvision/{name}", num_classes=7, in_channels=1, image_size=size)
    assert model(torch.zeros(2, 1, size, size)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [("torchvision/resnet19", {}, "no classification network"), ("torchvision/resnet18", {"widht": 2}, "widht")],
)
def test_torchvision_refusals(name, arguments, says):
    with pytest.raises(UserError, match=says):
        create_model(name, **AT_32, **arguments)
