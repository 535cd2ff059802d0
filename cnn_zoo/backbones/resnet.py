"""The networks of "Deep Residual Learning for Image Recognition", https://arxiv.org/abs/1512.03385.

A bottleneck has its stride in the 3x3 convolution, as in torchvision. plainN is the paper's counterpart of resnetN
without shortcuts. resnet20 to resnet110 are its CIFAR-10 networks. Above 64 px they get the ImageNet stem, which the
paper does not try.

Every function except resnet8 takes two multipliers that the paper does not have:

- `width` multiplies all channels, as in MobileNet, https://arxiv.org/abs/1704.04861. (Wide ResNets keep those of the
  stem, and of the 1x1 convolutions in a bottleneck.)
- `depth` multiplies the blocks of each stage, rounded up as in EfficientNet, https://arxiv.org/abs/1905.11946. So
  resnet20 with depth 3 is resnet56.

resnet8 is the image classifier of MLPerf Tiny, https://arxiv.org/abs/2106.07597. Its shortcuts are convolutions with a
bias and without batch norm. Deviation: the reference's other convolutions have biases too, which the batch norm right
after each cancels; so the counts agree after folding. Its padding is that of torch.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from cnn_zoo.backbones.layers import SMALL_IMAGE, conv_bn, scale_blocks, scale_channels
from cnn_zoo.errors import UserError


def make_shortcut(option: str, in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    """Return the shortcut of a block, None in a plain network.

    `option` tells what to do where the shape changes: "A" adds channels of zeros, "B" is a 1x1 convolution with batch
    norm, "conv" is one with a bias instead. With "none" no block has a shortcut.

    Raises:
        UserError: There is no such option.
    """
    if option not in ("A", "B", "conv", "none"):
        raise UserError(f"There is no shortcut {option!r}; choose one of A, B, conv, none.")
    if option == "none":
        return None
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    if option == "conv":
        return nn.Conv2d(in_channels, out_channels, 1, stride=stride)
    if option == "B":
        return conv_bn(in_channels, out_channels, 1, stride=stride)
    zeros = nn.ZeroPad3d((0, 0, 0, 0, 0, out_channels - in_channels))  # after the last channel; H x W stay
    return nn.Sequential(nn.AvgPool2d(1, stride), zeros)  # a window of one pixel: takes every stride-th


class Residual(nn.Module):
    """A block that gives relu(branch(x) + shortcut(x)), or relu(branch(x)) in a plain network."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None, out_channels: int) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, out_channels, H/stride, W/stride)
        if self.shortcut is None:
            return F.relu(self.branch(x))
        return F.relu(self.branch(x) + self.shortcut(x))


def basic(in_channels: int, channels: int, stride: int, shortcut: str) -> Residual:
    first = conv_bn(in_channels, channels, 3, stride=stride, activation=nn.ReLU())
    branch = nn.Sequential(first, conv_bn(channels, channels, 3))
    return Residual(branch, make_shortcut(shortcut, in_channels, channels, stride), channels)


def bottleneck(in_channels: int, channels: int, stride: int, shortcut: str) -> Residual:
    branch = nn.Sequential(
        conv_bn(in_channels, channels, 1, activation=nn.ReLU()),
        conv_bn(channels, channels, 3, stride=stride, activation=nn.ReLU()),
        conv_bn(channels, 4 * channels, 1),
    )
    return Residual(branch, make_shortcut(shortcut, in_channels, 4 * channels, stride), 4 * channels)


def make_stem(in_channels: int, channels: int, image_size: int) -> nn.Sequential:
    if image_size <= SMALL_IMAGE:
        return conv_bn(in_channels, channels, 3, activation=nn.ReLU())  # H x W
    conv = conv_bn(in_channels, channels, 7, stride=2, activation=nn.ReLU())
    return conv.append(nn.MaxPool2d(3, stride=2, padding=1))  # H/4 x W/4


