"""The networks of "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks".

https://arxiv.org/abs/1905.11946

Deviations from the paper: batch norm is PyTorch's up to B4 and padding is symmetric, both as in torchvision; up to
64 px the stem and the second stage keep the resolution.
"""

from typing import NamedTuple

from torch import Tensor, nn

from cnn_zoo.backbones.layers import (
    SMALL_IMAGE,
    InvertedResidual,
    SqueezeExcite,
    conv_bn,
    round_channels,
    scale_blocks,
)


class Stage(NamedTuple):
    """A row of the paper's Table 1. Only the first block of a stage has the stride; the others have 1."""

    expansion: int  # the depthwise convolution has this many times the block's input channels
    kernel_size: int
    channels: int  # that leave the stage, at width 1
    depth: int  # blocks, at depth 1
    stride: int


B0_STAGES = (
    Stage(expansion=1, kernel_size=3, channels=16, depth=1, stride=1),
    Stage(expansion=6, kernel_size=3, channels=24, depth=2, stride=2),
    Stage(expansion=6, kernel_size=5, channels=40, depth=2, stride=2),
    Stage(expansion=6, kernel_size=3, channels=80, depth=3, stride=2),
    Stage(expansion=6, kernel_size=5, channels=112, depth=3, stride=1),
    Stage(expansion=6, kernel_size=5, channels=192, depth=4, stride=2),
    Stage(expansion=6, kernel_size=3, channels=320, depth=1, stride=1),
)
LARGEST_DROP = 0.2  # share of the images for which the last block is left out while training


class StochasticDepth(nn.Module):
    """A layer that zeroes the branch for a random share of the images in training, https://arxiv.org/abs/1603.09382."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, C, H, W)
        if not self.training:
            return x
        survives = x.new_empty(len(x), 1, 1, 1).bernoulli_(1 - self.p)
        return x * (survives / (1 - self.p))  # the division keeps the mean as it is in evaluation


def make_block(row: Stage, in_channels: int, out_channels: int, stride: int) -> InvertedResidual:
    expanded = row.expansion * in_channels
    return InvertedResidual(
        in_channels,
        out_channels,
        expanded=expanded,
        kernel_size=row.kernel_size,
        stride=stride,
        activation=nn.SiLU,
        excite=SqueezeExcite(expanded, in_channels // 4, nn.SiLU(), nn.Sigmoid()),
    )


class EfficientNet(nn.Module):
    """A 3x3 stem, seven stages of inverted residuals, and a 1x1 convolution as the last stage."""

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        image_size: int,
        *,
        width: float,
        depth: float,
        dropout: float,
        slow_batch_norm: bool = False,
    ) -> None:
        super().__init__()
        small = image_size <= SMALL_IMAGE
        channels = round_channels(32 * width)
        self.stem = conv_bn(in_channels, channels, 3, stride=1 if small else 2, activation=nn.SiLU())
        self.stages = nn.Sequential()
        depths = [scale_blocks(row.depth, depth) for row in B0_STAGES]
        blocks_before = 0
        for i, row in enumerate(B0_STAGES):
            stage = nn.Sequential()
            first_stride = 1 if small and i == 1 else row.stride
            out_channels = round_channels(row.channels * width)
            for j in range(depths[i]):
                block = make_block(row, channels, out_channels, first_stride if j == 0 else 1)
                if block.residual:  # the deeper the block, the more often it is left out
                    block.branch.append(StochasticDepth(LARGEST_DROP * blocks_before / sum(depths)))
                stage.append(block)
                channels = out_channels
                blocks_before += 1
            self.stages.append(stage)
        self.stages.append(conv_bn(channels, 4 * channels, 1, activation=nn.SiLU()))
        classifier = nn.Linear(4 * channels, num_classes)
        nn.init.uniform_(classifier.weight, -(num_classes**-0.5), num_classes**-0.5)
        nn.init.zeros_(classifier.bias)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), classifier)
        for layer in self.modules():
            if slow_batch_norm and isinstance(layer, nn.BatchNorm2d):
                layer.eps, layer.momentum = 1e-3, 0.01

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))


def efficientnet(
    *,
    num_classes: int,
    in_channels: int,
    image_size: int,
    width: float = 1.0,
    depth: float = 1.0,
    dropout: float = 0.2,
) -> EfficientNet:
    """Return B0 with its channels times `width` and its blocks times `depth`; `dropout` is a probability from 0 to 1.

    The paper's compound scaling by phi: depth 1.2**phi, width 1.1**phi, image_size 1.15**phi times B0's 224 px. MACs
    grow by about 2**phi.
    """
    return EfficientNet(num_classes, in_channels, image_size, width=width, depth=depth, dropout=dropout)


def efficientnet_b0(*, num_classes: int, in_channels: int, image_size: int) -> EfficientNet:
    """Return EfficientNet-B0, made for images of 224 px."""
    return EfficientNet(num_classes, in_channels, image_size, width=1.0, depth=1.0, dropout=0.2)


def efficientnet_b1(*, num_classes: int, in_channels: int, image_size: int) -> EfficientNet:
    """Return EfficientNet-B1, made for images of 240 px."""
    return EfficientNet(num_classes, in_channels, image_size, width=1.0, depth=1.1, dropout=0.2)


def efficientnet_b2(*, num_classes: int, in_channels: int, image_size: int) -> EfficientNet:
    """Return EfficientNet-B2, made for images of 288 px."""
    return EfficientNet(num_classes, in_channels, image_size, width=1.1, depth=1.2, dropout=0.3)


def efficientnet_b3(*, num_classes: int, in_channels: int, image_size: int) -> EfficientNet:
    """Return EfficientNet-B3, made for images of 300 px."""
    return EfficientNet(num_classes, in_channels, image_size, width=1.2, depth=1.4, dropout=0.3)


def efficientnet_b4(*, num_classes: int, in_channels: int, image_size: int) -> EfficientNet:
    """Return EfficientNet-B4, made for images of 380 px."""
    return EfficientNet(num_classes, in_channels, image_size, width=1.4, depth=1.8, dropout=0.4)


def efficientnet_b5(*, num_classes: int, in_channels: int, image_size: int) -> EfficientNet:
    """Return EfficientNet-B5, made for images of 456 px."""
    return EfficientNet(num_classes, in_channels, image_size, width=1.6, depth=2.2, dropout=0.4, slow_batch_norm=True)


def efficientnet_b6(*, num_classes: int, in_channels: int, image_size: int) -> EfficientNet:
    """Return EfficientNet-B6, made for images of 528 px."""
    return EfficientNet(num_classes, in_channels, image_size, width=1.8, depth=2.6, dropout=0.5, slow_batch_norm=True)


def efficientnet_b7(*, num_classes: int, in_channels: int, image_size: int) -> EfficientNet:
    """Return EfficientNet-B7, made for images of 600 px."""
    return EfficientNet(num_classes, in_channels, image_size, width=2.0, depth=3.1, dropout=0.5, slow_batch_norm=True)
