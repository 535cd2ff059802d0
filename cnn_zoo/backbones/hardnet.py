"""HarDNet, https://arxiv.org/abs/1909.00948, with the numbers and the ReLU6 of its authors' code (PingoLH).

Deviations: HarDNet-85 has no second dropout before its last 1x1 convolution. Convolutions start as ResNet's do.
"""

import torch
from torch import Tensor, nn

from cnn_zoo.backbones.layers import SMALL_IMAGE, conv_bn, require_size


def links(k: int) -> list[int]:
    """The layers that layer k reads: k - 2^i for each 2^i that divides k. Layer 0 is the input of the block."""
    return [k - 2**i for i in range(k.bit_length()) if k % 2**i == 0]


def conv(in_channels: int, out_channels: int, kernel_size: int) -> nn.Sequential:
    return conv_bn(in_channels, out_channels, kernel_size, activation=nn.ReLU6())


def depthwise(channels: int, stride: int) -> nn.Sequential:
    return conv_bn(channels, channels, 3, stride, groups=channels)


class HarDBlock(nn.Module):
    """3x3 convolutions with harmonic links: the more layers read a layer, the wider it is by `multiplier` each time.

    Only the odd layers and the last leave the block, so that the even ones can be forgotten early.
    """

    def __init__(self, in_channels: int, growth: int, multiplier: float, depth: int, separable: bool) -> None:
        super().__init__()
        widths = [in_channels]
        self.layers = nn.ModuleList()
        for k in range(1, depth + 1):
            read = sum(widths[j] for j in links(k))
            width = growth * multiplier ** (len(links(k)) - 1)
            widths.append(2 * int((width + 1) / 2))  # the nearest even number
            if separable:
                self.layers.append(nn.Sequential(conv(read, widths[k], 1), depthwise(widths[k], 1)))
            else:
                self.layers.append(conv(read, widths[k], 3))
        self.kept = [k for k in range(1, depth + 1) if k % 2 == 1 or k == depth]
        self.out_channels = sum(widths[k] for k in self.kept)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, out_channels, H, W)
        maps = [x]
        for k, layer in enumerate(self.layers, start=1):
            read = [maps[j] for j in links(k)]
            maps.append(layer(torch.cat(read, 1) if len(read) > 1 else read[0]))  # joining one map would copy it
        return torch.cat([maps[k] for k in self.kept], 1)


class HarDNet(nn.Module):
    """Stem, stages, head. A stage is the blocks of one resolution, each (growth, depth, out_channels) with its 1x1.

    `separable` is the DS version: 1x1 and depthwise convolutions for 3x3, strided depthwise ones for max-pooling.
    """

    def __init__(
        self,
        stem: tuple[int, int],
        stages: tuple[tuple[tuple[int, int, int], ...], ...],
        multiplier: float,
        separable: bool,
        dropout: float,
        num_classes: int,
        in_channels: int,
        image_size: int,
    ) -> None:
        super().__init__()
        require_size("HarDNet", image_size, 8)
        first, channels = stem
        small = image_size <= SMALL_IMAGE
        self.stem = nn.Sequential(
            conv_bn(in_channels, first, 3, stride=1 if small else 2, activation=nn.ReLU6()),
            conv(first, channels, 1 if separable else 3),
        )
        if not small:
            self.stem.append(depthwise(channels, 2) if separable else nn.MaxPool2d(3, 2, 1))  # H/4 x W/4
        self.stages = nn.Sequential()
        for i, blocks in enumerate(stages):
            stage = nn.Sequential()
            if i > 0:
                stage.append(depthwise(channels, 2) if separable else nn.MaxPool2d(2))
            for growth, depth, out_channels in blocks:
                block = HarDBlock(channels, growth, multiplier, depth, separable)
                stage.extend([block, conv(block.out_channels, out_channels, 1)])
                channels = out_channels
            self.stages.append(stage)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels, num_classes)
        )

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))


def hardnet39ds(*, num_classes: int, in_channels: int, image_size: int) -> HarDNet:
    stages = ((16, 4, 96),), ((20, 16, 320),), ((64, 8, 640),), ((160, 4, 1024),)
    return HarDNet((24, 48), stages, 1.6, True, 0.05, num_classes, in_channels, image_size)


STAGES_68 = ((14, 8, 128),), ((16, 16, 256), (20, 16, 320)), ((40, 16, 640),), ((160, 4, 1024),)


def hardnet68ds(*, num_classes: int, in_channels: int, image_size: int) -> HarDNet:
    return HarDNet((32, 64), STAGES_68, 1.7, True, 0.05, num_classes, in_channels, image_size)


def hardnet68(*, num_classes: int, in_channels: int, image_size: int) -> HarDNet:
    return HarDNet((32, 64), STAGES_68, 1.7, False, 0.1, num_classes, in_channels, image_size)


def hardnet85(*, num_classes: int, in_channels: int, image_size: int) -> HarDNet:
    stages = ((24, 8, 192),), ((24, 16, 256), (28, 16, 320)), ((36, 16, 480), (48, 16, 720)), ((256, 4, 1280),)
    return HarDNet((48, 96), stages, 1.7, False, 0.2, num_classes, in_channels, image_size)
