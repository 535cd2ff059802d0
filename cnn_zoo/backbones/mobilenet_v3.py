"""Searching for MobileNetV3, https://arxiv.org/abs/1905.02244.

Deviations from the paper: the squeeze is a quarter of the expansion rounded to multiples of 8 and the head has dropout
0.2, as in torchvision; up to 64 px the stem and the first halving stage keep the resolution.
"""

from torch import Tensor, nn

from cnn_zoo.backbones.layers import SMALL_IMAGE, InvertedResidual, SqueezeExcite, conv_bn, linear, round_channels

RELU, HSWISH = nn.ReLU, nn.Hardswish
Block = tuple[int, int, int, bool, type[nn.Module]]

# Tables 1 and 2, a stage for each resolution. Block: kernel, expanded, output channels, squeeze-and-excite, activation
LARGE = (
    ((3, 16, 16, False, RELU),),
    ((3, 64, 24, False, RELU), (3, 72, 24, False, RELU)),
    ((5, 72, 40, True, RELU), (5, 120, 40, True, RELU), (5, 120, 40, True, RELU)),
    (
        (3, 240, 80, False, HSWISH),
        (3, 200, 80, False, HSWISH),
        (3, 184, 80, False, HSWISH),
        (3, 184, 80, False, HSWISH),
        (3, 480, 112, True, HSWISH),
        (3, 672, 112, True, HSWISH),
    ),
    ((5, 672, 160, True, HSWISH), (5, 960, 160, True, HSWISH), (5, 960, 160, True, HSWISH)),
)
SMALL = (
    ((3, 16, 16, True, RELU),),
    ((3, 72, 24, False, RELU), (3, 88, 24, False, RELU)),
    (
        (5, 96, 40, True, HSWISH),
        (5, 240, 40, True, HSWISH),
        (5, 240, 40, True, HSWISH),
        (5, 120, 48, True, HSWISH),
        (5, 144, 48, True, HSWISH),
    ),
    ((5, 288, 96, True, HSWISH), (5, 576, 96, True, HSWISH), (5, 576, 96, True, HSWISH)),
)


class MobileNetV3(nn.Module):
    """A 3x3 stem, a stage for each resolution, a 1x1 convolution as the last stage, two fully connected layers."""

    def __init__(
        self,
        stages: tuple[tuple[Block, ...], ...],
        strides: tuple[int, ...],
        features: int,
        width: float,
        num_classes: int,
        in_channels: int,
        image_size: int,
    ) -> None:
        super().__init__()
        small = image_size <= SMALL_IMAGE
        channels = round_channels(16 * width)
        self.stem = conv_bn(in_channels, channels, 3, 1 if small else 2, activation=HSWISH())
        self.stages = nn.Sequential()
        for i, blocks in enumerate(stages):
            stage = nn.Sequential()
            stride = 1 if small and i == strides.index(2) else strides[i]
            for kernel_size, expanded, out_channels, squeeze, activation in blocks:
                expanded, out_channels = round_channels(expanded * width), round_channels(out_channels * width)
                squeezed = round_channels(expanded // 4)
                excite = SqueezeExcite(expanded, squeezed, nn.ReLU(), nn.Hardsigmoid()) if squeeze else None
                stage.append(
                    InvertedResidual(channels, expanded, out_channels, kernel_size, stride, activation, excite)
                )
                channels, stride = out_channels, 1
            self.stages.append(stage)
        self.stages.append(conv_bn(channels, 6 * channels, 1, activation=HSWISH()))
        features = round_channels(features * width)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            linear(6 * channels, features),
            HSWISH(),
            nn.Dropout(0.2),
            linear(features, num_classes),
        )
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eps, layer.momentum = 1e-3, 0.01  # the paper's averages are slower than PyTorch's

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))


def mobilenet_v3_small(*, num_classes: int, in_channels: int, image_size: int, width: float = 1.0) -> MobileNetV3:
    return MobileNetV3(SMALL, (2, 2, 2, 2), 1024, width, num_classes, in_channels, image_size)


def mobilenet_v3_large(*, num_classes: int, in_channels: int, image_size: int, width: float = 1.0) -> MobileNetV3:
    return MobileNetV3(LARGE, (1, 2, 2, 2, 2), 1280, width, num_classes, in_channels, image_size)
