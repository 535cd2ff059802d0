"""The network of "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications".

https://arxiv.org/abs/1704.04861

Deviations from the paper: channels are rounded to multiples of 8 (no change at its widths), and up to 64 px the stem
and the second stage keep the resolution.
"""

from torch import Tensor, nn

from cnn_zoo.backbones.layers import SMALL_IMAGE, conv_bn, round_channels

STAGES = ((64,), (128, 128), (256, 256), (512,) * 6, (1024, 1024))  # output channels of each block at width 1


def separable_block(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """Return a 3x3 depthwise convolution and a 1x1 convolution: about a ninth of the MACs of a full 3x3 one."""
    return nn.Sequential(
        conv_bn(in_channels, in_channels, 3, stride=stride, groups=in_channels, activation=nn.ReLU()),
        conv_bn(in_channels, out_channels, 1, activation=nn.ReLU()),
    )


def full_block(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    return conv_bn(in_channels, out_channels, 3, stride=stride, activation=nn.ReLU())


class MobileNetV1(nn.Module):
    """A 3x3 stem, then stages of blocks without shortcuts. Each stage after the first halves H x W."""

    def __init__(self, num_classes: int, in_channels: int, image_size: int, *, width: float, separable: bool) -> None:
        super().__init__()
        small = image_size <= SMALL_IMAGE
        make_block = separable_block if separable else full_block
        channels = round_channels(32 * width)
        self.stem = conv_bn(in_channels, channels, 3, stride=1 if small else 2, activation=nn.ReLU())
        self.stages = nn.Sequential()
        first_strides = (1, 1, 2, 2, 2) if small else (1, 2, 2, 2, 2)
        for widths, first_stride in zip(STAGES, first_strides, strict=True):
            stage = nn.Sequential()
            for i, block_width in enumerate(widths):
                out_channels = round_channels(block_width * width)
                stage.append(make_block(channels, out_channels, first_stride if i == 0 else 1))
                channels = out_channels
            self.stages.append(stage)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))


def mobilenet_v1(
    *, num_classes: int, in_channels: int, image_size: int, width: float = 1.0, separable: bool = True
) -> MobileNetV1:
    """Return MobileNet V1; `width` > 0 multiplies the channels, `separable=False` makes the 3x3 convolutions full."""
    return MobileNetV1(num_classes, in_channels, image_size, width=width, separable=separable)
