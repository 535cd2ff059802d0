"""The networks of "Searching for MobileNetV3", https://arxiv.org/abs/1905.02244.

Deviations from the paper: the squeeze is a quarter of the expansion rounded to multiples of 8 and the head has dropout
0.2, as in torchvision; up to 64 px the stem and the first halving stage keep the resolution.
"""

from typing import NamedTuple

from torch import Tensor, nn

from cnn_zoo.backbones.layers import SMALL_IMAGE, InvertedResidual, SqueezeExcite, conv_bn, linear, round_channels


class Block(NamedTuple):
    """A row of the paper's Tables 1 and 2, at width 1."""

    kernel_size: int
    expanded: int  # channels of the depthwise convolution
    channels: int  # that leave the block
    excite: bool  # has squeeze-and-excite
    activation: type[nn.Module]


class Stage(NamedTuple):
    """The blocks of one resolution, the first of which has the stride."""

    stride: int
    blocks: list[Block]


LARGE = [
    Stage(
        stride=1,
        blocks=[
            Block(kernel_size=3, expanded=16, channels=16, excite=False, activation=nn.ReLU),
        ],
    ),
    Stage(
        stride=2,
        blocks=[
            Block(kernel_size=3, expanded=64, channels=24, excite=False, activation=nn.ReLU),
            Block(kernel_size=3, expanded=72, channels=24, excite=False, activation=nn.ReLU),
        ],
    ),
    Stage(
        stride=2,
        blocks=[
            Block(kernel_size=5, expanded=72, channels=40, excite=True, activation=nn.ReLU),
            Block(kernel_size=5, expanded=120, channels=40, excite=True, activation=nn.ReLU),
            Block(kernel_size=5, expanded=120, channels=40, excite=True, activation=nn.ReLU),
        ],
    ),
    Stage(
        stride=2,
        blocks=[
            Block(kernel_size=3, expanded=240, channels=80, excite=False, activation=nn.Hardswish),
            Block(kernel_size=3, expanded=200, channels=80, excite=False, activation=nn.Hardswish),
            Block(kernel_size=3, expanded=184, channels=80, excite=False, activation=nn.Hardswish),
            Block(kernel_size=3, expanded=184, channels=80, excite=False, activation=nn.Hardswish),
            Block(kernel_size=3, expanded=480, channels=112, excite=True, activation=nn.Hardswish),
            Block(kernel_size=3, expanded=672, channels=112, excite=True, activation=nn.Hardswish),
        ],
    ),
    Stage(
        stride=2,
        blocks=[
            Block(kernel_size=5, expanded=672, channels=160, excite=True, activation=nn.Hardswish),
            Block(kernel_size=5, expanded=960, channels=160, excite=True, activation=nn.Hardswish),
            Block(kernel_size=5, expanded=960, channels=160, excite=True, activation=nn.Hardswish),
        ],
    ),
]
SMALL = [
    Stage(
        stride=2,
        blocks=[
            Block(kernel_size=3, expanded=16, channels=16, excite=True, activation=nn.ReLU),
        ],
    ),
    Stage(
        stride=2,
        blocks=[
            Block(kernel_size=3, expanded=72, channels=24, excite=False, activation=nn.ReLU),
            Block(kernel_size=3, expanded=88, channels=24, excite=False, activation=nn.ReLU),
        ],
    ),
    Stage(
        stride=2,
        blocks=[
            Block(kernel_size=5, expanded=96, channels=40, excite=True, activation=nn.Hardswish),
            Block(kernel_size=5, expanded=240, channels=40, excite=True, activation=nn.Hardswish),
            Block(kernel_size=5, expanded=240, channels=40, excite=True, activation=nn.Hardswish),
            Block(kernel_size=5, expanded=120, channels=48, excite=True, activation=nn.Hardswish),
            Block(kernel_size=5, expanded=144, channels=48, excite=True, activation=nn.Hardswish),
        ],
    ),
    Stage(
        stride=2,
        blocks=[
            Block(kernel_size=5, expanded=288, channels=96, excite=True, activation=nn.Hardswish),
            Block(kernel_size=5, expanded=576, channels=96, excite=True, activation=nn.Hardswish),
            Block(kernel_size=5, expanded=576, channels=96, excite=True, activation=nn.Hardswish),
        ],
    ),
]


def make_block(block: Block, in_channels: int, stride: int, width: float) -> InvertedResidual:
    expanded = round_channels(block.expanded * width)
    excite = None
    if block.excite:
        excite = SqueezeExcite(expanded, round_channels(expanded // 4), nn.ReLU(), nn.Hardsigmoid())
    return InvertedResidual(
        in_channels,
        round_channels(block.channels * width),
        expanded=expanded,
        kernel_size=block.kernel_size,
        stride=stride,
        activation=block.activation,
        excite=excite,
    )


class MobileNetV3(nn.Module):
    """A 3x3 stem, a stage for each resolution, a 1x1 convolution as the last stage, two fully connected layers."""

    def __init__(
        self, num_classes: int, in_channels: int, image_size: int, *, stages: list[Stage], hidden: int, width: float
    ) -> None:
        super().__init__()
        small = image_size <= SMALL_IMAGE
        channels = round_channels(16 * width)
        self.stem = conv_bn(in_channels, channels, 3, stride=1 if small else 2, activation=nn.Hardswish())
        self.stages = nn.Sequential()
        first_halving = [row.stride for row in stages].index(2)
        for i, row in enumerate(stages):
            stage = nn.Sequential()
            first_stride = 1 if small and i == first_halving else row.stride
            for j, block in enumerate(row.blocks):
                stage.append(make_block(block, channels, first_stride if j == 0 else 1, width))
                channels = round_channels(block.channels * width)
            self.stages.append(stage)
        self.stages.append(conv_bn(channels, 6 * channels, 1, activation=nn.Hardswish()))
        hidden = round_channels(hidden * width)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            linear(6 * channels, hidden),
            nn.Hardswish(),
            nn.Dropout(0.2),
            linear(hidden, num_classes),
        )
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eps, layer.momentum = 1e-3, 0.01  # the paper's averages are slower than PyTorch's

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))


def mobilenet_v3_small(*, num_classes: int, in_channels: int, image_size: int, width: float = 1.0) -> MobileNetV3:
    """Return MobileNet V3 small; `width` > 0 multiplies the channels (0.35 to 1.25 in the paper)."""
    return MobileNetV3(num_classes, in_channels, image_size, stages=SMALL, hidden=1024, width=width)


def mobilenet_v3_large(*, num_classes: int, in_channels: int, image_size: int, width: float = 1.0) -> MobileNetV3:
    """Return MobileNet V3 large; `width` > 0 multiplies the channels (0.35 to 1.25 in the paper)."""
    return MobileNetV3(num_classes, in_channels, image_size, stages=LARGE, hidden=1280, width=width)
