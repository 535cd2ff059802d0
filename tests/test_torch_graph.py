"""The operations of torch networks, as they run."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cnn_zoo.analysis.graph import elements_alive
from cnn_zoo.analysis.layers import layer_table, totals
from cnn_zoo.analysis.torch_graph import trace
from cnn_zoo.backbones.create import create_on_meta
from cnn_zoo.errors import UserError


class Network(nn.Module):
    """A network whose `forward` is given as a function."""

    def __init__(self, forward, **layers):
        super().__init__()
        self.function = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x):
        return self.function(self, x)


def titles(model, shape=(4, 8, 8)):
    return [operation.title for operation in trace(model, shape).operations]


def conv(channels=4):
    return nn.Conv2d(channels, 4, 3, padding=1)


def test_functions_are_recorded_under_their_layer():
    model = Network(lambda self, x: F.max_pool2d(F.relu(self.block(x)), 2), block=nn.Sequential(conv(), conv()))
    names = [(operation.name, operation.title) for operation in trace(model, (4, 8, 8)).operations]
    assert names == [("block.0", "conv"), ("block.1", "conv+relu"), ("", "max_pool")]


def test_a_residual_network():
    model = Network(lambda self, x: F.relu(self.b(F.relu(self.a(x))) + x), a=conv(), b=conv())
    graph = trace(model, (4, 8, 8))
    assert [operation.title for operation in graph.operations] == ["conv+relu", "conv", "add+relu"]
    map_ = 4 * 8 * 8
    assert elements_alive(graph) == [2 * map_, 3 * map_, 3 * map_]  # the input waits for the sum


def test_a_dense_network():
    model = Network(lambda self, x: self.b(torch.cat([x, self.a(x)], 1)), a=conv(), b=conv(8))
    assert elements_alive(trace(model, (4, 8, 8))) == [2 * 256, 256 + 256 + 512, 512 + 256]


def test_branches_read_half_of_the_channels_each():
    """As in ShuffleNet V2: the two halves are views, so the whole map stays in memory until the last one is read."""

    def forward(self, x):
        left, right = self.first(x).chunk(2, 1)
        return torch.cat([self.branch(left), right], 1)

    model = Network(forward, first=conv(), branch=nn.Conv2d(2, 2, 1))
    graph = trace(model, (4, 8, 8))
    assert [operation.inputs for operation in graph.operations] == [256, 128, 128 + 128]
    assert elements_alive(graph) == [512, 256 + 128, 256 + 128 + 256]


def test_in_place_is_counted_as_out_of_place():
    def forward(in_place):
        return lambda self, x: F.relu(self.b(F.relu(self.a(x), inplace=in_place)).add_(x), inplace=in_place)

    graphs = [trace(Network(forward(in_place), a=conv(), b=conv()), (4, 8, 8)) for in_place in (False, True)]
    assert elements_alive(graphs[0]) == elements_alive(graphs[1]) == [512, 768, 768]


def test_shuffled_channels_are_copied():
    def forward(self, x):
        return self.b(self.a(x).view(1, 2, 2, 8, 8).transpose(1, 2).reshape(1, 4, 8, 8))

    assert titles(Network(forward, a=conv(), b=conv())) == ["conv", "copy", "conv"]


@pytest.mark.parametrize("layer", [nn.Identity(), nn.Dropout(), nn.AdaptiveAvgPool2d(8), nn.Flatten(0, 1)])
def test_what_changes_nothing_is_no_operation(layer):
    assert titles(nn.Sequential(conv(), layer)) == ["conv"]


ACTIVATIONS = [nn.ReLU(), nn.ReLU6(), nn.Hardswish(), nn.SiLU(), nn.GELU(), nn.PReLU(4), nn.LeakyReLU(), nn.Tanh()]


@pytest.mark.parametrize("layer", ACTIVATIONS, ids=lambda layer: type(layer).__name__)
def test_an_activation_joins_its_convolution(layer):
    assert len(titles(nn.Sequential(conv(), nn.BatchNorm2d(4), layer))) == 1


def test_weights_that_are_used_twice_are_stored_once():
    layer = conv()
    first, second = trace(nn.Sequential(layer, layer), (4, 8, 8)).operations
    assert (first.weights, first.is_repeated) == (144, False)
    assert (second.weights, second.is_repeated) == (144, True)


def test_a_depthwise_convolution_is_called_so():
    assert titles(nn.Conv2d(4, 4, 3, groups=4)) == ["depthwise"]
    assert titles(nn.Conv2d(4, 4, 3, groups=2)) == ["conv"]


def test_a_product_of_two_activations_has_no_weights():
    (operation,) = trace(Network(lambda self, x: x @ x), (4, 8, 8)).operations
    assert (operation.kind, operation.macs, operation.weights) == ("linear", 4 * 8 * 8 * 8, 0)


def test_attention_is_two_products():
    operations = trace(Network(lambda self, x: F.scaled_dot_product_attention(x, x, x)), (4, 8, 8)).operations
    assert sum(operation.macs for operation in operations) == 2 * 4 * 8 * 8 * 8


def test_an_operator_without_cost_is_refused():
    model = Network(lambda self, x: torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(x, x, x)[0])
    with pytest.raises(UserError, match="The operator _scaled_dot_product_.* has no cost in this model"):
        trace(model, (4, 8, 8))


def test_a_network_that_needs_values_runs_on_the_cpu():
    model = Network(lambda self, x: self.a(x) if float(x.sum()) == 0 else x, a=conv())
    assert titles(model) == ["sum", "conv"]


def test_the_network_keeps_its_mode():
    model = nn.Sequential(conv(), nn.BatchNorm2d(4))
    trace(model, (4, 8, 8))
    assert model.training and not model[0].weight.is_meta


NAMES = ["alexnet", "resnet20", "densenet40_k12", "googlenet", "mobilenet_v3_small", "shufflenet_v1", "hardnet39ds"]


@pytest.mark.parametrize("name", NAMES)
def test_macs_and_weights_are_those_of_the_layers(name):
    model = create_on_meta(name, num_classes=10, in_channels=3, image_size=32)
    operations = trace(model, (3, 32, 32)).operations
    assert sum(operation.macs for operation in operations) == totals(model, layer_table(model, (3, 32, 32)))["macs"]
    weights = sum(p.numel() for p in model.parameters() if p.dim() > 1)
    norms = sum(operation.weights for operation in operations if operation.kind == "norm")
    assert sum(operation.weights for operation in operations) == weights + norms
