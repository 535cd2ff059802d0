"""A network takes the weights of another one as far as they fit."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from cnn_zoo import create_model
from cnn_zoo.backbones.weight_files import Weights
from cnn_zoo.backbones.weights import LoadedWeights, load_weights
from cnn_zoo.errors import UserError

AT_224 = {"num_classes": 1000, "in_channels": 3, "image_size": 224}
AT_32 = {"num_classes": 10, "in_channels": 3, "image_size": 32}
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
    options = {"init_weights": False} if twin == "googlenet" else {}  # its initialization takes long
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


def test_a_file_of_another_network_is_refused_with_what_fits(resnet20_file):
    message = "of another network than this ResNet: 116 of its 188 tensors fit, but stages.0.3.branch.0.0.weight, "
    with pytest.raises(UserError, match=message):
        create_model("resnet32", **AT_32, weights=resnet20_file)


def test_a_file_that_is_not_safetensors_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"no such thing")
    with pytest.raises(UserError, match="is not a safetensors file"):
        create_model("resnet20", **AT_32, weights=str(path))


# Any network


class Wrapped(nn.Module):
    """A network whose own names begin as those of a wrapper do, and which has neither stem nor head."""

    def __init__(self, num_classes):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3 * 36, num_classes))

    def forward(self, images):
        return self.net(images)


@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod.", "model.net."])
def test_prefixes_of_wrappers_are_no_part_of_a_name_unless_the_network_has_them(prefix):
    theirs, ours = Wrapped(10), Wrapped(10)
    tensors = {prefix + name: tensor for name, tensor in theirs.state_dict().items()}
    loaded = load_weights(ours, Weights("some.pth", tensors))
    assert (loaded.new, loaded.left_out) == ([], {})
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), tensors.values(), strict=True))


def test_the_last_layer_of_any_network_may_be_for_other_classes():
    loaded = load_weights(Wrapped(4), Weights("some.pth", Wrapped(10).state_dict()))
    assert loaded.new == ["net.3.weight", "net.3.bias"]
    assert loaded.left_out["net.3.weight"] == "10x108, here 4x108"


def test_a_batch_norm_of_an_old_torch_has_no_counter():
    tensors = Wrapped(10).state_dict()
    del tensors["net.1.num_batches_tracked"]
    assert load_weights(Wrapped(10), Weights("some.pth", tensors)).new == []


# The head


LENET = {"num_classes": 10, "in_channels": 1, "image_size": 28}


def lenet(**sizes):
    return create_model("lenet5", **LENET | sizes)


def weights_of(model, classes=()):
    return Weights("RUN", model.state_dict(), network="lenet5", classes=list(classes))


def test_a_head_for_other_classes_of_the_same_number_starts_fresh():
    ours, theirs = lenet(), lenet()
    before = ours.head[5].weight.clone()
    loaded = load_weights(ours, weights_of(theirs, "abcdefghij"), classes="ABCDEFGHIJ")
    assert loaded.new == ["head.5.weight", "head.5.bias"] and torch.equal(ours.head[5].weight, before)
    assert torch.equal(ours.head[1].weight, theirs.head[1].weight)


def test_a_head_for_the_same_classes_is_loaded_unless_a_new_one_is_asked_for():
    assert load_weights(lenet(), weights_of(lenet(), "abcdefghij"), classes="abcdefghij").new == []
    assert load_weights(lenet(), weights_of(lenet()), new_head=True).new == ["head.5.weight", "head.5.bias"]


@pytest.mark.parametrize(("classes", "count"), [("ABCDEFGHIJ", 10), ("abc", 3)])
def test_a_run_of_other_classes_without_a_new_head_is_refused(classes, count):
    with pytest.raises(UserError, match="model.new_head is false, but the classes of RUN are not those of the data"):
        load_weights(lenet(num_classes=count), weights_of(lenet(), "abcdefghij"), classes=classes, new_head=False)


def test_a_head_for_another_image_size_starts_fresh_as_a_whole():
    loaded = load_weights(lenet(image_size=40), weights_of(lenet()))
    head = [name for name in lenet().state_dict() if name.startswith("head.")]
    assert loaded.new == head
    assert loaded.left_out["head.3.weight"] == "the head is for another image size"


# The stem


def test_a_stem_for_other_channels_starts_fresh_unless_it_is_asked_for():
    loaded = load_weights(lenet(in_channels=3), weights_of(lenet()))
    assert loaded.new == ["stem.0.weight"] and loaded.left_out == {"stem.0.weight": "6x1x5x5, here 6x3x5x5"}


@pytest.mark.parametrize(("theirs", "ours"), [(3, 1), (1, 3)])
def test_the_sum_over_channels_sees_a_gray_picture_as_before(theirs, ours):
    old, new = lenet(in_channels=theirs), lenet(in_channels=ours)
    assert load_weights(new, weights_of(old), stem_channels="sum").new == []
    gray = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(new(gray.repeat(1, ours, 1, 1)), old(gray.repeat(1, theirs, 1, 1)))


def test_the_mean_over_channels_is_the_weight_of_each():
    old, new = lenet(in_channels=3), lenet(in_channels=1)
    load_weights(new, weights_of(old), stem_channels="mean")
    torch.testing.assert_close(new.stem[0].weight, old.stem[0].weight.mean(1, keepdim=True))


# The table


def test_the_table_tells_what_was_loaded_left_out_and_new():
    table = str(load_weights(lenet(num_classes=4), weights_of(lenet())))
    assert table.splitlines() == [
        "Weights from RUN",
        "  loaded      8  stem, stages.0, head",
        "  left out    2  head.5.weight (10x84, here 4x84), head.5.bias (10, here 4)",
        "  new         2  head.5.weight, head.5.bias",
    ]


def test_a_long_table_is_cut():
    loaded = LoadedWeights("x", "", [f"part{i}.weight" for i in range(30)], {}, [])
    assert str(loaded).splitlines()[1].endswith("part11 and 18 more")