class ResNet(nn.Module):
    """A stem, stages and a head. Each stage after the first halves H x W and doubles the channels.

    Args:
        blocks: The number of blocks in each stage, at depth 1.
        width, depth: The multipliers of channels and blocks.
        base_channels: The channels of the stem, and of the first stage's 3x3 convolutions, at width 1.
        shortcut: See `make_shortcut`.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        image_size: int,
        *,
        block: Callable[[int, int, int, str], Residual],
        blocks: tuple[int, ...],
        width: float,
        depth: float,
        base_channels: int = 64,
        shortcut: str = "B",
    ) -> None:
        super().__init__()
        first_channels = scale_channels(base_channels, width)
        self.stem = make_stem(in_channels, first_channels, image_size)
        self.stages = nn.Sequential()
        channels = first_channels
        for i, count in enumerate(blocks):
            stage = nn.Sequential()
            for j in range(scale_blocks(count, depth)):
                stride = 2 if i > 0 and j == 0 else 1
                residual = block(channels, first_channels * 2**i, stride, shortcut)
                stage.append(residual)
                channels = residual.out_channels
            self.stages.append(stage)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))

    def forward(self, images: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, num_classes)
        return self.head(self.stages(self.stem(images)))


def resnet18(*, num_classes: int, in_channels: int, image_size: int, width: float = 1.0, depth: float = 1.0) -> ResNet:
    """Return ResNet-18; `width` and `depth` are multipliers."""
    return ResNet(num_classes, in_channels, image_size, block=basic, blocks=(2, 2, 2, 2), width=width, depth=depth)


def resnet34(*, num_classes: int, in_channels: int, image_size: int, width: float = 1.0, depth: float = 1.0) -> ResNet:
    """Return ResNet-34; `width` and `depth` are multipliers."""
    return ResNet(num_classes, in_channels, image_size, block=basic, blocks=(3, 4, 6, 3), width=width, depth=depth)


def resnet50(*, num_classes: int, in_channels: int, image_size: int, width: float = 1.0, depth: float = 1.0) -> ResNet:
    """Return ResNet-50; `width` and `depth` are multipliers."""
    return ResNet(num_classes, in_channels, image_size, block=bottleneck, blocks=(3, 4, 6, 3), width=width, depth=depth)


def resnet101(*, num_classes: int, in_channels: int, image_size: int, width: float = 1.0, depth: float = 1.0) -> ResNet:
    """Return ResNet-101; `width` and `depth` are multipliers."""
    return ResNet(
        num_classes, in_channels, image_size, block=bottleneck, blocks=(3, 4, 23, 3), width=width, depth=depth
    )


def resnet152(*, num_classes: int, in_channels: int, image_size: int, width: float = 1.0, depth: float = 1.0) -> ResNet:
    """Return ResNet-152; `width` and `depth` are multipliers."""
    return ResNet(
        num_classes, in_channels, image_size, block=bottleneck, blocks=(3, 8, 36, 3), width=width, depth=depth
    )


def plain34(*, num_classes: int, in_channels: int, image_size: int, width: float = 1.0, depth: float = 1.0) -> ResNet:
    """Return ResNet-34 without shortcuts; `width` and `depth` are multipliers."""
    return ResNet(
        num_classes,
        in_channels,
        image_size,
        block=basic,
        blocks=(3, 4, 6, 3),
        width=width,
        depth=depth,
        shortcut="none",
    )


def make_cifar_resnet(
    num_classes: int, in_channels: int, image_size: int, *, n: int, shortcut: str, width: float, depth: float
) -> ResNet:
    """Return the paper's network of 6n + 2 layers for CIFAR."""
    return ResNet(
        num_classes,
        in_channels,
        image_size,
        block=basic,
        blocks=(n, n, n),
        width=width,
        depth=depth,
        base_channels=16,
        shortcut=shortcut,
    )


