"""The network of "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices".

https://arxiv.org/abs/1707.01083

Deviations from the paper: channels are rounded so that the groups divide them (no change at width 1), and up to 64 px
the stem keeps the resolution.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnn_zoo.backbones.layers import SMALL_IMAGE, conv_bn, round_channels
from cnn_zoo.errors import UserError

# Table 1: the channels of the first stage for each number of groups, such that all have about 140 M MACs.
FIRST_STAGE_CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}


class ChannelShuffle(nn.Module):
    """A layer that deals the channels of each group out to all groups. PyTorch's own does not run on Apple's GPUs."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, C, H, W)
        return x.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)


class ShuffleUnit(nn.Module):
    """A grouped 1x1 convolution, a shuffle, a depthwise 3x3 convolution and a grouped 1x1 convolution.

    At stride 1 the result is added to x. At stride 2 it is joined to the pooled x as further channels.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, groups: int, first_groups: int) -> None:
        super().__init__()
        bottleneck = out_channels // 4
        branch_channels = out_channels if stride == 1 else out_channels - in_channels
        self.stride = stride
        self.branch = nn.Sequential(
            conv_bn(in_channels, bottleneck, 1, groups=first_groups, activation=nn.ReLU()),
            ChannelShuffle(groups),  # else no group would ever see another group's channels
            conv_bn(bottleneck, bottleneck, 3, stride=stride, groups=bottleneck),
            conv_bn(bottleneck, branch_channels, 1, groups=groups),
        )

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, out_channels, H/stride, W/stride)
        if self.stride == 1:
            return F.relu(x + self.branch(x))
        pooled = F.avg_pool2d(x, 3, stride=2, padding=1)
        return F.relu(torch.cat((pooled, self.branch(x)), dim=1))


class ShuffleNetV1(nn.Module):
    """A stem, then three stages, each of which halves H x W and doubles the width."""

    def __init__(self, num_classes: int, in_channels: int, image_size: int, *, groups: int, width: float) -> None:
        super().__init__()
        if groups not in FIRST_STAGE_CHANNELS:
            raise UserError(f"shufflenet_v1 has no version with groups {groups}; choose one of 1, 2, 3, 4, 8.")
        stem_width = 24 * width if width < 1 else 24 * int(width)  # 24 at 1.5 too, as the authors' code has it
        channels = round_channels(stem_width, groups)
        if image_size <= SMALL_IMAGE:
            self.stem = conv_bn(in_channels, channels, 3, activation=nn.ReLU())  # H x W
        else:
            self.stem = conv_bn(in_channels, channels, 3, stride=2, activation=nn.ReLU())
            self.stem.append(nn.MaxPool2d(3, stride=2, padding=1))  # H/4 x W/4
        self.stages = nn.Sequential()
        # 4 * groups, because the groups must also divide the bottleneck, a quarter of the width
        first_width = round_channels(FIRST_STAGE_CHANNELS[groups] * width, 4 * groups)
        for i, depth in enumerate((4, 8, 4)):
            stage = nn.Sequential()
            out_channels = first_width * 2**i
            for j in range(depth):
                unit = ShuffleUnit(
                    channels,
                    out_channels,
                    stride=2 if j == 0 else 1,
                    groups=groups,
                    first_groups=1 if i == 0 and j == 0 else groups,  # the stem has too few channels to group
                )
                stage.append(unit)
                channels = out_channels
            self.stages.append(stage)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))


def shufflenet_v1(
    *, num_classes: int, in_channels: int, image_size: int, groups: int = 3, width: float = 1.0
) -> ShuffleNetV1:
    """Return ShuffleNet V1; `groups` is 1, 2, 3, 4 or 8, `width` > 0 multiplies the channels."""
    return ShuffleNetV1(num_classes, in_channels, image_size, groups=groups, width=width)
