"""The table of layers: sizes, parameters, MACs and memory, against the lectures' calculations by hand."""

import math

import pytest
import torch
from golden import FAMILIES
from torch import nn

from cnn_zoo.analysis.complexity import count_macs, count_params
from cnn_zoo.analysis.layers import layer_table, totals
from cnn_zoo.backbones.create import create_on_meta


def parameters_and_macs(model, image_shape):
    return [(row.parameters, row.macs) for row in layer_table(model, image_shape)]


def test_one_5x5_convolution():
    model = nn.Sequential(nn.Conv2d(1, 1, 5))
    assert parameters_and_macs(model, (1, 32, 32)) == [(25 + 1, 28 * 28 * 25)] == [(26, 19_600)]


def test_two_3x3_convolutions_cost_less_than_one_5x5_and_see_as_much():
    rows = layer_table(nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3)), (1, 32, 32))
    costs = [(row.parameters, row.macs) for row in rows]
    assert costs == [(9 + 1, 30 * 30 * 9), (9 + 1, 28 * 28 * 9)] == [(10, 8_100), (10, 7_056)]
    assert rows[-1].output == (1, 28, 28)
    assert rows[-1].field == (5, 5)


def test_sharing_weights_saves_parameters():
    (row,) = layer_table(nn.Sequential(nn.Conv2d(1, 6, 5)), (1, 28, 28))
    assert (row.input, row.output, row.neurons) == ((1, 28, 28), (6, 24, 24), 24 * 24 * 6)
    assert (row.parameters, row.unshared) == (156, 24 * 24 * 6 * (5 * 5 * 1 + 1)) == (156, 89_856)


@pytest.mark.parametrize(
    ("layer", "unshared"),
    [
        (nn.Conv2d(8, 8, 3, padding=1, bias=False), 8 * 16 * 16 * 72),
        (nn.Conv2d(8, 8, 3, padding=1, groups=8), 8 * 16 * 16 * (9 + 1)),
        (nn.ConvTranspose2d(8, 4, 2, 2), 8 * 16 * 16 * 4 * 4 + 4 * 32 * 32),  # each input has 4 kernels of 2 x 2
        (nn.BatchNorm2d(8), 16),
        (nn.ReLU(), 0),
    ],
)
def test_parameters_without_sharing(layer, unshared):
    assert layer_table(nn.Sequential(layer), (8, 16, 16))[0].unshared == unshared


def test_a_linear_layer_shares_nothing():
    row = layer_table(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), (3, 2, 2))[1]
    assert row.unshared == row.parameters == 65


class NeedsValues(nn.Module):
    """A network whose forward looks at the values of its map."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, x):
        x = self.conv(x)
        return -x if x.mean().item() > 0 else x


def test_a_forward_that_needs_values_runs_on_the_cpu():
    (row,) = layer_table(NeedsValues(), (1, 8, 8))
    assert (row.name, row.output, row.field) == ("conv", (2, 6, 6), (3, 3))


def test_first_layer_of_alexnet():
    model = nn.Sequential(nn.Conv2d(3, 96, 11, 4))
    assert parameters_and_macs(model, (3, 227, 227))[0][0] == 11 * 11 * 3 * 96 + 96 == 34_944


@pytest.mark.parametrize("n", [7, 12, 32])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [(3, 1, 1, 1), (5, 2, 0, 1), (3, 2, 1, 2), (1, 1, 0, 1), (3, 3, 2, 3)],
)
def test_the_size_of_a_map(n, kernel, stride, padding, dilation):
    (row,) = layer_table(nn.Sequential(nn.Conv2d(1, 2, kernel, stride, padding, dilation)), (1, n, n))
    side = math.floor((n + 2 * padding - dilation * (kernel - 1) - 1) / stride) + 1
    assert row.output == (2, side, side)


BLOCKS = {  # of the lectures: the layer, output of an 8 x 16 x 16 map, parameters, MACs, field
    "full": (nn.Conv2d(8, 8, 3, padding=1), (8, 16, 16), 584, 256 * 8 * 72, 3),
    "depthwise": (nn.Conv2d(8, 8, 3, padding=1, groups=8), (8, 16, 16), 80, 256 * 8 * 9, 3),
    "pointwise": (nn.Conv2d(8, 8, 1), (8, 16, 16), 72, 256 * 8 * 8, 1),
    "grouped": (nn.Conv2d(8, 8, 3, padding=1, groups=2), (8, 16, 16), 296, 256 * 8 * 36, 3),
    "dilated": (nn.Conv2d(8, 8, 3, padding=2, dilation=2), (8, 16, 16), 584, 256 * 8 * 72, 5),
    "transposed": (nn.ConvTranspose2d(8, 8, 2, 2), (8, 32, 32), 264, 256 * 8 * 32, 1),
    "global average pooling": (nn.AdaptiveAvgPool2d(1), (8, 1, 1), 0, 0, math.inf),
} | {
    f"{mode} padding": (nn.Conv2d(8, 8, 3, padding=1, padding_mode=mode), (8, 16, 16), 584, 256 * 8 * 72, 3)
    for mode in ("zeros", "reflect", "replicate", "circular")
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_of_the_lectures(name):
    layer, *expected = BLOCKS[name]
    (row,) = layer_table(nn.Sequential(layer), (8, 16, 16))
    assert [row.output, row.parameters, row.macs, row.field[0]] == expected


def test_cio_is_what_convolutions_read_and_write():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 1))
    total = totals(model, layer_table(model, (3, 8, 8)))
    assert total["cio"] == (3 + 8) * 64 + (8 + 4) * 16
    assert total["activations"] == 8 * 64 + 4 * 16


def test_a_layer_that_is_called_twice_has_its_parameters_in_its_first_row():
    layer = nn.Conv2d(2, 2, 1)
    first, second = layer_table(nn.Sequential(layer, layer), (2, 4, 4))
    assert (first.parameters, first.weights, second.parameters, second.weights) == (6, 4, 0, 0)
    assert first.macs == second.macs == 16 * 4


@pytest.mark.parametrize("name", FAMILIES)
def test_the_table_agrees_with_torchs_counter(name):
    model = create_on_meta(name, num_classes=10, in_channels=3, image_size=32).eval()
    macs = count_macs(model, torch.empty(1, 3, 32, 32, device="meta"))
    total = totals(model, layer_table(model, (3, 32, 32)))
    assert (total["macs"], total["parameters"]) == (macs, count_params(model))
