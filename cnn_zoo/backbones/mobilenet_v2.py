"""MobileNetV2: Inverted Residuals and Linear Bottlenecks, https://arxiv.org/abs/1801.04381.

Deviations from the paper: channels are rounded to multiples of 8 and the head has dropout, as in torchvision; up to
64 px the stem and the second stage keep the resolution.
"""

from torch import Tensor, nn

from cnn_zoo.backbones.layers import SMALL_IMAGE, InvertedResidual, conv_bn, linear, round_channels

# Table 2: expansion, output channels, blocks, stride of the first block
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class MobileNetV2(nn.Module):
    """A 3x3 stem, seven stages of inverted residuals, and a 1x1 convolution as the last stage."""

    def __init__(self, width: float, num_classes: int, in_channels: int, image_size: int) -> None:
        super().__init__()
        small = image_size <= SMALL_IMAGE
        channels = round_channels(32 * width)
        self.stem = conv_bn(in_channels, channels, 3, 1 if small else 2, activation=nn.ReLU6())
        self.stages = nn.Sequential()
        for i, (expansion, stage_channels, depth, halving) in enumerate(STAGES):
            stage = nn.Sequential()
            out_channels = round_channels(stage_channels * width)
            for stride in [1 if small and i == 1 else halving] + [1] * (depth - 1):
                stage.append(InvertedResidual(channels, expansion * channels, out_channels, 3, stride, nn.ReLU6))
                channels = out_channels
            self.stages.append(stage)
        features = round_channels(1280 * max(1.0, width))  # thin networks keep their last layer
        self.stages.append(conv_bn(channels, features, 1, activation=nn.ReLU6()))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), linear(features, num_classes))

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))


def mobilenet_v2(*, num_classes: int, in_channels: int, image_size: int, width: float = 1.0) -> MobileNetV2:
    return MobileNetV2(width, num_classes, in_channels, image_size)