def resnet8(*, num_classes: int, in_channels: int, image_size: int, width: int = 16) -> ResNet:
    """Return ResNet-8 of MLPerf Tiny; `width` is the number of filters in the first stage: 16, or 40 in its larger one.

    Raises:
        UserError: `width` is not a whole number from 1.
    """
    if not isinstance(width, int) or width < 1:
        raise UserError(f"width is {width}; it must be a whole number from 1, the filters of the first stage.")
    return ResNet(
        num_classes,
        in_channels,
        image_size,
        block=basic,
        blocks=(1, 1, 1),
        width=1.0,
        depth=1.0,
        base_channels=width,
        shortcut="conv",
    )


def resnet20(
    *, num_classes: int, in_channels: int, image_size: int, shortcut: str = "A", width: float = 1.0, depth: float = 1.0
) -> ResNet:
    """Return ResNet-20 for CIFAR; `shortcut` is "A", "B" or "none", `width` and `depth` are multipliers."""
    return make_cifar_resnet(num_classes, in_channels, image_size, n=3, shortcut=shortcut, width=width, depth=depth)


def resnet32(
    *, num_classes: int, in_channels: int, image_size: int, shortcut: str = "A", width: float = 1.0, depth: float = 1.0
) -> ResNet:
    """Return ResNet-32 for CIFAR; `shortcut` is "A", "B" or "none", `width` and `depth` are multipliers."""
    return make_cifar_resnet(num_classes, in_channels, image_size, n=5, shortcut=shortcut, width=width, depth=depth)


def resnet44(
    *, num_classes: int, in_channels: int, image_size: int, shortcut: str = "A", width: float = 1.0, depth: float = 1.0
) -> ResNet:
    """Return ResNet-44 for CIFAR; `shortcut` is "A", "B" or "none", `width` and `depth` are multipliers."""
    return make_cifar_resnet(num_classes, in_channels, image_size, n=7, shortcut=shortcut, width=width, depth=depth)


def resnet56(
    *, num_classes: int, in_channels: int, image_size: int, shortcut: str = "A", width: float = 1.0, depth: float = 1.0
) -> ResNet:
    """Return ResNet-56 for CIFAR; `shortcut` is "A", "B" or "none", `width` and `depth` are multipliers."""
    return make_cifar_resnet(num_classes, in_channels, image_size, n=9, shortcut=shortcut, width=width, depth=depth)


def resnet110(
    *, num_classes: int, in_channels: int, image_size: int, shortcut: str = "A", width: float = 1.0, depth: float = 1.0
) -> ResNet:
    """Return ResNet-110 for CIFAR; `shortcut` is "A", "B" or "none", `width` and `depth` are multipliers."""
    return make_cifar_resnet(num_classes, in_channels, image_size, n=18, shortcut=shortcut, width=width, depth=depth)


def plain20(*, num_classes: int, in_channels: int, image_size: int, width: float = 1.0, depth: float = 1.0) -> ResNet:
    """Return ResNet-20 for CIFAR without shortcuts; `width` and `depth` are multipliers."""
    return make_cifar_resnet(num_classes, in_channels, image_size, n=3, shortcut="none", width=width, depth=depth)


def plain32(*, num_classes: int, in_channels: int, image_size: int, width: float = 1.0, depth: float = 1.0) -> ResNet:
    """Return ResNet-32 for CIFAR without shortcuts; `width` and `depth` are multipliers."""
    return make_cifar_resnet(num_classes, in_channels, image_size, n=5, shortcut="none", width=width, depth=depth)


def plain44(*, num_classes: int, in_channels: int, image_size: int, width: float = 1.0, depth: float = 1.0) -> ResNet:
    """Return ResNet-44 for CIFAR without shortcuts; `width` and `depth` are multipliers."""
    return make_cifar_resnet(num_classes, in_channels, image_size, n=7, shortcut="none", width=width, depth=depth)


def plain56(*, num_classes: int, in_channels: int, image_size: int, width: float = 1.0, depth: float = 1.0) -> ResNet:
    """Return ResNet-56 for CIFAR without shortcuts; `width` and `depth` are multipliers."""
    return make_cifar_resnet(num_classes, in_channels, image_size, n=9, shortcut="none", width=width, depth=depth)
