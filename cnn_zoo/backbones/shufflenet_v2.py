"""The network of "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design".

https://arxiv.org/abs/1807.11164

Deviations: convolutions start as in ResNet (the paper names no initialization, torchvision keeps PyTorch's), and up to
64 px the stem keeps the resolution.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from cnn_zoo.backbones.layers import SMALL_IMAGE, conv_bn
from cnn_zoo.backbones.shufflenet_v1 import ChannelShuffle
from cnn_zoo.errors import UserError


class Channels(NamedTuple):
    """A column of the paper's Table 5. Each further stage doubles the channels."""

    first_stage: int
    last_layer: int


CHANNELS = {  # by width
    0.5: Channels(first_stage=48, last_layer=1024),
    1.0: Channels(first_stage=116, last_layer=1024),
    1.5: Channels(first_stage=176, last_layer=1024),
    2.0: Channels(first_stage=244, last_layer=2048),
}


class ShuffleUnit(nn.Module):
    """A unit that convolves half of the channels and passes the other half by, then mixes both.

    At stride 2 both halves are convolved, and both read all channels.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.stride = stride
        self.shortcut: nn.Module = nn.Identity()
        if stride == 2:
            self.shortcut = nn.Sequential(
                conv_bn(in_channels, in_channels, 3, stride=2, groups=in_channels),
                conv_bn(in_channels, half, 1, activation=nn.ReLU()),
            )
        self.branch = nn.Sequential(
            conv_bn(in_channels if stride == 2 else half, half, 1, activation=nn.ReLU()),
            conv_bn(half, half, 3, stride=stride, groups=half),
            conv_bn(half, half, 1, activation=nn.ReLU()),
        )
        self.shuffle = ChannelShuffle(2)  # so that the next split takes channels from both sides

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, out_channels, H/stride, W/stride)
        left, right = (x, x) if self.stride == 2 else x.chunk(2, dim=1)
        return self.shuffle(torch.cat((self.shortcut(left), self.branch(right)), dim=1))


class ShuffleNetV2(nn.Module):
    """A stem, three stages that halve H x W and double the width, and a 1x1 convolution as the last stage."""

    def __init__(self, num_classes: int, in_channels: int, image_size: int, *, width: float) -> None:
        super().__init__()
        if width not in CHANNELS:
            raise UserError(f"shufflenet_v2 has no width {width}; choose one of {', '.join(map(str, CHANNELS))}.")
        channels = 24
        if image_size <= SMALL_IMAGE:
            self.stem = conv_bn(in_channels, channels, 3, activation=nn.ReLU())  # H x W
        else:
            self.stem = conv_bn(in_channels, channels, 3, stride=2, activation=nn.ReLU())
            self.stem.append(nn.MaxPool2d(3, stride=2, padding=1))  # H/4 x W/4
        self.stages = nn.Sequential()
        for i, depth in enumerate((4, 8, 4)):
            stage = nn.Sequential()
            out_channels = CHANNELS[width].first_stage * 2**i
            for j in range(depth):
                stage.append(ShuffleUnit(channels, out_channels, stride=2 if j == 0 else 1))
                channels = out_channels
            self.stages.append(stage)
        features = CHANNELS[width].last_layer
        self.stages.append(conv_bn(channels, features, 1, activation=nn.ReLU()))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, num_classes))

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))


def shufflenet_v2(*, num_classes: int, in_channels: int, image_size: int, width: float = 1.0) -> ShuffleNetV2:
    """Return ShuffleNet V2; `width` multiplies the channels and is 0.5, 1, 1.5 or 2."""
    return ShuffleNetV2(num_classes, in_channels, image_size, width=width)
