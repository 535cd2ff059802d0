"""The operations that thop counts for a layer; the numbers are those of thop 0.1.1 itself."""

import pytest
import torch
from torch import nn

from cnn_zoo.analysis.layers import layer_table
from cnn_zoo.analysis.thop import thop_operations
from cnn_zoo.backbones.create import create_on_meta

ELEMENTS = 8 * 16 * 16  # of the map that each layer gets


class Subclass(nn.BatchNorm2d):
    """A layer that thop does not know."""


@pytest.mark.parametrize(
    ("layer", "operations"),
    [
        (nn.Conv2d(8, 8, 3, padding=1), ELEMENTS * 8 * 9),
        (nn.Conv2d(8, 8, 3, padding=1, groups=8), ELEMENTS * 9),
        (nn.ConvTranspose2d(8, 6, 3, 2, groups=2), 6 * 33 * 33 * 4 * 9),  # counted for each output: too many
        (nn.Linear(16, 5), 8 * 16 * 5 * 16),
        (nn.BatchNorm2d(8), 4 * ELEMENTS),
        (nn.BatchNorm2d(8, affine=False), 2 * ELEMENTS),
        (nn.LayerNorm(16), 4 * ELEMENTS),
        (nn.AvgPool2d(2), ELEMENTS // 4),
        (nn.AdaptiveAvgPool2d(1), ELEMENTS + 8),
        (nn.PReLU(), ELEMENTS),
        (nn.Softmax(1), 16 * 16 * (3 * 8 - 1)),
        (nn.Upsample(scale_factor=2, mode="bilinear"), 4 * ELEMENTS * 11),
        (nn.ReLU(), 0),
        (nn.MaxPool2d(2), 0),
        (nn.GroupNorm(2, 8), 0),
        (Subclass(8), 0),
    ],
    ids=str,
)
def test_a_layer(layer, operations):
    x = torch.zeros(1, 8, 16, 16)
    assert thop_operations(layer.eval(), x, layer(x)) == operations


@pytest.mark.parametrize(
    ("name", "operations"),
    [("lenet5", 653_296), ("resnet20", 41_315_008), ("mobilenet_v2", 94_557_952), ("hardnet39ds", 138_047_008)],
)
def test_a_network(name, operations):
    model = create_on_meta(name, num_classes=10, in_channels=3, image_size=32)
    assert sum(row.thop for row in layer_table(model, (3, 32, 32))) == operations
