"""The networks of "HarDNet: A Low Memory Traffic Network", https://arxiv.org/abs/1909.00948.

The numbers and the ReLU6 are those of the authors' code (PingoLH). Deviations: HarDNet-85 has no second dropout before
its last 1x1 convolution. Convolutions start as ResNet's do.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from cnn_zoo.backbones.layers import SMALL_IMAGE, conv_bn, require_size


class Block(NamedTuple):
    """The numbers of one HarDBlock and of the 1x1 convolution after it."""

    growth: int  # channels of the layers that read one other layer alone
    depth: int  # layers
    out_channels: int  # of the 1x1 convolution


def links(k: int) -> list[int]:
    """Return the layers that layer k reads: k - 2^i for each 2^i that divides k. Layer 0 is the input of the block."""
    return [k - 2**i for i in range(k.bit_length()) if k % 2**i == 0]


def conv(in_channels: int, out_channels: int, kernel_size: int) -> nn.Sequential:
    return conv_bn(in_channels, out_channels, kernel_size, activation=nn.ReLU6())


def depthwise(channels: int, stride: int) -> nn.Sequential:
    return conv_bn(channels, channels, 3, stride=stride, groups=channels)


class HarDBlock(nn.Module):
    """A block of 3x3 convolutions with harmonic links.

    A layer has `growth` channels, times `multiplier` for each layer after the first that it reads. Only the odd layers
    and the last leave the block, so that the memory of the even ones can be freed early.
    """

    def __init__(self, in_channels: int, *, growth: int, multiplier: float, depth: int, separable: bool) -> None:
        super().__init__()
        widths = [in_channels]  # of layer 0, 1, ...
        self.layers = nn.ModuleList()
        for k in range(1, depth + 1):
            read = sum(widths[j] for j in links(k))
            exact_width = growth * multiplier ** (len(links(k)) - 1)
            width = 2 * int((exact_width + 1) / 2)  # the nearest even number
            widths.append(width)
            if separable:
                self.layers.append(nn.Sequential(conv(read, width, 1), depthwise(width, stride=1)))
            else:
                self.layers.append(conv(read, width, 3))
        self.kept = [k for k in range(1, depth + 1) if k % 2 == 1 or k == depth]
        self.out_channels = sum(widths[k] for k in self.kept)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, out_channels, H, W)
        maps = [x]
        for k, layer in enumerate(self.layers, start=1):
            read = [maps[j] for j in links(k)]
            maps.append(layer(torch.cat(read, 1) if len(read) > 1 else read[0]))  # joining one map would copy it
        return torch.cat([maps[k] for k in self.kept], 1)


class HarDNet(nn.Module):
    """A stem, stages and a head. A stage is the blocks of one resolution, each followed by a 1x1 convolution.

    `separable` is the DS version: 1x1 and depthwise convolutions instead of 3x3 ones, and strided depthwise
    convolutions instead of max-pooling.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        image_size: int,
        *,
        stem_widths: tuple[int, int],
        stages: list[list[Block]],
        multiplier: float,
        separable: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        require_size("HarDNet", image_size, 8)
        first, channels = stem_widths
        small = image_size <= SMALL_IMAGE
        self.stem = nn.Sequential(
            conv_bn(in_channels, first, 3, stride=1 if small else 2, activation=nn.ReLU6()),
            conv(first, channels, 1 if separable else 3),
        )
        if not small:  # H/4 x W/4
            self.stem.append(depthwise(channels, stride=2) if separable else nn.MaxPool2d(3, stride=2, padding=1))
        self.stages = nn.Sequential()
        for i, blocks in enumerate(stages):
            stage = nn.Sequential()
            if i > 0:
                stage.append(depthwise(channels, stride=2) if separable else nn.MaxPool2d(2))
            for growth, depth, out_channels in blocks:
                block = HarDBlock(channels, growth=growth, multiplier=multiplier, depth=depth, separable=separable)
                stage.extend([block, conv(block.out_channels, out_channels, 1)])
                channels = out_channels
            self.stages.append(stage)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels, num_classes)
        )

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))


STAGES_39 = [
    [Block(growth=16, depth=4, out_channels=96)],
    [Block(growth=20, depth=16, out_channels=320)],
    [Block(growth=64, depth=8, out_channels=640)],
    [Block(growth=160, depth=4, out_channels=1024)],
]
STAGES_68 = [
    [Block(growth=14, depth=8, out_channels=128)],
    [Block(growth=16, depth=16, out_channels=256), Block(growth=20, depth=16, out_channels=320)],
    [Block(growth=40, depth=16, out_channels=640)],
    [Block(growth=160, depth=4, out_channels=1024)],
]
STAGES_85 = [
    [Block(growth=24, depth=8, out_channels=192)],
    [Block(growth=24, depth=16, out_channels=256), Block(growth=28, depth=16, out_channels=320)],
    [Block(growth=36, depth=16, out_channels=480), Block(growth=48, depth=16, out_channels=720)],
    [Block(growth=256, depth=4, out_channels=1280)],
]


def hardnet39ds(*, num_classes: int, in_channels: int, image_size: int) -> HarDNet:
    """Return HarDNet-39DS: depthwise-separable convolutions."""
    return HarDNet(
        num_classes,
        in_channels,
        image_size,
        stem_widths=(24, 48),
        stages=STAGES_39,
        multiplier=1.6,
        separable=True,
        dropout=0.05,
    )


def hardnet68ds(*, num_classes: int, in_channels: int, image_size: int) -> HarDNet:
    """Return HarDNet-68DS: HarDNet-68 with depthwise-separable convolutions."""
    return HarDNet(
        num_classes,
        in_channels,
        image_size,
        stem_widths=(32, 64),
        stages=STAGES_68,
        multiplier=1.7,
        separable=True,
        dropout=0.05,
    )


def hardnet68(*, num_classes: int, in_channels: int, image_size: int) -> HarDNet:
    """Return HarDNet-68."""
    return HarDNet(
        num_classes,
        in_channels,
        image_size,
        stem_widths=(32, 64),
        stages=STAGES_68,
        multiplier=1.7,
        separable=False,
        dropout=0.1,
    )


def hardnet85(*, num_classes: int, in_channels: int, image_size: int) -> HarDNet:
    """Return HarDNet-85."""
    return HarDNet(
        num_classes,
        in_channels,
        image_size,
        stem_widths=(48, 96),
        stages=STAGES_85,
        multiplier=1.7,
        separable=False,
        dropout=0.2,
    )
