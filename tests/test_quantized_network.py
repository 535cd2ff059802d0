"""Networks that train with simulated integers, and the integer-only reference that computes the same."""

import copy

import pytest
import torch
from torch import nn

from cnn_zoo import create_model
from cnn_zoo.errors import UserError
from cnn_zoo.quantization import IntegerNetwork, QuantizedNetwork, find_layers
from cnn_zoo.quantization.integer_network import Window, convolved, means_of, shifted

SIZES = {"num_classes": 10, "in_channels": 3, "image_size": 32}
NETWORKS = {
    "lenet5": {"activation": "relu"},
    "simple_cnn": {},
    "resnet8": {"width": 4},
    "mobilenet_v1": {"width": 0.125},
    "mobilenet_v2": {"width": 0.25},
}


def network_of(name, bits=8, scheme="power_of_two"):
    """Return a quantized network that has taken two steps, the second one with everything frozen, and some images."""
    torch.manual_seed(0)
    images = torch.randn(8, 3, 32, 32)
    model = create_model(name, **SIZES, **NETWORKS[name]).train()
    with torch.no_grad():
        for _ in range(20):
            model(images)
    network = QuantizedNetwork(model, bits, scheme)
    network.calibrate([images])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    for frozen in (False, True):
        network.train().frozen = frozen
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), torch.arange(8)).backward()
        optimizer.step()
    return network.eval(), images


@pytest.mark.parametrize(("bits", "scheme"), [(8, "power_of_two"), (2, "per_channel")])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_simulation_computes_the_integers_of_the_reference_bit_for_bit(name, bits, scheme):
    network, images = network_of(name, bits, scheme)
    integers = IntegerNetwork(network, images)
    with torch.no_grad():
        simulated = network(images)
    assert torch.equal(simulated, integers(images))
    assert simulated.std() > 0


@pytest.mark.parametrize("scheme", ["power_of_two", "per_channel"])
def test_every_number_of_the_reference_is_within_its_bits(scheme):
    network, images = network_of("resnet8", 3, scheme)
    integers = IntegerNetwork(network, images)
    for name, output in integers.outputs(images).items():
        assert output.dtype == torch.int32, name
    for layer in integers.layers[:-1]:
        output = integers.outputs(images)[layer.name]
        assert layer.lowest <= output.min() and output.max() <= layer.highest
        assert (layer.lowest, layer.highest) in ((0, 7), (-128, 127))
    inner = [layer for layer in integers.layers[1:-1] if layer.kind == "conv"]
    assert all(layer.weight.abs().max() <= 3 for layer in inner)


def test_scales_are_shifts_in_power_of_two_and_multipliers_of_four_bits_in_per_channel():
    shifts, channels = (IntegerNetwork(*network_of("resnet8", 8, scheme)) for scheme in ("power_of_two", "per_channel"))
    for layer in shifts.layers:
        assert layer.multiplier.unique().tolist() in ([], [1])
        assert len(layer.shift.unique()) <= 1
    multipliers = torch.cat([layer.multiplier for layer in channels.layers[:-1] if layer.kind == "conv"])
    assert multipliers.min() >= 8 and multipliers.max() <= 15 and len(multipliers.unique()) > 2


def test_eight_bits_hardly_change_the_answers():
    torch.manual_seed(0)
    model, images = create_model("simple_cnn", **SIZES).eval(), torch.randn(16, 3, 32, 32)
    network = QuantizedNetwork(copy.deepcopy(model), 8, "per_channel").eval()
    network.calibrate([images])
    with torch.no_grad():
        real, quantized = model(images), network(images)
    assert (real - quantized).abs().max() < 0.05 * real.abs().max()


def test_calibration_changes_nothing_but_scales():
    model = create_model("simple_cnn", **SIZES)
    network = QuantizedNetwork(model).train()
    before = {name: tensor.clone() for name, tensor in network.net.state_dict().items()}
    assert not network.is_calibrated
    network.calibrate([torch.randn(4, 3, 32, 32)])
    assert network.is_calibrated and all(module.training for module in network.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.net.state_dict().items())


