"""The channels of a network that can only be removed together."""

import pytest
import torch
from torch import nn

from cnn_zoo import create_model
from cnn_zoo.analysis.channels import channels_of
from cnn_zoo.errors import UserError

SIZES = {"num_classes": 10, "in_channels": 3, "image_size": 32}


class Mixing(nn.Module):
    """A network with an operator that mixes channels."""

    def __init__(self, operator):
        super().__init__()
        self.conv, self.operator = nn.Conv2d(3, 4, 3), operator

    def forward(self, images):
        return self.operator(self.conv(images))


def test_a_flattened_channel_has_an_index_for_each_pixel():
    channels = channels_of(create_model("lenet5", **SIZES), (3, 32, 32))
    filters = channels["stages.0.0.weight", 0]
    assert channels["head.1.weight", 1] == [channel for channel in filters for _ in range(25)]


def test_a_depthwise_layer_has_the_channels_of_its_input():
    channels = channels_of(create_model("mobilenet_v1", **SIZES, width=0.25), (3, 32, 32))
    assert channels["stages.0.0.0.0.weight", 0] == channels["stem.0.weight", 0] == channels["stages.0.0.1.0.weight", 1]


def test_an_addition_joins_the_channels_of_its_operands():
    channels = channels_of(create_model("resnet8", **SIZES), (3, 32, 32))
    assert channels["stages.0.0.branch.1.0.weight", 0] == channels["stem.0.weight", 0]
    assert channels["stages.0.0.branch.0.0.weight", 0] != channels["stem.0.weight", 0]


def test_channels_of_zeros_join_nothing():
    channels = channels_of(create_model("resnet20", **SIZES), (3, 32, 32))
    second = channels["stages.1.0.branch.1.0.weight", 0]
    assert second[:16] == channels["stem.0.weight", 0] and not set(second[16:]) & set(second[:16])


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (nn.Softmax(1), "through its softmax"),
        (nn.Conv2d(4, 4, 3, groups=2), "through its convolution in groups"),
        (nn.ConvTranspose2d(4, 4, 3), "through its transposed convolution"),
        (lambda images: images.flatten(1) @ torch.zeros(3600, 2, dtype=torch.float64), "through its matrix product"),
    ],
)
def test_an_operator_that_mixes_channels_is_refused(operator, message):
    with pytest.raises(UserError, match=message):
        channels_of(Mixing(operator), (3, 32, 32))
