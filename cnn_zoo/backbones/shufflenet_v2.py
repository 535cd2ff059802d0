"""ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design, https://arxiv.org/abs/1807.11164.

Deviations: convolutions start as in ResNet (the paper names no initialisation, torchvision keeps PyTorch's), and up to
64 px the stem keeps the resolution.
"""

import torch
from torch import Tensor, nn

from cnn_zoo.backbones.layers import SMALL_IMAGE, conv_bn
from cnn_zoo.backbones.shufflenet_v1 import ChannelShuffle
from cnn_zoo.errors import UserError

CHANNELS = {0.5: (48, 1024), 1.0: (116, 1024), 1.5: (176, 1024), 2.0: (244, 2048)}  # Table 5: first stage, last layer


class ShuffleUnit(nn.Module):
    """Half of the channels pass by, the others are convolved; at stride 2 both sides see all. Then both are mixed."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.stride = stride
        self.shortcut = nn.Identity()
        if stride == 2:
            self.shortcut = nn.Sequential(
                conv_bn(in_channels, in_channels, 3, 2, groups=in_channels),
                conv_bn(in_channels, half, 1, activation=nn.ReLU()),
            )
        self.branch = nn.Sequential(
            conv_bn(in_channels if stride == 2 else half, half, 1, activation=nn.ReLU()),
            conv_bn(half, half, 3, stride, groups=half),
            conv_bn(half, half, 1, activation=nn.ReLU()),
        )
        self.shuffle = ChannelShuffle(2)  # so that the next split takes channels from both sides

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, out_channels, H/stride, W/stride)
        left, right = (x, x) if self.stride == 2 else x.chunk(2, dim=1)
        return self.shuffle(torch.cat((self.shortcut(left), self.branch(right)), dim=1))


class ShuffleNetV2(nn.Module):
    """Stem, three stages that halve H x W and double the width, and a 1x1 convolution as the last stage."""

    def __init__(self, width: float, num_classes: int, in_channels: int, image_size: int) -> None:
        super().__init__()
        if width not in CHANNELS:
            raise UserError(f"shufflenet_v2 has no width {width}; choose one of {', '.join(map(str, CHANNELS))}.")
        first_width, features = CHANNELS[width]
        if image_size <= SMALL_IMAGE:
            self.stem = conv_bn(in_channels, 24, 3, activation=nn.ReLU())  # H x W
        else:
            self.stem = conv_bn(in_channels, 24, 3, 2, activation=nn.ReLU()).append(nn.MaxPool2d(3, 2, 1))
        self.stages = nn.Sequential()
        channels = 24
        for i, depth in enumerate((4, 8, 4)):
            stage = nn.Sequential()
            for stride in [2] + [1] * (depth - 1):
                stage.append(ShuffleUnit(channels, first_width * 2**i, stride))
                channels = first_width * 2**i
            self.stages.append(stage)
        self.stages.append(conv_bn(channels, features, 1, activation=nn.ReLU()))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, num_classes))

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))


def shufflenet_v2(*, num_classes: int, in_channels: int, image_size: int, width: float = 1.0) -> ShuffleNetV2:
    return ShuffleNetV2(width, num_classes, in_channels, image_size)
