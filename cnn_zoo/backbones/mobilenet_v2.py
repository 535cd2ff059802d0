"""The network of "MobileNetV2: Inverted Residuals and Linear Bottlenecks", https://arxiv.org/abs/1801.04381.

Deviations from the paper: channels are rounded to multiples of 8 and the head has dropout, as in torchvision; up to
64 px the stem and the second stage keep the resolution. The depth multiplier is EfficientNet's,
https://arxiv.org/abs/1905.11946.
"""

from typing import NamedTuple

from torch import Tensor, nn

from cnn_zoo.backbones.layers import SMALL_IMAGE, InvertedResidual, conv_bn, linear, round_channels, scale_blocks


class Stage(NamedTuple):
    """A row of the paper's Table 2. Only the first block of a stage has the stride; the others have 1."""

    expansion: int  # the depthwise convolution has this many times the block's input channels
    channels: int  # that leave the stage, at width 1
    depth: int  # blocks, at depth 1
    stride: int


STAGES = (
    Stage(expansion=1, channels=16, depth=1, stride=1),
    Stage(expansion=6, channels=24, depth=2, stride=2),
    Stage(expansion=6, channels=32, depth=3, stride=2),
    Stage(expansion=6, channels=64, depth=4, stride=2),
    Stage(expansion=6, channels=96, depth=3, stride=1),
    Stage(expansion=6, channels=160, depth=3, stride=2),
    Stage(expansion=6, channels=320, depth=1, stride=1),
)


class MobileNetV2(nn.Module):
    """A 3x3 stem, seven stages of inverted residuals, and a 1x1 convolution as the last stage."""

    def __init__(self, num_classes: int, in_channels: int, image_size: int, *, width: float, depth: float) -> None:
        super().__init__()
        small = image_size <= SMALL_IMAGE
        channels = round_channels(32 * width)
        self.stem = conv_bn(in_channels, channels, 3, stride=1 if small else 2, activation=nn.ReLU6())
        self.stages = nn.Sequential()
        for i, row in enumerate(STAGES):
            stage = nn.Sequential()
            first_stride = 1 if small and i == 1 else row.stride
            out_channels = round_channels(row.channels * width)
            for j in range(scale_blocks(row.depth, depth)):
                block = InvertedResidual(
                    channels,
                    out_channels,
                    expanded=row.expansion * channels,
                    kernel_size=3,
                    stride=first_stride if j == 0 else 1,
                    activation=nn.ReLU6,
                )
                stage.append(block)
                channels = out_channels
            self.stages.append(stage)
        features = round_channels(1280 * max(1.0, width))  # thin networks keep their last layer
        self.stages.append(conv_bn(channels, features, 1, activation=nn.ReLU6()))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), linear(features, num_classes))

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))


def mobilenet_v2(
    *, num_classes: int, in_channels: int, image_size: int, width: float = 1.0, depth: float = 1.0
) -> MobileNetV2:
    """Return MobileNet V2.

    Args:
        width: The width multiplier of the channels, 0.35 to 1.4 in the paper.
        depth: The depth multiplier of the blocks in each stage, rounded up.
    """
    return MobileNetV2(num_classes, in_channels, image_size, width=width, depth=depth)
