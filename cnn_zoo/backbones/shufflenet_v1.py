"""ShuffleNet: An Extremely Efficient CNN for Mobile Devices, https://arxiv.org/abs/1707.01083.

Deviations from the paper: channels are rounded so that the groups divide them (no change at width 1), and up to 64 px
the stem keeps the resolution.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnn_zoo.backbones.layers import SMALL_IMAGE, conv_bn, round_channels
from cnn_zoo.errors import UserError

CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}  # Table 1: of the first stage by groups, at about 140 M MACs


class ChannelShuffle(nn.Module):
    """Deals the channels of each group out to all groups. (PyTorch's own layer does not run on Apple's GPUs.)"""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, C, H, W)
        return x.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)


class ShuffleUnit(nn.Module):
    """Grouped 1x1, shuffle, depthwise 3x3, grouped 1x1: added to x, or at stride 2 put next to the pooled x."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, groups: int, first_groups: int) -> None:
        super().__init__()
        bottleneck = out_channels // 4
        self.stride = stride
        self.branch = nn.Sequential(
            conv_bn(in_channels, bottleneck, 1, groups=first_groups, activation=nn.ReLU()),
            ChannelShuffle(groups),  # else no group would ever see another group's channels
            conv_bn(bottleneck, bottleneck, 3, stride, groups=bottleneck),
            conv_bn(bottleneck, out_channels if stride == 1 else out_channels - in_channels, 1, groups=groups),
        )

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, out_channels, H/stride, W/stride)
        if self.stride == 1:
            return F.relu(x + self.branch(x))
        return F.relu(torch.cat((F.avg_pool2d(x, 3, 2, 1), self.branch(x)), dim=1))


class ShuffleNetV1(nn.Module):
    """Stem, then three stages; each halves H x W and doubles the width."""

    def __init__(self, groups: int, width: float, num_classes: int, in_channels: int, image_size: int) -> None:
        super().__init__()
        if groups not in CHANNELS:
            raise UserError(f"shufflenet_v1 has no version with groups {groups}; choose one of 1, 2, 3, 4, 8.")
        stem_width = 24 * width if width < 1 else 24 * int(width)  # 24 at 1.5 too, as the authors' code has it
        channels = round_channels(stem_width, groups)
        if image_size <= SMALL_IMAGE:
            self.stem = conv_bn(in_channels, channels, 3, activation=nn.ReLU())  # H x W
        else:
            self.stem = conv_bn(in_channels, channels, 3, 2, activation=nn.ReLU()).append(nn.MaxPool2d(3, 2, 1))
        self.stages = nn.Sequential()
        first_width = round_channels(CHANNELS[groups] * width, 4 * groups)  # groups must divide the bottleneck too
        for i, depth in enumerate((4, 8, 4)):
            stage = nn.Sequential()
            for stride in [2] + [1] * (depth - 1):
                first_groups = 1 if i == 0 and stride == 2 else groups  # the stem has too few channels
                stage.append(ShuffleUnit(channels, first_width * 2**i, stride, groups, first_groups))
                channels = first_width * 2**i
            self.stages.append(stage)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))


def shufflenet_v1(
    *, num_classes: int, in_channels: int, image_size: int, groups: int = 3, width: float = 1.0
) -> ShuffleNetV1:
    return ShuffleNetV1(groups, width, num_classes, in_channels, image_size)
