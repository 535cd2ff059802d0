"""A network is pruned to a budget: what is left is the same network with smaller widths."""

import pytest
import torch

from cnn_zoo import create_model
from cnn_zoo.analysis.prune import (
    COSTS,
    Prune,
    importance,
    kept_indices,
    prune_network,
    pruned_arguments,
    scaled,
)
from cnn_zoo.backbones.create import create_on_meta
from cnn_zoo.errors import UserError

SIZES = {"num_classes": 10, "in_channels": 3, "image_size": 32}
SHAPE = (3, 32, 32)
NETWORKS = [
    ("lenet5", {}, "l1"),  # a flattened map
    ("mlp", {"hidden": [40, 20]}, "l1"),
    ("stacked_cnn", {"batch_norm": False, "width": 8}, "l1"),
    ("stacked_cnn", {"separable": True, "width": 8}, "bn"),
    ("resnet8", {}, "l1"),
    ("resnet20", {}, "bn"),  # shortcuts that add channels of zeros
    ("resnet18", {"width": 0.125}, "l1"),
    ("resnet50", {"width": 0.125}, "l1"),
    ("resnet9", {"width": 8}, "bn"),
    ("mobilenet_v1", {"width": 0.5}, "bn"),  # depthwise
    ("mobilenet_v2", {"width": 1.0}, "l1"),  # rounding gives some narrower networks more shortcuts
    ("mobilenet_v3_small", {"width": 1.0}, "bn"),  # squeeze-and-excitation
]


def trained(name, arguments):
    """Return a network whose batch norms differ from channel to channel, as after a training."""
    torch.manual_seed(0)
    model = create_model(name, **SIZES, **arguments).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5)
            for tensor in (module.bias.data, module.running_mean):
                tensor.uniform_(-0.2, 0.2)
    return model


def mask(model, indices):
    """Set what writes the channels that `indices` leave out to zero."""
    tensors = model.state_dict()
    for (name, dimension), kept in indices.items():
        if dimension == 0:
            removed = torch.ones(len(tensors[name]), dtype=torch.bool)
            removed[kept] = False
            tensors[name][removed] = 0 if not name.endswith("running_var") else 1


@pytest.mark.parametrize(("name", "arguments", "by"), NETWORKS)
def test_the_smaller_network_answers_as_the_masked_one(name, arguments, by):
    model = trained(name, arguments)
    smaller_arguments, tensors = prune_network(model, name, arguments, SIZES, Prune(macs=0.5, by=by))
    smaller = create_model(name, **SIZES, **smaller_arguments).eval()
    smaller.load_state_dict(tensors)
    assert COSTS["params"](smaller, SHAPE) < COSTS["params"](model, SHAPE)
    mask(model, kept_indices(model, smaller, SHAPE, by))
    images = torch.randn(4, *SHAPE)
    with torch.no_grad():
        torch.testing.assert_close(smaller(images), model(images), rtol=1e-5, atol=1e-5)


# The budget


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize(
    ("name", "width", "next_width"), [("stacked_cnn", 16, 1), ("resnet9", 64, 1), ("resnet20", 1.0, 1 / 128)]
)
def test_the_next_width_would_exceed_the_budget(name, width, next_width, cost):
    def cost_at(width):
        return COSTS[cost](create_on_meta(name, **SIZES, width=width), SHAPE)

    chosen = pruned_arguments(name, {"width": width}, SIZES, Prune(**{cost: 0.4}))["width"]
    assert cost_at(chosen) <= 0.4 * cost_at(width) < cost_at(chosen + next_width)


def test_all_layers_are_narrowed_by_the_same_share():
    arguments = pruned_arguments("lenet5", {"activation": "relu"}, SIZES, Prune(params=0.25))
    assert arguments["activation"] == "relu"
    assert arguments["c1"] / 6 == pytest.approx(arguments["f6"] / 84, abs=0.1)


def test_a_list_of_widths_is_narrowed_whole():
    assert scaled([512, 256, 1], 0.5, (512, 256)) == [256, 128, 1]


@pytest.mark.parametrize(
    ("name", "prune", "message"),
    [
        (
            "vgg11",
            Prune(macs=0.5),
            "vgg11 cannot be pruned, because it has no argument for its width; choose one of mlp",
        ),
        ("shufflenet_v2", Prune(macs=0.5), "shufflenet_v2 cannot be pruned"),
        ("lenet5", Prune(), "prune has no share; set one of prune.macs, prune.params, prune.sram"),
        ("lenet5", Prune(macs=0.5, sram=0.5), "prune has prune.macs and prune.sram; set one of"),
        ("lenet5", Prune(params=1.5), "prune.params is 1.5; it must be between 0 and 1, such as 0.5"),
        ("lenet5", Prune(macs=0.0001), "prune.macs is 0.0001, but the narrowest lenet5 still has"),
        ("mlp", Prune(sram=0.5), "but the narrowest mlp still has 0.86 of the sram; give a larger share"),
    ],
)
def test_what_cannot_be_pruned_is_refused(name, prune, message):
    with pytest.raises(UserError, match=message):
        pruned_arguments(name, {}, SIZES, prune)


# The criterion


def test_channels_with_small_weights_are_removed():
    model = create_model("lenet5", **SIZES)
    with torch.no_grad():
        model.stem[0].weight[[1, 2, 5]] *= 1e-3
    indices = kept_indices(model, create_model("lenet5", **SIZES, c1=3), SHAPE, "l1")
    assert indices["stem.0.weight", 0] == indices["stages.0.0.weight", 1] == [0, 3, 4]


def test_channels_with_a_small_scale_are_removed():
    model = trained("stacked_cnn", {"width": 4})
    with torch.no_grad():
        model.stem[0][1].weight[[0, 2]] = 1e-3
    indices = kept_indices(model, create_model("stacked_cnn", **SIZES, width=2), SHAPE, "bn")
    assert indices["stem.0.0.weight", 0] == [1, 3]


def test_scales_need_batch_norms():
    model = create_model("lenet5", **SIZES)
    with pytest.raises(UserError, match="prune.by is bn, but the network has no batch norms; use --prune.by l1"):
        importance(model, {}, "bn")