def test_frozen_scales_and_batch_norms_stay_and_others_move():
    network, images = network_of("simple_cnn")
    for frozen in (True, False):
        before = {name: tensor.clone() for name, tensor in network.named_buffers()}
        network.train().frozen = frozen
        network(images * 3)
        same = [torch.equal(tensor, before[name]) for name, tensor in network.named_buffers()]
        assert all(same) is frozen


def test_gradients_reach_every_parameter():
    network, images = network_of("resnet8", 4)
    network.train()
    network.zero_grad()
    network(images).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())


# The layers


def test_batch_norms_and_relus_belong_to_the_layer_before_them():
    layers = {layer.name: layer for layer in find_layers(create_model("resnet8", **SIZES))}
    assert layers["stem.0"].norm == "stem.1" and layers["stem.0"].relu == float("inf")
    assert layers["stages.1.0.branch.1.0"].relu is None
    (addition,) = (layer for layer in layers.values() if layer.kind == "add" and "stages.1.0" in layer.name)
    assert addition.inputs == ("stages.1.0.branch.1.0", "stages.1.0.shortcut") and addition.relu == float("inf")
    assert [layer.name for layer in layers.values() if layer.is_last] == ["head.2"]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("lenet5", {}, r"LeNet5 cannot be quantized, because it has Tanh stem.1 \(where .*activation relu"),
        ("resnet20", {}, "ZeroPad3d"),
        ("mobilenet_v3_small", {}, "Hardswish"),
        ("densenet_bc100_k12", {}, "DenseNet cannot be quantized, because it has"),
        ("nin", {}, "it has MaxPool2d stages.0.0"),
        ("googlenet", {}, "cannot be quantized"),
    ],
)
def test_other_networks_are_refused_with_the_layer(name, arguments, message):
    with torch.device("meta"), pytest.raises(UserError, match=message):
        QuantizedNetwork(create_model(name, **SIZES, **arguments))


def test_a_network_without_a_linear_layer_at_its_end_is_refused():
    with pytest.raises(UserError, match="because it does not end in a linear layer"):
        QuantizedNetwork(nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()))


def test_a_layer_that_runs_twice_is_refused():
    layer = nn.Linear(4, 4)
    with pytest.raises(UserError, match="its layer 0 runs twice"):
        QuantizedNetwork(nn.Sequential(layer, layer))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 9}, "quantize.bits is 9; it must be from 2 to 8"),
        ({"scheme": "log"}, "There is no quantize.scheme 'log'; choose one of per_channel, power_of_two"),
    ],
)
def test_impossible_integers_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        QuantizedNetwork(nn.Sequential(nn.Linear(4, 4)), **options)


# The arithmetic


def test_a_shift_rounds_halves_to_the_even_number():
    numbers = torch.tensor([5, 6, 7, 10, 14, -6, -10, 3])
    assert shifted(numbers, torch.tensor(2)).tolist() == [1, 2, 2, 2, 4, -2, -2, 1]
    assert shifted(numbers, torch.tensor(0)).tolist() == numbers.tolist()
    assert shifted(numbers[:2], torch.tensor(-1)).tolist() == [10, 12]


def test_means_round_halves_to_the_even_number():
    maps = torch.tensor([[1, 1, 0, 0], [2, 2, 1, 1], [1, 0, 0, 0], [3, 3, 0, 0]], dtype=torch.int32).view(1, 4, 2, 2)
    assert means_of(maps, Window((2, 2), (2, 2))).flatten().tolist() == [0, 2, 0, 2]


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_integer_convolutions_are_those_of_torch(groups):
    x = torch.randint(0, 256, (2, 4, 9, 8), dtype=torch.int32)
    weight = torch.randint(-127, 128, (8, 4 // groups, 3, 2), dtype=torch.int32)
    window = Window((3, 2), (2, 1), (1, 0), (2, 1), groups)
    expected = nn.functional.conv2d(x.double(), weight.double(), None, (2, 1), (1, 0), (2, 1), groups)
    assert torch.equal(convolved(x, weight, window).double(), expected)
